"""Chop: any GeoTIFF, NetCDF or Zarr scene cut into the tiles of a table, one file a tile."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pyproj import CRS, Transformer

from sardino.errors import SardinoError
from sardino.scenes.chopping.gridded import Gridded
from sardino.scenes.chopping.pixel_meaning import declared_nodata, kind_of, unpacked
from sardino.scenes.chopping.tile_files import (
    ORIGIN,
    Cut,
    Progress,
    TileLeftOut,
    cut_grid,
    cut_tiles,
    no_data,
    on_grid,
    write_netcdf,
    write_tif,
)
from sardino.tiles.contents.resampling import KINDS, Kind, resample, window_on
from sardino.tiles.grid import Tile


def chop(
    source: Gridded,
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

    Only the window of a tile is read. Pixels that coincide with the scene's are copied; others are
    warped by what they mean: nearest for classes, linear power for decibels.

    Args:
        source: the scene, from `open_gridded`.
        tiles: what to cut.
        out: folder of the files: `<id>.tif` of a GeoTIFF, `<id>.nc` of NetCDF and Zarr. A run that was
            stopped goes on there.
        kind: of all variables; by default told from flags, integer type, and the unit dB.
        nodata: value that the scene does not declare as missing.
        resolution: pixel size in units of the tile's CRS; about that of the scene by default.
        tile_grid: take the tile's own pixels instead.
        variables: all by default.
        progress: wraps the loop over tiles, for example `tqdm`.

    Returns:
        What was written and kept, and the tiles left out: those outside the scene, and those where it
        has no valid pixel.

    Raises:
        SardinoError: an unknown kind or variable, or a folder with tiles of another scene.
    """
    if kind is not None and kind not in KINDS:
        raise SardinoError(f"--kind is one of {', '.join(KINDS)}, not '{kind}'")
    if unknown := sorted(set(variables) - set(source.names)):
        raise SardinoError(
            f"{source.path} has no variable {', '.join(unknown)} on its grid: it has {', '.join(source.names)}"
        )
    names = list(variables) or source.names
    tif = source.path.suffix.lower() in (".tif", ".tiff")
    size = source.path.stat().st_size if source.path.is_file() else "a folder"
    pixels = "pixels of the tile" if tile_grid else f"pixels of {resolution or 'the scene'}"
    meaning = f"{', '.join(names)} as {kind or 'the file tells'}, nodata {'as declared' if nodata is None else nodata}"
    origin = f"{source.path.name} ({size} bytes): {meaning}, {pixels}"

    def make(tile: Tile, path: Path) -> None:
        step = None if tile_grid else resolution or pixel_in(source, tile)
        grid = cut_grid(tile, step)
        planes = {name: cut_variable(source, name, grid, kind, nodata) for name in names}
        if all(no_data(values.values, missing) for values, missing in planes.values()):
            raise TileLeftOut("no valid pixel")
        if tif:
            values, missing = planes["band_data"]
            write_tif(path, values.values, grid, missing, _band_names(source), origin)
            return
        described = {}
        for name, (values, missing) in planes.items():
            described[name] = values
            if not np.isnan(missing):
                described[name].encoding["_FillValue"] = values.dtype.type(missing)
        other = {
            str(name): v for name, v in source.data.data_vars.items() if not {"y", "x"} & set(v.dims) and v.ndim <= 1
        }
        data = on_grid(xr.Dataset(described), grid).assign({n: v for n, v in other.items() if n not in described})
        write_netcdf(path, {"/": data.assign_attrs(source.data.attrs | {ORIGIN: origin})})

    return cut_tiles(tiles, out, ".tif" if tif else ".nc", origin, make, progress)


def cut_variable(
    source: Gridded, name: str, grid: Tile, kind: Kind | None = None, nodata: float | None = None
) -> tuple[xr.DataArray, float]:
    """One variable on a grid, (..., y, x), and its nodata; NaN of integers means that they have none.

    Raises:
        TileLeftOut: the grid lies outside the scene.
    """
    window = source.window(grid, margin_px=4)
    if window is None:
        raise TileLeftOut(f"outside {source.path.name}")
    part = source.read(name, window)
    meaning = kind or kind_of(part)
    values, missing = unpacked(part, meaning, nodata)
    planes = values.reshape(-1, *values.shape[-2:])
    corner = source.corner(window)
    same = CRS(grid.crs) == CRS(source.crs)
    if same and (place := window_on(grid.transform, grid.shape, corner)):
        cut = _copied(planes, place, grid.shape, missing)
    else:
        cut = resample(planes, source.crs, corner, grid.crs, grid.transform, grid.shape, meaning, missing)
    dims = [str(dim) for dim in part.dims]
    inner = {str(n): c for n, c in part.coords.items() if set(map(str, c.dims)) <= set(dims[:-2]) and c.ndim}
    attributes = {k: v for k, v in part.attrs.items() if k not in _PACKING}
    if meaning == "classes" and nodata is None and declared_nodata(part) is None and source.holds(grid):
        missing = np.nan  # no pixel is missing, and a 0 may well be a class
    return xr.DataArray(cut.reshape(*values.shape[:-2], *grid.shape), inner, dims, attrs=attributes), missing


_PACKING = {
    "_FillValue",
    "missing_value",
    "scale_factor",
    "add_offset",
    "grid_mapping",
    "coordinates",
    "valid_range",
    "_Unsigned",
}


def pixel_in(source: Gridded, tile: Tile) -> float:
    """The scene's pixel size in units of the tile's CRS, at the tile: the smaller of its width and height."""
    a, _, _, _, e, _ = source.transform
    if CRS(tile.crs) == CRS(source.crs):
        return min(a, -e)
    back = Transformer.from_crs(source.crs, tile.crs, always_xy=True)
    x, y = Transformer.from_crs(tile.crs, source.crs, always_xy=True).transform(*tile.centre)
    xs, ys = back.transform([x, x + a, x], [y, y, y + e])
    return float(min(np.hypot(xs[1] - xs[0], ys[1] - ys[0]), np.hypot(xs[2] - xs[0], ys[2] - ys[0])))


def _copied(planes: Any, place: tuple[int, int], shape: tuple[int, int], nodata: float) -> Any:
    """The window of a grid in planes, nodata where it reaches beyond them."""
    out = np.full((len(planes), *shape), nodata, planes.dtype)
    row, column = place
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + shape[0], planes.shape[1]), min(column + shape[1], planes.shape[2])
    out[:, top - row : bottom - row, left - column : right - column] = planes[:, top:bottom, left:right]
    return out


def _band_names(source: Gridded) -> list[str]:
    bands = source.data["band_data"]
    named = bands.attrs.get("long_name", ())
    named = (named,) if isinstance(named, str) else tuple(named)
    count = bands.sizes.get("band", 1)
    return list(named) if len(named) == count else [f"band {number}" for number in range(1, count + 1)]
