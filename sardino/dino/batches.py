"""Batches of tiles: which tiles a step sees and in which order, where they are read from, and reading ahead.

The order, and all other chance, is a function of the seed and the step, so that nothing need be saved.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.errors import SardinoError

# Inputs (B, C, H, W) float32, normalised unless asked for in dB, and labels (B, H, W) uint8 class index.
Batch = tuple[Tensor, Tensor]
Cache = Literal["auto", "memory", "none"]
MEMORY_BYTES = 1_000_000_000  # a larger set of tiles is read from the store batch by batch instead of being held
TILES, CROPS, NOISE, LAYERS, UNLABELLED = range(5)  # what chance is drawn for; each has its own stream


def seed_of(seed: int, stream: int, *place: int) -> int:
    """A 63-bit seed for one place (an epoch, a step, a rank) of one stream; different places are independent."""
    return int(np.random.SeedSequence([seed, stream, *place]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def chance(seed: int, stream: int, *place: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one place of one stream."""
    return torch.Generator(device).manual_seed(seed_of(seed, stream, *place))


@dataclass
class Order:
    """A new order of all `count` tiles each epoch, `batch` a step over all ranks; a last short batch is left out."""

    count: int
    batch: int
    seed: int
    _epoch: tuple[int, list[int]] = field(default=(-1, []), repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.batch <= self.count:
            raise SardinoError(f"{self.count} tiles give no batch of {self.batch}: lower the batch, or add tiles")

    @property
    def steps_per_epoch(self) -> int:
        return self.count // self.batch

    def numbers(self, step: int) -> list[int]:
        """Tile numbers of a step's whole batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            order = torch.randperm(self.count, generator=chance(self.seed, TILES, epoch)).tolist()
            self._epoch = (epoch, order)
        return self._epoch[1][place * self.batch : (place + 1) * self.batch]

    def batches(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[list[int]]:
        """One rank's share of each batch, from step `start` to before `stop`."""
        share = self.batch // world
        return (self.numbers(step)[rank * share : (rank + 1) * share] for step in range(start, stop))


class TileSource(Protocol):
    """Labelled tiles by number: in memory, or read from a store as they are asked for."""

    def __len__(self) -> int: ...

    def read(self, numbers: Sequence[int]) -> Batch: ...


@dataclass(frozen=True)
class MemoryTiles:
    """Tiles that fit in memory: (N, C, H, W) and (N, H, W); also frozen features, of any shape after N."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def read(self, numbers: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(numbers)
        return self.inputs[chosen], self.labels[chosen]


@dataclass(frozen=True)
class StoreTiles:
    """Tiles read from the store as they are asked for; without a normalisation in dB, missing as NaN."""

    store: TileStore
    ids: Sequence[str]
    normalisation: Normalisation | None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, numbers: Sequence[int]) -> Batch:
        backscatter, label = self.store.read([self.ids[n] for n in numbers])
        inputs = backscatter if self.normalisation is None else self.normalisation.apply(backscatter)
        return torch.from_numpy(inputs), torch.from_numpy(label)


def open_tiles(
    store: TileStore, ids: Sequence[str], normalisation: Normalisation | None, cache: Cache = "auto"
) -> TileSource:
    """Tiles where they are read fastest; arguments as of `StoreTiles`.

    Args:
        cache: "memory" holds them; "none" reads the store each time; "auto" holds them where they take less than a
            gigabyte and reads the store elsewhere.
    """
    tiles = StoreTiles(store, ids, normalisation)
    size = len(ids) * len(store.channels) * store.tile_px**2 * 4
    if cache == "memory" or (cache == "auto" and size < MEMORY_BYTES):
        return MemoryTiles(*tiles.read(range(len(ids))))
    return tiles


def in_batches(source: TileSource, batch: int) -> Iterator[Batch]:
    """All tiles in order, `batch` at a time, the last one shorter."""
    for start in range(0, len(source), batch):
        yield source.read(range(start, min(start + batch, len(source))))


def load(
    source: TileSource, order: Iterable[list[int]], workers: int = 0, ahead: int = 2, pin: bool = False
) -> Iterator[Batch]:
    """Read batches ahead of the training step; the order never depends on who reads.

    Args:
        source: tiles by number; travels to the workers, so a store and not tiles in memory.
        order: tile numbers of each batch; may be endless.
        workers: processes that read ahead; with 0 a batch is read when it is asked for.
        ahead: batches that each worker keeps ready.
        pin: page-locked memory, from which a GPU copies while it computes.
    """
    if workers < 0 or ahead < 1:
        raise SardinoError(f"a loader takes at least 0 workers and 1 batch ahead, not {workers} and {ahead}")
    if workers == 0:
        for numbers in order:
            inputs, labels = source.read(numbers)
            yield (inputs.pin_memory(), labels.pin_memory()) if pin and not inputs.is_cuda else (inputs, labels)
        return
    # A fork would copy locks that library threads hold; a fresh process opens the store itself.
    processes: dict[str, Any] = {"num_workers": workers, "prefetch_factor": ahead, "multiprocessing_context": "spawn"}
    yield from DataLoader(_Reads(source), batch_size=None, sampler=order, pin_memory=pin, **processes)


class _Reads(Dataset[Batch]):
    """A batch is asked for by its tile numbers, so that a worker reads whole tiles and stacks them once."""

    def __init__(self, source: TileSource) -> None:
        self.source = source

    def __getitem__(self, numbers: Sequence[int]) -> Batch:
        torch.set_num_threads(1)  # the cores belong to the training step
        return self.source.read(numbers)
