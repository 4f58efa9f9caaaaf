"""Chop: any GeoTIFF, NetCDF or Zarr scene cut into the tiles of a table, one file a tile, each whole or not at all."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.transform import Affine

from sardino.data.places.utm import transformer
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.packing import fits
from sardino.data.rasters.pixels import RASTER, Band, Pixels
from sardino.data.rasters.verify import Finding, examine_file
from sardino.data.rasters.warp import KINDS, Grid, Kind, grid_profile, resample
from sardino.data.tiles.tile import Progress, Tile
from sardino.data.tiles.value_ranges import ValueRanges
from sardino.errors import SardinoError
from sardino.files import whole, write_csv

Held = Iterable[tuple[str, NDArray[Any], float]]
"""What a file holds: each channel's name, values, and the one that means missing besides NaN."""
LEFT_OUT = "left-out.csv"  # beside the tiles' files: ids of the tiles without one, and why
ORIGIN = "sardino_origin"  # attribute or tag that says what a file was cut from
# Attributes of how a file packs its values and where they lie: neither holds for a tile.
_PACKING = {"_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned"}
_PACKING |= {"valid_range", "valid_min", "valid_max"}
_PLACE = {"grid_mapping", "coordinates"}


class TileLeftOut(SardinoError):
    """A tile cannot be cut, for the reason given."""


@dataclass(frozen=True)
class Cut:
    """Ids of the tiles whose file was made now, and of those whose was there and whole; the others' reasons by id."""

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    ranges: ValueRanges = field(default_factory=ValueRanges)  # of the files made now


def chop(
    source: Pixels,
    tiles: Sequence[Tile],
    out: Path,
    *,
    kind: Kind | None = None,
    nodata: float | None = None,
    resolution: float | None = None,
    tile_grid: bool = False,
    variables: Sequence[str] = (),
    progress: Progress = iter,
) -> Cut:
    """Cut a scene into tiles; each file covers its tile's footprint, in the tile's CRS, and nothing else.

    Only the window of a tile is read. Pixels that coincide with the scene's are copied; others are warped by what they
    mean: nearest for classes, linear power for decibels. Tiles outside the scene, and those where it has no valid
    pixel, are left out.

    Args:
        out: folder of the files: `<id>.tif` of a GeoTIFF, `<id>.nc` of NetCDF and Zarr. A run that was
            stopped goes on there.
        kind: of all variables; by default told from flags, integer type, and the unit dB.
        nodata: value that the scene does not declare as missing.
        resolution: pixel size in units of the tile's CRS; about that of the scene by default.
        tile_grid: take the tile's own pixels instead.
        variables: all by default.

    Raises SardinoError: an unknown kind or variable, a folder with tiles of another scene, or no tile is left to cut.
    """
    if kind is not None and kind not in KINDS:
        raise SardinoError(f"--kind is one of {', '.join(KINDS)}, not '{kind}'")
    names, tif = list(variables) or source.variables, not source.placed().stacked
    bands = {name: [source.bands[number] for number in source.numbers(name)] for name in names}
    size = source.path.stat().st_size if source.path.is_file() else "a folder"
    pixels = "pixels of the tile" if tile_grid else f"pixels of {resolution or 'the scene'}"
    meaning = f"{', '.join(names)} as {kind or 'the file tells'}, nodata {'as declared' if nodata is None else nodata}"
    origin = f"{source.path.name} ({size} bytes): {meaning}, {pixels}"
    # What has no place, such as a version, goes along as it is.
    around = () if tif else source.data.data_vars.items()
    place = {"crs", "spatial_ref"}  # the scene's, which is not the tile's
    other = {name: v for name, v in around if not {"y", "x"} & set(v.dims) and v.ndim <= 1 and name not in place}

    def make(tile: Tile, path: Path) -> Held:
        grid = tile if tile_grid else cut_grid(source, tile, resolution)
        planes = {name: cut_variable(source, name, grid, kind, nodata) for name in names}
        if all(
            (np.isnan(values) if math.isnan(missing) else values == missing).all()
            for values, missing in planes.values()
        ):
            raise TileLeftOut("no valid pixel")
        if tif:
            values, missing = planes[RASTER]
            _write_tif(path, values, missing, grid, bands[RASTER], origin)
            return [(name, plane, missing) for name, plane in zip(_names(bands[RASTER]), values.values, strict=True)]
        for values, missing in planes.values():
            if not np.isnan(missing):
                values.encoding["_FillValue"] = values.dtype.type(missing)
        data = on_grid(xr.Dataset({name: values for name, (values, _) in planes.items()}), grid)
        data = data.assign({name: v for name, v in other.items() if name not in planes})
        write_netcdf(path, {"/": data.assign_attrs(source.data.attrs | {ORIGIN: origin})})
        return [(name, values.values, missing) for name, (values, missing) in planes.items()]

    return cut_tiles(tiles, out, ".tif" if tif else ".nc", origin, make, progress)


