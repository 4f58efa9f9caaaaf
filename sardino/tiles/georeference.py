"""Maps coarser than their tile, such as attention over patches, as labelled arrays in their place on the earth."""

import numpy as np
import rioxarray  # noqa: F401  # gives every xarray object its `rio`
import xarray as xr
from numpy.typing import NDArray
from rasterio.transform import Affine

from sardino.errors import SardinoError
from sardino.tiles.grid import Tile


def georeferenced(maps: NDArray[np.floating], tile: Tile, name: str = "attention", band: str = "head") -> xr.DataArray:
    """Maps over a tile with the coordinates of their cells' centres, CRS and transform; `.rio.to_raster` writes them.

    Args:
        maps: (heads, h, w), each covering the tile in h x w equal cells.
        tile: where it lies; a tile without a CRS gives an array without one.
        name: of the quantity.
        band: name of the first dimension; its labels count from 1, as the figures do.

    Returns:
        (head, y, x), north up.

    Raises:
        SardinoError: maps that are not three-dimensional, or whose cells are not whole pixels of the tile.
    """
    if maps.ndim != 3 or tile.shape[0] % maps.shape[1] or tile.shape[1] % maps.shape[2]:
        raise SardinoError(f"maps of {maps.shape} do not divide a tile of {tile.shape} pixels into equal cells")
    a, _, c, _, e, f = tile.transform
    cell = Affine(a * tile.shape[1] / maps.shape[2], 0, c, 0, e * tile.shape[0] / maps.shape[1], f)
    x = cell.c + cell.a * (np.arange(maps.shape[2]) + 0.5)
    y = cell.f + cell.e * (np.arange(maps.shape[1]) + 0.5)
    array = xr.DataArray(
        maps, dims=(band, "y", "x"), coords={band: np.arange(1, len(maps) + 1), "y": y, "x": x}, name=name
    )
    array = array.rio.write_transform(cell)
    return array.rio.write_crs(tile.crs) if tile.crs else array
