"""Each statistic of realism on arrays whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import uniform_filter

from sardino.data.tiles.radiometry import to_db
from sardino.errors import SardinoError
from sardino.evaluation.realism import (
    Images,
    class_means,
    coarse_share,
    eight_bit,
    histogram,
    lag_correlation,
    standardised,
    statistics,
    to_correct,
    typical_image,
    typical_looks,
    window_looks,
)


@pytest.fixture()
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def speckled(rng: np.random.Generator, looks: float, shape: tuple[int, ...] = (2, 140, 140)) -> np.ndarray:
    return to_db(rng.gamma(looks, 1 / looks, shape))


@pytest.mark.parametrize("looks", [1.0, 4.4, 66.0])
def test_looks_of_a_homogeneous_surface_are_those_it_was_drawn_with(rng: np.random.Generator, looks: float) -> None:
    found = window_looks(speckled(rng, looks, (4, 210, 210)))
    assert typical_looks(found) == pytest.approx(looks, rel=0.15)
    assert np.percentile(found, 90) > typical_looks(found)


def test_looks_are_a_ratio_that_gain_does_not_touch(rng: np.random.Generator) -> None:
    image = speckled(rng, 4.4)
    assert window_looks(image + 17) == pytest.approx(window_looks(image), rel=1e-4)


def test_edges_and_gaps_do_not_move_the_most_frequent_looks(rng: np.random.Generator) -> None:
    image = speckled(rng, 20, (4, 210, 210))
    plain = typical_looks(window_looks(image))
    image[:, ::40] += 12  # hedges: a third of the windows lie across one
    image[0, :70] = np.nan
    assert typical_looks(window_looks(image)) == pytest.approx(plain, rel=0.15)
    assert len(window_looks(image)) == 3 * 900 + 20 * 30


def test_a_window_with_a_known_answer() -> None:
    power = np.tile([[1.0, 3.0], [3.0, 1.0]], (1, 1, 1))
    assert window_looks(to_db(power), 2) == pytest.approx([4 / (4 / 3)], rel=1e-5)
    with pytest.raises(SardinoError, match="window_px"):
        window_looks(np.zeros((1, 9, 9)))
    with pytest.raises(SardinoError, match="does not fit"):
        window_looks(np.zeros((1, 3, 9)))


def test_correlation_of_a_moving_mean_falls_in_a_straight_line_along_its_axis_only(rng: np.random.Generator) -> None:
    white = rng.standard_normal((6, 220, 220))
    image = uniform_filter(white, (0, 5, 0), mode="wrap") - 12
    expected = np.maximum(1 - np.arange(1, 11) / 5, 0)
    assert lag_correlation(image, 1, 10) == pytest.approx(expected, abs=0.03)
    assert lag_correlation(image, 2, 10) == pytest.approx(np.zeros(10), abs=0.03)


def test_correlation_ignores_missing_pixels_and_levels_of_images(rng: np.random.Generator) -> None:
    image = uniform_filter(rng.standard_normal((3, 200, 200)), (0, 3, 3), mode="wrap")
    full = lag_correlation(image, 2, 4)
    holed = np.where(rng.random(image.shape) < 0.2, np.nan, image) + np.array([0, 30, -30])[:, None, None]
    assert lag_correlation(holed, 2, 4) == pytest.approx(full, abs=0.03)
    with pytest.raises(SardinoError, match="do not fit"):
        lag_correlation(image, 2, 200)


def test_correlation_of_stripes_is_exact() -> None:
    stripes = np.tile([0.0, 1.0], (1, 8, 20))
    assert lag_correlation(stripes, 2, 3) == pytest.approx([-1, 1, -1])
    assert lag_correlation(stripes, 1, 3) == pytest.approx([1, 1, 1])


def test_coarse_share_is_all_of_flat_windows_and_little_of_noise(rng: np.random.Generator) -> None:
    flat = np.kron(rng.standard_normal((1, 20, 20)), np.ones((1, 7, 7)))
    assert coarse_share(flat) == pytest.approx(1)
    assert coarse_share(rng.standard_normal((4, 210, 210))) == pytest.approx(1 / 49, rel=0.15)


def test_histogram_counts_shares_per_decibel() -> None:
    image = np.array([[[-1.0, -1.0, -3.0, np.nan, 40.0]]])
    assert histogram(image, np.array([-4.0, -2.0, 0.0])) == pytest.approx([1 / 4 / 2, 2 / 4 / 2])


def test_moments_of_known_distributions(rng: np.random.Generator) -> None:
    normal = statistics(rng.normal(-12, 3, (4, 210, 210)), 10.0)
    assert (normal.mean, normal.sd) == pytest.approx((-12, 3), abs=0.05)
    assert (normal.skewness, normal.kurtosis) == pytest.approx((0, 0), abs=0.06)
    assert (normal.low, normal.high) == pytest.approx((-12 - 2.326 * 3, -12 + 2.326 * 3), abs=0.1)
    assert normal.length_m is not None and 0 < normal.length_m < 10
    skewed = statistics(rng.exponential(1.0, (4, 210, 210)), 10.0)
    assert skewed.skewness == pytest.approx(2, abs=0.15)
    with pytest.raises(SardinoError, match="differ"):
        statistics(np.full((1, 9, 9), -3.0), 10.0)


def test_classes_get_their_own_mean_and_spread(rng: np.random.Generator) -> None:
    labels = np.zeros((1, 60, 60), np.uint8)
    labels[:, 30:] = 1
    labels[0, 0, :5] = 2
    stack = np.where(labels == 1, rng.normal(-20, 1, labels.shape), -8.0)
    stack[0, 59] = np.nan
    found = class_means(Images("x", {"VV": stack}, 10.0, labels, ("Trees", "Water", "Rare")))
    assert set(found) == {"Trees", "Water"}
    assert found["Trees"]["VV"] == (-8.0, 0.0, 1795)
    assert found["Water"]["VV"][:2] == pytest.approx((-20, 1), abs=0.1)
    assert found["Water"]["VV"][2] == 29 * 60
    assert class_means(Images("x", {"VV": stack}, 10.0)) == {}


def test_the_world_is_off_only_where_a_real_mean_counts() -> None:
    rows = pd.MultiIndex.from_tuples([("Crops", "year"), ("Few", "year"), ("One", "year"), ("Loose", "year")])
    real = pd.DataFrame({"points": [100, 99, 500, 500], "sites": [2, 9, 1, 9], "vv": -10.0, "vh": -17.0}, rows)
    real = real.assign(vv_se=[0.29, 0.1, 0.1, 0.3], vh_se=[0.1, 0.1, 0.1, 0.29])
    world = pd.DataFrame({"vv": -12.5, "vh": -15.1}, rows)
    assert to_correct(real, world) == {"Crops, year, VV": -2.5}
    assert set(to_correct(real, world.assign(vh=-14.9))) == {"Crops, year, VV", "Crops, year, VH", "Loose, year, VH"}


def test_eight_bits_clip_quantise_and_forget_the_level(rng: np.random.Generator) -> None:
    image = speckled(rng, 4.4)
    kept = eight_bit(image)
    assert eight_bit(image - 31) == pytest.approx(kept, abs=0.05, nan_ok=True)
    assert np.nanmax(kept) == pytest.approx(20 * np.log10(255), abs=1e-4)
    assert (kept == np.nanmax(kept)).mean() == pytest.approx(0.01, abs=0.003)
    assert len(np.unique(kept[np.isfinite(kept)])) <= 255


def test_standardised_values_have_mean_0_and_spread_1(rng: np.random.Generator) -> None:
    values = standardised(np.where(rng.random((1, 50, 50)) < 0.1, np.nan, rng.normal(38, 4, (1, 50, 50))))
    assert (np.nanmean(values), np.nanstd(values)) == pytest.approx((0, 1), abs=1e-6)


def test_the_typical_image_has_the_median_spread(rng: np.random.Generator) -> None:
    assert typical_image(rng.standard_normal((3, 30, 30)) * np.array([5, 1, 3])[:, None, None]) == 2


def test_images_of_several_shapes_are_refused() -> None:
    with pytest.raises(SardinoError, match="one shape"):
        Images("x", {"VV": np.zeros((1, 4, 4)), "VH": np.zeros((1, 4, 5))}, 10.0)
    with pytest.raises(SardinoError, match="one shape"):
        Images("x", {"VV": np.zeros((1, 4, 4))}, 10.0, np.zeros((4, 4), np.uint8))
