"""Tiles copied once into two memory-mapped files: for stores that are compressed or lie on slow disks."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sardino.errors import SardinoError
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.radiometry import unpack
from sardino.tiles.tileset import TileStore

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
