"""Interferometric sets cut into the tiles of a table: GUNW interferograms by date pair, and seasonal coherence.

GUNW are ARIA's Sentinel-1 geocoded unwrapped granules. The global seasonal coherence and backscatter set (GSSIC) is
that of J. Kellndorfer et al., Scientific Data 9, 73 (2022), doi 10.1038/s41597-022-01189-6: December 2019 to November
2020, 3 arc seconds, in 1-degree files, digital number 0 is nodata.
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sardino.data.rasters.chop import (
    ORIGIN,
    Cut,
    Held,
    TileLeftOut,
    cut_grid,
    cut_tiles,
    cut_variable,
    on_grid,
    write_netcdf,
)
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.pixels import RASTER, Pixels
from sardino.data.rasters.warp import Kind
from sardino.data.tiles.radiometry import SEASONS
from sardino.data.tiles.tile import Progress, Tile
from sardino.errors import SardinoError
from sardino.files import files_in

# Groups of a granule, and one that the tiles have besides: days between the dates, and flight direction.
DATA, GEOMETRY = "science/grids/data", "science/grids/imagingGeometry"
RADAR, EXTRA = "science/radarMetaData", "science/extraMetaData"
_GRANULE = re.compile(r"S1-GUNW-(?P<direction>[AD])-[RL]-(?P<track>\d{3})-.*?(?P<late>\d{8})_(?P<early>\d{8})-.*\.nc$")
# What pixels mean; unwrapped phase jumps by whole cycles between components: no pixel may mix two of them.
_KINDS: dict[str, Kind] = {"amplitude": "amplitude"}
_KINDS |= dict.fromkeys(("connectedComponents", "unwrappedPhase", "geometry"), "classes")


@dataclass(frozen=True)
class Granule:
    """One interferogram: its file, its two dates, its track and flight direction ("A" or "D")."""

    path: Path
    late: date
    early: date
    track: int
    direction: str

    @classmethod
    def of(cls, path: Path) -> "Granule":
        """Read a file's name; SardinoError unless it is a granule's."""
        match = _GRANULE.match(path.name)
        if not match:
            form = "S1-GUNW-D-R-087-tops-20180622_20180529-...nc"
            raise SardinoError(f"{path} is not named as a GUNW granule is: {form}")
        try:
            early, late = sorted(date.fromisoformat(match[name]) for name in ("late", "early"))
        except ValueError as error:
            raise SardinoError(f"{path} names a date that does not exist") from error
        return cls(path, late, early, int(match["track"]), match["direction"])

    @property
    def pair(self) -> str:
        """The date pair, later date first, as in the file's name."""
        return f"{self.late:%Y%m%d}_{self.early:%Y%m%d}"

    @property
    def days(self) -> int:
        return (self.late - self.early).days


def granules_in(
    folder: Path, start: date | None = None, end: date | None = None, max_days: int | None = None
) -> list[Granule]:
    """Granules in a folder, by date pair and name, both dates within [start, end] and at most `max_days` apart.

    Raises SardinoError: no granule, or none left of them.
    """
    found = [Granule.of(path) for path in sorted(folder.glob("S1-GUNW-*.nc"))]
    if not found:
        raise SardinoError(f"there is no GUNW granule (S1-GUNW-*.nc) in {folder}: download them from ASF first")
    begin, last, longest = start or date.min, end or date.max, math.inf if max_days is None else max_days
    chosen = [g for g in found if g.early >= begin and g.late <= last and g.days <= longest]
    if not chosen:
        there = f"{min(g.early for g in found)} to {max(g.late for g in found)}"
        raise SardinoError(f"none of the {len(found)} granules in {folder}, of {there}, fits the dates: widen them")
    return sorted(chosen, key=lambda g: (g.pair, g.path.name))


