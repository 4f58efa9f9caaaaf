"""From a series of radar passes to seasonal composites: the one rule that all sources of real scenes share."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from sardino.data.places.utm import transformer
from sardino.data.sources.passes import Method, Orbit, Passes
from sardino.data.sources.source import LeftOut, SourceChip
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, POLARISATIONS, SEASONS, seasonal_stack
from sardino.errors import SardinoError

METHODS, ORBITS = get_args(Method), get_args(Orbit)
FIRST_YEAR = 2015  # the first whole year of Sentinel-1, its winter from December 2014
LABEL_YEARS = (2020, 2021)  # editions of WorldCover; they differ in algorithm, so that one is never taken for the other
MEASURED = ("vv", "vh")
HOLE_PX = 5  # missing spots narrower than this are calm water or shadow, not a scene border, and are not eroded


@dataclass(frozen=True)
class SeasonalSource(Passes):
    """Sources of single passes: seasonal composites of a year and an orbit direction, with WorldCover labels."""

    layers: tuple[str, ...] = ()  # names of reference layers to add

    channels = CHANNELS
    legend = WORLDCOVER

    def __post_init__(self) -> None:
        if not FIRST_YEAR <= self.year <= 2100:
            raise SardinoError(f"Sentinel-1 has whole years from {FIRST_YEAR}, not {self.year}: choose a later year")
        if self.orbit not in ORBITS:
            raise SardinoError(f"an orbit direction is {' or '.join(ORBITS)}, not '{self.orbit}'")
        if self.composite not in METHODS:
            raise SardinoError(f"a composite is {' or '.join(METHODS)}, not '{self.composite}'")
        if self.erode_px < 0 or not 0 <= self.min_valid <= 1:
            raise SardinoError(f"take 0 or more pixels off a border, not {self.erode_px}, and need a share of 0 to 1")
        if self.labelled and self.labels_of not in LABEL_YEARS:
            years = " and ".join(map(str, LABEL_YEARS))
            raise SardinoError(f"WorldCover exists for {years}, not for {self.labels_of}: choose the label year")

    @property
    def labelled(self) -> bool:
        """Whether tiles get labels."""
        return True

    @property
    def labels_of(self) -> int:
        """Year of the label product."""
        return self.year if self.label_year is None else self.label_year

    @property
    def margin_px(self) -> int:
        """Pixels read beyond the tile, so that a border just outside is eroded inside as well."""
        return self.erode_px + HOLE_PX if self.erode_px else 0

    def composed(
        self,
        series: xr.Dataset,
        label: NDArray[np.uint8],
        layers: dict[str, NDArray[Any]],
        source: str,
        needed: Sequence[str] = SEASONS,
        notes: Sequence[str] = (),
    ) -> SourceChip:
        """The chip of a tile from the passes over it and its margin; seasons that are not needed may stay NaN.

        LeftOut where a needed season is missing or covers too little, by name; it names the source.
        """
        inside = slice(self.margin_px, -self.margin_px or None)
        composite = seasonal_composite(series, self.year, self.composite, self.erode_px).isel(y=inside, x=inside)
        vv, vh = composite["vv"].values, composite["vh"].values
        share = (np.isfinite(vv) & np.isfinite(vh)).mean((1, 2))
        wanted = [(name, part) for name, part in zip(SEASONS, share, strict=True) if name in needed]
        if empty := [name for name, part in wanted if part == 0]:
            raise LeftOut(f"{source} has no valid pass in {', '.join(empty)}: choose another year or orbit direction")
        if thin := [f"{name} {part:.0%}" for name, part in wanted if part < self.min_valid]:
            short = f"({', '.join(thin)}, needed {self.min_valid:.0%})"
            raise LeftOut(f"{source} covers too little {short}: lower the share needed")
        counts = np.minimum(composite["count_vv"].values, composite["count_vh"].values)
        return SourceChip(seasonal_stack(vv, vh), label, layers, counts, tuple(notes))


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
        power: (T, H, W) linear power, NaN where missing; the result is (4, H, W) in the order of SEASONS.
        months: calendar month, 1 to 12, of each date; December counts to the winter that follows.
        needed: seasons that must hold a valid pixel, else AbsentSeason names them; others may stay empty.
        source: named in the error.
    """
    if len(power) != len(months):
        raise SardinoError(f"{source} holds {len(power)} dates but {len(months)} months are given")
    season = np.array([SEASONS.index(season_of(month)) for month in months], dtype=int)
    means = np.stack([_mean(power[season == number]) for number in range(len(SEASONS))])
    if empty := [n for n, mean in zip(SEASONS, means, strict=True) if n in needed and not np.isfinite(mean).any()]:
        raise AbsentSeason(f"{source} has no valid date in {', '.join(empty)}: add dates, or leave the season out")
    return means


