"""Tiles: each pixel of a grid covered once, an id that is the place, chips of one size, maps in their place."""

import numpy as np
import pytest
import rioxarray
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine
from shapely import unary_union

from sardino.data.tiles.tile import LAYERS, Chip, Tile, georeferenced, tile_grid
from sardino.errors import SardinoError

ORIGIN = (500_000.0, 5_500_000.0)
DB = np.zeros((2, 8, 8), np.float32)
LABEL = np.zeros((8, 8), np.uint8)
UTM = Tile("europe", "EPSG:32631", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_600_000.0), (96, 64))
DEGREES = Tile("pakistan", "EPSG:4326", (0.0001, 0.0, 71.5, 0.0, -0.00009, 30.25), (96, 64))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(8, 64), st.sampled_from([5.0, 10.0, 20.0]))
def test_tiles_cover_the_area_once(columns: int, rows: int, size_px: int, gsd_m: float) -> None:
    tiles = list(tile_grid("region", "EPSG:32631", ORIGIN, size_px, gsd_m, columns, rows))
    whole = unary_union([tile.footprint for tile in tiles])
    edge = size_px * gsd_m
    assert whole.area == pytest.approx(columns * rows * edge**2)
    assert sum(tile.footprint.area for tile in tiles) == pytest.approx(whole.area)
    assert whole.bounds == pytest.approx((ORIGIN[0], ORIGIN[1] - rows * edge, ORIGIN[0] + columns * edge, ORIGIN[1]))
    assert len({tile.id for tile in tiles}) == len(tiles)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_the_same_place_has_the_same_id_whatever_the_region_is_called(x: float, y: float) -> None:
    one, other = (Tile(name, "EPSG:32631", (10, 0, x, 0, -10, y), (8, 8)) for name in ("a", "b"))
    moved = Tile("a", "EPSG:32631", (10, 0, x + 10, 0, -10, y), (8, 8))
    assert one.id == other.id != moved.id


def test_without_a_crs_the_region_tells_places_apart() -> None:
    one, other = (Tile(name, "", (1, 0, 0, 0, -1, 0), (8, 8)) for name in ("a", "b"))
    assert one.id != other.id


def test_the_footprint_in_degrees_lies_where_the_zone_says() -> None:
    tile = next(tile_grid("region", "EPSG:32631", ORIGIN, 448, 10.0, 1, 1))
    west, south, east, north = tile.footprint_in("EPSG:4326").bounds
    assert west == pytest.approx(3.0, abs=1e-4) and north == pytest.approx(49.65, abs=0.01)
    assert (north - south) * 111.2 == pytest.approx(4.48, rel=0.01) and east > west


@pytest.mark.parametrize("transform", [(10, 1, 0, 0, -10, 0), (10, 0, 0, 0, 10, 0), (-10, 0, 0, 0, -10, 0)])
def test_a_rotated_or_south_up_tile_is_refused(transform: tuple[float, ...]) -> None:
    with pytest.raises(SardinoError, match="warp the raster"):
        Tile("region", "EPSG:32631", transform, (8, 8))


def test_an_empty_tile_is_refused() -> None:
    with pytest.raises(SardinoError, match="empty"):
        Tile("region", "EPSG:32631", (10, 0, 0, 0, -10, 0), (0, 8))


def test_planes_of_one_size_are_accepted_under_every_known_name() -> None:
    layers = {name: np.zeros((3, 8, 8) if name == "optical" else (8, 8), np.uint8) for name in LAYERS}
    assert Chip(DB, LABEL, layers).layers.keys() == LAYERS.keys()


@pytest.mark.parametrize(("db", "label"), [(DB[0], LABEL), (DB, LABEL[:4]), (DB, LABEL[None])])
def test_another_shape_is_refused(db: np.ndarray, label: np.ndarray) -> None:
    with pytest.raises(SardinoError, match="one size"):
        Chip(db, label)


@pytest.mark.parametrize("layers", [{"biomass_t_ha": np.zeros((4, 4))}, {"height": np.zeros((8, 8))}])
def test_a_layer_that_does_not_fit_is_refused(layers: dict[str, np.ndarray]) -> None:
    with pytest.raises(SardinoError, match="does not fit"):
        Chip(DB, LABEL, layers)


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
