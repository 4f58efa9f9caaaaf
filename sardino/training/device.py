"""The device that a run uses, and the precision it multiplies in."""

import os
from typing import Literal

import torch

from sardino.errors import SardinoError

Precision = Literal["auto", "float32", "bfloat16"]


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
