"""Whether backscatter can be in the unit that is said of it: what speaks against it, and which remedy it needs."""

import re
from collections.abc import Callable
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sardino.data.rasters.pixels import Window

LOWEST_DB, HIGHEST_DB = -100.0, 60.0  # no calibrated backscatter lies outside
BRIGHTEST = 100.0  # linear power that no half of a scene exceeds, 20 dB
DIMMEST_DB = 0.5  # that half of a band exceeds which is never negative in dB: a difference of polarisations, a town
FEW = 0.01  # share of pixels that may be odd without a word: noise below zero, a mirror at 0 dB
POLARISATIONS = ("vv", "vh", "hh", "hv")
_SAMPLES, _SAMPLE_PX = 3, 64


class Doubt(NamedTuple):
    """What is said behind a file's name, and what has to be corrected: its unit, nodata `value`, or scale."""

    said: str
    remedy: Literal["unit", "nodata", "scale"]
    value: float = 0.0


def doubts_of(values: NDArray[Any], unit: str, called: str = "") -> list[Doubt]:
    """What speaks against values (C, ...), NaN where missing, being in a unit.

    Args:
        unit: "db", "linear" or "amplitude"; of any other nothing is known.
        called: what the reader calls it.
    """
    known, called = values[np.isfinite(values)], called or unit
    if not known.size or unit not in ("db", "linear", "amplitude"):
        return []
    if unit != "db":
        low = known[known < 0]
        if low.size > FEW * known.size or (low.size and low.min() < -1):
            value, share = _usual(low), low.size / known.size
            said = f"holds negative values such as {value:g} in {share:.0%} of its pixels and cannot be {called}"
            return [Doubt(said, "nodata" if value < LOWEST_DB else "unit", value)]
        if unit == "linear" and (middle := float(np.median(known))) > BRIGHTEST:
            return [
                Doubt(
                    f"holds values around {middle:.4g}, as counts of amplitude are, and can hardly be {called}", "unit"
                )
            ]
        return []
    found, odd = [], known[(known < LOWEST_DB) | (known > HIGHEST_DB)]
    if odd.size and (known == (value := _usual(odd))).sum() > odd.size / 2:
        share = odd.size / known.size
        found.append(
            Doubt(f"holds {value:g} in {share:.1%} of its pixels, which is no backscatter in dB", "nodata", value)
        )
        known = known[known != value]
    elif odd.size > FEW * known.size:
        middle = float(np.median(known))
        found.append(Doubt(f"holds values around {middle:.4g}, which is no backscatter in dB", "scale"))
        return found
    filled = float((values == 0).all(0).mean())
    if (known != 0).any() and known.min() >= 0:
        found.append(Doubt("holds no negative value and can hardly be in dB", "unit"))
    elif power := [n for n, band in enumerate(values, 1) if _power_alone(band)]:
        which = " and ".join(map(str, power))
        said = f"holds no negative value in band {which}, unlike its others, and can hardly be in dB"
        found.append(Doubt(said, "unit"))
    elif filled > FEW:
        found.append(Doubt(f"is exactly 0 dB in {filled:.0%} of its pixels, as filled borders are", "nodata"))
    return found


def sampled(read: Callable[[Window], NDArray[Any]], shape: tuple[int, int]) -> NDArray[Any]:
    """Pixels (C, N) of small windows spread over a scene, edges included."""
    # In the middle at a multiple of their size, so that no window lies across blocks of a file.
    ends = [max(size - _SAMPLE_PX, 0) for size in shape]
    middle = [[end * n // (_SAMPLES - 1) // _SAMPLE_PX * _SAMPLE_PX for n in range(1, _SAMPLES - 1)] for end in ends]
    starts = [sorted({0, *between, end}) for between, end in zip(middle, ends, strict=True)]
    windows = [
        (slice(y, min(y + _SAMPLE_PX, shape[0])), slice(x, min(x + _SAMPLE_PX, shape[1]))) for y, x in product(*starts)
    ]
    parts = [read(window) for window in windows]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _power_alone(band: NDArray[Any]) -> bool:
    """Whether one band of several holds what linear power does, and decibels do not."""
    known = band[np.isfinite(band) & (band != 0)]
    return bool(known.size and known.min() > 0 and np.median(known) < DIMMEST_DB)


def polarisation(name: str) -> str:
    """What a band's name says of its polarisation, "vh" of "Sigma0_VH_db" and "VHdb", "vv vh" of their difference."""
    words = re.split(r"[^a-z]+", name.lower())
    return " ".join(end for word in words for end in dict.fromkeys((word[:2], word[-2:])) if end in POLARISATIONS)


def _usual(values: NDArray[Any]) -> float:
    """The most frequent value."""
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()])
