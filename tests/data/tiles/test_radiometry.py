"""Units: decibels and power are inverse, packing is exact to 0.005 dB, missing stays missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sardino.data.tiles.radiometry import CHANNELS, NODATA, one_season, pack, seasonal_stack, to_db, to_power, unpack
from sardino.errors import SardinoError

decibels = arrays(
    np.float32, array_shapes(max_dims=3, max_side=5), elements=st.floats(-60, 40, width=32) | st.just(np.float32("nan"))
)


@given(decibels)
def test_decibels_to_power_and_back(db: np.ndarray) -> None:
    np.testing.assert_allclose(to_db(to_power(db)), db, atol=1e-3, equal_nan=True)


@given(decibels)
def test_packing_loses_at_most_half_a_count_and_no_missing_pixel(db: np.ndarray) -> None:
    again = unpack(pack(db))
    assert again.dtype == np.float32
    assert (np.isnan(again) == np.isnan(db)).all()
    np.testing.assert_allclose(again, db, atol=0.0051, equal_nan=True)


@given(st.floats(400, 1e6))
def test_packing_saturates_instead_of_wrapping(db: float) -> None:
    assert pack(np.array([db, -db])).tolist() == [32767, -32767]


def test_power_without_a_logarithm_is_missing() -> None:
    assert np.isnan(to_db(np.array([0.0, -1.0, np.nan]))).all()
    assert pack(np.array([np.nan]))[0] == NODATA


@given(arrays(np.float32, (2, 4, 2, 3), elements=st.floats(0.125, 10, width=32)))
def test_the_difference_channel_is_the_difference_of_its_neighbours(power: np.ndarray) -> None:
    stack = dict(zip(CHANNELS, seasonal_stack(power[0], power[1]), strict=True))
    for number, season in enumerate(("winter", "spring", "summer", "fall")):
        np.testing.assert_allclose(stack[f"{season}_vv"], to_db(power[0][number]))
        np.testing.assert_allclose(stack[f"{season}_vv-vh"], stack[f"{season}_vv"] - stack[f"{season}_vh"])


def test_one_season_is_drawn_of_those_with_pixels() -> None:
    stack = np.arange(12, dtype=np.float32)[:, None, None].repeat(2, 1)
    assert [one_season(CHANNELS, stack, draw).ravel().tolist() for draw in (0, 3, 6)] == [
        [0, 0, 1, 1], [9, 9, 10, 10], [6, 6, 7, 7]
    ]  # fmt: skip
    stack[[0, 4]] = np.nan  # no VV in winter, no VH in spring
    assert {float(one_season(CHANNELS, stack, draw)[0, 0, 0]) for draw in range(8)} == {6, 9}
    assert one_season(("vh", "vv"), stack[6:8], 5)[:, 0, 0].tolist() == [7, 6]
    assert np.isnan(one_season(("vv", "vh"), stack[[0, 4]], 1)).all()
    with pytest.raises(SardinoError, match="no season has VV and VH among summer_vv, fall_vh"):
        one_season(("summer_vv", "fall_vh"), stack[:2], 0)
