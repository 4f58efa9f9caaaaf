"""Correlograms: against counting pairs one by one, and against fields of known correlation length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sardino.data.places.correlogram import Correlogram, mean_correlogram, pixel_correlogram
from sardino.errors import SardinoError


@settings(max_examples=15, deadline=None)
@given(st.integers(5, 9), st.integers(5, 9), st.integers(0, 999), st.floats(0, 0.4))
def test_the_fourier_way_counts_the_same_pairs(rows: int, columns: int, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    images = rng.normal(-12, 3, (2, rows, columns))
    images[rng.random(images.shape) < missing] = np.nan
    found = pixel_correlogram(images, 10.0)
    mean, variance = np.nanmean(images), np.nanvar(images)
    products: dict[int, list[float]] = {}
    lengths: dict[int, list[float]] = {}
    for image in images:
        places = np.argwhere(np.isfinite(image))
        for one in places:
            for other in places:
                reach = float(np.hypot(*(one - other)))
                products.setdefault(round(reach), []).append((image[tuple(one)] - mean) * (image[tuple(other)] - mean))
                lengths.setdefault(round(reach), []).append(reach * 10)
    rings = [ring for ring in sorted(products) if ring <= min(rows, columns) // 2]
    assert found.pairs.tolist() == [len(products[ring]) for ring in rings]
    assert found.distance_m == pytest.approx(np.array([np.mean(lengths[ring]) for ring in rings]))
    assert found.correlation == pytest.approx(np.array([np.mean(products[r]) / variance for r in rings]), abs=1e-9)


@pytest.mark.parametrize("width_px", [3.0, 8.0])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_field_of_known_length_is_measured(width_px: float, missing: float) -> None:
    rng = np.random.default_rng(1)
    images = [gaussian_filter(rng.normal(size=(256, 224)), width_px, mode="wrap") for _ in range(20)]
    for image in images:
        image[rng.random(image.shape) < missing] = np.nan
    found = pixel_correlogram(images, 10.0)
    # White noise smoothed by a Gaussian of width s has the correlation exp(-d^2 / 4 s^2).
    assert found.length_m(1 / np.e) == pytest.approx(20 * width_px, rel=0.06)
    assert found.length_m(0.1) == pytest.approx(20 * width_px * np.sqrt(np.log(10)), rel=0.1)


def test_differences_between_images_are_correlation_inside_each() -> None:
    rng = np.random.default_rng(2)
    images = [level + rng.normal(size=(32, 32)) for level in (-20.0, -5.0)]
    assert pixel_correlogram(images, 10.0).correlation.min() > 0.9
    assert pixel_correlogram(images, 10.0).length_m(0.1) is None
    alone = pixel_correlogram(images[:1], 10.0).length_m(0.1)
    assert alone is not None and alone < 15


def test_tile_means_have_a_correlogram_by_distance() -> None:
    rng = np.random.default_rng(3)
    field = gaussian_filter(rng.normal(size=(40, 40)), 3, mode="wrap")
    row, column = np.indices(field.shape)
    places = np.stack([column.ravel() * 4480.0, row.ravel() * 4480.0, np.zeros(field.size)], axis=1)
    groups = np.full(field.size, "a", object)
    found = mean_correlogram(field.ravel(), places, groups, 40)
    assert found is not None
    assert found.length_m(1 / np.e) == pytest.approx(6 * 4480, rel=0.3)
    two = mean_correlogram(
        np.concatenate([field.ravel(), field.ravel() + 9]),
        np.concatenate([places, places]),
        np.repeat(np.array(["a", "b"], object), field.size),
        40,
    )
    assert two is not None and two.correlation == pytest.approx(found.correlation)
    assert mean_correlogram(field.ravel()[:2], places[:2], groups[:2]) is None
    assert mean_correlogram(np.zeros(field.size), places, groups) is None


def test_a_level_is_crossed_between_two_values() -> None:
    curve = Correlogram(np.array([0.0, 10, 20]), np.array([1.0, 0.6, 0.2]), np.ones(3))
    assert curve.length_m(0.4) == pytest.approx(15) and curve.length_m(0.1) is None


def test_what_has_no_correlation_is_refused() -> None:
    for images, sentence in (
        ([], "at least one image"),
        ([np.full((8, 8), np.nan)], "at least one image"),
        ([np.full((8, 8), -12.0)], "constant"),
        ([np.eye(8), np.eye(9)], "of one size"),
        ([np.zeros(8)], "of one size"),
    ):
        with pytest.raises(SardinoError, match=sentence):
            pixel_correlogram(images, 10.0)
