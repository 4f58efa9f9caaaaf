"""A mosaic of one value a tile: a share, the split or the band of each tile as a raster to look at."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
from rasterio.features import rasterize
from rasterio.transform import Affine

from sardino.errors import SardinoError
from sardino.tiles.contents.geotiff import GeoTiff, write_geotiff
from sardino.tiles.contents.mosaic_grid import mosaic_grid, window_of
from sardino.tiles.table import tiles_in

Progress = Callable[[Iterable[Any]], Iterable[Any]]
_PALETTE = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
"""Colour-blind safe (Paul Tol's bright scheme), for columns of names such as the split."""


def mosaic_values(
    table: geopandas.GeoDataFrame,
    column: str,
    path: Path,
    *,
    crs: str = "",
    resolution: float | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> dict[int, str]:
    """Write one value a tile, for example a class share or the split, as a Cloud-Optimized GeoTIFF.

    Args:
        table: tile table with `column`; numbers become float32 with NaN, names become uint8 codes from 1 on
            with colours, 0 outside.
        resolution: in units of the CRS; the eighth part of a tile by default.

    Returns:
        The name of each code; empty for numbers.
    """
    if column not in table.columns or column == "geometry":
        raise SardinoError(f"the tile table has no column '{column}': it has {', '.join(map(str, table.columns))}")
    tiles, values = tiles_in(table), table[column]
    names: dict[int, str] = {}
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not numeric:
        known = sorted({str(value) for value in values if not pd.isna(value)})
        if len(known) > 254:
            raise SardinoError(f"column '{column}' holds {len(known)} names, more than the 254 that a raster can code")
        names = dict(enumerate(known, start=1))
        code = {name: number for number, name in names.items()}
        values = pd.Series([code.get(str(value), 0) for value in values])
    smallest = min((max(t.shape) for t in tiles), default=1)
    to_crs, transform, shape = mosaic_grid(tiles, crs, resolution, 1 if resolution else max(smallest // 8, 1))
    described = GeoTiff(
        to_crs,
        transform,
        shape,
        [column],
        "float32" if numeric else "uint8",
        math.nan if numeric else 0,
        {number: _PALETTE[(number - 1) % len(_PALETTE)] for number in names},
        {f"class_{number}": name for number, name in names.items()},
    )
    with write_geotiff(path, described, overwrite) as canvas:
        for tile, value in progress(list(zip(tiles, values, strict=True))):
            row, column_at, size, corner = window_of(tile, to_crs, transform)
            outline = tile.footprint_in(to_crs)
            inside = rasterize([(outline, 1)], out_shape=size, transform=Affine(*corner), dtype="uint8")
            canvas.lay(np.where(inside, float(value), described.nodata)[None], row, column_at)
    return names