def seasonal_channels(db: dict[str, NDArray[np.float32]], channels: Sequence[str]) -> NDArray[np.float32]:
    """Named channels such as "winter_vv" or "fall_vv-vh".

    `db`: per polarisation, "vv" or "vh", the (4, H, W) seasonal backscatter in dB; the result is (C, H, W). `channels`:
    <season>_<polarisation>, in the order wanted; "vv-vh" is the difference of decibels.
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
    series: xr.Dataset, year: int, method: Method = "mean", erode_px: int = Passes.erode_px
) -> xr.Dataset:
    """Composite the passes of a year, season by season and pixel by pixel, in linear power.

    Frames of one pass (same solar day and relative orbit) are joined first, so that their overlap counts
    once. What is zero, negative or not finite is missing: catalogues hold zero-filled borders although they declare
    another nodata. Then `erode_px` are taken off along the pass's border.

    Args:
        series: dims (time, y, x), variables vv and vh, float32 linear power; attribute "quantity" is "gamma0" or
            "sigma0"; coordinate `relative_orbit` along time where known.
        year: winter starts in December of the year before; every season includes its last day.
        method: "mean", or "median" as Earth Engine scripts use (0.36 dB lower at 4.4 looks and 14 dates).
        erode_px: border to take off, in pixels of the series' grid.

    The result has dims (season, y, x): vv and vh float32 linear power, NaN where a season has no pass; count_vv and
    count_vh int16, passes used. SardinoError where the series does not say what it holds, or is none.
    """
    if absent := [name for name in MEASURED if name not in series]:
        raise SardinoError(f"a series needs vv and vh in linear power, {', '.join(absent)} is missing")
    if set(series["vv"].dims) != {"time", "y", "x"}:
        raise SardinoError(f"a series needs the dims time, y, x, not {', '.join(map(str, series['vv'].dims))}")
    if series.attrs.get("quantity") not in ("gamma0", "sigma0"):
        raise SardinoError('a series must state its quantity: set attrs["quantity"] to "gamma0" or "sigma0"')
    if method not in METHODS or erode_px < 0:
        raise SardinoError(f"a composite is {' or '.join(METHODS)} with erosion from 0 px, not {method}, {erode_px}")
    passes = join_passes(series.isel(time=in_year(series["time"].values, year)))
    season = np.array([SEASONS.index(season_of(month)) for month in passes["time"].dt.month.values], dtype=int)
    power = np.stack([passes[name].transpose("time", "y", "x").values for name in MEASURED])
    valid = (power > 0) & np.isfinite(power)
    if erode_px:
        valid &= ~border(~valid.any(0), erode_px)  # the swath's border is one for both polarisations
    reduce = _mean if method == "mean" else _median
    variables: dict[str, Any] = {}
    within = [season == number for number in range(len(SEASONS))]
    for name, values, seen in zip(MEASURED, np.where(valid, power, np.float32(np.nan)), valid, strict=True):
        variables[name] = ("season", "y", "x"), np.stack([reduce(values[dates]) for dates in within])
        counts = np.stack([seen[dates].sum(0) for dates in within])
        variables[f"count_{name}"] = ("season", "y", "x"), counts.astype(np.int16)
    coordinates = {name: series[name] for name in ("y", "x", "spatial_ref") if name in series.coords}
    facts = {"quantity": series.attrs["quantity"], "composite": method, "year": year, "erode_px": erode_px}
    return xr.Dataset(variables, {"season": list(SEASONS), **coordinates}, facts)


def join_passes(series: xr.Dataset) -> xr.Dataset:
    """Frames of one solar day and relative orbit as one plane: the earliest frame that is valid at a pixel.

    The solar day is that of the series' middle; of Greenwich where it has no CRS.
    """
    import rioxarray  # noqa: F401  gives a dataset its CRS

    times, longitude = pd.DatetimeIndex(series["time"].values), 0.0
    if series.rio.crs is not None:
        x, y = (float(series[axis].values.mean()) for axis in ("x", "y"))
        longitude = float(transformer(series.rio.crs.to_string(), "EPSG:4326").transform(x, y)[0])
    days = (times + pd.to_timedelta(longitude / 15, unit="h")).normalize()
    orbits = series["relative_orbit"].values if "relative_orbit" in series.coords else np.zeros(len(times), int)
    order = sorted(range(len(times)), key=lambda i: (days[i], str(orbits[i]), times[i]))
    groups = [list(group) for _, group in groupby(order, key=lambda i: (days[i], str(orbits[i])))]
    if len(groups) == len(times):
        return series.isel(time=order)
    joined = []
    for first, *others in groups:
        plane = series.isel(time=first)
        for frame in (series.isel(time=other) for other in others):
            plane = plane.assign({name: plane[name].where(plane[name] > 0, frame[name]) for name in MEASURED})
        joined.append(plane)
    return xr.concat(joined, "time", coords="minimal", compat="override", join="override", combine_attrs="override")


def border(missing: NDArray[np.bool_], erode_px: int) -> NDArray[np.bool_]:
    """(T, H, W) pixels within `erode_px` of a missing region at least HOLE_PX wide, that region included.

    Beyond the array's edge nothing is known and nothing is eroded from there: load a margin of `erode_px` + HOLE_PX.
    """
    near = np.zeros_like(missing)
    for number in np.flatnonzero(missing.any((1, 2))):
        flat = missing[number].view(np.uint8)
        # An opening: what a HOLE_PX square does not fit into vanishes; outside the array it fits.
        core = minimum_filter(flat, HOLE_PX, mode="constant", cval=1)
        near[number] = maximum_filter(core, HOLE_PX + 2 * erode_px, mode="constant", cval=0).view(bool)
    return near


def _mean(power: NDArray[np.float32]) -> NDArray[np.float32]:
    valid = np.isfinite(power)
    total = np.add.reduce(np.where(valid, power, np.float32(0)), axis=0, dtype=np.float64)
    count = valid.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _median(power: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(power):
        return np.full(power.shape[1:], np.nan, np.float32)
    ranked = np.sort(power, axis=0)  # NaN last
    count = np.isfinite(power).sum(0)
    lower, upper = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(power) - 1)
    middle = np.take_along_axis(ranked, np.stack([lower, upper]), 0).mean(0)
    return np.where(count > 0, middle, np.float32(np.nan)).astype(np.float32)
