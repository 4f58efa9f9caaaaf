"""Seasonal composites: dates or months to winter, spring, summer and fall."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.radiometry import POLARISATIONS, SEASONS, to_db


class AbsentSeason(SardinoError):
    """A season without a single valid pixel."""


def season_of(month: int) -> str:
    """The meteorological season of a calendar month, 1 to 12: December to February is winter."""
    if not 1 <= month <= 12:
        raise SardinoError(f"month {month} is not in 1 to 12: correct the months of the folder's spec")
    return SEASONS[month % 12 // 3]


def in_year(dates: NDArray[np.datetime64], year: int) -> NDArray[np.bool_]:
    """Which dates belong to a year of seasons: December of the year before to November."""
    months = np.asarray(dates).astype("datetime64[M]")
    return (months >= np.datetime64(f"{year - 1}-12", "M")) & (months <= np.datetime64(f"{year}-11", "M"))


def seasonal_means(
    power: NDArray[np.floating], months: Sequence[int], *, needed: Sequence[str] = SEASONS, source: str = "the series"
) -> NDArray[np.float32]:
    """Mean backscatter of each season, taken in linear power, pixel by pixel over the dates that are valid there.

    Args:
        power: (T, H, W) linear power, NaN where missing.
        months: calendar month, 1 to 12, of each of the T dates; December counts to the winter that follows.
        needed: seasons that must hold a valid pixel; others may stay empty.
        source: named in the error.

    Returns:
        (4, H, W) float32 linear power in the order of SEASONS, NaN where a season has no valid date.

    Raises:
        AbsentSeason: a needed season has no valid pixel, by name.
    """
    if len(power) != len(months):
        raise SardinoError(f"{source} holds {len(power)} dates but {len(months)} months are given")
    season = np.array([SEASONS.index(season_of(month)) for month in months], dtype=int)
    means = np.full((len(SEASONS), *power.shape[1:]), np.nan, np.float32)
    for number in range(len(SEASONS)):
        dates = power[season == number].astype(np.float64)
        valid = np.isfinite(dates)
        count = valid.sum(0)
        total = np.where(valid, dates, 0).sum(0)
        means[number] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    empty = [name for name, mean in zip(SEASONS, means, strict=True) if name in needed and not np.isfinite(mean).any()]
    if empty:
        raise AbsentSeason(f"{source} has no valid date in {', '.join(empty)}: add dates, or leave the season out")
    return means


def seasonal_channels(means: dict[str, NDArray[np.float32]], channels: Sequence[str]) -> NDArray[np.float32]:
    """Named channels such as "winter_vv" or "fall_vv-vh" in dB.

    Args:
        means: per polarisation, "vv" or "vh", the (4, H, W) seasonal means in linear power.
        channels: <season>_<polarisation>, in the order wanted; "vv-vh" is the difference of decibels.

    Returns:
        (C, H, W) float32 dB, NaN where missing.
    """
    db = {name: to_db(mean) for name, mean in means.items()}
    if {"vv", "vh"} <= db.keys():
        db["vv-vh"] = db["vv"] - db["vh"]
    planes = []
    for channel in channels:
        season, _, polarisation = channel.partition("_")
        if season not in SEASONS or polarisation not in POLARISATIONS:
            raise SardinoError(f"'{channel}' is no seasonal channel: write <season>_<polarisation>, as in winter_vv")
        if polarisation not in db:
            raise SardinoError(f"channel '{channel}' needs {polarisation}, the files hold {', '.join(sorted(db))}")
        planes.append(db[polarisation][SEASONS.index(season)])
    return np.stack(planes)
