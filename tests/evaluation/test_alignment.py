import numpy as np
import pytest

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.attention_scores import alignment, block_mean, explained


def halves(size=12):
    label = np.zeros((size, size), np.uint8)
    label[:, : size // 3] = 1
    return label


def test_attention_that_is_a_function_of_the_class_is_explained_whole():
    label = halves()
    maps = np.stack([label.astype(float), 5 - 2.0 * label])
    np.testing.assert_allclose(explained(maps, label), 1)


def test_noise_is_explained_by_chance_alone():
    rng = np.random.default_rng(0)
    noise = rng.random((60, 2, 12, 12))
    label = np.repeat(halves()[None], 60, 0)
    mean, low, high = block_mean(alignment(noise, label, rng), np.arange(60), rng)
    assert low < 0 < high and abs(mean) < 0.01


def test_a_planted_effect_is_found():
    rng = np.random.default_rng(0)
    label = np.repeat(halves()[None], 30, 0)
    maps = label[:, None] + rng.random((30, 1, 12, 12))
    mean, low, _ = block_mean(alignment(maps, label, rng), np.arange(30) // 3, rng)
    assert 0.2 < low < mean


@pytest.mark.parametrize("bands", [3, 12])
def test_the_interval_of_a_mean_over_bands_holds_the_truth_as_often_as_it_says(bands):
    rng = np.random.default_rng(1)
    blocks = np.repeat(np.arange(bands), 8)
    held = 0
    for _ in range(500):
        values = 0.3 + rng.normal(0, 0.1, bands)[blocks] + rng.normal(0, 0.1, blocks.size)
        mean, low, high = block_mean(values, blocks, rng)
        held += low <= 0.3 <= high
        assert low <= mean <= high
    assert 0.92 <= held / 500 <= 0.98


def test_one_band_says_nothing_of_others():
    assert block_mean(np.array([0.1, 0.3]), np.zeros(2, int), np.random.default_rng(0)) == (0.2, 0.2, 0.2)


def test_one_class_and_unlabelled_tiles_do_not_count():
    one = np.zeros((4, 4), np.uint8)
    assert np.isnan(explained(np.random.default_rng(0).random((2, 4, 4)), one)).all()
    assert np.isnan(explained(np.ones((1, 4, 4)), np.full((4, 4), IGNORE, np.uint8))).all()
    with pytest.raises(SardinoError, match="two classes"):
        block_mean(np.array([np.nan]), np.array([0]), np.random.default_rng(0))
