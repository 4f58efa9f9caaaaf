"""The leakage report: what the splits share, how far apart they lie, and whether that is far enough."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.places.correlogram import Correlogram, mean_correlogram, pixel_correlogram
from sardino.data.places.ground import Ground
from sardino.data.tiles.store import SPLITS, TileStore
from sardino.data.tiles.table import tiles_in
from sardino.data.tiles.tile import Progress
from sardino.errors import SardinoError

LEVELS = (1 / math.e, 0.1)
"""Correlations below which backscatter counts as decorrelated: the usual length, and nearly nothing left."""


@dataclass(frozen=True)
class Leakage:
    """What the splits of a set of tiles share.

    Args:
        tiles: number of tiles by split.
        overlaps: pairs of tiles of different splits that share ground; must be 0.
        overlapping: ids of the first such pair.
        distances_m: smallest distance on the ground, outline to outline, by pair of splits ("train-test").
        unplaced: tiles without a CRS, which have no distance.
        pixels: correlation of pixels by distance, inside tiles; None where there are no pixels.
        means: correlation of tile means by distance; None where tiles are too few.
        channel: that was correlated.
    """

    tiles: dict[str, int]
    overlaps: int
    overlapping: tuple[str, str] | None
    distances_m: dict[str, float]
    unplaced: int
    pixels: Correlogram | None = None
    means: Correlogram | None = None
    channel: str = ""

    @property
    def smallest_m(self) -> float | None:
        """Smallest distance between tiles of different splits."""
        return min(self.distances_m.values(), default=None)

    @property
    def decorrelation(self) -> tuple[float, str] | None:
        """(metres, what) at which correlation falls below 0.1: of pixels, or of tile means where tiles are smaller."""
        for what, curve in (("pixels", self.pixels), ("tile means", self.means)):
            length = curve.length_m(LEVELS[1]) if curve is not None else None
            if length is not None:
                return length, what
        return None

    @property
    def enough(self) -> bool | None:
        """Whether splits lie farther apart than backscatter decorrelates; None where that is not known."""
        if self.overlaps:
            return False
        if self.smallest_m is None or self.pixels is None:
            return None
        if self.decorrelation is None:
            return None if self.smallest_m > self.pixels.distance_m[-1] else False
        return self.smallest_m >= self.decorrelation[0]

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.overlaps:
            return f"LEAKAGE: {self.overlaps} pairs of tiles of different splits share ground; split them anew."
        if self.smallest_m is None:
            return "No tiles of different splits share ground; without coordinates their distance is not known."
        apart = f"No tiles of different splits share ground; the nearest lie {_metres(self.smallest_m)} apart"
        if self.pixels is None:
            return f"{apart}. Whether that is enough only the pixels can tell: give the tile store."
        if self.decorrelation is None:
            reach = _metres(float(self.pixels.distance_m[-1]))
            verdict = "too near" if self.enough is False else "whether that is enough is open"
            return f"{apart}, and {self.channel} stays correlated above 0.1 as far as tiles show, {reach}: {verdict}."
        length, what = self.decorrelation
        takes = f"than {self.channel} takes to decorrelate ({what} fall below 0.1 at {_metres(length)})"
        if self.enough:
            return f"{apart}, farther {takes}: enough."
        return f"{apart}, nearer {takes}: NOT enough, split with --buffer-m {_round_up(length):g} or more."

    def lines(self) -> list[str]:
        """The report, line by line."""
        found = ["tiles: " + ", ".join(f"{split} {count}" for split, count in self.tiles.items())]
        found.append(f"overlapping pairs between splits: {self.overlaps}")
        if self.overlapping:
            found[-1] += f", for example {' and '.join(self.overlapping)}"
        for pair, metres in self.distances_m.items():
            found.append(f"smallest distance {pair}: {_metres(metres)}")
        if self.unplaced:
            found.append(f"tiles without coordinates: {self.unplaced}; they have no distance")
        for name, curve in (("pixels", self.pixels), ("tile means", self.means)):
            if curve is not None:
                lengths = [curve.length_m(level) for level in LEVELS]
                reach = _metres(float(curve.distance_m[-1]))
                told = [_metres(v) if v is not None else f"not within {reach}" for v in lengths]
                found.append(f"{self.channel}, {name}: correlation below 1/e at {told[0]}, below 0.1 at {told[1]}")
        if self.means is not None:
            found.append(
                "(tile means follow climate and land use; they count where pixels stay alike across a whole tile)"
            )
        return [*found, self.sentence]


def table_leakage(table: pd.DataFrame) -> Leakage:
    """The report on a tile table with a column "split"; tiles of split "none" take no part.

    Raises:
        SardinoError: the table has no splits.
    """
    if "split" not in table:
        raise SardinoError("these tiles have no splits yet: run `sardino tiles split` first")
    return _places(Ground(tiles_in(table)), table["split"].to_numpy())


def store_leakage(
    store: TileStore, channel: str | None = None, most_tiles: int = 200, progress: Progress = iter
) -> Leakage:
    """The report on a tile store, with the distance at which its backscatter decorrelates.

    Args:
        channel: to correlate; the first by default.
        most_tiles: read so many tiles, spread evenly over the store.

    Raises:
        SardinoError: the store has no such channel.
    """
    channel = channel or store.channels[0]
    if channel not in store.channels:
        raise SardinoError(f"{store.path} has no channel '{channel}': it holds {', '.join(store.channels)}")
    ids = store.ids()
    tiles = [store.tile(tile) for tile in ids]
    ground = Ground(tiles)
    places = _places(ground, store.index["split"].to_numpy())
    rows = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), most_tiles)).round().astype(np.int64))
    means = np.full(len(ids), np.nan)
    number = store.channels.index(channel)

    def images() -> Iterator[NDArray[np.float32]]:
        for row in progress(rows.tolist()):
            image = store.read([ids[row]])[0][0, number]
            if np.isfinite(image).any():
                means[row] = np.nanmean(image, dtype=np.float64)
                yield image

    pixels = pixel_correlogram(images(), _gsd_m(ground))
    regions = np.array([tile.region for tile in tiles], object)
    earth = np.full((len(tiles), 3), np.nan)
    if len(ground.placed):
        earth[ground.placed] = ground.earth[ground.placed]
    between = mean_correlogram(means[rows], earth[rows], regions[rows])
    return replace(places, pixels=pixels, means=between, channel=channel)


def _gsd_m(ground: Ground) -> float:
    """Pixel size on the ground; degrees are turned into metres at the tiles' latitude."""
    if not len(ground.placed):
        return float(np.median(ground.pixel))
    rows = ground.placed
    diagonal = 2 * ground.radius[rows]
    pixels = np.hypot([ground.tiles[row].shape[0] for row in rows], [ground.tiles[row].shape[1] for row in rows])
    return float(np.median(diagonal / pixels))


