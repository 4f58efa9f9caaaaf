"""A raster as a Zarr store that xarray opens with its place: written piece by piece, whole or not at all."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr
import zarr
from numpy.typing import NDArray

from sardino.data.rasters.geotiff import GeoTiff
from sardino.files import writing


def write_zarr(path: Path, what: GeoTiff, pieces: Iterable[tuple[int, int, NDArray[Any]]], name: str) -> None:
    """Write a raster of floats, NaN where there is no data, as the variable `name` over (band, y, x).

    `pieces`: row, column and (bands, h, w) values; a chunk holds all bands of a square. An older store goes first.
    """
    a, _, left, _, e, top = what.transform
    rows, columns = what.shape
    axes = {"y": top + e * (np.arange(rows) + 0.5), "x": left + a * (np.arange(columns) + 0.5)}
    names = np.array(what.bands, dtype=object)  # of any length: Zarr 3 specifies no others
    place = xr.Dataset(coords={"band": names, **axes}, attrs=what.tags)
    place = place.rio.write_crs(what.crs).rio.write_transform()
    partial = path.with_name(f".{path.name}.partial")  # one name, so that the next run removes what a killed one left
    shutil.rmtree(partial, ignore_errors=True)
    shape, side = (len(what.bands), rows, columns), what.block
    try:
        with writing(path):
            place.to_zarr(partial, zarr_format=3, consolidated=False)
            array = zarr.open_group(partial, mode="r+").create_array(
                name,
                shape=shape,
                chunks=(shape[0], min(side, rows), min(side, columns)),
                dtype=what.dtype,
                fill_value=what.nodata,
                dimension_names=("band", "y", "x"),
                attributes={"grid_mapping": "spatial_ref"},
            )
            for row, column, values in pieces:
                array[:, row : row + values.shape[1], column : column + values.shape[2]] = values
            if path.exists():
                shutil.rmtree(path)
            os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
