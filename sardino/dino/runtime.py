"""What a run asks of its machine: device, cores, precision, signals to stop and the C library's memory."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from typing import Literal

import torch

from sardino.dino.recipe import Precision
from sardino.errors import SardinoError


def best_device() -> torch.device:
    """A CUDA GPU if there is one, else Apple's, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def cores() -> int:
    """Processor cores that this process may use: in a job of a cluster those that it was given."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def precision_on(device: torch.device, asked: Precision = "auto") -> Literal["float32", "bfloat16"]:
    """The precision of matrix products: as asked, refused where torch cannot use the device so.

    "auto" is bfloat16 where the hardware multiplies it faster; where it does not, float32 is as fast and more exact.
    """
    if asked == "bfloat16" and device.type not in ("cuda", "cpu"):
        raise SardinoError("bfloat16 runs on cuda or cpu: use --precision float32")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    # Intel's vectors multiply bfloat16 at half the rate of float32; its tiles (AMX), AMD's and Arm's are faster.
    vectors = "amx_bf16" if str(known.get("cpu_name")).startswith("Intel") else "avx512_bf16"
    return "bfloat16" if any(known.get(name) for name in (vectors, "amx_bf16", "bf16")) else "float32"


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """While it lasts, SIGTERM and SLURM's early SIGUSR1 are only listed: the loop stops between two steps.

    Off the main thread, where Python takes no signals, the list stays empty.
    """
    asked: list[int] = []
    on_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGTERM, signal.SIGUSR1) if on_main else ()
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in signals}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    trim_threshold, mmap_threshold, never = -1, -3, 2**31 - 1
    return all([mallopt(trim_threshold, never), mallopt(mmap_threshold, 2**30)])
