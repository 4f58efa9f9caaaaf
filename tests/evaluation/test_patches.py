"""Patches stand for their pixels, those that are known."""

import numpy as np

from sardino.data.tiles.landcover import IGNORE
from sardino.evaluation.patches import patch_classes, patch_means


def test_patches_take_their_most_frequent_class() -> None:
    label = np.full((1, 4, 4), IGNORE, np.uint8)
    label[0, :2, :2] = [[3, 3], [1, IGNORE]]
    np.testing.assert_array_equal(patch_classes(label, 2, 5)[0], [[3, IGNORE], [IGNORE, IGNORE]])


def test_patches_take_the_mean_of_what_is_known() -> None:
    amount = np.full((1, 4, 4), np.nan, np.float32)
    amount[0, :2] = [[1, 3, 5, np.nan], [1, 3, np.nan, np.nan]]
    np.testing.assert_array_equal(patch_means(amount, 2)[0], [[2, np.nan], [np.nan, np.nan]])
    assert patch_means(np.ones((2, 6, 6)), 3).shape == (2, 2, 2)
