import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_jaccard_index,
)

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.scores import accuracy, class_iou, confusion, macro_f1, majority, miou, miou_all, miou_batches

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


@given(maps, maps, st.booleans())
def test_agrees_with_torchmetrics(prediction, reference, unlabelled):
    """Its macro mean runs over the classes in the reference or the prediction, ours over those in the reference."""
    if unlabelled:
        reference = reference.copy()
        reference[:, ::3] = IGNORE
    matrix = confusion(prediction, reference, 5)
    pair = torch.from_numpy(prediction)[None], torch.from_numpy(reference)[None]
    options = {"num_classes": 5, "ignore_index": IGNORE}
    np.testing.assert_array_equal(matrix, multiclass_confusion_matrix(*pair, **options))
    iou = multiclass_jaccard_index(*pair, average="none", **options).numpy()
    np.testing.assert_allclose(np.nan_to_num(class_iou(matrix)), iou, rtol=1e-6)
    assert miou(matrix) == pytest.approx(iou[matrix.sum(1) > 0].mean(), rel=1e-5)
    assert miou_all(matrix) == pytest.approx(iou.mean(), rel=1e-5)
    assert miou_batches(matrix[None]) == pytest.approx(
        float(multiclass_jaccard_index(*pair, average="macro", **options)), rel=1e-5
    )
    assert accuracy(matrix) == pytest.approx(float(multiclass_accuracy(*pair, average="micro", **options)), rel=1e-5)
    f1 = multiclass_f1_score(*pair, average="none", **options).numpy()
    assert macro_f1(matrix) == pytest.approx(f1[matrix.sum(1) > 0].mean(), rel=1e-5)


def test_mean_over_batches_is_each_batchs_own_macro_iou():
    tiles = np.zeros((5, 2, 2), np.int64)
    tiles[:, 0, 0] = 3
    tiles[2, 0, 1] = 3
    # Batches of two: [all right] [half of class 0 is lost to class 1] [the last tile alone, right].
    assert miou_batches(tiles, 2) == pytest.approx(np.mean([1, np.mean([6 / 9, 0]), 1]))
    assert miou_batches(tiles, 8) == pytest.approx(float(np.mean([15 / 18, 0])))
    tiles[:2] = 0
    assert miou_batches(tiles, 2) == pytest.approx(np.mean([np.mean([6 / 9, 0]), 1]))


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
    with pytest.raises(SardinoError, match="index of 7 does not fit 3 classes"):
        confusion(np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8), 3)
    with pytest.raises(SardinoError, match="uint8, not int64"):
        confusion(np.zeros((2, 2), np.int64), np.zeros((2, 2), np.uint8), 3)


def test_a_prediction_where_nothing_is_labelled_may_be_anything():
    assert confusion(np.full((2, 2), 9, np.uint8), np.full((2, 2), IGNORE, np.uint8), 3).sum() == 0
