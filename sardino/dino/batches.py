"""Labelled tiles of a store, in dB or normalised: held in memory where they fit, else read as they are asked for."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import unpack
from sardino.data.tiles.store import TileStore
from sardino.errors import SardinoError

# Where training reads tiles from: anything with a length that gives batches by number.


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


# Batches read ahead of the training step, by worker processes where asked; the order never depends on them.

Batch = tuple[Tensor, Tensor]


class _Reads(Dataset[Batch]):
    """A batch is asked for by its tile numbers, so that a worker reads whole tiles and stacks them once."""

    def __init__(self, source: TileSource) -> None:
        self.source = source

    def __getitem__(self, numbers: Sequence[int]) -> Batch:
        torch.set_num_threads(1)  # the cores belong to the training step
        return self.source.read(numbers)


def load(
    source: TileSource, order: Iterable[list[int]], workers: int = 0, ahead: int = 2, pin: bool = False
) -> Iterator[Batch]:
    """Read batches in the given order.

    Args:
        source: tiles by number; travels to the workers, so a store or a mapped cache and not tiles in memory.
        order: tile numbers of each batch; may be endless.
        workers: processes that read ahead; with 0 a batch is read when it is asked for.
        ahead: batches that each worker keeps ready.
        pin: page-locked memory, from which a GPU copies while it computes.

    Yields:
        inputs (B, C, H, W) float32 normalised and labels (B, H, W) uint8.
    """
    if workers < 0 or ahead < 1:
        raise SardinoError(f"a loader takes at least 0 workers and 1 batch ahead, not {workers} and {ahead}")
    if workers == 0:
        for numbers in order:
            inputs, labels = source.read(numbers)
            yield (inputs.pin_memory(), labels.pin_memory()) if pin and not inputs.is_cuda else (inputs, labels)
        return
    yield from DataLoader(
        _Reads(source),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        prefetch_factor=ahead,
        pin_memory=pin,
        # A fork would copy locks that library threads hold; a fresh process opens the store itself.
        multiprocessing_context="spawn",
    )


# Which tiles a step sees, and all other chance: functions of the seed and the step, so that nothing need be saved.

TILES, CROPS, NOISE, LAYERS = range(4)
"""What chance is drawn for; each has its own stream."""


def seed_of(seed: int, stream: int, *place: int) -> int:
    """A 63-bit seed for one place (an epoch, a step, a rank) of one stream; different places are independent."""
    return int(np.random.SeedSequence([seed, stream, *place]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def chance(seed: int, stream: int, *place: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one place of one stream."""
    return torch.Generator(device).manual_seed(seed_of(seed, stream, *place))


