"""Many intervals at once are the ones of each score alone."""

import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import band_means, band_ratios

BANDS = np.repeat(np.arange(6), 5)


@pytest.fixture()
def values() -> np.ndarray:
    values = np.random.default_rng(0).normal(0.3, 0.1, (4, 30))
    values[1, :5], values[2, ::7], values[3] = np.nan, np.nan, np.nan
    return values


def test_rows_are_judged_one_by_one_and_without_their_missing_tiles(values: np.ndarray) -> None:
    found = band_means(values, BANDS, np.random.default_rng(0))
    np.testing.assert_allclose(found[:3, 0], np.nanmean(values[:3], axis=1))
    assert (found[:3, 1] < found[:3, 0]).all() and (found[:3, 0] < found[:3, 2]).all()
    assert np.isnan(found[3]).all()
    alone = band_means(values[:1], BANDS, np.random.default_rng(0))
    np.testing.assert_allclose(band_means(values[[0, 0]], BANDS, np.random.default_rng(0)), alone[[0, 0]])


def test_a_ratio_weighs_tiles_by_their_denominator() -> None:
    number, weight = np.array([[1.0, 1, 6]]), np.array([[1.0, 2, 3]])
    value, low, high = band_ratios(number, weight, np.arange(3), np.random.default_rng(0))[0]
    assert value == pytest.approx(8 / 6) and low < value < high


def test_one_band_has_a_mean_and_no_interval() -> None:
    found = band_means(np.array([[0.1, 0.3]]), np.zeros(2, int), np.random.default_rng(0))
    np.testing.assert_allclose(found, [[0.2, np.nan, np.nan]])


def test_a_band_for_each_tile_is_needed(values: np.ndarray) -> None:
    with pytest.raises(SardinoError, match="band per tile"):
        band_means(values, BANDS[:4], np.random.default_rng(0))
