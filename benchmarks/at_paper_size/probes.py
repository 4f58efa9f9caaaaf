"""What the device can do and does: matrix products, memory, seconds per step."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.at_paper_size.clock import Clock
from benchmarks.at_paper_size.scenes import Packed
from sardino.errors import SardinoError


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gb(device: torch.device) -> float | None:
    """Most device memory that tensors took since the last reset, GB."""
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else None


def matrix_tflops(size: int, device: torch.device, rounds: int = 30) -> float:
    """Rate of a square bfloat16 matrix product of random numbers: what the device reaches at best."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    synchronise(device)
    started = time.perf_counter()
    for _ in range(rounds):
        a @ b
    synchronise(device)
    return 2 * size**3 * rounds / (time.perf_counter() - started) / 1e12


class Pulse:
    """Reads batches, times the steps between two of them, and ends a training that outruns the run's budget.

    Args:
        first, last: number of the reads between which it times; with the device's queue empty at both.
    """

    def __init__(self, source: Packed, clock: Clock, device: torch.device, first: int, last: int) -> None:
        self.source, self.clock, self.device = source, clock, device
        self.marks = {first: 0.0, last: 0.0}
        self.calls = 0

    def __len__(self) -> int:
        return len(self.source)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        if self.calls in self.marks:
            synchronise(self.device)
            self.marks[self.calls] = time.perf_counter()
        if self.clock.left() < 0:
            raise SardinoError(f"the time is spent after {self.calls} steps: ask for more minutes")
        self.calls += 1
        return self.source.read(numbers)

    def seconds_per_step(self) -> float:
        (first, started), (last, ended) = self.marks.items()
        return (ended - started) / (last - first)