@dataclass
class Order:
    """A new order of all tiles each epoch; a last short batch is left out.

    Args:
        count: number of tiles.
        batch: tiles of a step, over all ranks.
        seed: decides every epoch's order.
    """

    count: int
    batch: int
    seed: int
    _epoch: tuple[int, list[int]] = field(default=(-1, []), repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.batch <= self.count:
            raise SardinoError(
                f"a batch of {self.batch} cannot be drawn from {self.count} tiles: lower the batch, or add tiles"
            )

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
        for step in range(start, stop):
            yield self.numbers(step)[rank * share : (rank + 1) * share]


# Tiles copied once into two memory-mapped files: for stores that are compressed or lie on slow disks.

ARRAYS = ("counts.npy", "labels.npy")


@dataclass(frozen=True)
class MappedTiles:
    """A `TileSource` whose pixels stay on disk and reach memory page by page, as they are asked for.

    Args:
        folder: holds the two arrays.
        counts: (N, C, H, W) int16 counts of 0.01 dB.
        labels: (N, H, W) uint8 class index.
        normalisation: applied as tiles are read; None leaves dB, missing as NaN.
    """

    folder: Path
    counts: NDArray[np.int16]
    labels: NDArray[np.uint8]
    normalisation: Normalisation | None

    def __reduce__(self) -> tuple[Callable[..., "MappedTiles"], tuple[Path, Normalisation | None]]:
        # Loader workers map the files themselves instead of receiving their content.
        return MappedTiles.open, (self.folder, self.normalisation)

    @classmethod
    def open(cls, folder: Path, normalisation: Normalisation | None) -> "MappedTiles":
        """Open a cache that `build` made."""
        try:
            counts, labels = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ARRAYS)
        except (OSError, ValueError) as error:
            raise SardinoError(f"the cache {folder} cannot be read ({error}): delete it") from error
        return cls(folder, counts, labels, normalisation)

    @classmethod
    def build(
        cls,
        store: TileStore,
        ids: Sequence[str],
        normalisation: Normalisation | None,
        folder: Path,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> "MappedTiles":
        """The cache of these tiles of a store below `folder`: made now, or as a run before has left it.

        Args:
            store, ids: the tiles; the cache is named by the store's fingerprint and these ids.
            normalisation: applied as tiles are read; not part of the cache.
            folder: caches live here, one folder each.
            progress: wraps the loop over tile numbers.
        """
        key = hashlib.sha256("\n".join([store.fingerprint, *ids]).encode()).hexdigest()[:16]
        done = folder / key
        if not done.exists():
            partial = folder / f"{key}.{os.getpid()}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            size = (store.tile_px, store.tile_px)
            shapes = {"counts.npy": (len(ids), len(store.channels), *size), "labels.npy": (len(ids), *size)}
            counts, labels = (
                np.lib.format.open_memmap(partial / name, mode="w+", dtype=dtype, shape=shapes[name])
                for name, dtype in zip(ARRAYS, (np.int16, np.uint8), strict=True)
            )
            for number in progress(range(len(ids))):
                (counts[number],), (labels[number],) = store.read_counts([ids[number]])
            counts.flush()
            labels.flush()
            try:
                os.rename(partial, done)
            except OSError:  # another run has made the same cache meanwhile
                shutil.rmtree(partial)
        return cls.open(done, normalisation)

    def __len__(self) -> int:
        return len(self.counts)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = list(numbers)
        inputs = unpack(self.counts[chosen])
        if self.normalisation is not None:
            inputs = self.normalisation.apply(inputs)
        return torch.from_numpy(inputs), torch.from_numpy(np.array(self.labels[chosen]))


Cache = Literal["auto", "memory", "mapped", "none"]
MEMORY_BYTES = 1_000_000_000
"""A set of tiles larger than this is read from the store batch by batch instead of being held."""


@dataclass(frozen=True)
class StoreTiles:
    """Tiles read from the store as they are asked for: a `TileSource` of any size.

    Without a normalisation the inputs stay in the store's unit, and what is missing stays NaN.
    """

    store: TileStore
    ids: Sequence[str]
    normalisation: Normalisation | None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        backscatter, label = self.store.read([self.ids[n] for n in numbers])
        inputs = backscatter if self.normalisation is None else self.normalisation.apply(backscatter)
        return torch.from_numpy(inputs), torch.from_numpy(label)


def open_tiles(
    store: TileStore,
    ids: Sequence[str],
    normalisation: Normalisation | None,
    cache: Cache = "auto",
    folder: Path | None = None,
) -> TileSource:
    """Tiles where they are read fastest.

    Args:
        store, ids, normalisation: the tiles and how they are normalised; None leaves dB, missing as NaN.
        cache: "memory" holds them; "mapped" copies them once into memory-mapped files; "none" reads the store each
            time; "auto" holds them where they take less than a gigabyte and reads the store elsewhere.
        folder: where memory-mapped files live; needed for "mapped".
    """
    tiles = StoreTiles(store, ids, normalisation)
    if cache == "mapped":
        if folder is None:
            raise SardinoError("memory-mapped tiles need a folder to live in")
        return MappedTiles.build(store, ids, normalisation, folder)
    size = len(ids) * len(store.channels) * store.tile_px**2 * 4
    if cache == "memory" or (cache == "auto" and size < MEMORY_BYTES):
        return MemoryTiles(*tiles.read(range(len(ids))))
    return tiles
