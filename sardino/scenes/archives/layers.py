"""The reference layers that the archives hold, in the units of a store."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.scenes.archives.raster import ArchiveRaster, read_archive_raster, tile_file
from sardino.scenes.source import LeftOut
from sardino.tiles.contents.resampling import resample
from sardino.tiles.grid import Tile

LAYER_DATASETS = {
    "optical": "s2rgbm",
    "vegetation_percent": "modis44b006veg",
    "biomass_t_ha": "biomass",
    "built_percent": "ghsbuilts",
}
"""Layer and the data set that it is read from, named with its year behind it, or without."""
MODIS_WATER = 200
CELL_M2 = 10_000
"""GHS-BUILT-S counts square metres per cell of 100 m."""


def read_layer(
    layer: str, folder: Path, identifier: str, tile: Tile, year: int, month: int
) -> tuple[NDArray[Any], list[str]]:
    """One reference layer on the tile's grid; where the archive lacks it, it is missing and that is said.

    Args:
        layer: key of LAYER_DATASETS.
        folder: of the data set.
        identifier: of the tile.
        tile: the grid wanted.
        year: picks the band of a file with several years.
        month: picks the bands of the optical composites.

    Returns:
        The layer as a store holds it, and sentences about what is missing.
    """
    try:
        path = tile_file(folder, identifier)
        planes, raster = _planes(layer, path, year, month)
    except LeftOut as error:
        empty: NDArray[Any] = np.full(tile.shape, np.nan, np.float32)
        if layer == "optical":
            empty = np.zeros((3, *tile.shape), np.uint8)
        return empty, [f"{layer} is missing: {error}"]
    warped = resample(planes, raster.crs, raster.transform, tile.crs, tile.transform, tile.shape, "values")
    if layer == "optical":
        return np.nan_to_num(warped, nan=0).round().clip(0, 255).astype(np.uint8), []
    return warped[0].astype(np.float32), []


def _planes(layer: str, path: Path, year: int, month: int) -> tuple[NDArray[np.float32], ArchiveRaster]:
    variable = "agb" if layer == "biomass_t_ha" and path.suffix == ".nc" else ""
    raster = read_archive_raster(path, variable)
    values = raster.values.astype(np.float32)
    if raster.nodata is not None:
        values[raster.values == raster.nodata] = np.nan
    if layer == "optical":
        values = values[[_band(raster, f"{month:02d}_{colour}") for colour in ("red", "green", "blue")]]
        return np.where((values == 0).all(0), np.float32(np.nan), values), raster
    if layer == "vegetation_percent":
        plane = values[_band(raster, f"Percent_Tree_Cover_{year}")]
        # 200 is water, where nothing grows; 253 is fill.
        plane = np.where(plane == MODIS_WATER, np.float32(0), plane)
        return np.where(plane <= 100, plane, np.float32(np.nan))[None], raster
    if layer == "built_percent":
        plane = values[0] * np.float32(100 / CELL_M2)
        return np.where(plane <= 100, plane, np.float32(np.nan))[None], raster
    return np.where(values[0] >= 0, values[0], np.float32(np.nan))[None], raster


def _band(raster: ArchiveRaster, name: str) -> int:
    if name not in raster.names:
        raise LeftOut(
            f"{raster.path} has no band {name}, it holds {', '.join(filter(None, raster.names)) or 'no names'}"
        )
    return raster.names.index(name)
