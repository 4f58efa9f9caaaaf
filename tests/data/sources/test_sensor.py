"""The synthetic sensor: speckle statistics, what dates share, noise floor, incidence and gaps."""

import numpy as np
import pytest

from sardino.data.sources.world.noise import Grid, Keys
from sardino.data.sources.world.sensor import (
    GAP_RATE,
    INCIDENCE_DEG,
    NOISE_FLOOR_DB,
    PERSISTENCE,
    SWATH_M,
    effective_looks,
    gaps,
    incidence_deg,
    noise_floor,
    observe,
)

FLOOR = np.array([10 ** (level / 10) for level in NOISE_FLOOR_DB], np.float32)[:, None, None]
LINE = Grid(500_000 + 50.0 * np.arange(3000), np.array([5_000_000.0]))


def lag(field: np.ndarray, axis: int, shift: int = 1) -> float:
    a = np.take(field, np.arange(field.shape[axis] - shift), axis).ravel()
    b = np.take(field, np.arange(shift, field.shape[axis]), axis).ravel()
    return float(np.corrcoef(a, b)[0, 1])


def speckle(looks: float, coherence: np.ndarray, dates: int = 1) -> np.ndarray:
    """(H, W) what ground of power 1 looks like without a noise floor."""
    power, none = np.ones((1, 2, *coherence.shape), np.float32), np.zeros((2, 1, 1), np.float32)
    return observe(power, none, coherence, looks=looks, dates=dates, composite="mean", gsd_m=10.0, key=(3,))[0][0]


@pytest.mark.parametrize("looks", [4.4, 66.0])
def test_speckle_has_unit_mean_the_stated_looks_and_the_footprint(looks: float) -> None:
    field = speckle(looks, np.zeros((700, 700), np.float32))
    assert field.mean() == pytest.approx(1, abs=0.01)
    assert field.mean() ** 2 / field.var() == pytest.approx(looks, rel=0.05)
    # 22 m in azimuth (rows) and 20 m in range at 10 m spacing.
    assert lag(field, 0) == pytest.approx(0.71, abs=0.05)
    assert lag(field, 1) == pytest.approx(0.66, abs=0.05)
    assert abs(lag(field, 1, 5)) < 0.02


def test_looks_differ_from_pixel_to_pixel() -> None:
    coherence = np.where(np.arange(400) < 200, 1.0, 0.0)[None, :] * np.ones((400, 1), np.float32)
    field = speckle(5.0, coherence.astype(np.float32), dates=10)  # 5 looks where coherent, 50 elsewhere
    assert field[:, :190].var() / field[:, 210:].var() == pytest.approx(10, rel=0.15)


def test_coherent_ground_averages_less() -> None:
    coherence = np.array([0.0, 0.5], np.float32)
    np.testing.assert_allclose(effective_looks(coherence, 4.4, 1), 4.4, rtol=1e-6)
    once, town = effective_looks(coherence, 4.4, 15)
    assert once == pytest.approx(66, rel=1e-6)
    assert town == pytest.approx(4.4 * 15 / (1 + 14 * 0.25), rel=1e-6)


def seen(coherence: float, composite: str = "mean", dates: int = 15, size: int = 220, level: float = 0.0):
    power = np.full((4, 2, size, size), level, np.float32)
    field = np.full((size, size), coherence, np.float32)
    vv, vh = observe(power, FLOOR, field, looks=4.4, dates=dates, composite=composite, gsd_m=10.0, key=(1, 2))
    return np.stack([vv, vh], axis=1)


def between_seasons(images: np.ndarray) -> float:
    pairs = np.corrcoef(images[:, 0].reshape(4, -1))
    return float(pairs[np.triu_indices(4, 1)].mean())


def test_observation_adds_the_floor_and_draws_each_image_on_its_own() -> None:
    images = seen(0.0)
    for pol in range(2):
        assert 10 * np.log10(images[:, pol].mean()) == pytest.approx(NOISE_FLOOR_DB[pol], abs=0.05)
    between = np.corrcoef(images.reshape(8, -1)) - np.eye(8)
    assert np.abs(between).max() < 0.06
    np.testing.assert_array_equal(images, seen(0.0))


def test_what_is_coherent_keeps_its_speckle_from_season_to_season() -> None:
    dates, kept = 15, 0.5**2
    expected = dates * kept * PERSISTENCE / (1 + (dates - 1) * kept)
    assert between_seasons(seen(0.5)) == pytest.approx(expected, abs=0.08)
    # Polarisations are drawn apart even where dates are not.
    images = seen(0.5)
    assert abs(np.corrcoef(images[0, 0].ravel(), images[0, 1].ravel())[0, 1]) < 0.08


@pytest.mark.parametrize("coherence", [0.0, 0.5])
def test_the_mean_drawn_at_once_is_the_mean_of_dates(coherence: float) -> None:
    """One-date composites are the dates themselves: their mean must have the looks that the shortcut states."""
    at_once = seen(coherence, size=260)[0, 0]
    looks = float(effective_looks(np.float32(coherence), 4.4, 15))
    assert at_once.mean() ** 2 / at_once.var() == pytest.approx(looks, rel=0.12)


def test_a_median_lies_below_the_mean_and_is_noisier() -> None:
    mean, median = seen(0.0, "mean", level=1.0), seen(0.0, "median", level=1.0)
    # 15 dates of 4.4 looks: the median of gamma draws lies 0.32 dB lower and keeps two thirds of the looks.
    drop = 10 * np.log10(median.mean() / mean.mean())
    assert drop == pytest.approx(-0.33, abs=0.05)
    looks = [float((i.mean((2, 3)) ** 2 / i.var((2, 3))).mean()) for i in (mean, median)]
    assert 0.55 < looks[1] / looks[0] < 0.8


def test_incidence_runs_over_the_swath_without_a_step() -> None:
    angle = incidence_deg(LINE)[0]
    assert angle.min() == pytest.approx(INCIDENCE_DEG[0], abs=0.1)
    assert angle.max() == pytest.approx(INCIDENCE_DEG[1], abs=0.1)
    assert np.abs(np.diff(angle)).max() < 50 * 3 * (INCIDENCE_DEG[1] - INCIDENCE_DEG[0]) / (0.15 * SWATH_M)
    assert (np.diff(angle) > 0).mean() > 0.8, "near range lies in the west"


def test_the_floor_keeps_its_level_and_rises_to_the_edges_of_sub_swaths() -> None:
    floor = 10 * np.log10(noise_floor(LINE)[:, 0])
    np.testing.assert_allclose(floor.mean(1), NOISE_FLOOR_DB, atol=0.3)
    assert (np.ptp(floor, axis=1) > 1.5).all()


def test_gaps_leave_every_place_half_its_seasons_and_follow_the_place() -> None:
    grid = Grid(500_000 + 200.0 * np.arange(600), 5_000_000 - 200.0 * np.arange(600))
    absent = gaps(grid, Keys(0, "europe"))
    assert absent.sum(0).max() <= 2
    assert absent.any(0).mean() == pytest.approx(GAP_RATE, abs=0.06)
    assert (absent.mean((1, 2)) > 0).all()
    part = gaps(Grid(grid.x[100:250], grid.y[40:90]), Keys(0, "europe"))
    np.testing.assert_array_equal(part, absent[:, 40:90, 100:250])
