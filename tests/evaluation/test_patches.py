"""Patches stand for their pixels, those that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.patches import patch_classes, patch_means


def test_patches_take_their_most_frequent_class() -> None:
    label = np.full((1, 4, 4), IGNORE, np.uint8)
    label[0, :2, :2] = [[3, 3], [1, IGNORE]]
    np.testing.assert_array_equal(patch_classes(label, 2, 5)[0], [[3, IGNORE], [IGNORE, IGNORE]])


@given(arrays.arrays(np.uint8, (2, 4, 6), elements=st.sampled_from([0, 1, 2, 2, IGNORE])))
def test_a_patch_takes_its_most_frequent_class_where_half_of_it_is_known(labels: NDArray[np.uint8]) -> None:
    found = patch_classes(labels, 2, 3, known=0.5)
    assert found.shape == (2, 2, 3) and found.dtype == np.uint8
    for tile, row, column in np.ndindex(found.shape):
        pixels = labels[tile, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
        known = list(pixels[pixels != IGNORE])
        expected = IGNORE if len(known) < 2 else max(sorted(set(known)), key=known.count)
        assert found[tile, row, column] == expected


def test_patches_take_the_mean_of_what_is_known() -> None:
    amount = np.full((1, 4, 4), np.nan, np.float32)
    amount[0, :2] = [[1, 3, 5, np.nan], [1, 3, np.nan, np.nan]]
    np.testing.assert_array_equal(patch_means(amount, 2)[0], [[2, np.nan], [np.nan, np.nan]])
    assert patch_means(np.ones((2, 6, 6)), 3).shape == (2, 2, 2)


def test_a_side_that_is_not_whole_patches_is_refused() -> None:
    with pytest.raises(SardinoError, match="4 x 6 pixels do not divide into patches of 4 px"):
        patch_classes(np.zeros((1, 4, 6), np.uint8), 4, 2)
