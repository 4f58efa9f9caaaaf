"""The leakage report: what the splits share, how far apart they lie, and whether that is far enough."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial.distance import pdist

from sardino.data.places.ground import Ground
from sardino.data.tiles.store import SPLITS, TileStore
from sardino.data.tiles.table import tiles_in
from sardino.errors import SardinoError

# How far backscatter stays alike: spatial autocorrelation inside tiles, and between the means of tiles.

LEVELS = (1 / math.e, 0.1)
"""Correlations below which backscatter counts as decorrelated: the usual length, and nearly nothing left."""
_FEWEST_PAIRS = 30


@dataclass(frozen=True)
class Correlogram:
    """Correlation by distance.

    Args:
        distance_m: (N,) ascending, from 0 where pixels are compared.
        correlation: (N,).
        pairs: (N,) number of pairs behind each value.
    """

    distance_m: NDArray[np.float64]
    correlation: NDArray[np.float64]
    pairs: NDArray[np.float64]

    def length_m(self, level: float) -> float | None:
        """Distance at which correlation first falls below a level, between two values in proportion; None if never."""
        below = np.flatnonzero(self.correlation < level)
        if not len(below):
            return None
        n = int(below[0])
        if n == 0:
            return float(self.distance_m[0])
        high, low = self.correlation[n - 1], self.correlation[n]
        share = (high - level) / (high - low)
        return float(self.distance_m[n - 1] + share * (self.distance_m[n] - self.distance_m[n - 1]))


def pixel_correlogram(images_db: Iterable[NDArray[np.floating]], gsd_m: float) -> Correlogram:
    """Correlation of pixels by distance, all directions together, over all images.

    By the Wiener-Khinchin theorem on padded images; missing pixels take part in no pair. All images share one mean
    and one variance, so that what differs from image to image counts as correlation inside each.

    Args:
        images_db: (H, W) of one size, dB with NaN; at least one finite pixel in all.
        gsd_m: pixel size in metres.

    Returns:
        distances from 0 in steps of a pixel up to half the shorter side.

    Raises:
        SardinoError: no image, images of several sizes, or constant values.
    """
    total = squares = count = 0.0
    sums: list[NDArray[np.float64]] = []
    shape: tuple[int, ...] | None = None
    for image in images_db:
        if image.ndim != 2 or (shape is not None and image.shape != shape):
            raise SardinoError(f"autocorrelation needs images (H, W) of one size, not {image.shape} after {shape}")
        shape = image.shape
        padded = [fft.next_fast_len(2 * side - 1, real=True) for side in shape]
        known = np.isfinite(image)
        values = np.where(known, image, 0.0).astype(np.float64)
        total, squares, count = total + values.sum(), squares + (values**2).sum(), count + known.sum()
        spectrum, mask = fft.rfft2(values, padded), fft.rfft2(known.astype(np.float64), padded)
        parts = [fft.irfft2(s, padded) for s in (np.abs(spectrum) ** 2, np.abs(mask) ** 2, np.conj(spectrum) * mask)]
        sums = [before + part for before, part in zip(sums, parts, strict=True)] if sums else parts
    if shape is None or count < 2:
        raise SardinoError("autocorrelation needs at least one image with finite pixels")
    product, overlap, left = sums
    mean = total / count
    variance = squares / count - mean**2
    if variance <= 1e-12 * max(1.0, mean**2):
        raise SardinoError("the images are constant: they have no correlation")
    # Sum of (z - m)(z' - m) over pairs at a lag = sum z z' - m (sum z + sum z') + m^2 pairs; both ends by symmetry.
    both = left + np.roll(np.flip(left), (1, 1), (0, 1))
    covariance = product - mean * both + mean**2 * overlap
    lags = [np.minimum(np.arange(n), n - np.arange(n)) for n in covariance.shape]
    reach = np.hypot(lags[0][:, None], lags[1][None, :])
    farthest = min(shape) // 2
    ring = np.round(reach).astype(np.int64)
    inside = (ring <= farthest) & (lags[0] < shape[0])[:, None] & (lags[1] < shape[1])[None, :]
    count_at = np.bincount(ring[inside], np.round(overlap[inside]), farthest + 1).astype(np.float64)
    covariance_at = np.bincount(ring[inside], covariance[inside], farthest + 1)
    distance = np.bincount(ring[inside], reach[inside] * np.round(overlap[inside]), farthest + 1)
    held = count_at > 0
    pairs = count_at[held]
    return Correlogram(distance[held] / pairs * gsd_m, covariance_at[held] / pairs / variance, pairs)


def mean_correlogram(
    means_db: NDArray[np.floating], places: NDArray[np.floating], groups: NDArray[np.object_], bins: int = 24
) -> Correlogram | None:
    """Correlation of tile means by distance between tile centres.

    Args:
        means_db: (N,) dB, NaN for a tile to leave out.
        places: (N, 3) metres, on the earth.
        groups: (N,) region of each tile; each is compared with its own mean, and no pair joins two.
        bins: number of distances, equally wide, up to half the largest distance inside a region.

    Returns:
        correlations of distances with at least 30 pairs; None where there are none.
    """
    distances, products, squares = [], [], []
    for group in dict.fromkeys(groups):
        rows = (groups == group) & np.isfinite(means_db) & np.isfinite(places).all(axis=1)
        if rows.sum() < 3:
            continue
        residual = means_db[rows] - means_db[rows].mean()
        first, second = np.triu_indices(len(residual), 1)
        distances.append(pdist(places[rows]))
        products.append(residual[first] * residual[second])
        squares.append(residual**2)
    if not distances or not np.concatenate(squares).sum() > 0:
        return None
    distance, product = np.concatenate(distances), np.concatenate(products)
    width = distance.max() / 2 / bins
    place = np.minimum((distance / width).astype(np.int64), bins)
    pairs = np.bincount(place, minlength=bins + 1)[:bins]
    held = pairs >= _FEWEST_PAIRS
    if not held.any():
        return None
    mean_distance = np.bincount(place, distance, bins + 1)[:bins][held] / pairs[held]
    correlation = np.bincount(place, product, bins + 1)[:bins][held] / pairs[held]
    return Correlogram(mean_distance, correlation / np.concatenate(squares).mean(), pairs[held].astype(float))


@dataclass(frozen=True)
class Leakage:
    """What the splits of a set of tiles share.

    Args:
        tiles: number of tiles by split.
        overlaps: pairs of tiles of different splits that share ground; must be 0.
        overlapping: ids of the first such pair.
        distances_m: smallest distance on the ground, outline to outline, by pair of splits ("train-test").
        nearest: ids of the nearest pair of all.
        unplaced: tiles without a CRS, which have no distance.
        pixels: correlation of pixels by distance, inside tiles; None where there are no pixels.
        means: correlation of tile means by distance; None where tiles are too few.
        channel: that was correlated.
    """

    tiles: dict[str, int]
    overlaps: int
    overlapping: tuple[str, str] | None
    distances_m: dict[str, float]
    nearest: tuple[str, str] | None
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
    store: TileStore,
    channel: str | None = None,
    most_tiles: int = 200,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Leakage:
    """The report on a tile store, with the distance at which its backscatter decorrelates.

    Args:
        store: tiles with splits.
        channel: to correlate; the first by default.
        most_tiles: read so many tiles, spread evenly over the store.
        progress: wraps the loop over tile numbers, for example `tqdm`.

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
    return Leakage(**{**vars(places), "pixels": pixels, "means": between, "channel": channel})


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
    nearest: tuple[float, int, int] | None = None
    for one, other in combinations(SPLITS, 2):
        found = ground.smallest_distance(np.flatnonzero(split == one), np.flatnonzero(split == other))
        if found:
            distances[f"{one}-{other}"] = found[0]
            nearest = found if nearest is None or found[0] < nearest[0] else nearest
    counts = {name: int((split == name).sum()) for name in [*SPLITS, *sorted(set(split) - set(SPLITS))]}
    return Leakage(
        tiles={name: count for name, count in counts.items() if count},
        overlaps=len(crossing),
        overlapping=(ids[crossing[0, 0]], ids[crossing[0, 1]]) if len(crossing) else None,
        distances_m=distances,
        nearest=(ids[nearest[1]], ids[nearest[2]]) if nearest else None,
        unplaced=int((used & (ground.crs == "")).sum()),
    )


def _metres(metres: float) -> str:
    return f"{metres / 1000:.1f} km" if metres >= 10_000 else f"{metres:.0f} m"


def _round_up(metres: float) -> float:
    """The next round number, for an option."""
    digit = 10.0 ** max(0, int(np.floor(np.log10(max(metres, 1)))) - 1)
    return float(np.ceil(metres / digit) * digit)
