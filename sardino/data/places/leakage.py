"""The leakage report: what the splits share, how far apart they lie, and whether that is far enough."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.places.correlogram import Correlogram, mean_correlogram, pixel_correlogram
from sardino.data.places.ground import Ground
from sardino.data.tiles.store import SPLITS, TileStore
from sardino.data.tiles.table import tiles_in
from sardino.data.tiles.tile import Progress
from sardino.errors import SardinoError

# Correlations below which backscatter counts as decorrelated: the usual length, and nearly nothing left.
LEVELS = (1 / math.e, 0.1)


@dataclass(frozen=True)
class Leakage:
    """What the splits of a set of tiles share."""

    tiles: dict[str, int]  # number of tiles by split
    overlaps: int  # pairs of tiles of different splits that share ground; must be 0
    overlapping: tuple[str, str] | None  # ids of the first such pair
    distances_m: dict[str, float]  # smallest, on the ground, outline to outline, by pair of splits ("train-test")
    unplaced: int  # tiles without a CRS, which have no distance
    pixels: Correlogram | None = None  # of the channel, inside tiles
    means: Correlogram | None = None  # of the tiles' means; None where tiles are too few
    channel: str = ""

    @property
    def smallest_m(self) -> float | None:
        """Smallest distance between tiles of different splits."""
        return min(self.distances_m.values(), default=None)

    @property
    def decorrelation(self) -> tuple[float, str] | None:
        """(metres, what) at which correlation falls below 0.1: of pixels, or of tile means where tiles are smaller."""
        for what, curve in self._curves():
            length = curve.length_m(LEVELS[1])
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
        digit = 10.0 ** max(0, int(np.floor(np.log10(max(length, 1)))) - 1)
        rounded = np.ceil(length / digit) * digit
        return f"{apart}, nearer {takes}: NOT enough, split with --buffer-m {rounded:g} or more."

    def lines(self) -> list[str]:
        """The report, line by line."""
        found = ["tiles: " + ", ".join(f"{split} {count}" for split, count in self.tiles.items())]
        example = f", for example {' and '.join(self.overlapping)}" if self.overlapping else ""
        found.append(f"overlapping pairs between splits: {self.overlaps}{example}")
        found += [f"smallest distance {pair}: {_metres(metres)}" for pair, metres in self.distances_m.items()]
        if self.unplaced:
            found.append(f"tiles without coordinates: {self.unplaced}; they have no distance")
        for name, curve in self._curves():
            lengths = [curve.length_m(level) for level in LEVELS]
            reach = _metres(float(curve.distance_m[-1]))
            told = [_metres(v) if v is not None else f"not within {reach}" for v in lengths]
            found.append(f"{self.channel}, {name}: correlation below 1/e at {told[0]}, below 0.1 at {told[1]}")
        if self.means is not None:
            why = "they count where pixels stay alike across a whole tile"
            found.append(f"(tile means follow climate and land use; {why})")
        return [*found, self.sentence]

    def _curves(self) -> list[tuple[str, Correlogram]]:
        curves = (("pixels", self.pixels), ("tile means", self.means))
        return [(name, curve) for name, curve in curves if curve is not None]


def table_leakage(table: pd.DataFrame) -> Leakage:
    """The report on a tile table with a column "split"; tiles of split "none" take no part."""
    if "split" not in table:
        raise SardinoError("these tiles have no splits yet: run `sardino tiles split` first")
    return _places(Ground(tiles_in(table)), table["split"])


def store_leakage(
    store: TileStore, channel: str | None = None, most_tiles: int = 200, progress: Progress = iter
) -> Leakage:
    """The report on a tile store, with the distance at which a channel, the first by default, decorrelates.

    At most so many tiles are read, spread evenly over the store.
    """
    channel = channel or store.channels[0]
    if channel not in store.channels:
        raise SardinoError(f"{store.path} has no channel '{channel}': it holds {', '.join(store.channels)}")
    ids = store.ids()
    ground = Ground([store.tile(tile) for tile in ids])
    rows = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), most_tiles)).round().astype(np.int64))
    means = np.full(len(ids), np.nan)
    number = store.channels.index(channel)

    def images() -> Iterator[NDArray[np.float32]]:
        for row in progress(rows.tolist()):
            image = store.read([ids[row]])[0][0, number]
            if np.isfinite(image).any():
                means[row] = np.nanmean(image, dtype=np.float64)
                yield image

    gsd_m, earth = ground.pixel, np.full((len(ids), 3), np.nan)
    if len(placed := ground.placed):
        earth[placed] = ground.earth[placed]
        # On the ground: degrees are turned into metres at the tiles' latitude.
        gsd_m = 2 * ground.radius[placed] / np.hypot(store.tile_px, store.tile_px)
    pixels = pixel_correlogram(images(), float(np.median(gsd_m)))
    between = mean_correlogram(means[rows], earth[rows], store.index["region"].to_numpy(object)[rows])
    return replace(_places(ground, store.index["split"]), pixels=pixels, means=between, channel=channel)


def _places(ground: Ground, splits: pd.Series) -> Leakage:
    split = splits.astype(str).to_numpy(object)
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
    pair = (ground.tiles[crossing[0, 0]].id, ground.tiles[crossing[0, 1]].id) if len(crossing) else None
    unplaced = int((used & (ground.crs == "")).sum())
    return Leakage({name: n for name, n in counts.items() if n}, len(crossing), pair, distances, unplaced)


def _metres(metres: float) -> str:
    return f"{metres / 1000:.1f} km" if metres >= 10_000 else f"{metres:.0f} m"
