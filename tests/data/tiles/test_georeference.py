"""Maps over patches keep their place on the earth, also through a file."""

import numpy as np
import pytest
import rioxarray
from rasterio.transform import Affine

from sardino.data.tiles.tile import Tile, georeferenced
from sardino.errors import SardinoError

UTM = Tile("europe", "EPSG:32631", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_600_000.0), (96, 64))
DEGREES = Tile("pakistan", "EPSG:4326", (0.0001, 0.0, 71.5, 0.0, -0.00009, 30.25), (96, 64))


@pytest.mark.parametrize("tile", [UTM, DEGREES])
def test_cells_cover_the_tile_and_come_back_from_a_geotiff(tile, tmp_path):
    maps = np.arange(3 * 12 * 8, dtype=np.float32).reshape(3, 12, 8)
    array = georeferenced(maps, tile)
    assert array.dims == ("head", "y", "x") and array["head"].values.tolist() == [1, 2, 3]
    np.testing.assert_allclose(array.rio.bounds(), tile.bounds, rtol=1e-12)
    assert array["x"][0] == pytest.approx(tile.bounds[0] + 4 * tile.transform[0], abs=1e-9)
    array.rio.to_raster(tmp_path / "a.tif")
    with rioxarray.open_rasterio(tmp_path / "a.tif") as again:
        assert again.rio.crs == array.rio.crs
        np.testing.assert_allclose(tuple(again.rio.transform())[:6], tuple(array.rio.transform())[:6], rtol=1e-12)
        np.testing.assert_array_equal(again.values, maps)


def test_a_place_without_a_crs_stays_without_one():
    array = georeferenced(np.zeros((1, 2, 2)), Tile("", "", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), (4, 4)))
    assert array.rio.crs is None and array.rio.transform() == Affine(2, 0, 0, 0, -2, 0)


def test_cells_must_divide_the_tile():
    with pytest.raises(SardinoError, match="do not divide"):
        georeferenced(np.zeros((1, 5, 8)), UTM)
