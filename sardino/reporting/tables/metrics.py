"""Every score of every cell, and the differences between arms, as tidy frames."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import bounds
from sardino.evaluation.scores import accuracy, class_iou, macro_f1, miou, miou_all, miou_batches
from sardino.reporting.rows import ENCODINGS
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.contrasts import gain, paper_value
from sardino.reporting.tables.paper import BASELINES, TITLES, CellKey, paper_cells

SCORES = {"miou": miou, "miou_all": miou_all, "accuracy": accuracy, "macro_f1": macro_f1}
"""Scores of a matrix summed over the test set; each gets an interval."""


def metrics_table(cells: Cells, classes: Sequence[str]) -> pd.DataFrame:
    """One row a cell: scores averaged over seeds with the low and high of their intervals, then IoU per class.

    "miou" is the headline. "miou_batches" is the authors' mean over batches of 8 test tiles, and has no interval,
    because its batches cut across bands. A class in neither reference nor prediction of any seed has no IoU.

    Args:
        classes: names of the legend, in the order of the matrices.
    """
    rows = []
    for key in cells.confusions:
        matrices = cells.matrices(key)
        if matrices.shape[-1] != len(classes):
            raise SardinoError(f"the cell '{key}' has {matrices.shape[-1]} classes, the legend {len(classes)}")
        summed = matrices.sum(1)
        row = {**asdict(key), "labelled_tiles": cells.labelled[key], "seeds": len(cells.seeds)}
        row |= {"test_tiles": len(cells.blocks), "bands": len(np.unique(cells.blocks))}
        for name, statistic in SCORES.items():
            low, high = cells.interval(key, statistic)
            row |= {name: float(statistic(summed).mean()), f"{name}_low": low, f"{name}_high": high}
        row["miou_batches"] = float(np.mean([miou_batches(each) for each in matrices]))
        row |= dict(zip(_columns(classes), _mean_of_known(class_iou(summed)), strict=True))
        rows.append({**row, **cells.source})
    return pd.DataFrame(rows)


def differences_table(cells: Cells) -> pd.DataFrame:
    """Paired differences of mIoU: pre-training, tokens over attention maps, attention maps beside SAR.

    Returns:
        One row a pair of cells that were both run: what is subtracted from what, the difference, its interval, and the
        paper's difference where the paper has both cells of these arms.
    """
    rows = []
    for name, better, other in _pairs(list(cells.confusions)):
        contrast = gain(name, better, other)
        low, high = bounds(contrast.copies(cells))
        known = all(key in paper_cells() for key in contrast.keys)
        rows.append(
            {
                "comparison": name,
                **asdict(better),
                "labelled_tiles": cells.labelled[better],
                "seeds": len(cells.seeds),
                "miou": cells.miou(better),
                "other_miou": cells.miou(other),
                "difference": contrast.value(cells.miou),
                "low": low,
                "high": high,
                "paper_difference": paper_value(contrast) if known else np.nan,
                **cells.source,
            }
        )
    return pd.DataFrame(rows)


def _pairs(keys: Sequence[CellKey]) -> list[tuple[str, CellKey, CellKey]]:
    """(name, cell, cell to subtract) of every comparison whose cells are both there, kind by kind."""
    attention, tokens = ENCODINGS
    plain, beside = BASELINES
    found: list[tuple[str, CellKey, CellKey]] = []
    for key in keys:
        if key.initialisation != "scratch":
            name = f"{TITLES[key.initialisation].lower()} - from scratch"
            found.append((name, key, replace(key, initialisation="scratch")))
        if key.encoding == tokens:
            found.append(("tokens - attention maps", key, replace(key, encoding=attention)))
        if key.encoding == beside:
            rival = replace(key, encoding=plain, initialisation="scratch")
            found.append(("U-Net with - without attention maps", key, rival))
    there = set(keys)
    order = list(dict.fromkeys(name for name, *_ in found))
    return sorted((pair for pair in found if pair[2] in there), key=lambda pair: order.index(pair[0]))


def _columns(classes: Sequence[str]) -> list[str]:
    return ["iou_" + "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split()) for name in classes]


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over seeds, (seeds, n) to (n,); NaN where no seed has the class."""
    known = np.isfinite(values)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)
