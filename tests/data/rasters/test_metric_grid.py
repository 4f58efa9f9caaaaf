"""Scenes of other grids, read on a metric one: what GDAL makes of all their linear power, in any window."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, from_gcps
from rasterio.warp import Resampling, reproject

from sardino.data.rasters.metric_grid import metric_grid, warped
from sardino.data.rasters.warp import Grid
from sardino.data.tiles.radiometry import to_db, to_power
from sardino.errors import SardinoError

UTM, SHAPE = "EPSG:32631", (210, 170)


def turned(degrees: float) -> tuple[float, ...]:
    return tuple(Affine.translation(5.2e5, 5.6e6) * Affine.rotation(degrees) * Affine.scale(10, -10))[:6]


def by_gcps(transform: tuple[float, ...]) -> Grid:
    """The same place, known by points alone."""
    across = Affine(*transform)
    places = [(row, column) for row in (0, 100, 210) for column in (0, 85, 170)]
    points = [GroundControlPoint(row, column, *(across @ (column, row))) for row, column in places]
    return Grid(UTM, tuple(from_gcps(points))[:6], SHAPE, tuple(points))


GRIDS = {
    "degrees": Grid("EPSG:4326", (1.4e-4, 0, 3.1, 0, -0.9e-4, 50.4), SHAPE),
    "south up": Grid("EPSG:4326", (1.4e-4, 0, 3.1, 0, 0.9e-4, 50.4), SHAPE),
    "coarse": Grid(UTM, (20, 0, 5.2e5, 0, -20, 5.6e6), SHAPE),
    "another zone": Grid("EPSG:32630", (20, 0, 7.9e5, 0, -20, 5.6e6), SHAPE),
    "another projection": Grid("EPSG:3857", (15.5, 0, 3.4e5, 0, -15.5, 6.5e6), SHAPE),
    "rotated": Grid(UTM, turned(11), SHAPE),
    "rotated by points": by_gcps(turned(-23)),
}


def at_once(db: np.ndarray, there: Grid, here: Grid) -> np.ndarray:
    place = {"gcps": there.gcps} if there.gcps else {"src_transform": Affine(*there.transform)}
    out = np.full((len(db), *here.shape), np.nan)
    for plane, made in zip(db, out, strict=True):
        reproject(
            to_power(plane).astype(float),
            made,
            **place,
            src_crs=there.crs,
            dst_crs=here.crs,
            dst_transform=Affine(*here.transform),
            src_nodata=math.nan,
            dst_nodata=math.nan,
            resampling=Resampling.bilinear,
            XSCALE=1,  # else GDAL takes a scale from the outlines, which differ where a grid is rotated
            YSCALE=1,
        )
    return to_db(out)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(GRIDS)), st.integers(0, 2**32 - 1))
def test_any_window_holds_what_reprojecting_linear_power_gives(name: str, seed: int) -> None:
    draw, there = np.random.default_rng(seed), GRIDS[name]
    db = draw.normal(-12, 4, (2, *SHAPE))
    db[0, 20:50, 30:90] = db[1, 120:, 60:61] = np.nan
    here = metric_grid(there, 10.0)
    read = warped(lambda top, bottom, left, right: db[:, top:bottom, left:right], there, here, "db", 2)
    (top, bottom), (left, right) = (np.sort(draw.choice(size + 1, 2, replace=False)) for size in here.shape)
    wanted = at_once(db, there, here)[:, top:bottom, left:right]
    np.testing.assert_allclose(read(top, bottom, left, right), wanted, atol=1e-4)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_a_metric_grid_holds_the_other_and_little_more(name: str) -> None:
    there = GRIDS[name]
    here = metric_grid(there, 10.0)
    assert here.crs == (there.crs if name == "coarse" else "EPSG:32631") or name == "another zone"
    rows, columns = (np.array(places) for places in there.in_pixels(*there.outline(), there.crs)[::-1])
    np.testing.assert_allclose([rows.min(), rows.max(), columns.min(), columns.max()], [0, 210, 0, 170], atol=1e-3)
    columns, rows = here.in_pixels(*there.outline(), there.crs)
    for places, size in ((rows, here.shape[0]), (columns, here.shape[1])):
        assert -1e-3 <= places.min() < 1 and size - 1 <= places.max() + 1e-3 <= size + 2e-3
    if name != "coarse":
        assert all(edge % 10 == 0 for edge in (here.transform[2], here.transform[5]))


def test_finer_pixels_are_averaged_in_power() -> None:
    there = Grid(UTM, (5.0, 0, 5.2e5, 0, -5.0, 5.6e6), (400, 300))
    db = np.random.default_rng(1).normal(-12, 4, (1, 400, 300)).astype(np.float32)
    here = metric_grid(there, 10.0)
    made = warped(lambda top, bottom, left, right: db[:, top:bottom, left:right], there, here, "db", 1)(0, 200, 0, 150)
    blocks = to_power(db[0]).reshape(200, 2, 150, 2).mean((1, 3))
    np.testing.assert_allclose(made[0], to_db(blocks), atol=1e-3)


def test_a_scene_across_the_antimeridian_keeps_all_its_pixels() -> None:
    there = Grid("EPSG:4326", (1.4e-4, 0, 179.99, 0, -0.9e-4, 50.4), SHAPE)
    here = metric_grid(there, 10.0)
    read = warped(lambda top, bottom, left, right: np.ones((1, bottom - top, right - left)), there, here, "db", 1)
    assert np.isfinite(read(0, here.shape[0], 0, here.shape[1])).sum() == pytest.approx(math.prod(SHAPE), rel=0.02)


def test_what_no_zone_holds_is_refused() -> None:
    with pytest.raises(SardinoError, match=r"^world.tif of 360 x .* reaches beyond EPSG:326\d\d: cut it first"):
        metric_grid(Grid("EPSG:4326", (1.0, 0, -180, 0, -1.0, 90), (180, 360)), 10.0, "world.tif")
