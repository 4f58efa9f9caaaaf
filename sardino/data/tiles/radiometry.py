"""Units of backscatter: linear power, decibels, and the packed integers on disk."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError

NODATA = -32768  # packed value of a missing pixel
SCALE_DB = 0.01  # decibels per packed count: a rounding error of at most 0.005 dB, far below speckle

SEASONS = ("winter", "spring", "summer", "fall")  # meteorological; winter starts in December of the year before
POLARISATIONS = ("vv", "vh", "vv-vh")  # and their difference in decibels, per season (paper, section 2)
CHANNELS = tuple(f"{season}_{pol}" for season in SEASONS for pol in POLARISATIONS)  # the paper's 12 input channels

Float = NDArray[np.float32]


def to_db(power: NDArray[np.floating]) -> Float:
    """Linear power to dB, any shape; power that is zero, negative or NaN has no logarithm and becomes NaN."""
    power = np.asarray(power)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, 10 * np.log10(power), np.nan).astype(np.float32)


def to_power(db: NDArray[np.floating]) -> Float:
    """dB to linear power, any shape; NaN stays NaN."""
    return np.power(10.0, np.asarray(db) / 10).astype(np.float32)


def pack(db: NDArray[np.floating]) -> NDArray[np.int16]:
    """dB (NaN = missing) to int16 counts of 0.01 dB, saturating at +-327.67 dB instead of wrapping."""
    counts = np.clip(np.round(np.asarray(db, np.float64) / SCALE_DB), -32767, 32767)
    return np.where(np.isnan(counts), NODATA, counts).astype(np.int16)


def unpack(counts: NDArray[np.int16], out: Float | None = None) -> Float:
    """int16 counts to dB as float32, NODATA to NaN; into `out` of the same shape where given."""
    db = np.multiply(counts, np.float32(SCALE_DB), out=out, dtype=np.float32)
    # Most tiles miss nothing: looking for the smallest count is cheaper than masking every pixel.
    if counts.size and counts.min() == NODATA:
        db[counts == NODATA] = np.nan
    return db


def difference_of(channel: str, names: Collection[str]) -> tuple[str, ...]:
    """The two names of which a channel is the difference: "winter_vv-vh" of winter_vv and winter_vh; else none."""
    season, _, pair = channel.rpartition("_")
    parts = tuple(f"{season}_{pol}" if season else pol for pol in pair.split("-"))
    return parts if len(parts) == 2 and set(parts) <= set(names) else ()


def one_season(channels: Sequence[str], backscatter: Float, draw: int) -> Float:
    """Of (C, H, W) dB the VV and VH, (2, H, W), of one of the seasons that have any pixel of both, chosen by `draw`.

    All NaN where none has; refused where no season has both channels.
    """
    names = [name.removesuffix("vv") for name in channels if name.endswith("vv")]
    pairs = [[channels.index(f"{name}{pol}") for pol in ("vv", "vh")] for name in names if f"{name}vh" in channels]
    if not pairs:
        raise SardinoError(f"no season has VV and VH among {', '.join(channels)}: give a store that has both")
    seen = [pair for pair in pairs if np.isfinite(backscatter[pair]).all(0).any()] or pairs
    return backscatter[seen[draw % len(seen)]]


def seasonal_stack(vv_power: NDArray[np.floating], vh_power: NDArray[np.floating]) -> Float:
    """Seasonal means in linear power, each (4, H, W), to the 12 channels in dB, (12, H, W).

    VV-VH is the difference of decibels, the logarithm of the power ratio (paper, section 2: "logarithmic difference").
    """
    vv, vh = to_db(vv_power), to_db(vh_power)
    return np.stack([vv, vh, vv - vh], axis=1).reshape(len(CHANNELS), *vv.shape[1:])