def _places(ground: Ground, splits: NDArray[Any]) -> Leakage:
    split = np.array([str(s) for s in splits], object)
    ids = [tile.id for tile in ground.tiles]
    used = np.isin(split, SPLITS)
    pairs = ground.overlaps()
    first, second = pairs[:, 0], pairs[:, 1]
    crossing = pairs[used[first] & used[second] & (split[first] != split[second])]
    distances: dict[str, float] = {}
    for one, other in combinations(SPLITS, 2):
        metres = ground.smallest_distance(np.flatnonzero(split == one), np.flatnonzero(split == other))
        if metres is not None:
            distances[f"{one}-{other}"] = metres
    counts = {name: int((split == name).sum()) for name in [*SPLITS, *sorted(set(split) - set(SPLITS))]}
    return Leakage(
        tiles={name: count for name, count in counts.items() if count},
        overlaps=len(crossing),
        overlapping=(ids[crossing[0, 0]], ids[crossing[0, 1]]) if len(crossing) else None,
        distances_m=distances,
        unplaced=int((used & (ground.crs == "")).sum()),
    )


def _metres(metres: float) -> str:
    return f"{metres / 1000:.1f} km" if metres >= 10_000 else f"{metres:.0f} m"


def _round_up(metres: float) -> float:
    """The next round number, for an option."""
    digit = 10.0 ** max(0, int(np.floor(np.log10(max(metres, 1)))) - 1)
    return float(np.ceil(metres / digit) * digit)
