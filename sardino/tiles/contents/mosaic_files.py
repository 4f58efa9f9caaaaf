"""A mosaic of raster files, one a tile, such as `sardino tiles chop` or geetiles write them."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS

from sardino.errors import SardinoError
from sardino.tiles.contents.geotiff import GeoTiff, write_geotiff
from sardino.tiles.contents.mosaic_grid import mosaic_grid, window_of
from sardino.tiles.contents.resampling import KINDS, Kind, resample, window_on
from sardino.tiles.grid import Tile

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def mosaic_files(
    folder: Path,
    path: Path,
    *,
    kind: Kind | None = None,
    nodata: float | None = None,
    crs: str = "",
    resolution: float | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> None:
    """Write the GeoTIFF files of a folder as one Cloud-Optimized GeoTIFF, one file in memory at a time.

    Args:
        folder: of .tif files with the same bands, type and nodata.
        path: .tif file to make.
        kind: what their pixels mean, for warping; classes where they are integers, decibels where their unit
            is "dB", other values elsewhere.
        nodata: where the files declare none; 0 for integers and NaN for others by default.
        crs, resolution, overwrite, progress: as of `mosaic`.

    Raises:
        SardinoError: no file, one that is damaged, without CRS or rotated, or files that differ.
    """
    if kind is not None and kind not in KINDS:
        raise SardinoError(f"--kind is one of {', '.join(KINDS)}, not '{kind}'")
    files = sorted(folder.glob("[!.]*.tif"))
    if not files:
        raise SardinoError(f"there is no .tif file in {folder}")
    tiles = []
    first: dict[str, Any] = {}
    for file in files:
        tile, facts = _examined(file)
        first = first or facts
        if (facts["count"], facts["dtype"], facts["nodata"]) != (first["count"], first["dtype"], first["nodata"]):
            raise SardinoError(f"{file} and {files[0]} differ in bands, type or nodata: keep one kind in {folder}")
        tiles.append(tile)
    meaning: Kind = kind or ("classes" if first["integer"] else "db" if first["unit"].lower() == "db" else "values")
    floating = not first["integer"] or meaning != "classes"
    declared = first["nodata"] if nodata is None else nodata
    missing = math.nan if floating else declared or 0
    to_crs, transform, shape = mosaic_grid(tiles, crs, resolution)
    dtype = first["dtype"] if not floating else "float64" if first["dtype"] == "float64" else "float32"
    what = GeoTiff(to_crs, transform, shape, first["bands"], dtype, missing, first["colors"], first["tags"])
    with write_geotiff(path, what, overwrite) as canvas:
        for file, tile in progress(list(zip(files, tiles, strict=True))):
            values = _values(file, dtype, floating, declared)
            place = window_on(tile.transform, tile.shape, transform) if CRS(tile.crs) == CRS(to_crs) else None
            if place:
                canvas.lay(values, *place)
            else:
                row, column, size, corner = window_of(tile, to_crs, transform)
                warped = resample(values, tile.crs, tile.transform, to_crs, corner, size, meaning, missing)
                canvas.lay(warped, row, column)


def _examined(file: Path) -> tuple[Tile, dict[str, Any]]:
    """Place of a file and what it says about its pixels."""
    try:
        with rasterio.open(file) as dataset:
            if dataset.crs is None:
                raise SardinoError(f"{file} states no CRS: it cannot be placed in a mosaic")
            t = dataset.transform
            tile = Tile("", dataset.crs.to_string(), (t.a, t.b, t.c, t.d, t.e, t.f), dataset.shape)
            integer = np.dtype(dataset.dtypes[0]).kind in "iu"
            palette = "palette" in dataset.colorinterp[0].name
            colors = (
                {v: f"#{r:02X}{g:02X}{b:02X}" for v, (r, g, b, a) in dataset.colormap(1).items()} if palette else {}
            )
            nodata = dataset.nodata
            return tile, {
                "count": dataset.count,
                "dtype": dataset.dtypes[0],
                # NaN is not equal to itself; None says the same of floating point.
                "nodata": None if nodata is None or math.isnan(nodata) else nodata,
                "integer": integer,
                "unit": dataset.tags().get("unit", dataset.units[0] or ""),
                "bands": [name or f"band {n}" for n, name in enumerate(dataset.descriptions, start=1)],
                "colors": colors,
                "tags": {key: value for key, value in dataset.tags().items() if key in ("product", "unit", "classes")},
            }
    except rasterio.errors.RasterioError as error:
        raise SardinoError(f"{file} cannot be read ({error}): find such files with `sardino tiles verify`") from error


def _values(file: Path, dtype: str, floating: bool, nodata: float | None) -> NDArray[Any]:
    try:
        with rasterio.open(file) as dataset:
            values = dataset.read()
    except rasterio.errors.RasterioError as error:
        raise SardinoError(f"{file} cannot be read ({error}): find such files with `sardino tiles verify`") from error
    if not floating:
        return values
    out = values.astype(dtype)
    if nodata is not None:
        out[values == nodata] = np.nan
    return out
