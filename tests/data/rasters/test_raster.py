"""A raster in memory: what it means, and what it stores, in whatever order they are asked for."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from sardino.data.rasters.raster import read_raster


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_stored_numbers_can_be_asked_for_after_the_values(tmp_path: Path, dtype: str, scale: float) -> None:
    numbers = np.array([[[-9999, 5], [7, 8]]] * 2, dtype)
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 5e5, 0, -10, 5.5e6), "nodata": -9999}
    path = tmp_path / "s.tif"
    with rasterio.open(path, "w", driver="GTiff", count=2, height=2, width=2, dtype=dtype, **place) as file:
        file.write(numbers)
        file.scales = [scale] * 2
    raster = read_raster(path)
    meant = scale * np.array([[[np.nan, 5], [7, 8]]] * 2, np.float32)
    np.testing.assert_array_equal(raster.values, meant)
    assert raster.values.dtype == np.float32
    np.testing.assert_array_equal(raster.without([7]), np.where(numbers == 7, np.nan, meant))  # a stored number
    np.testing.assert_array_equal(raster.codes[raster.valid], meant[raster.valid])
    np.testing.assert_array_equal(raster.valid, numbers != -9999)