def cut_interferograms(
    granules: Sequence[Granule],
    tiles: Sequence[Tile],
    out: Path,
    *,
    resolution: float | None = None,
    progress: Progress = iter,
) -> Cut:
    """Write one NetCDF file a tile with all interferograms that hold it whole, stacked along `datepair`.

    Groups are those of a granule: science/grids/data with amplitude, coherence, connectedComponents and unwrappedPhase
    (datepair, y, x), each as far as all granules have it; science/grids/imagingGeometry interpolated to the tile's
    centre (datepair, heightsMeta); science/radarMetaData; science/extraMetaData with deltadays, direction and track.
    Phase and components come from the nearest pixel, amplitude is averaged in power. A tile that no granule holds whole
    is left out.

    `granules`: from `granules_in`; of several that share the date pair the first that holds the tile is taken.
    `resolution`: pixel size in units of the tile's CRS; about that of the granules by default.
    """
    opened = {g: open_pixels(g.path, group=DATA).placed() for g in granules}
    first = opened[granules[0]]
    names = [name for name in first.variables if all(name in source.variables for source in opened.values())]
    if not names:
        raise SardinoError("the granules share no variable: they are of different products")
    outlines = {g: Tile("", s.crs, s.transform, s.shape).footprint for g, s in opened.items()}
    pairs = f"{granules[0].pair} to {granules[-1].pair}"
    origin = f"{len(granules)} GUNW granules, {pairs}, pixels of {resolution or 'the granules'}"

    def make(tile: Tile, path: Path) -> Held:
        holds: dict[str, Granule] = {}
        for granule, source in opened.items():
            if outlines[granule].contains(tile.footprint_in(source.crs)):
                holds.setdefault(granule.pair, granule)
        grid = cut_grid(first, tile, resolution)
        stack = {g: cut for g in holds.values() if (cut := _cut(opened[g], names, grid)) is not None}
        if not stack:
            raise TileLeftOut("no interferogram holds the whole tile" if not holds else "no valid pixel")
        pair = xr.DataArray([g.pair for g in stack], dims="datepair", name="datepair")
        about = {"units": "1", "long_name": "Days between the two dates"}
        extra = {
            "deltadays": ("datepair", np.array([g.days for g in stack], np.uint16), about),
            "direction": ("datepair", [g.direction for g in stack]),
            "track": ("datepair", np.array([g.track for g in stack], np.uint16)),
        }
        # The radar's facts that are given per matchup are the same in each: the first stands for all.
        radar = [_group(g, RADAR) for g in stack]
        radar = [data.isel(dict.fromkeys(data.dims, 0)).reset_coords(drop=True) for data in radar]
        data = xr.concat(stack.values(), pair, combine_attrs="override")
        groups = {
            "/": xr.Dataset(attrs={ORIGIN: origin}),
            DATA: on_grid(data, grid),
            GEOMETRY: xr.concat([_geometry(g, tile) for g in stack], pair, combine_attrs="override"),
            RADAR: xr.concat(radar, pair, combine_attrs="override", data_vars="all"),
            EXTRA: xr.Dataset(extra, {"datepair": pair}),
        }
        write_netcdf(path, groups)
        return [(str(name), values.values, math.nan) for name, values in data.data_vars.items()]

    return cut_tiles(tiles, out, ".nc", origin, make, progress)


def _cut(source: Pixels, names: Sequence[str], grid: Tile) -> xr.Dataset | None:
    """The variables of one granule on a grid, as float32 with NaN; None where none has a valid pixel."""
    planes = {}
    for name in names:
        # Missing is what the file says, 0 where it says nothing (-1 of the components).
        stated = source.data[name].attrs.get("_FillValue", -1 if name == "connectedComponents" else 0)
        values, missing = cut_variable(source, name, grid, _KINDS.get(name, "values"), float(np.ravel(stated)[0]))
        values = values.astype(np.float32)
        planes[name] = values if np.isnan(missing) else values.where(values != missing)
    return xr.Dataset(planes) if any(np.isfinite(values).any() for values in planes.values()) else None


def _geometry(granule: Granule, tile: Tile) -> xr.Dataset:
    """Angles and baselines at the tile's centre, for each height of the granule's grid."""
    data, place = _group(granule, GEOMETRY), {"longitudeMeta", "latitudeMeta"}
    if not place <= set(data.coords):
        return xr.Dataset()
    centre = tile.footprint_in("EPSG:4326").centroid
    kept = data[[name for name, v in data.data_vars.items() if place <= set(v.dims)]]
    return kept.interp(longitudeMeta=centre.x, latitudeMeta=centre.y).drop_vars(place)


def _group(granule: Granule, group: str) -> xr.Dataset:
    try:
        with xr.open_dataset(granule.path, engine="h5netcdf", group=group) as data:
            return data.load()
    except OSError as error:  # an older granule may lack the group
        if group in str(error):
            return xr.Dataset()
        raise SardinoError(f"{granule.path} cannot be read ({error}): copy the file again") from error


# Seasonal coherence.

AMPLITUDE_DB = -83.0  # gamma0 in dB is 20 log10(DN) - 83
DECAY = ("rho", "tau", "rmse")  # of coherence with the days between dates: its parameters, and the error of their fit
_SEASON, _POLARISATION = r"[NS]\d{2}[EW]\d{3}_(winter|spring|summer|fall)", "vv|vh|hh|hv"
_NAMES = {
    "amplitude": rf"{_SEASON}_({_POLARISATION})_AMP\.tif",
    "coherence": rf"{_SEASON}_(?:{_POLARISATION})_COH(\d\d)\.tif",
    "decay": rf"{_SEASON}_(?:{_POLARISATION})_({'|'.join(DECAY)})\.tif",
    "geometry": r"[NS]\d{2}[EW]\d{3}(?:_(\d{3}[AD]))?_(inc|lsmap)\.tif",
}
"""Of each variable the names of its files, in which the groups are its place along its dimensions before y and x."""
DIMENSIONS = {
    "amplitude": ("season", "polarisation"),
    "coherence": ("season", "deltadays"),
    "decay": ("season", "param"),
    "geometry": ("orbit", "feature"),
}
_DECAY_MODEL = "Coherence decay model: long-term coherence rho, decay tau, error of fit"
_CODES = "digital numbers as distributed; lsmap: 1 neither, 5 layover, 17 shadow, 21 both"
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "amplitude": {"long_name": "Seasonal mean backscatter, gamma0", "units": "dB"},
    "coherence": {"long_name": "Median coherence of pairs of dates so many days apart", "units": "1"},
    "decay": {"long_name": _DECAY_MODEL, "comment": "digital numbers as distributed, unscaled"},
    "geometry": {"long_name": "Local incidence (inc), layover and shadow (lsmap)", "comment": _CODES},
}


