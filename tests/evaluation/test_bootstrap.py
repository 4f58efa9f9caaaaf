import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import bounds, copies, interval, resampled
from sardino.evaluation.scores import miou


def tiles_of(rng, share_right, seeds=1, tiles=60, pixels=100):
    """(seeds, tiles, 2, 2): two classes, a share of pixels right that differs from tile to tile."""
    right = rng.binomial(pixels, np.clip(rng.normal(share_right, 0.1, (seeds, tiles, 2)), 0, 1))
    matrices = np.zeros((seeds, tiles, 2, 2), np.int64)
    for c in range(2):
        matrices[..., c, c], matrices[..., c, 1 - c] = right[..., c], pixels - right[..., c]
    return matrices


def test_interval_holds_the_score_and_narrows_with_more_blocks():
    rng = np.random.default_rng(0)
    few, many = tiles_of(rng, 0.8, tiles=20), tiles_of(rng, 0.8, tiles=500)
    widths = []
    for matrices in (few, many):
        low, high = interval(copies(matrices, np.arange(matrices.shape[1])))
        assert low <= miou(matrices.sum((0, 1))) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_tiles_of_a_block_stay_together():
    matrices = np.zeros((1, 4, 2, 2), np.int64)
    matrices[0, :2, 0, 0], matrices[0, 2:, 0, 1] = 1, 1
    drawn = resampled(matrices, np.array([7, 7, 9, 9]), 200, np.random.default_rng(0))
    assert set(np.unique(drawn[:, 0, 0, 0])) == {0, 2, 4}


def test_copies_of_one_place_and_one_seed_do_not_spread():
    rng = np.random.default_rng(0)
    one, three = tiles_of(rng, 0.8, seeds=1), tiles_of(rng, 0.8, seeds=3)
    place = np.zeros(60, int)
    assert np.ptp(copies(one, place)) == 0
    assert np.ptp(copies(three, place)) > 0 and np.ptp(copies(one, np.arange(60))) > 0


def test_cells_with_other_numbers_of_repetitions_share_their_chance():
    """What a place or a repetition does to both cancels: first the blocks alone, then what two repetitions share."""
    rng = np.random.default_rng(1)
    one, place = tiles_of(rng, 0.8, seeds=1), np.arange(60) // 5
    np.testing.assert_allclose(copies(np.concatenate([one] * 3), place), copies(one, place), rtol=1e-12)
    five = np.concatenate([tiles_of(rng, rate, seeds=1) for rate in (0.7, 0.75, 0.8, 0.85, 0.9)])
    differences = [copies(five, place, seed=0) - copies(five[:4], place, seed=seed) for seed in (0, 1)]
    assert np.ptp(np.quantile(differences[0], [0.05, 0.95])) < 0.8 * np.ptp(np.quantile(differences[1], [0.05, 0.95]))


def test_a_score_stays_between_0_and_1():
    """Two seeds that differ are known so badly that Student's interval is wider than all scores."""
    matrices = np.zeros((2, 4, 2, 2), np.int64)
    matrices[0, :, 0, 0], matrices[1, :, 0, 1] = 5, 5
    assert interval(copies(matrices, np.arange(4))) == (0.0, 1.0)


def test_paired_copies_find_a_planted_effect_and_no_planted_null():
    rng = np.random.default_rng(3)
    base = tiles_of(rng, 0.7, seeds=3)
    better = base.copy()
    moved = base[..., 0, 1] // 4
    better[..., 0, 0] += moved
    better[..., 0, 1] -= moved
    difference = miou(better.sum(1)).mean() - miou(base.sum(1)).mean()
    low, high = bounds(copies(better, np.arange(60)) - copies(base, np.arange(60)))
    assert 0 < low <= difference <= high
    assert not (copies(base, np.arange(60)) - copies(base.copy(), np.arange(60))).any()


def test_blocks_that_are_not_the_tiles_are_refused():
    with pytest.raises(SardinoError, match="block per tile"):
        copies(np.zeros((1, 4, 2, 2), int), np.arange(3))
