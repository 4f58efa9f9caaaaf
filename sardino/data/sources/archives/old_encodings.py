"""Encodings that older tools gave to decibels: undone where that is exact, flagged per pixel where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from sardino.data.tiles.radiometry import difference_of
from sardino.errors import SardinoError

# Float decibels; whole decibels in 16 bits, possibly wrapped; (dB + 30) / 30 * 255 in 8 bits, wrapped outside it.
ENCODINGS = ("db", "whole-db", "byte-db")
COUNT_DB = 30 / 255  # decibels per count of "byte-db"
NO_DATA_BYTE = 255  # masked pixels were downloaded as 0.0 dB, the brightest count

LOWEST_DB, HIGHEST_DB = -100, 60  # no calibrated backscatter lies outside
VH_CEILING_DB = -6.0  # VH above it is rarer than a wrap from below -30 dB (calm water, radar shadow)
RATIO_DB = (-4.0, 22.0)  # VV - VH of land and water; one wrapped band moves it by 30 dB
# Half a wrap away from the median of the neighbourhood, the wrapped reading is the nearer one.
NEIGHBOUR_PX, NEIGHBOUR_DB = 5, 15.0
SEASON_DB = 20.0  # no season departs so far from the median of the four, except by a wrap


@dataclass(frozen=True)
class Decoded:
    """Decibels, (C, H, W) float32 with NaN where missing, and what is known about them."""

    db: NDArray[np.float32]
    suspect: NDArray[np.bool_]  # (C, H, W), pixels that a wrap may have changed by 30.1 dB, up or down
    evidence: dict[str, int] = field(default_factory=dict)  # suspects by kind of evidence, some under several


def recognise(values: NDArray[Any], dataset: str) -> str:
    """Which of ENCODINGS stored values (C, H, W) are in, by type, range and data set's name, such as "s1grd-2020".

    SardinoError where it fits none, or more than one.
    """
    kind, size, named = values.dtype.kind, values.dtype.itemsize, f"data set '{dataset}'"
    if not values.size:
        raise SardinoError(f"{named} holds an empty raster: download the tile again")
    if kind == "u" and size == 1:
        if not dataset.startswith("s1grd"):
            raise SardinoError(f"{named} is uint8 and not named s1grd...: state its encoding, {' or '.join(ENCODINGS)}")
        return "byte-db"
    if kind in "iu" and size >= 2:
        counts = _signed(values, dataset)
        low, high = int(counts.min()), int(counts.max())
        if low >= LOWEST_DB and high <= HIGHEST_DB and (low < 0 or high == 0):
            return "whole-db"
        remedy = "import amplitude or scaled decibels with a spec that states the unit (`sardino import`)"
        raise SardinoError(f"{named} holds integers from {low} to {high}, no whole decibels: {remedy}")
    if kind == "f":
        seen = values[np.isfinite(values)]
        if not seen.size or (LOWEST_DB <= seen.min() < 0 and seen.max() <= HIGHEST_DB):
            return "db"
        remedy = "linear power or scaled counts need a folder's spec that states the unit"
        raise SardinoError(f"{named} holds {seen.min():g} to {seen.max():g}, hardly decibels: {remedy}")
    raise SardinoError(f"{named} has values of type {values.dtype}: backscatter is integer or float")


def decode(values: NDArray[Any], bands: Sequence[str], encoding: str, dataset: str = "") -> Decoded:
    """Stored numbers to decibels.

    Args:
        values: (C, H, W) as stored.
        bands: <season>_<vv or vh> of each plane; the evidence for wraps pairs them.
        dataset: named in errors; the type of the values may contradict the encoding.
    """
    if values.ndim != 3 or len(values) != len(bands):
        raise SardinoError(f"{len(bands)} bands do not describe an array of shape {values.shape}")
    sure = np.zeros(values.shape, bool)
    if encoding == "db" and values.dtype.kind == "f":
        db = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
        # A download of masked pixels writes exactly 0.0; a measured mean never is.
        db[db == 0] = np.nan
        return Decoded(db, sure)
    if encoding == "whole-db" and values.dtype.kind in "iu" and values.dtype.itemsize >= 2:
        counts = _signed(values, dataset)
        # 0 is missing, so that real 0 dB (-0.9 to 0.9 before the cast) is lost too. The cast cut decimals off towards
        # zero: -12.3 and -12.9 dB are both -12, 0.45 dB too bright on average.
        return Decoded(np.where(counts == 0, np.float32(np.nan), counts.astype(np.float32)), sure)
    if encoding == "byte-db" and values.dtype == np.uint8:
        return _decode_bytes(values, bands)
    raise SardinoError(f"data set '{dataset}' of type {values.dtype} is not encoded as {encoding}")


def as_stored(db: NDArray[np.float32], channels: Sequence[str], encoding: str) -> NDArray[np.float32]:
    """Decibels (..., C, H, W) as they read after an older tool has kept them, to one who takes its numbers as they are.

    Its casts, not undone: decimals cut off, wrapped in 8 bits; missing pixels are 0 dB, and a difference of channels is
    that of what was kept. As they are with "db".
    """
    if encoding not in ENCODINGS:
        raise SardinoError(f"no older tool kept backscatter as '{encoding}': encodings are {', '.join(ENCODINGS)}")
    if encoding == "db":
        return db
    filled = np.nan_to_num(np.asarray(db, np.float64))
    kept = np.trunc(filled) if encoding == "whole-db" else np.trunc((filled + 30) * 255 / 30) % 256 * COUNT_DB - 30
    for number, name in enumerate(channels):
        if parts := difference_of(name, channels):
            minuend, subtrahend = (kept[..., channels.index(part), :, :] for part in parts)
            kept[..., number, :, :] = minuend - subtrahend
    return kept.astype(np.float32)


def _signed(values: NDArray[Any], dataset: str) -> NDArray[np.int16]:
    """16-bit integers read as signed, which undoes the wrap of negative numbers through uint16 exactly."""
    if values.dtype.itemsize == 2:
        return np.ascontiguousarray(values).view(np.dtype("i2").newbyteorder(values.dtype.byteorder)).astype(np.int16)
    if values.size and (values.min() < -32768 or values.max() > 65535):
        raise SardinoError(f"data set '{dataset}' holds integers beyond 16 bits: that is no backscatter in decibels")
    return values.astype(np.int64).astype(np.uint16).view(np.int16)


def _decode_bytes(counts: NDArray[np.uint8], bands: Sequence[str]) -> Decoded:
    # As if none were wrapped; the middle of the count, +-0.06 dB.
    db = ((counts.astype(np.float32) + np.float32(0.5)) * np.float32(COUNT_DB) - 30).astype(np.float32)
    full = counts == NO_DATA_BYTE
    missing = full.copy()
    place = {band: number for number, band in enumerate(bands)}
    pairs = [(n, place[b[:-1] + "h"]) for b, n in place.items() if b.endswith("vv") and b[:-1] + "h" in place]
    for vv, vh in pairs:  # 0.0 dB in one polarisation alone may be a roof, in both it is a mask
        missing[vv] = missing[vh] = full[vv] & full[vh]
    if len(counts) > 2:  # pixels outside the tile's outline were filled with count 0
        missing |= (counts == 0).all(0)
    db[missing] = np.nan
    suspect = {"255": full & ~missing} | {kind: np.zeros(db.shape, bool) for kind in ("level", "ratio", "seasons")}
    with np.errstate(invalid="ignore"):
        for vv, vh in pairs:
            ratio = db[vv] - db[vh]
            suspect["ratio"][[vv, vh]] = (ratio < RATIO_DB[0]) | (ratio > RATIO_DB[1])
            # Both below -30 dB keep a plausible ratio; VH gives them away, then VV is not trusted either.
            high = db[vh] > VH_CEILING_DB
            suspect["level"][vh] = high
            suspect["level"][vv] = high & (db[vv] > VH_CEILING_DB)
        suspect["neighbours"] = np.stack([np.abs(plane - _around(plane)) > NEIGHBOUR_DB for plane in db])
        for polarisation in ("vv", "vh"):
            places = [number for number, band in enumerate(bands) if band.endswith("_" + polarisation)]
            if len(places) > 2:
                usual = np.median(np.where(np.isnan(db[places]), 0, db[places]), axis=0)
                suspect["seasons"][places] = ~np.isnan(db[places]).any(0) & (np.abs(db[places] - usual) > SEASON_DB)
    flagged = np.logical_or.reduce(list(suspect.values())) & ~missing
    evidence = {kind: int((where & ~missing).sum()) for kind, where in suspect.items()}
    return Decoded(db, flagged, {kind: count for kind, count in evidence.items() if count})


def _around(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of the neighbourhood; missing pixels stand in with the band's median."""
    known = np.isfinite(plane)
    filled = np.where(known, plane, np.median(plane[known]) if known.any() else np.float32(0))
    return np.asarray(median_filter(filled, NEIGHBOUR_PX, mode="nearest"), np.float32)