def cut_variable(
    source: Pixels, name: str, grid: Tile, kind: Kind | None = None, nodata: float | None = None
) -> tuple[xr.DataArray, float]:
    """One variable on a grid, (..., y, x), and its nodata; NaN of integers means that they have none.

    Raises TileLeftOut: the grid lies outside the scene.
    """
    window, there = source.window(grid), Grid(grid.crs, grid.transform, grid.shape)
    if window is None:
        raise TileLeftOut(f"outside {source.path.name}")
    if not there.place_in(source.part(window)):
        window = source.around(window, 4)  # of which an interpolation is made
    numbers, meaning = source.numbers(name), kind or source.kind(name)
    if meaning == "classes" and not any(source.bands[number].packing.scaled for number in numbers):
        planes, missing = _codes(source, numbers, window, grid, nodata)
    else:
        planes, missing = source.values(numbers, window, () if nodata is None else (nodata,)), math.nan
    fill = 0 if math.isnan(missing) and planes.dtype.kind != "f" else missing
    cut = resample(planes, source.part(window), there, meaning, fill)
    if not source.stacked:
        return xr.DataArray(cut, dims=("band", "y", "x")), missing
    variable = source.data[name].transpose(..., "y", "x")
    dims = [str(dim) for dim in variable.dims]
    inner = {str(n): c for n, c in variable.coords.items() if set(map(str, c.dims)) <= set(dims[:-2]) and c.ndim}
    attributes = {k: v for k, v in variable.attrs.items() if k not in _PACKING | _PLACE}
    return xr.DataArray(cut.reshape(*variable.shape[:-2], *grid.shape), inner, dims, attrs=attributes), missing


def _codes(
    source: Pixels, numbers: Sequence[int], window: tuple[slice, slice], grid: Tile, nodata: float | None
) -> tuple[NDArray[Any], float]:
    """Codes in a window and the one that means missing; NaN where none is missing, for a 0 may well be a class."""
    given = () if nodata is None else (nodata,)
    codes, valid = source.stored(numbers, window, given)
    declared = [*given, *(value for number in numbers for value in source.bands[number].packing.missing)]
    declared = [value for value in declared if fits(value, codes.dtype)]
    if codes.dtype.kind == "f" and not declared:
        declared = [math.nan]
    if not declared and valid.all() and source.holds(grid):
        return codes, math.nan
    # What is missing in one band may be a class of another.
    wanted = (value for value in (*declared, 0, 255, 65535) if fits(value, codes.dtype))
    missing = next((value for value in wanted if not (valid & (codes == value)).any()), None)
    if missing is None:
        raise SardinoError(f"{source.path} leaves no code for what is missing: name one with --nodata")
    return np.where(valid, codes, codes.dtype.type(missing)), missing


def cut_grid(source: Pixels, tile: Tile, resolution: float | None) -> Tile:
    """A tile's footprint in as many square pixels as fit, of about `resolution` map units or the scene's pixel size."""
    a, _, _, _, e, _ = source.transform
    step = resolution or min(a, -e)
    if not resolution and CRS(tile.crs) != CRS(source.crs):
        # At the tile, in units of its CRS: the smaller of a pixel's width and height.
        x, y = transformer(tile.crs, source.crs).transform(*tile.centre)
        xs, ys = transformer(source.crs, tile.crs).transform([x, x + a, x], [y, y, y + e])
        step = float(min(np.hypot(xs[1] - xs[0], ys[1] - ys[0]), np.hypot(xs[2] - xs[0], ys[2] - ys[0])))
    left, bottom, right, top = tile.bounds
    rows, columns = max(round((top - bottom) / step), 1), max(round((right - left) / step), 1)
    transform = ((right - left) / columns, 0.0, left, 0.0, (bottom - top) / rows, top)
    return Tile(tile.region, tile.crs, transform, (rows, columns))


# One file a tile, of whatever scene: also for interferograms and seasonal coherence.


