"""Partitions: true pixels, no overlap, the same place the same tile; and what is left out is known."""

import math

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from tile_overlaps import shared_ground

from sardino.data.places.area import Aoi
from sardino.data.places.ground import Ground
from sardino.data.places.partitions import (
    INSCRIBED,
    KEEP,
    Keep,
    hexagons,
    random_rectangles,
    square_grid,
    tiles_of_polygons,
)
from sardino.data.places.utm import crs_at, nominal_m, reproject, zone_of
from sardino.data.tiles.table import tile_table
from sardino.errors import SardinoError

GEOD = Geod(ellps="WGS84")
SIZES = st.sampled_from([448, 1000])


def around(longitude: float, latitude: float, wide: float = 0.5, high: float = 0.3) -> Aoi:
    return Aoi("here", shapely.box(longitude - wide, latitude - high, longitude + wide, latitude + high))


@settings(max_examples=25, deadline=None)
@given(st.integers(-29, 29), st.floats(-75, 78), SIZES, st.floats(-0.3, 0.3))
def test_no_two_tiles_share_ground_where_zones_meet(border: int, latitude: float, size: int, shift: float) -> None:
    tiles = square_grid(around(6.0 * border + shift, latitude, 0.4 / np.cos(np.radians(latitude)), 0.4), size)
    assert shared_ground(tiles) == []
    assert len(Ground(tiles).overlaps()) == 0
    for tile in tiles:
        longitude, latitude = reproject(shapely.Point(tile.centre), tile.crs, "EPSG:4326").coords[0]
        assert crs_at(longitude, latitude) == tile.crs


@settings(max_examples=20, deadline=None)
@given(st.floats(-179, 179), st.floats(-78, 82))
def test_a_pixel_is_ten_metres_everywhere(longitude: float, latitude: float) -> None:
    for tile in square_grid(around(longitude, latitude, 0.2 / np.cos(np.radians(latitude)), 0.15))[:3]:
        west, north = reproject(shapely.Point(tile.bounds[0], tile.bounds[3]), tile.crs, "EPSG:4326").coords[0]
        east, same = reproject(shapely.Point(tile.bounds[2], tile.bounds[3]), tile.crs, "EPSG:4326").coords[0]
        assert GEOD.inv(west, north, east, same)[2] / tile.shape[1] == pytest.approx(10, rel=0.0012)


def test_the_sliver_between_two_zones_is_less_than_two_tiles_wide() -> None:
    tiles = square_grid(around(6.0, 50.0, 0.6, 0.5))
    cover = shapely.union_all(tile_table(tiles).geometry.to_numpy()).buffer(1e-6)
    tile_deg = 4480 / (111_320 * np.cos(np.radians(50)))
    gaps = []
    for latitude in np.linspace(49.6, 50.4, 60):
        line = shapely.LineString([(5.6, latitude), (6.4, latitude)])
        gaps += [part.length / tile_deg for part in shapely.get_parts(line.difference(cover))]
    assert 0 < max(gaps) < 2 and np.sum(gaps) / 60 < 1


@pytest.mark.parametrize(("longitude", "latitude"), [(6.0, 50.0), (-60.0, 0.0), (24.0, -33.0)])
def test_a_place_has_the_same_tile_in_every_area(longitude: float, latitude: float) -> None:
    large = {tile.id for tile in square_grid(around(longitude, latitude, 0.6, 0.5))}
    small = {tile.id for tile in square_grid(around(longitude + 0.02, latitude - 0.03, 0.2, 0.2))}
    assert small and small < large


def test_the_equator_and_the_south_are_tiled_without_a_gap() -> None:
    tiles = square_grid(around(-63.0, 0.0, 0.3, 0.3))
    assert {tile.crs for tile in tiles} == {"EPSG:32620", "EPSG:32720"}
    cover = shapely.union_all(tile_table(tiles).geometry.to_numpy())
    line = shapely.LineString([(-63.0, -0.2), (-63.0, 0.2)])
    assert line.difference(cover.buffer(1e-7)).length == 0


@pytest.mark.parametrize("keep", KEEP)
def test_no_tile_reaches_over_the_antimeridian(keep: Keep) -> None:
    tiles = square_grid(Aoi.load("179.5,-17,-179.5,-16.5"), keep=keep)
    assert {tile.crs for tile in tiles} == {"EPSG:32760", "EPSG:32701"}
    for outline in tile_table(tiles).geometry:
        assert outline.bounds[2] - outline.bounds[0] < 0.1


def test_one_crs_for_all_tiles() -> None:
    tiles = square_grid(around(6.0, 50.0), crs="EPSG:3035")
    assert {tile.crs for tile in tiles} == {"EPSG:3035"} and shared_ground(tiles) == []
    for wrong in ("EPSG:4326", "EPSG:2263", "nonsense"):
        with pytest.raises(SardinoError, match=r"metres|no coordinate system"):
            square_grid(around(6.0, 50.0), crs=wrong)


def test_what_to_keep() -> None:
    area = Aoi.load("luxembourg")
    within, centre, touching = ({t.id: t for t in square_grid(area, keep=k)} for k in ("within", "centre", "touching"))
    assert set(within) < set(centre) < set(touching)
    inside = tile_table(list(within.values())).geometry
    assert shapely.covers(area.polygon.buffer(1e-4), inside.to_numpy()).all()
    missed = area.polygon.difference(shapely.union_all(tile_table(list(touching.values())).geometry.to_numpy()))
    assert missed.area < 0.1 * area.polygon.area  # the sliver at six degrees east


