"""Warping: classes stay classes, decibels are mixed in power, and pixels that coincide are found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sardino.data.rasters.warp import Grid, resample
from sardino.data.tiles.radiometry import to_db, to_power
from sardino.errors import SardinoError

UTM = "EPSG:32631"


def at(x: float, y: float, step: float) -> tuple[float, float, float, float, float, float]:
    return (step, 0.0, x, 0.0, -step, y)


FINE, COARSE = Grid(UTM, at(0, 200, 10), (20, 20)), Grid(UTM, at(0, 200, 100), (2, 2))


@given(st.integers(-50, 50), st.integers(-50, 50), st.sampled_from([0.00083, 10.0, 93.1]))
def test_a_shifted_grid_is_found_where_it_lies(column: int, row: int, step: float) -> None:
    def place(x: float, y: float, step: float, crs: str = UTM) -> tuple[int, int] | None:
        return Grid(crs, at(x, y, step), (40, 30)).place_in(base)

    base = Grid(UTM, at(4.5e5, 5.2e6, step), (50, 50))
    assert place(4.5e5 + column * step, 5.2e6 - row * step, step) == (row, column)
    assert place(4.5e5 + (column + 0.3) * step, 5.2e6 - row * step, step) is None
    assert place(4.5e5, 5.2e6, step * 1.001) is None
    assert place(4.5e5, 5.2e6, step, "EPSG:32632") is None


def test_decibels_are_averaged_in_power() -> None:
    db = np.random.default_rng(0).normal(-12, 5, (1, 20, 20)).astype(np.float32)
    coarse = resample(db, FINE, COARSE, "db")
    blocks = to_power(db[0]).reshape(2, 10, 2, 10).mean((1, 3))
    np.testing.assert_allclose(coarse[0], to_db(blocks), atol=1e-3)
    assert (coarse[0] - db[0].reshape(2, 10, 2, 10).mean((1, 3)) > 1).all()


def test_amplitudes_are_averaged_in_power_and_others_as_they_are() -> None:
    values = np.random.default_rng(1).uniform(1, 900, (1, 20, 20)).astype(np.uint16)
    blocks = values[0].astype(float).reshape(2, 10, 2, 10)
    amplitude, plain = (resample(values, FINE, COARSE, kind)[0] for kind in ("amplitude", "values"))
    np.testing.assert_allclose(amplitude, np.sqrt((blocks**2).mean((1, 3))), rtol=1e-4)
    np.testing.assert_allclose(plain, blocks.mean((1, 3)), rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([7.0, 10.0, 33.0]))
def test_no_class_appears_that_was_not_there(seed: int, step: float) -> None:
    codes = np.random.default_rng(seed).choice([10, 40, 80], (1, 30, 30)).astype(np.uint8)
    here, there = Grid(UTM, at(5e5, 5.5e6, 10), (30, 30)), Grid("EPSG:3035", at(3.64e6, 2.96e6, step), (60, 60))
    out = resample(codes, here, there, "classes", 0)
    assert out.dtype == np.uint8 and set(np.unique(out)) <= {0, 10, 40, 80}


def test_missing_pixels_take_no_part() -> None:
    db = np.full((1, 20, 20), -10, np.float32)
    db[0, :10, :9] = np.nan
    db[0, 10:, 10:] = np.nan
    coarse = resample(db, FINE, COARSE, "db")[0]
    np.testing.assert_allclose(coarse[0], [-10, -10], atol=1e-3)
    assert np.isnan(coarse[1, 1])


@pytest.mark.parametrize("kind", ["classes", "db", "amplitude", "values"])
def test_pixels_that_coincide_are_copied_whatever_they_mean(kind: str) -> None:
    values = np.random.default_rng(2).normal(-12, 5, (2, 20, 20)).astype(np.float32)
    out = resample(values, FINE, Grid(UTM, at(-30, 250, 10), (9, 23)), kind, np.nan)  # type: ignore[arg-type]
    np.testing.assert_array_equal(out[:, 5:, 3:], values[:, :4])
    assert np.isnan(out[:, :5]).all() and np.isnan(out[:, :, :3]).all()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SardinoError, match="classes, db, amplitude, values, not 'mood'"):
        resample(np.zeros((1, 2, 2), np.float32), COARSE, COARSE, "mood")  # type: ignore[arg-type]
