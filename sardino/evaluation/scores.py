"""The confusion matrix and the scores read from it."""

import numpy as np
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError

# (..., n, n) pixel counts; rows are the reference, columns the prediction. Leading axes are kept apart.
Confusion = NDArray[np.int64]
RISING = 0.01  # mIoU on validation that a training still gained in the last fifth of its steps: it had not ended


def confusion(prediction: NDArray[np.uint8], reference: NDArray[np.uint8], classes: int) -> Confusion:
    """Pixel counts of one map; pixels whose reference is IGNORE are not counted.

    Prediction and reference are uint8 class indices of one shape, whichever it is; anything else is refused.
    """
    if prediction.dtype != np.uint8 or reference.dtype != np.uint8:
        raise SardinoError(f"class indices are uint8, not {prediction.dtype} and {reference.dtype}: convert them")
    if prediction.shape != reference.shape:
        raise SardinoError(f"a prediction of {prediction.shape} cannot be judged by a reference of {reference.shape}")
    # Both indices in one 16-bit number: one pass to count, no mask to apply.
    code = np.left_shift(reference, 8, dtype=np.uint16)
    code |= prediction
    counts = np.bincount(code.ravel(), minlength=1 << 16).reshape(256, 256)
    counted = np.delete(counts, IGNORE, axis=0)
    matrix = counted[:classes, :classes]
    if matrix.sum() != counted.sum():
        largest = max(axis.max() for axis in counted.nonzero())
        raise SardinoError(f"a class index of {largest} does not fit {classes} classes")
    return matrix.copy()


def class_iou(matrix: Confusion) -> NDArray[np.float64]:
    """Intersection over union per class, (..., n); NaN for a class absent from reference and prediction."""
    both = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    union = matrix.sum(-1) + matrix.sum(-2) - both
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union > 0, both / union, np.nan)


def miou(matrix: Confusion) -> NDArray[np.float64]:
    """Mean IoU over the classes present in the reference, (...): the headline score.

    A class that the reference lacks still costs: its false alarms are missing pixels of the others.
    """
    present = matrix.sum(-1) > 0
    iou = np.where(present, np.nan_to_num(class_iou(matrix)), 0.0)
    return iou.sum(-1) / np.maximum(present.sum(-1), 1)


def miou_all(matrix: Confusion) -> NDArray[np.float64]:
    """Mean IoU over all n classes, absent ones counted as 0, (...)."""
    return np.nan_to_num(class_iou(matrix)).mean(-1)


def miou_batches(matrices: Confusion, batch: int = 8) -> float:
    """Mean over batches of tiles of each batch's macro IoU, as the authors' later code scores a test set.

    A batch's mean is over the classes in its reference or its prediction, as torchmetrics averages. It depends on the
    order of the (tiles, n, n), weighs a small last batch like a full one, and is told beside the headline only.
    """
    sums = np.add.reduceat(matrices, np.arange(0, len(matrices), batch), axis=0)
    return float(np.mean([np.nanmean(class_iou(each)) for each in sums if each.any()]))


def accuracy(matrix: Confusion) -> NDArray[np.float64]:
    """Share of pixels predicted right, (...)."""
    total = matrix.sum((-2, -1))
    return np.diagonal(matrix, axis1=-2, axis2=-1).sum(-1) / np.maximum(total, 1)


def macro_f1(matrix: Confusion) -> NDArray[np.float64]:
    """F1 averaged over the classes present in the reference, (...)."""
    both = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    size = matrix.sum(-1) + matrix.sum(-2)
    present = matrix.sum(-1) > 0
    f1 = np.where(present, 2 * both / np.maximum(size, 1), 0.0)
    return f1.sum(-1) / np.maximum(present.sum(-1), 1)


def majority(matrix: Confusion) -> Confusion:
    """The confusion matrix that predicting only the most frequent reference class would give."""
    rows = matrix.sum(-1)
    result = np.zeros_like(matrix)
    np.put_along_axis(result, rows.argmax(-1)[..., None, None], rows[..., None], axis=-1)
    return result


SCORES = {"miou": miou, "miou_all": miou_all, "accuracy": accuracy, "macro_f1": macro_f1}
"""Scores of a matrix summed over the test set, by their names in records and tables."""
