import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from sardino.errors import SardinoError
from sardino.evaluation.confusion import accuracy, class_iou, confusion, macro_f1, majority, miou, miou_all
from sardino.tiles.landcover import IGNORE

maps = hnp.arrays(np.uint8, (6, 7), elements=st.integers(0, 4))


@given(maps, maps)
def test_agrees_with_scikit_learn(prediction, reference):
    matrix = confusion(prediction, reference, 5)
    labels = list(range(5))
    np.testing.assert_array_equal(matrix, confusion_matrix(reference.ravel(), prediction.ravel(), labels=labels))
    present = [c for c in labels if (reference == c).any()]
    arguments = dict(labels=present, average="macro", zero_division=0)
    assert miou(matrix) == pytest.approx(jaccard_score(reference.ravel(), prediction.ravel(), **arguments))
    assert macro_f1(matrix) == pytest.approx(f1_score(reference.ravel(), prediction.ravel(), **arguments))
    assert accuracy(matrix) == pytest.approx((prediction == reference).mean())


@given(maps, maps, maps)
def test_matrices_add_up_over_tiles(first, second, reference):
    both = confusion(np.stack([first, second]), np.stack([reference, reference]), 5)
    np.testing.assert_array_equal(both, confusion(first, reference, 5) + confusion(second, reference, 5))


def test_ignored_pixels_do_not_count():
    reference = np.array([[0, 1, IGNORE]], np.uint8)
    matrix = confusion(np.array([[0, 1, 3]], np.uint8), reference, 4)
    assert matrix.sum() == 2 and miou(matrix) == 1.0


def test_absent_classes():
    matrix = np.diag([5, 0, 5])
    assert miou(matrix) == 1.0
    assert miou_all(matrix) == pytest.approx(2 / 3)
    assert np.isnan(class_iou(matrix)[1])


def test_majority_predicts_the_most_frequent_class():
    matrix = np.array([[3, 1, 0], [2, 6, 2], [0, 0, 1]])
    np.testing.assert_array_equal(majority(matrix), [[0, 4, 0], [0, 10, 0], [0, 1, 0]])
    assert miou(majority(matrix)) == pytest.approx(10 / 15 / 3)


def test_shapes_and_classes_are_checked():
    with pytest.raises(SardinoError, match="cannot be judged"):
        confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 3)
    with pytest.raises(SardinoError, match="does not fit 3 classes"):
        confusion(np.full((2, 2), 3, np.uint8), np.zeros((2, 2), np.uint8), 3)
