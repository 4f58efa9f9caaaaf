"""The device that a run uses, and the precision it multiplies in."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

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


# What pre-training and fine-tuning ask of the optimiser alike: decay groups and clipping.


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices only: biases and one-dimensional parameters go without."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    bare = [p for name, p in named if p.ndim == 1 or name.endswith(".bias")]
    decayed = [p for name, p in named if not (p.ndim == 1 or name.endswith(".bias"))]
    return [{"params": decayed}, {"params": bare, "weight_decay": 0.0}]


@torch.no_grad()
def clip_each(module: nn.Module, limit: float, total: Callable[[Tensor], Tensor] = lambda squares: squares) -> Tensor:
    """Scale down each parameter's own gradient to a norm of at most `limit`.

    Args:
        module: has its gradients; where they are sharded, this rank's shard is scaled.
        limit: largest norm of one tensor.
        total: sums squared norms over the ranks that hold shards of the same tensors.

    Returns:
        () norm of the whole gradient before.
    """
    gradients = [local(p.grad) for p in module.parameters() if p.grad is not None]
    squares = total(torch.stack(torch._foreach_norm(gradients)).square())
    norms = squares.sqrt()
    torch._foreach_mul_(gradients, list((limit / (norms + 1e-6)).clamp(max=1.0).unbind()))
    return squares.sum().sqrt()


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, the tensor itself where it is whole; both share memory with it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


# A polite request to stop: SIGTERM, or SIGUSR1 as SLURM sends it before the time is up.

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Request:
    """Whether somebody has asked this process to stop."""

    def __init__(self) -> None:
        self.made = False


@contextlib.contextmanager
def stop_requests() -> Iterator[Request]:
    """While it lasts, the signals only raise a flag, and the loop stops between two steps.

    Off the main thread, where Python takes no signals, the flag stays down.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(number: int, frame: FrameType | None) -> None:
        request.made = True

    before = {number: signal.signal(number, remember) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# The C library's memory: kept from step to step, not handed back to the system and fetched again.

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
