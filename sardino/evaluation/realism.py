"""Statistics that tell one set of SAR images from another: level, tails, looks, correlation, and what classes show."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.places.correlogram import pixel_correlogram
from sardino.data.tiles.radiometry import to_db, to_power
from sardino.errors import SardinoError

Float = NDArray[np.floating]

# Mean and standard deviation in dB of BigEarthNet-S1: sigma0 of single dates over Europe.
PUBLISHED_EUROPE = {"VV": (-12.62, 5.116), "VH": (-19.29, 5.464)}
WINDOW_PX = 7  # side of the windows whose looks are counted: small against fields, 49 pixels
LAGS = 20  # pixels to which correlation is followed
HIGH = 90  # percentile of windows given besides the most frequent number of looks
FEWEST = 200  # pixels below which a class gets no mean
OFF_DB, FEWEST_POINTS, FEWEST_SITES, LARGEST_ERROR_DB = 2.0, 100, 2, 0.3  # when a world is corrected: notebook 08


@dataclass(frozen=True)
class Images:
    """Images of one kind: one sensor or world, one way of compositing."""

    title: str
    bands: Mapping[str, Float]  # by name ("VV", "VH"), each (N, H, W) dB, NaN where missing
    gsd_m: float  # pixel spacing on the ground
    labels: NDArray[np.uint8] | None = None  # (N, H, W) class index, where there is land cover
    classes: tuple[str, ...] = ()  # names by index

    def __post_init__(self) -> None:
        shapes = {stack.shape for stack in (*self.bands.values(), self.labels) if stack is not None}
        if len(shapes) != 1 or len(next(iter(shapes))) != 3:
            raise SardinoError(f"the images '{self.title}' need bands and labels of one shape (N, H, W), not {shapes}")


@dataclass(frozen=True)
class Statistics:
    """One band of a set of images, in dB."""

    mean: float
    sd: float
    low: float  # 1 % quantile
    high: float  # 99 % quantile
    skewness: float
    kurtosis: float  # 0 for a normal distribution
    looks: float  # equivalent number of looks, the most frequent of windows
    looks_high: float  # 90 % quantile of windows
    lag_rows: float  # correlation of neighbours from row to row
    lag_columns: float  # and from column to column
    length_m: float | None  # where correlation in all directions falls below 1/e; None if it does not
    coarse: float  # share of variance that remains between means of windows


def statistics(stack_db: Float, gsd_m: float) -> Statistics:
    """All statistics of one band, (N, H, W) dB with NaN where missing."""
    values = np.asarray(stack_db, np.float64)[np.isfinite(stack_db)]
    if values.size < 2 or values.std() == 0:
        raise SardinoError("statistics need at least two finite pixels that differ")
    mean, sd = float(values.mean()), float(values.std())
    deviation = (values - values.mean()) / values.std()
    low, high = map(float, np.percentile(values, [1, 99]))
    skewness, kurtosis = float((deviation**3).mean()), float((deviation**4).mean() - 3)
    windows = window_looks(stack_db)
    looks, looks_high = typical_looks(windows), float(np.percentile(windows, HIGH))
    rows, columns = (float(lag_correlation(stack_db, axis, 1)[0]) for axis in (1, 2))
    length_m = pixel_correlogram(_centred(stack_db), gsd_m).length_m(1 / math.e)
    coarse = coarse_share(stack_db)
    return Statistics(mean, sd, low, high, skewness, kurtosis, looks, looks_high, rows, columns, length_m, coarse)


def window_looks(stack_db: Float, window_px: int = WINDOW_PX) -> NDArray[np.float64]:
    """Equivalent number of looks, mean^2 / variance of linear power, of each window without a missing pixel.

    Windows of (N, H, W) dB lie side by side. A window on one surface shows speckle alone; one across an edge shows
    fewer looks. Refused where no window is complete, or none varies.
    """
    power = _windows(to_power(stack_db).astype(np.float64), window_px)
    power = power[np.isfinite(power).all(1)]
    variance = power.var(axis=1, ddof=1)
    held = variance > 1e-12 * power.mean(1) ** 2 if len(power) else np.zeros(0, bool)
    if not held.any():
        raise SardinoError(f"no window of {window_px} pixels is complete and varies: use a smaller window_px")
    return np.asarray(power[held].mean(1) ** 2 / variance[held])


def typical_looks(looks: NDArray[np.float64]) -> float:
    """The most frequent number of looks: the peak of the density of its logarithm."""
    from scipy.stats import gaussian_kde  # slow to import, and needed here alone

    log = np.log(looks)
    if np.ptp(log) < 1e-9:
        return float(looks[0])
    low, high = np.percentile(log, [1, 99])
    grid = np.linspace(low, high, 200)
    return float(np.exp(grid[np.argmax(gaussian_kde(log[:: max(1, len(log) // 20_000)])(grid))]))


def lag_correlation(stack_db: Float, axis: int, lags: int = LAGS) -> NDArray[np.float64]:
    """Correlation (lags,) of pixels 1 to `lags` apart along axis 1 (rows) or 2, each image about its own mean.

    A missing pixel takes part in no pair, and where no pair exists the result is NaN.
    """
    if axis not in (1, 2) or not 0 < lags < stack_db.shape[axis]:
        raise SardinoError(f"lags of 1 to {lags} along axis {axis} do not fit images of {stack_db.shape}")
    centred = np.moveaxis(_centred(stack_db), axis, -1)
    known = np.isfinite(centred)
    filled = np.where(known, centred, 0)
    variance = (filled**2).sum() / max(1, known.sum())
    result = np.full(lags, np.nan)
    for lag in range(1, lags + 1):
        pairs = (known[..., :-lag] & known[..., lag:]).sum()
        if pairs and variance > 0:
            result[lag - 1] = (filled[..., :-lag] * filled[..., lag:]).sum() / pairs / variance
    return result


def coarse_share(stack_db: Float) -> float:
    """Share of the variance in dB, each image about its own mean, that lies between windows and not within them."""
    windows = _windows(_centred(stack_db), WINDOW_PX)
    windows = windows[np.isfinite(windows).all(1)]
    return float(windows.mean(1).var() / windows.var()) if windows.size and windows.var() > 0 else math.nan


def histogram(stack_db: Float, edges: Float) -> NDArray[np.float64]:
    """Share of the finite pixels per dB in each bin, (len(edges) - 1,); pixels outside count in the total."""
    values = stack_db[np.isfinite(stack_db)]
    return np.asarray(np.histogram(values, edges)[0] / max(1, values.size) / np.diff(edges))


def class_means(images: Images) -> dict[str, dict[str, tuple[float, float, int]]]:
    """By class and band: mean and standard deviation in dB, and pixels; classes with few pixels are left out."""
    found: dict[str, dict[str, tuple[float, float, int]]] = {}
    for index, name in enumerate(images.classes if images.labels is not None else ()):
        for band, stack in images.bands.items():
            values = stack[(images.labels == index) & np.isfinite(stack)].astype(np.float64)
            if values.size >= FEWEST:
                found.setdefault(name, {})[band] = (float(values.mean()), float(values.std()), int(values.size))
    return found


def to_correct(real: pd.DataFrame, world: pd.DataFrame) -> dict[str, float]:
    """World less real in dB, by "class, season, band", where the world is off `signatures` or the like that count."""
    enough = (real["points"] >= FEWEST_POINTS) & (real["sites"] >= FEWEST_SITES)
    found: dict[str, float] = {}
    for band in ("vv", "vh"):
        less = (world[band].reindex(real.index) - real[band])[enough & (real[f"{band}_se"] < LARGEST_ERROR_DB)]
        found |= {", ".join((*row, band.upper())): float(off) for row, off in less[less.abs() > OFF_DB].items()}
    return found


def eight_bit(stack_db: Float) -> NDArray[np.float32]:
    """Images as 8-bit amplitude keeps them: clipped at their 99 % amplitude, in 255 steps, 0 missing; dB again."""
    amplitude = np.sqrt(to_power(stack_db))
    steps = np.round(255 * np.minimum(amplitude / np.nanpercentile(amplitude, 99), 1))
    return to_db(steps.astype(np.float64) ** 2)


def standardised(stack_db: Float) -> NDArray[np.float64]:
    """Deviations from the mean in standard deviations: what is left where the level was never calibrated."""
    return np.asarray((stack_db - np.nanmean(stack_db)) / np.nanstd(stack_db), np.float64)


def typical_image(stack_db: Float) -> int:
    """Place of the image whose spread is the median of all: an example that nobody chose by eye."""
    spread = np.nanstd(stack_db, axis=(1, 2))
    return int(np.argsort(spread, kind="stable")[(len(spread) - 1) // 2])


def _centred(stack_db: Float) -> NDArray[np.float64]:
    stack = np.asarray(stack_db, np.float64)
    return np.asarray(stack - np.nanmean(stack, axis=(1, 2), keepdims=True))


def _windows(stack: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """(N, H, W) to (windows, side * side); a rest at the right and lower edge is left out."""
    number, height, width = stack.shape
    down, across = height // side, width // side
    if not down or not across:
        raise SardinoError(f"a window of {side} pixels does not fit images of {height} x {width}")
    cut = stack[:, : down * side, : across * side].reshape(number, down, side, across, side)
    return cut.swapaxes(2, 3).reshape(-1, side * side)