def test_areas_that_hold_no_tile_are_refused() -> None:
    with pytest.raises(SardinoError, match=r"no tile of 4\.48 km lies inside the area 'here'"):
        square_grid(around(5.0, 50.0, 0.02, 0.02))
    with pytest.raises(SardinoError, match="UTM from -80 to 84"):
        square_grid(around(5.0, 86.0))
    with pytest.raises(SardinoError, match="more than 5,000,000 tiles"):
        square_grid(around(5.0, 50.0, 2, 20), size_px=16)
    with pytest.raises(SardinoError, match="at least one pixel"):
        square_grid(around(5.0, 50.0), size_px=0)


@settings(max_examples=10, deadline=None)
@given(st.integers(-29, 29), st.floats(-70, 75), st.integers(0, 9), st.floats(2500, 9000), st.sampled_from(KEEP))
def test_random_rectangles_never_overlap(border: int, latitude: float, seed: int, largest: float, keep: Keep) -> None:
    area = around(6.0 * border + 0.1, latitude, 0.4, 0.2)
    tiles = random_rectangles(area, largest, keep=keep, seed=seed)
    assert shared_ground(tiles) == []
    assert max(max(tile.shape) for tile in tiles) <= largest / 10
    assert tiles == random_rectangles(area, largest, keep=keep, seed=seed)


@pytest.mark.parametrize("keep", KEEP)
def test_hexagons_never_overlap_where_zones_meet(keep: Keep) -> None:
    tiles, _ = hexagons(around(6.0, 50.0), 200, keep=keep)
    assert shared_ground(tiles) == [] and len({tile.crs for tile in tiles}) == 2


def test_random_rectangles_cover_a_box_and_follow_the_seed() -> None:
    area = around(3.0, 50.0)
    tiles = random_rectangles(area, 3000, keep="touching")
    cover = shapely.union_all(tile_table(tiles).geometry.to_numpy())
    assert shapely.covers(cover.buffer(1e-4), area.polygon)
    assert tiles != random_rectangles(area, 3000, keep="touching", seed=1)
    fixed = random_rectangles(area, 3000, size_px=128)
    assert {tile.shape for tile in fixed} == {(128, 128)} and shared_ground(fixed) == []
    with pytest.raises(SardinoError, match="need two pixels"):
        random_rectangles(area, 10)


def test_hexagons_are_as_far_from_each_of_six_neighbours() -> None:
    tiles, cells = hexagons(around(3.0, 50.0), 200)
    assert shared_ground(tiles) == [] and len(cells) == len(tiles)
    centres = np.array([tile.centre for tile in tiles])
    middle = centres[np.linalg.norm(centres - centres.mean(0), axis=1).argmin()]
    six = np.sort(np.linalg.norm(centres - middle, axis=1))[1:7]
    assert six == pytest.approx(np.full(6, 2000 / INSCRIBED * np.sqrt(3)), abs=15)
    outlines = tile_table(tiles).geometry.to_numpy()
    assert shapely.covers(shapely.buffer(cells, 2e-4), outlines).all()
    covering, _ = hexagons(around(3.0, 50.0), 200, fit="around", keep="touching")
    cover = shapely.union_all(tile_table(covering).geometry.to_numpy())
    assert shapely.covers(cover.buffer(1e-4), around(3.0, 50.0).polygon) and shared_ground(covering)


def test_tiles_of_polygons() -> None:
    shapes = [shapely.Point(5.5 + 0.1 * n, 50.0).buffer(0.03 + 0.005 * n) for n in range(9)]
    polygons = geopandas.GeoDataFrame({"name": [f"n{n}" for n in range(9)]}, geometry=shapes, crs="EPSG:4326")
    area = Aoi("here", shapely.box(5.45, 49.9, 6.15, 50.1))
    tiles, rows = tiles_of_polygons(polygons, area)
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    outlines = tile_table(tiles).geometry.to_numpy()
    assert shapely.covers(shapely.buffer(outlines, 2e-4), np.array(shapes)[rows]).all()
    assert {zone_of(tile.crs) for tile in tiles} == {(31, True), (32, True)}
    squares, _ = tiles_of_polygons(polygons, area, size_px=448)
    assert {tile.shape for tile in squares} == {(448, 448)}
    with pytest.raises(SardinoError, match="none of the 9 polygons"):
        tiles_of_polygons(polygons, around(20, 20))
    wide = geopandas.GeoDataFrame(geometry=[shapely.box(-20, 40, 20, 60)], crs="EPSG:4326")
    with pytest.raises(SardinoError, match="too wide for a UTM zone"):
        tiles_of_polygons(wide, area)


@given(st.floats(-180, 180), st.booleans())
def test_zones_have_numbers_and_names(longitude: float, north: bool) -> None:
    zone = zone_of(crs_at(longitude, 1.0 if north else -1.0))
    assert zone is not None and zone.north == north and zone_of(zone.crs) == zone
    number = zone.number
    assert 1 <= number <= 60
    assert -3 - 1e-9 <= (longitude - (6 * number - 183) + 180) % 360 - 180 <= 3 + 1e-9


def test_other_crs_are_no_zones() -> None:
    assert zone_of("EPSG:3035") is zone_of("EPSG:32661") is zone_of("") is None


@given(size=st.sampled_from([1, 2, 5, 10, 20, 100]), scale=st.floats(0.9996, 1.001), odd=st.floats(0.3, 3000))
def test_a_pixel_size_is_told_as_it_is_called(size: float, scale: float, odd: float) -> None:
    assert nominal_m(size * scale) == pytest.approx(size)
    assert nominal_m(8.271) == 8.271 and nominal_m(8.271, math.inf) == 10
    assert f"{nominal_m(odd, math.inf):.0e}"[0] in "125" and nominal_m(odd) == pytest.approx(odd, rel=0.0051)
