"""The grid: every pixel covered once, and an id that belongs to the place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import unary_union

from sardino.data.tiles.tile import Tile, tile_grid
from sardino.errors import SardinoError

ORIGIN = (500_000.0, 5_500_000.0)


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
