"""Interferograms: GUNW granules (ARIA Sentinel-1 geocoded unwrapped) stacked by date pair into the tiles of a table."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import xarray as xr

from sardino.data.rasters.chop import ORIGIN, Cut, TileLeftOut, cut_grid, cut_tiles, cut_variable, on_grid, write_netcdf
from sardino.data.rasters.open import Gridded, open_gridded
from sardino.data.rasters.warp import Kind
from sardino.data.tiles.tile import Progress, Tile
from sardino.errors import SardinoError

DATA = "science/grids/data"
GEOMETRY = "science/grids/imagingGeometry"
RADAR = "science/radarMetaData"
EXTRA = "science/extraMetaData"
"""Groups of a granule, and one that the tiles have besides: days between the dates, and flight direction."""
_NAME = re.compile(r"S1-GUNW-(?P<direction>[AD])-[RL]-(?P<track>\d{3})-.*?(?P<late>\d{8})_(?P<early>\d{8})-.*\.nc$")
_KINDS: dict[str, Kind] = {"amplitude": "amplitude", "connectedComponents": "classes", "unwrappedPhase": "classes"}
"""Unwrapped phase jumps by whole cycles between components: no pixel may mix two of them."""


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
        match = _NAME.match(path.name)
        if not match:
            raise SardinoError(
                f"{path} is not named as a GUNW granule is: S1-GUNW-D-R-087-tops-20180622_20180529-...nc"
            )
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

    Raises:
        SardinoError: no granule, or none left of them.
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

    Groups are those of a granule: science/grids/data with amplitude, coherence, connectedComponents and
    unwrappedPhase (datepair, y, x), each as far as all granules have it; science/grids/imagingGeometry
    interpolated to the tile's centre (datepair, heightsMeta); science/radarMetaData; and
    science/extraMetaData with deltadays, direction and track. Phase and components come from the nearest
    pixel, amplitude is averaged in power. A tile that no granule holds wholly is left out.

    Args:
        granules: from `granules_in`; of several that share the date pair the first that holds the tile is taken.
        resolution: pixel size in units of the tile's CRS; about that of the granules by default.
    """
    opened = {g: open_gridded(g.path, group=DATA) for g in granules}
    shared = set.intersection(*(set(source.names) for source in opened.values()))
    names = [name for name in next(iter(opened.values())).names if name in shared]
    if not names:
        raise SardinoError("the granules share no variable: they are of different products")
    outlines = {g: Tile("", s.crs, s.transform, s.shape).footprint for g, s in opened.items()}
    pairs = f"{granules[0].pair} to {granules[-1].pair}"
    origin = f"{len(granules)} GUNW granules, {pairs}, pixels of {resolution or 'the granules'}"

    def make(tile: Tile, path: Path) -> None:
        holds: dict[str, Granule] = {}
        for granule, source in opened.items():
            if outlines[granule].contains(tile.footprint_in(source.crs)):
                holds.setdefault(granule.pair, granule)
        grid = cut_grid(opened[granules[0]], tile, resolution)
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
        groups = {
            "/": xr.Dataset(attrs={ORIGIN: origin}),
            DATA: on_grid(xr.concat(stack.values(), pair, combine_attrs="override"), grid),
            GEOMETRY: xr.concat([_geometry(g, tile) for g in stack], pair, combine_attrs="override"),
            RADAR: xr.concat([_radar(g) for g in stack], pair, combine_attrs="override", data_vars="all"),
            EXTRA: xr.Dataset(extra, {"datepair": pair}),
        }
        write_netcdf(path, groups)

    return cut_tiles(tiles, out, ".nc", origin, make, progress)


def _cut(source: Gridded, names: Sequence[str], grid: Tile) -> xr.Dataset | None:
    """The variables of one granule on a grid, as float32 with NaN; None where none has a valid pixel."""
    planes = {}
    for name in names:
        values, missing = cut_variable(source, name, grid, _KINDS.get(name, "values"), _fill(source, name))
        values = values.astype(np.float32)
        if not np.isnan(missing):
            values = values.where(values != missing)
        planes[name] = values
    return xr.Dataset(planes) if any(np.isfinite(values).any() for values in planes.values()) else None


def _fill(source: Gridded, name: str) -> float:
    """The value of missing pixels: what the file says, 0 where it says nothing (-1 of the components)."""
    stated = source.data[name].attrs.get("_FillValue")
    return float(np.ravel(stated)[0]) if stated is not None else -1.0 if name == "connectedComponents" else 0.0


def _geometry(granule: Granule, tile: Tile) -> xr.Dataset:
    """Angles and baselines at the tile's centre, for each height of the granule's grid."""
    data = _group(granule, GEOMETRY)
    if not {"longitudeMeta", "latitudeMeta"} <= set(data.coords):
        return xr.Dataset()
    centre = tile.footprint_in("EPSG:4326").centroid
    kept = data[[name for name, v in data.data_vars.items() if {"longitudeMeta", "latitudeMeta"} <= set(v.dims)]]
    return kept.interp(longitudeMeta=centre.x, latitudeMeta=centre.y).drop_vars(["longitudeMeta", "latitudeMeta"])


def _radar(granule: Granule) -> xr.Dataset:
    """The radar's facts; those given per matchup are the same in each, so the first stands for all."""
    data = _group(granule, RADAR)
    for dim in [str(dim) for dim in data.dims]:
        data = data.isel({dim: 0})
    return data.reset_coords(drop=True)


def _group(granule: Granule, group: str) -> xr.Dataset:
    try:
        with xr.open_dataset(granule.path, engine="h5netcdf", group=group) as data:
            return data.load()
    except OSError as error:  # an older granule may lack the group
        if group in str(error):
            return xr.Dataset()
        raise SardinoError(f"{granule.path} cannot be read ({error}): copy the file again") from error
