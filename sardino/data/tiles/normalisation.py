"""Normalisation: mean and standard deviation per channel, kept with whatever was trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError

if TYPE_CHECKING:  # statistics alone need no store, nor what reads one
    from sardino.data.tiles.store import TileStore


@dataclass(frozen=True)
class Normalisation:
    """Statistics per channel, in `unit`, over valid pixels of training tiles; every std is positive."""

    channels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    unit: str = "dB"

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.mean) == len(self.std) or not self.channels:
            raise SardinoError("a normalisation needs one mean and one standard deviation per channel")
        for name, mean, std in zip(self.channels, self.mean, self.std, strict=True):
            if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
                told = f"mean {mean}, standard deviation {std}"
                raise SardinoError(f"channel {name} is constant or empty ({told}): leave it out")

    @classmethod
    def of_store(cls, store: "TileStore", ids: Sequence[str]) -> "Normalisation":
        """Statistics of some tiles, the training tiles; float64, tile by tile, missing pixels left out."""
        if not ids:
            raise SardinoError(f"{store.path} has no training tile to take the normalisation from")
        count = np.zeros(len(store.channels))
        mean, squares = np.zeros_like(count), np.zeros_like(count)  # squares: of deviations from the running mean
        for tile_id in ids:
            pixels = store.read([tile_id])[0][0].reshape(len(count), -1).astype(np.float64)
            valid = np.isfinite(pixels)
            n = valid.sum(1)
            tile_mean = np.where(valid, pixels, 0).sum(1) / np.maximum(n, 1)
            tile_squares = (np.where(valid, pixels - tile_mean[:, None], 0) ** 2).sum(1)
            # Two parts are joined without cancellation (Chan, Golub and LeVeque 1983).
            total = count + n
            shift = tile_mean - mean
            squares += tile_squares + shift**2 * count * n / np.maximum(total, 1)
            mean += shift * n / np.maximum(total, 1)
            count = total
        if empty := ", ".join(name for name, n in zip(store.channels, count, strict=True) if n == 0):
            raise SardinoError(f"{store.path} has no valid training pixel in {empty}: leave the channel out")
        return cls(tuple(store.channels), tuple(mean.tolist()), tuple(np.sqrt(squares / count).tolist()), store.unit)

    def require(self, channels: Sequence[str], unit: str) -> None:
        """Refuse, by name, data of other channels or of another unit."""
        if tuple(channels) != self.channels:
            taken = f"the normalisation was taken from channels {', '.join(self.channels)}"
            raise SardinoError(f"{taken}, the data has {', '.join(channels)}: use the matching data or weights")
        if unit != self.unit:
            raise SardinoError(f"the normalisation is in {self.unit}, the data in {unit}: convert the data first")

    def apply(self, db: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C, H, W) or (C, H, W) in `unit` to zero mean and unit variance, float32; missing becomes 0, the mean."""
        if db.ndim not in (3, 4) or db.shape[-3] != len(self.channels):
            raise SardinoError(f"an array of shape {db.shape} does not hold the {len(self.channels)} channels asked")
        mean, std = (np.asarray(values, np.float32).reshape(-1, 1, 1) for values in (self.mean, self.std))
        normal = ((db - mean) / std).astype(np.float32)
        normal[~np.isfinite(normal)] = 0
        return normal

    def to_dict(self) -> dict[str, Any]:
        return {"channels": [*self.channels], "mean": [*self.mean], "std": [*self.std], "unit": self.unit}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Normalisation":
        """Back from `to_dict`; SardinoError names a field that is missing."""
        if missing := [name for name in ("channels", "mean", "std", "unit") if name not in data]:
            raise SardinoError(f"a saved normalisation lacks {', '.join(missing)}: train again")
        mean, std = (tuple(float(v) for v in data[name]) for name in ("mean", "std"))
        return cls(tuple(str(c) for c in data["channels"]), mean, std, str(data["unit"]))
