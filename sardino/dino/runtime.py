"""What a run asks of its machine: device, cores, precision, signals to stop and the C library's memory."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
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


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; where it does not, float32 is as fast and more exact."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def precision_on(device: torch.device, asked: Precision = "auto") -> Literal["float32", "bfloat16"]:
    """The precision of matrix products: as asked, or bfloat16 wherever the hardware has it.

    Raises:
        SardinoError: bfloat16 was asked of a device that torch cannot use so.
    """
    if asked == "bfloat16" and device.type not in ("cuda", "cpu"):
        raise SardinoError("bfloat16 runs on cuda or cpu: use --precision float32")
    if asked != "auto":
        return asked
    return "bfloat16" if has_bfloat16(device) else "float32"


class Request:
    """Whether somebody has asked this process to stop."""

    made = False


@contextlib.contextmanager
def stop_requests() -> Iterator[Request]:
    """While it lasts, SIGTERM and SLURM's early SIGUSR1 only raise a flag: the loop stops between two steps.

    Off the main thread, where Python takes no signals, the flag stays down.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(number: int, frame: FrameType | None) -> None:
        request.made = True

    before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield request
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
