"""Do the intervals keep their promise? Planted scores, with effects of bands, of seeds and of both together."""

import numpy as np
import pytest

from sardino.evaluation.bootstrap import bounds, copies
from sardino.evaluation.scores import miou

DRAWS, WORLDS = 600, 500
CLASSES, RATE, PIXELS, TILES = 4, 0.6, 2000, 4
SEEDS, BANDS, BOTH, TILE = 0.02, 0.06, 0.02, 0.03
"""Standard deviations of the rate of right pixels: of a training, a band, a training in a band, and a tile."""


def effects(rng, seeds, bands, spread):
    """(seeds, bands) effects on the rate: main effects and their interaction."""
    of_seed, of_band, of_both = spread
    return (
        of_seed * rng.standard_normal((seeds, 1))
        + of_band * rng.standard_normal((1, bands))
        + of_both * rng.standard_normal((seeds, bands))
    )


def tiles(rng, rate, shares):
    """(seeds, tiles, n, n) pixel counts and (tiles,) bands; wrong pixels go evenly to the other classes."""
    band = np.repeat(np.arange(rate.shape[1]), TILES)
    rate = np.clip(rate[:, band] + TILE * rng.standard_normal((len(rate), len(band))), 0, 1)[..., None, None]
    matrix = np.where(np.eye(CLASSES, dtype=bool), rate, (1 - rate) / (CLASSES - 1))
    return np.round(matrix * shares[band][None, :, :, None] * PIXELS).astype(np.int64), band


def expected(gain=0.0, of_seed=SEEDS):
    """mIoU of endless bands, averaged over endless trainings; classes are equally frequent over bands."""
    rate = RATE + gain + of_seed * np.random.default_rng(0).standard_normal(4000)[:, None, None]
    return miou(np.where(np.eye(CLASSES, dtype=bool), rate, (1 - rate) / (CLASSES - 1)) * 1e9).mean()


def coverage(seeds, bands, spread=(SEEDS, BANDS, BOTH)):
    """Share of the worlds whose interval holds the expected score."""
    truth, held = expected(of_seed=spread[0]), 0
    for world in range(WORLDS):
        rng = np.random.default_rng(world)
        shares = rng.dirichlet(np.full(CLASSES, 5.0), bands)
        matrices, band = tiles(rng, RATE + effects(rng, seeds, bands, spread), shares)
        low, high = bounds(copies(matrices, band, draws=DRAWS, seed=world))
        held += low <= truth <= high
    return held / WORLDS


@pytest.mark.parametrize(("seeds", "bands"), [(3, 4), (3, 12), (5, 4), (5, 12)])
def test_of_500_intervals_over_seeds_and_bands_95_percent_hold_the_truth(seeds, bands):
    assert 0.92 <= coverage(seeds, bands) <= 0.98


@pytest.mark.parametrize("bands", [4, 12])
def test_over_bands_alone_they_hold_where_trainings_do_not_differ(bands):
    assert 0.92 <= coverage(1, bands, (0.0, BANDS, BOTH)) <= 0.98


def test_one_seed_cannot_speak_for_other_trainings():
    """The undercoverage that the tables' caution is about: not hidden, and not small."""
    assert coverage(1, 12) < 0.90


def test_where_only_the_meeting_of_seed_and_band_varies_they_are_too_wide():
    assert coverage(3, 12, (0.0, 0.0, 0.06)) > 0.98


def test_a_planted_effect_is_found_and_a_planted_null_is_not():
    """Two arms that share bands and have trainings of their own: 3 seeds, 12 bands, 300 worlds each."""
    found = {0.0: 0, 0.12: 0}
    for gain in found:
        for world in range(300):
            rng = np.random.default_rng(world)
            shares = rng.dirichlet(np.full(CLASSES, 5.0), 12)
            shared = BANDS * rng.standard_normal((1, 12))
            own = (effects(rng, 3, 12, (SEEDS, 0.0, BOTH)) for _ in range(2))
            (better, band), (base, _) = (
                tiles(rng, RATE + g + shared + e, shares) for g, e in zip((gain, 0.0), own, strict=True)
            )
            difference = copies(better, band, draws=DRAWS, seed=world) - copies(base, band, draws=DRAWS, seed=world)
            low, high = bounds(difference)
            found[gain] += low > 0 or high < 0
    assert found[0.0] / 300 <= 0.08
    assert found[0.12] / 300 >= 0.80
