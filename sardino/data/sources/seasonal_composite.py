"""From a series of radar passes to seasonal composites: the one rule that all sources of real scenes share."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from sardino.data.sources.source import LeftOut, SourceChip
from sardino.data.tiles.radiometry import POLARISATIONS, SEASONS, seasonal_stack
from sardino.errors import SardinoError

Method = Literal["mean", "median"]
METHODS = ("mean", "median")
MEASURED = ("vv", "vh")
ERODE_PX = 10
"""Pixels taken off at scene borders, 100 m at 10 m: border noise reaches 100 to 500 m into older products."""
HOLE_PX = 5
"""Missing spots narrower than this are calm water or shadow, not a scene border, and are not eroded."""
REACH_PX = ERODE_PX + HOLE_PX
"""Margin to load around a tile, so that a border just outside it is eroded inside as well."""

Kernel = Callable[[NDArray[Any]], NDArray[Any]]


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
    means = np.stack([_mean(power[season == number]) for number in range(len(SEASONS))])
    empty = [name for name, mean in zip(SEASONS, means, strict=True) if name in needed and not np.isfinite(mean).any()]
    if empty:
        raise AbsentSeason(f"{source} has no valid date in {', '.join(empty)}: add dates, or leave the season out")
    return means


def seasonal_channels(db: dict[str, NDArray[np.float32]], channels: Sequence[str]) -> NDArray[np.float32]:
    """Named channels such as "winter_vv" or "fall_vv-vh".

    Args:
        db: per polarisation, "vv" or "vh", the (4, H, W) seasonal backscatter in dB.
        channels: <season>_<polarisation>, in the order wanted; "vv-vh" is the difference of decibels.

    Returns:
        (C, H, W) float32 dB, NaN where missing.
    """
    db = with_difference(db)
    planes = []
    for channel in channels:
        season, _, polarisation = channel.partition("_")
        if season not in SEASONS or polarisation not in POLARISATIONS:
            raise SardinoError(f"'{channel}' is no seasonal channel: write <season>_<polarisation>, as in winter_vv")
        if polarisation not in db:
            raise SardinoError(f"channel '{channel}' needs {polarisation}, the files hold {', '.join(sorted(db))}")
        planes.append(db[polarisation][SEASONS.index(season)])
    return np.stack(planes)


def with_difference(db: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Decibels by polarisation, with "vv-vh" where both are there."""
    return db | {"vv-vh": db["vv"] - db["vh"]} if {"vv", "vh"} <= db.keys() else db


def seasonal_composite(
    series: xr.Dataset, year: int, method: Method = "mean", erode_px: int = ERODE_PX, longitude: float | None = None
) -> xr.Dataset:
    """Composite the passes of a year, season by season and pixel by pixel, in linear power.

    Frames of one pass (same solar day and relative orbit) are joined first, so that their overlap counts
    once. What is zero, negative or not finite is missing: catalogues hold zero-filled borders although they declare
    another nodata. Then `erode_px` are taken off along the pass's border.

    Args:
        series: dims (time, y, x), variables vv and vh, float32 linear power; attribute "quantity" is "gamma0" or
            "sigma0"; coordinate `relative_orbit` along time where known. NumPy or Dask, same numbers.
        year: winter starts in December of the year before; every season includes its last day.
        method: "mean", or "median" as Earth Engine scripts use (0.36 dB lower at 4.4 looks and 14 dates).
        erode_px: border to take off, in pixels of the series' grid.
        longitude: degrees east, for the solar day; taken from the series' CRS where None.

    Returns:
        Dims (season, y, x): vv and vh float32 linear power, NaN where a season has no pass; count_vv and
        count_vh int16, passes used. Lazy where the series is lazy.

    Raises:
        SardinoError: the series does not say what it holds, or is none.
    """
    _check(series, method, erode_px)
    passes = join_passes(series.isel(time=in_year(series["time"].values, year)), longitude)
    season = np.array([SEASONS.index(season_of(month)) for month in passes["time"].dt.month.values], dtype=int)
    power = [passes[name].transpose("time", "y", "x").data for name in MEASURED]
    planes: dict[str, list[Any]] = {f"{kind}{name}": [] for name in MEASURED for kind in ("", "count_")}
    for number in range(len(SEASONS)):
        dates = np.flatnonzero(season == number)
        valid = _valid(power[0][dates], power[1][dates], erode_px)
        for name, values, seen in zip(MEASURED, power, valid, strict=True):
            composite, count = _compose(values[dates], seen, method)
            planes[name].append(composite)
            planes[f"count_{name}"].append(count)
    stack = np.stack if isinstance(power[0], np.ndarray) else _dask().stack
    coordinates = {name: series[name] for name in ("y", "x", "spatial_ref") if name in series.coords}
    variables = {name: (("season", "y", "x"), stack(parts)) for name, parts in planes.items()}
    facts = {"quantity": series.attrs["quantity"], "composite": method, "year": year, "erode_px": erode_px}
    return xr.Dataset(variables, {"season": list(SEASONS), **coordinates}, facts)


