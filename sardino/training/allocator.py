"""The C library's memory: kept from step to step, not handed back to the system and fetched again."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Let glibc keep what a training step on a CPU frees, for the next step; whether this C library can.

    By default memory at the top of the heap goes back to the system when a step ends, and each of its pages is
    cleared and mapped again in the next one. The process keeps the size of its largest step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return all([mallopt(_TRIM_THRESHOLD, _NEVER), mallopt(_MMAP_THRESHOLD, 2**30)])