def cut_tiles(
    tiles: Sequence[Tile], out: Path, suffix: str, origin: str, make: Callable[[Tile, Path], Held], progress: Progress
) -> Cut:
    """Make the file of each tile, `<id><suffix>` in a folder, and go on where a run before this one was stopped.

    A file that is there is read; whole ones are kept, damaged ones made again, and one cut from another `origin` is
    refused. Tiles that `make` leaves out by raising TileLeftOut are listed in LEFT_OUT with the reason; SardinoError
    where those are all.
    """
    if not tiles:
        raise SardinoError("there is no tile to cut: the table is empty")
    if any(not tile.crs for tile in tiles):
        raise SardinoError("tiles without a CRS cannot be cut from a scene: leave them out of the table")
    out.mkdir(parents=True, exist_ok=True)
    done = Cut()
    for tile in progress(tiles):
        path = out / f"{tile.id}{suffix}"
        state = examine_file(path) if path.exists() else None
        if isinstance(state, Finding) and state.fault == "unexamined":
            raise SardinoError(f"{path} cannot be opened ({state.reason}): free it, or choose another folder")
        if state is not None and not isinstance(state, Finding):
            if (found := _origin_of(path)) != origin:
                found = found or "something else"
                raise SardinoError(f"{path} was cut from {found}, wanted is {origin}: choose another folder")
            done.kept.append(tile.id)
            continue
        try:
            held = make(tile, path)
        except TileLeftOut as reason:
            path.unlink(missing_ok=True)
            done.left_out[tile.id] = str(reason)
        else:
            done.written.append(tile.id)
            for channel, values, missing in held:
                done.ranges.add(channel, values, missing)
    if done.left_out:
        write_csv(pd.DataFrame(sorted(done.left_out.items()), columns=["id", "reason"]), out / LEFT_OUT)
    else:
        (out / LEFT_OUT).unlink(missing_ok=True)
    if not (done.written or done.kept):
        reasons = "; ".join(f"{many} {reason}" for reason, many in Counter(done.left_out.values()).items())
        remedy = f"check the place of tiles and scene, and its nodata ({out / LEFT_OUT} lists the tiles)"
        raise SardinoError(f"none of {len(tiles)} tiles could be cut ({reasons}): {remedy}")
    return done


def on_grid(data: xr.Dataset, grid: Tile) -> xr.Dataset:
    """A dataset whose last dimensions are y and x, with their coordinates and the CRS by CF."""
    a, _, c, _, e, f = grid.transform
    rows, columns = grid.shape
    placed = data.assign_coords(y=("y", f + e * (np.arange(rows) + 0.5)), x=("x", c + a * (np.arange(columns) + 0.5)))
    placed = placed.rio.write_crs(grid.crs).rio.write_transform(Affine(*grid.transform))
    return placed.rio.write_coordinate_system()


def write_netcdf(path: Path, groups: dict[str, xr.Dataset]) -> None:
    """Write a NetCDF file of these groups; "/" is the root."""
    with whole(path) as partial, warnings.catch_warnings():
        # A fill value of a variable that was masked by hand is not news.
        warnings.filterwarnings("ignore", message="saving variable .* with floating point data")
        for number, (group, data) in enumerate(groups.items()):
            for variable in data.data_vars.values():
                if variable.ndim >= 2 and variable.dtype.kind in "iuf":
                    variable.encoding.update(zlib=True, complevel=1)
            data.to_netcdf(partial, "a" if number else "w", group=None if group == "/" else group, engine="h5netcdf")


def _write_tif(path: Path, values: xr.DataArray, nodata: float, grid: Tile, bands: Sequence[Band], origin: str) -> None:
    """Write (C, H, W) values as a compressed GeoTIFF with the scene's names, or numbers, its units and its colours."""
    profile = grid_profile(CRS(grid.crs).to_wkt(), grid.transform, grid.shape)
    profile |= {"driver": "GTiff", "count": len(values), "dtype": values.dtype, "compress": "deflate"}
    if values.dtype.kind == "f":
        profile |= {"nodata": nodata, "predictor": 3}
    else:
        profile |= {"nodata": None if math.isnan(nodata) else nodata, "predictor": 2}
    colors = bands[0].colors if len(bands) == 1 and values.dtype in (np.uint8, np.uint16) else {}
    with whole(path) as partial, rasterio.open(partial, "w", **profile) as dataset:
        if colors:  # before the pixels, which GDAL writes grey otherwise
            dataset.write_colormap(1, colors)
        dataset.write(values.values)
        dataset.descriptions = _names(bands)
        dataset.units = ["dB" if band.unit == "db" else band.unit for band in bands]
        dataset.update_tags(**{ORIGIN: origin})


def _names(bands: Sequence[Band]) -> list[str]:
    return [band.name or f"band {n}" for n, band in enumerate(bands, start=1)]


def _origin_of(path: Path) -> str:
    """What a tile's file was cut from; "" where it does not say."""
    if path.suffix == ".nc":
        with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as data:
            return str(data.attrs.get(ORIGIN, ""))
    with open_pixels(path) as pixels:
        return str(pixels.about.get(ORIGIN, ""))