def composite_chip(
    composite: xr.Dataset,
    label: NDArray[np.uint8],
    *,
    layers: dict[str, NDArray[Any]] | None = None,
    needed: Sequence[str] = SEASONS,
    min_valid: float = 0.0,
    notes: Sequence[str] = (),
    source: str = "the catalogue",
) -> SourceChip:
    """The chip of one tile from its composite, computed now where it is lazy.

    Args:
        composite: from `seasonal_composite`, already cut to the tile's pixels.
        label: (H, W) uint8 class index.
        layers: reference layers by name.
        needed: seasons that must hold pixels; others may stay NaN.
        min_valid: smallest share of pixels, 0 to 1, that each needed season must have in both polarisations.
        notes: handed on to the store.
        source: named in the reason.

    Raises:
        LeftOut: a needed season is missing or covers too little, by name.
    """
    composite = composite.compute()
    vv, vh = composite["vv"].values, composite["vh"].values
    share = (np.isfinite(vv) & np.isfinite(vh)).mean((1, 2))
    wanted = [(name, part) for name, part in zip(SEASONS, share, strict=True) if name in needed]
    if empty := [name for name, part in wanted if part == 0]:
        raise LeftOut(f"{source} has no valid pass in {', '.join(empty)}: choose another year or orbit direction")
    if thin := [f"{name} {part:.0%}" for name, part in wanted if part < min_valid]:
        raise LeftOut(f"{source} covers too little ({', '.join(thin)}, needed {min_valid:.0%}): lower the share needed")
    counts = np.minimum(composite["count_vv"].values, composite["count_vh"].values)
    return SourceChip(seasonal_stack(vv, vh), label, layers or {}, counts, tuple(notes))


def join_passes(series: xr.Dataset, longitude: float | None = None) -> xr.Dataset:
    """Frames of one solar day and relative orbit as one plane: the earliest frame that is valid at a pixel."""
    times = pd.DatetimeIndex(series["time"].values)
    if longitude is None:
        longitude = _longitude(series)
    days = (times + pd.to_timedelta(longitude / 15, unit="h")).normalize()
    orbits = series["relative_orbit"].values if "relative_orbit" in series.coords else np.zeros(len(times), int)
    order = sorted(range(len(times)), key=lambda i: (days[i], str(orbits[i]), times[i]))
    groups: dict[tuple[Any, Any], list[int]] = {}
    for number in order:
        groups.setdefault((days[number], str(orbits[number])), []).append(number)
    if len(groups) == len(times):
        return series.isel(time=order)
    joined = []
    for members in groups.values():
        plane = series.isel(time=members[0])
        for other in members[1:]:
            frame = series.isel(time=other)
            fill = {name: plane[name].where(plane[name] > 0, frame[name]) for name in MEASURED}
            plane = plane.assign(fill)
        joined.append(plane)
    return xr.concat(joined, "time", coords="minimal", compat="override", join="override", combine_attrs="override")


