"""The global seasonal Sentinel-1 coherence and backscatter set (GSSIC), cut from its 1-degree files into tiles.

J. Kellndorfer et al., Scientific Data 9, 73 (2022), doi 10.1038/s41597-022-01189-6: December 2019 to
November 2020, 3 arc seconds, digital number 0 is nodata.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sardino.data.rasters.chop import ORIGIN, Cut, TileLeftOut, cut_grid, cut_tiles, cut_variable, on_grid, write_netcdf
from sardino.data.rasters.open import open_gridded
from sardino.data.rasters.warp import Kind
from sardino.data.tiles.radiometry import SEASONS
from sardino.data.tiles.tile import Progress, Tile
from sardino.errors import SardinoError

AMPLITUDE_DB = -83.0
"""gamma0 in dB is 20 log10(DN) - 83."""
DECAY = ("rho", "tau", "rmse")
"""Parameters of the decay of coherence with the days between dates, and the error of their fit."""
_SEASONAL = re.compile(
    r"(?P<tile>[NS]\d{2}[EW]\d{3})_(?P<season>winter|spring|summer|fall)_(?P<pol>vv|vh|hh|hv)_"
    r"(?:(?P<amp>AMP)|COH(?P<days>\d{2})|(?P<decay>rho|tau|rmse))\.tif$"
)
_STATIC = re.compile(r"(?P<tile>[NS]\d{2}[EW]\d{3})(?:_(?P<orbit>\d{3}[AD]))?_(?P<feature>inc|lsmap)\.tif$")


@dataclass(frozen=True, order=True)
class Plane:
    """What one file holds: a variable and its place along the variable's dimensions."""

    variable: str
    place: tuple[str, ...]


DIMENSIONS = {
    "amplitude": ("season", "polarisation"),
    "coherence": ("season", "deltadays"),
    "decay": ("season", "param"),
    "geometry": ("orbit", "feature"),
}
"""Dimensions of each variable before y and x."""
_KINDS: dict[str, Kind] = {"amplitude": "amplitude", "coherence": "values", "decay": "values", "geometry": "classes"}
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "amplitude": {"long_name": "Seasonal mean backscatter, gamma0", "units": "dB"},
    "coherence": {"long_name": "Median coherence of pairs of dates so many days apart", "units": "1"},
    "decay": {
        "long_name": "Coherence decay model: long-term coherence rho, decay tau, error of fit",
        "comment": "digital numbers as distributed, unscaled",
    },
    "geometry": {
        "long_name": "Local incidence (inc), layover and shadow (lsmap)",
        "comment": "digital numbers as distributed; lsmap: 1 neither, 5 layover, 17 shadow, 21 both",
    },
}


def plane_of(name: str) -> Plane | None:
    """What a file of this name holds; None for a foreign file."""
    if match := _SEASONAL.match(name):
        if match["amp"]:
            return Plane("amplitude", (match["season"], match["pol"]))
        if match["days"]:
            return Plane("coherence", (match["season"], match["days"]))
        return Plane("decay", (match["season"], match["decay"]))
    if match := _STATIC.match(name):
        return Plane("geometry", (match["orbit"] or "", match["feature"]))
    return None


def planes_in(folder: Path) -> dict[Plane, list[Path]]:
    """Files of a folder and its sub-folders by what they hold; one plane may come in several 1-degree files.

    Raises:
        SardinoError: no file of the set, or coherence of two polarisations.
    """
    found: dict[Plane, list[Path]] = defaultdict(list)
    polarisations = set()
    for path in sorted(folder.rglob("*.tif")):
        if plane := plane_of(path.name):
            found[plane].append(path)
            if plane.variable in ("coherence", "decay"):
                polarisations.add(path.stem.split("_")[2])
    if not found:
        raise SardinoError(f"there is no file of the GSSIC set (such as N48W090_winter_vv_AMP.tif) in {folder}")
    if len(polarisations) > 1:
        raise SardinoError(f"{folder} holds coherence of {' and '.join(sorted(polarisations))}: keep one of them there")
    return dict(found)


def cut_seasons(
    folder: Path, tiles: Sequence[Tile], out: Path, *, resolution: float | None = None, progress: Progress = iter
) -> Cut:
    """Write one NetCDF file a tile from the 1-degree files of the set.

    It holds amplitude (season, polarisation, y, x) in dB gamma0, averaged in linear power; coherence
    (season, deltadays, y, x) from 0 to 1; decay (season, param, y, x) and geometry (orbit, feature, y, x)
    as digital numbers. A plane that has no file is NaN; where 1-degree files meet, each gives its part.
    A tile without a valid pixel is left out.
    """
    planes = planes_in(folder)
    sources = {path: open_gridded(path) for files in planes.values() for path in files}
    places = {name: _places(planes, name) for name in DIMENSIONS}
    first = next(iter(sources.values()))
    origin = f"GSSIC, {sum(map(len, planes.values()))} files, pixels of {resolution or 'the set'}"

    def plane(which: Plane, grid: Tile) -> NDArray[np.float32] | None:
        merged: NDArray[np.float32] | None = None
        for path in planes[which]:
            try:
                cut, _ = cut_variable(sources[path], "band_data", grid, _KINDS[which.variable], nodata=0)
            except TileLeftOut:
                continue
            values = cut.values[0].astype(np.float32)
            values[values == 0] = np.nan
            merged = values if merged is None else np.where(np.isnan(merged), values, merged)
        return merged

    def make(tile: Tile, path: Path) -> None:
        grid = cut_grid(first, tile, resolution)
        data = xr.Dataset(attrs={ORIGIN: origin, "references": "doi:10.1038/s41597-022-01189-6"})
        for name, axes in DIMENSIONS.items():
            labels = places[name]
            if not all(labels):
                continue
            stack = np.full((*map(len, labels), *grid.shape), np.nan, np.float32)
            for which in planes:
                if which.variable == name and (values := plane(which, grid)) is not None:
                    stack[tuple(axis.index(at) for axis, at in zip(labels, which.place, strict=True))] = values
            data[name] = ((*axes, "y", "x"), _physical(name, stack), _ATTRIBUTES[name])
            for axis, at in zip(axes, labels, strict=True):
                data[axis] = list(map(int, at)) if axis == "deltadays" else at
        if not any(np.isfinite(variable).any() for variable in data.data_vars.values()):
            raise TileLeftOut("outside the files, or no valid pixel")
        write_netcdf(path, {"/": on_grid(data, grid)})

    return cut_tiles(tiles, out, ".nc", origin, make, progress)


def _places(planes: dict[Plane, list[Path]], name: str) -> list[list[str]]:
    """Labels of a variable's two dimensions, in the order of the field: seasons of the year, days ascending."""
    order = {label: place for place, label in enumerate((*SEASONS, "vv", "vh", *DECAY, "inc", "lsmap"))}
    found = ({plane.place[axis] for plane in planes if plane.variable == name} for axis in (0, 1))
    return [sorted(labels, key=lambda label: (order.get(label, 99), label)) for labels in found]


def _physical(name: str, stack: NDArray[np.float32]) -> NDArray[np.float32]:
    if name == "amplitude":
        return (20 * np.log10(stack) + AMPLITUDE_DB).astype(np.float32)
    return stack / np.float32(100) if name == "coherence" else stack
