"""What confusion matrices tell of one segmenter, or of two on the same tiles: scores, intervals, differences."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.evaluation.bootstrap import Statistic, bounds, copies, interval
from sardino.evaluation.scores import SCORES, Confusion, class_iou
from sardino.reporting.tables.render import document

TOLD = {"miou": "mIoU", "accuracy": "Overall accuracy", "macro_f1": "Macro F1"}
COLUMNS = ["score", "class", "reference_pixels", "value", "low", "high"]
PAIRED = ["other", "difference", "difference_low", "difference_high"]
Told = tuple[float, float, float]  # a value and its 95 % interval


def scores_table(
    confusions: Confusion, blocks: NDArray[np.integer], classes: Sequence[str], other: Confusion | None = None
) -> pd.DataFrame:
    """COLUMNS, a row a score over all classes, then a row the IoU of a class; PAIRED too where there is another model.

    Args:
        confusions: (tiles, n, n) pixel counts.
        blocks: (tiles,) geographic block of each tile, the unit that is resampled.
        classes: names of the n classes.
        other: another model's on the same tiles: differences are this model's less its, and their intervals paired.

    A class in neither reference nor prediction has no IoU, and what its tiles in a single block tell has no interval,
    as that says nothing of other places: NaN.
    """
    reference = confusions.sum((0, 2))
    kinds: list[tuple[str, int | None, Statistic]] = [(name, None, statistic) for name, statistic in SCORES.items()]
    kinds += [("iou", number, partial(_iou, number)) for number in range(len(classes))]
    rows = []
    for name, number, statistic in kinds:
        of_class = ("", reference.sum()) if number is None else (classes[number], reference[number])
        told = _told(statistic, number, blocks, confusions)
        row: dict[str, Any] = dict(zip(COLUMNS, (name, *of_class, *told), strict=True))
        if other is not None:
            difference = _told(statistic, number, blocks, confusions, other)
            row |= zip(PAIRED, (_score(statistic, number, other), *difference), strict=True)
        rows.append(row)
    return pd.DataFrame(rows)


def confusion_table(matrix: Confusion, classes: Sequence[str]) -> pd.DataFrame:
    """A row a pair of classes: reference, prediction, pixels, and the share of the reference's pixels (NaN of none)."""
    with np.errstate(invalid="ignore"):
        share = matrix / matrix.sum(1, keepdims=True)
    pairs = pd.MultiIndex.from_product([classes, classes], names=["reference", "prediction"])
    return pd.DataFrame({"pixels": matrix.ravel(), "share": share.ravel()}, index=pairs).reset_index()


def render_scores(frame: pd.DataFrame, title: str, note: str) -> str:
    """The scores, and the IoU of each class that occurs, for readers, as text."""
    paired = "difference" in frame
    heads = ["Score", "Value [95 %]", *["Difference [95 %]"] * paired]
    rows = []
    for row in frame.itertuples():
        if row.score in TOLD or (row.score == "iou" and not pd.isna(row.value)):
            name = TOLD.get(row.score, f"IoU {row[2]}")
            told = [_cell("", row.value, row.low, row.high)]
            told += [_cell("+", row.difference, row.difference_low, row.difference_high)] if paired else []
            rows.append([name, *told])
    return document("text", title, (heads, rows), note)


def _cell(sign: str, value: float, low: float, high: float) -> str:
    if np.isnan(value):  # one of the two has no IoU
        return "-"
    return f"{value:{sign}.3f}" + ("" if np.isnan(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]")


def _iou(number: int, matrix: Confusion) -> NDArray[np.float64]:
    """IoU of one class, (...); 0 where nothing tells of it, as in a copy that drew other places."""
    return np.nan_to_num(class_iou(matrix)[..., number])


def _score(statistic: Statistic, number: int | None, model: Confusion) -> float:
    total = model.sum(0)
    return float(statistic(total) if number is None else class_iou(total)[number])


def _told(statistic: Statistic, number: int | None, blocks: NDArray[np.integer], *models: Confusion) -> Told:
    """A model's score, less that of the second if there is one; of a class on the tiles that tell of it."""
    counts = [each if number is None else each[:, number] + each[:, :, number] for each in models]
    tiles = np.any([each.reshape(len(blocks), -1).any(1) for each in counts], axis=0)
    value, *less = (_score(statistic, number, each) for each in models)
    difference = value - sum(less)
    if np.isnan(difference) or len(np.unique(blocks[tiles])) < 2:
        return difference, np.nan, np.nan
    drawn, *taken = (copies(each[None, tiles], blocks[tiles], statistic) for each in models)
    return (difference, *bounds(drawn - taken[0])) if less else (value, *interval(drawn))