def border(missing: NDArray[np.bool_], erode_px: int) -> NDArray[np.bool_]:
    """(T, H, W) pixels within `erode_px` of a missing region at least HOLE_PX wide, that region included.

    Beyond the array's edge nothing is known and nothing is eroded from there: load a margin of REACH_PX.
    """
    near = np.zeros_like(missing)
    for number in np.flatnonzero(missing.any((1, 2))):
        flat = missing[number].view(np.uint8)
        # An opening: what a HOLE_PX square does not fit into vanishes; outside the array it fits.
        core = minimum_filter(flat, HOLE_PX, mode="constant", cval=1)
        wide = maximum_filter(core, HOLE_PX + 2 * erode_px, mode="constant", cval=0)
        near[number] = wide.view(bool)
    return near


def _check(series: xr.Dataset, method: str, erode_px: int) -> None:
    if absent := [name for name in MEASURED if name not in series]:
        raise SardinoError(f"a series needs vv and vh in linear power, {', '.join(absent)} is missing")
    if set(series["vv"].dims) != {"time", "y", "x"}:
        raise SardinoError(f"a series needs the dims time, y, x, not {', '.join(map(str, series['vv'].dims))}")
    if series.attrs.get("quantity") not in ("gamma0", "sigma0"):
        raise SardinoError('a series must state its quantity: set attrs["quantity"] to "gamma0" or "sigma0"')
    if method not in METHODS or erode_px < 0:
        raise SardinoError(f"a composite is {' or '.join(METHODS)} with erosion from 0 px, not {method}, {erode_px}")


def _longitude(series: xr.Dataset) -> float:
    import rioxarray  # noqa: F401  gives a dataset its CRS
    from pyproj import Transformer

    crs = series.rio.crs
    if crs is None:
        return 0.0
    x, y = (float(series[axis].values.mean()) for axis in ("x", "y"))
    return float(Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)[0])


def _valid(vv: Any, vh: Any, erode_px: int) -> tuple[Any, Any]:
    """Where each polarisation holds a value that counts; the swath's border is one for both."""
    seen = [(values > 0) & np.isfinite(values) for values in (vv, vh)]
    missing = ~(seen[0] | seen[1])
    if erode_px == 0 or not len(vv):
        return seen[0], seen[1]
    if isinstance(missing, np.ndarray):
        near = border(missing, erode_px)
    elif min(missing.shape[1:]) <= (reach := erode_px + HOLE_PX):  # smaller than its own halo
        near = missing.rechunk({1: -1, 2: -1}).map_blocks(border, erode_px, dtype=bool)
    else:
        depth = {0: 0, 1: reach, 2: reach}
        near = _dask().map_overlap(border, missing, erode_px=erode_px, depth=depth, boundary="none", dtype=bool)
    return seen[0] & ~near, seen[1] & ~near


def _compose(power: Any, valid: Any, method: str) -> tuple[Any, Any]:
    """Composite (H, W) float32 and count (H, W) int16 of passes (T, H, W)."""
    count = valid.sum(0).astype(np.int16)
    if not len(power):
        return np.nan * count.astype(np.float32), count
    reduce: Kernel = _mean if method == "mean" else _median
    masked = (np.where if isinstance(power, np.ndarray) else _dask().where)(valid, power, np.float32(np.nan))
    if isinstance(masked, np.ndarray):
        return reduce(masked), count
    return masked.rechunk({0: -1}).map_blocks(reduce, drop_axis=0, dtype=np.float32), count


def _mean(power: NDArray[np.float32]) -> NDArray[np.float32]:
    valid = np.isfinite(power)
    total = np.add.reduce(np.where(valid, power, np.float32(0)), axis=0, dtype=np.float64)
    count = valid.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _median(power: NDArray[np.float32]) -> NDArray[np.float32]:
    ranked = np.sort(power, axis=0)  # NaN last
    count = np.isfinite(power).sum(0)
    lower, upper = np.maximum(count - 1, 0) // 2, np.maximum(count // 2, 0)
    pair = np.take_along_axis(ranked, np.stack([lower, np.minimum(upper, len(power) - 1)]), 0)
    middle = pair.mean(0)
    return np.where(count > 0, middle, np.float32(np.nan)).astype(np.float32)


def _dask() -> Any:
    import dask.array

    return dask.array