@dataclass(frozen=True)
class Plane:
    """What one file holds: a variable and its place along the variable's dimensions."""

    variable: str
    place: tuple[str, ...]


def plane_of(name: str) -> Plane | None:
    """What a file of this name holds; None for a foreign file."""
    for variable, pattern in _NAMES.items():
        if match := re.fullmatch(pattern, name):
            return Plane(variable, tuple(part or "" for part in match.groups()))
    return None


def planes_in(folder: Path) -> dict[Plane, list[Path]]:
    """Files of a folder and its sub-folders by what they hold; one plane may come in several 1-degree files.

    Raises SardinoError: no file of the set, or coherence of two polarisations.
    """
    found: dict[Plane, list[Path]] = defaultdict(list)
    for path in files_in(folder, "**/*.tif"):
        if plane := plane_of(path.name):
            found[plane].append(path)
    if not found:
        raise SardinoError(f"there is no file of the GSSIC set (such as N48W090_winter_vv_AMP.tif) in {folder}")
    coherent = [path for plane, paths in found.items() if plane.variable in ("coherence", "decay") for path in paths]
    if len(polarisations := {path.stem.split("_")[2] for path in coherent}) > 1:
        raise SardinoError(f"{folder} holds coherence of {' and '.join(sorted(polarisations))}: keep one of them there")
    return dict(found)


def cut_seasons(
    folder: Path, tiles: Sequence[Tile], out: Path, *, resolution: float | None = None, progress: Progress = iter
) -> Cut:
    """Write one NetCDF file a tile from the 1-degree files of the set.

    It holds amplitude (season, polarisation, y, x) in dB gamma0, averaged in linear power; coherence (season,
    deltadays, y, x) from 0 to 1; decay (season, param, y, x) and geometry (orbit, feature, y, x) as digital numbers. A
    plane that has no file is NaN; where 1-degree files meet, each gives its part. A tile without a valid pixel is left
    out.
    """
    planes = planes_in(folder)
    sources = {path: open_pixels(path).placed() for files in planes.values() for path in files}
    places = {name: _places(planes, name) for name in DIMENSIONS}
    origin = f"GSSIC, {sum(map(len, planes.values()))} files, pixels of {resolution or 'the set'}"

    def plane(which: Plane, grid: Tile) -> NDArray[np.float32]:
        merged = np.full(grid.shape, np.nan, np.float32)
        for path in planes[which]:
            try:
                cut, _ = cut_variable(sources[path], RASTER, grid, _KINDS.get(which.variable, "values"), nodata=0)
            except TileLeftOut:
                continue
            values = cut.values[0].astype(np.float32)
            merged = np.where(np.isnan(merged) & (values != 0), values, merged)
        return merged

    def make(tile: Tile, path: Path) -> Held:
        grid = cut_grid(next(iter(sources.values())), tile, resolution)
        data = xr.Dataset(attrs={ORIGIN: origin, "references": "doi:10.1038/s41597-022-01189-6"})
        for name, axes in DIMENSIONS.items():
            labels = places[name]
            if not all(labels):
                continue
            stack = np.full((*map(len, labels), *grid.shape), np.nan, np.float32)
            for which in planes:
                if which.variable == name:
                    stack[tuple(axis.index(at) for axis, at in zip(labels, which.place, strict=True))] = plane(
                        which, grid
                    )
            if name == "amplitude":
                stack = (20 * np.log10(stack) + AMPLITUDE_DB).astype(np.float32)
            elif name == "coherence":
                stack = stack / np.float32(100)
            data[name] = ((*axes, "y", "x"), stack, _ATTRIBUTES[name])
            for axis, at in zip(axes, labels, strict=True):
                data[axis] = list(map(int, at)) if axis == "deltadays" else at
        if not any(np.isfinite(variable).any() for variable in data.data_vars.values()):
            raise TileLeftOut("outside the files, or no valid pixel")
        write_netcdf(path, {"/": on_grid(data, grid)})
        return [(str(name), values.values, math.nan) for name, values in data.data_vars.items()]

    return cut_tiles(tiles, out, ".nc", origin, make, progress)


def _places(planes: dict[Plane, list[Path]], name: str) -> list[list[str]]:
    """Labels of a variable's two dimensions, in the order of the field: seasons of the year, days ascending."""
    order = {label: place for place, label in enumerate((*SEASONS, "vv", "vh", *DECAY, "inc", "lsmap"))}
    found = ({plane.place[axis] for plane in planes if plane.variable == name} for axis in (0, 1))
    return [sorted(labels, key=lambda label: (order.get(label, 99), label)) for labels in found]
