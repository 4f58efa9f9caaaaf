"""Where training reads tiles from: anything with a length that gives batches by number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class TileSource(Protocol):
    """Labelled tiles by number: in memory, or read from a store as they are asked for."""

    def __len__(self) -> int: ...

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Inputs (B, C, H, W) float32, normalised unless asked for in dB, and labels (B, H, W) uint8 class index."""
        ...


@dataclass(frozen=True)
class MemoryTiles:
    """Tiles that fit in memory: (N, C, H, W) and (N, H, W); also frozen features, of any shape after N."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.as_tensor(numbers)
        return self.inputs[chosen], self.labels[chosen]


def in_batches(source: TileSource, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All tiles in order, `batch` at a time, the last one shorter."""
    for start in range(0, len(source), batch):
        yield source.read(range(start, min(start + batch, len(source))))
