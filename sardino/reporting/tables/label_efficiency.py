"""What pre-training and attention maps are worth in labels: a table of factors, and the curves they are read from."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from sardino.evaluation.label_efficiency import Factor, factor, labels_needed
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import BASELINES, TITLES, CellKey, paper_cells
from sardino.reporting.tables.render import aligned, document, markdown

COLUMNS = ["table", "regions", "encoding", "initialisation", "baseline", "fraction", "labelled_tiles", "seeds"]
COLUMNS += ["factor", "low", "high", "least", "most", "told", "paper_told", "labels", "derived", "synthetic"]
HOW_TO_READ = (
    "Factor: how many times the labels the baseline needs for the same mIoU [95 % interval]. The baseline's curve runs "
    'over the logarithm of labelled tiles and is never extrapolated: "> 10" is more than its most labels can tell, '
    '"< 1" less than its fewest.'
)


def efficiency_table(cells: Cells) -> pd.DataFrame:
    """Pre-trained arms against the same arm from scratch, and U-Nets with attention maps against the plain U-Net.

    Returns:
        COLUMNS, a row an arm and fraction. factor, low and high are -inf or inf where they are censored; least and
        most are what the curve can tell; told is the text for readers, paper_told the same of the paper's tables.
    """
    rows = []
    for key, baseline in _arms(cells.confusions):
        if any(each not in cells.confusions for each in baseline):
            continue
        labels = np.array([cells.labelled[each] for each in baseline], np.float64)
        scores = np.array([cells.miou(each) for each in baseline])
        copies = np.stack([cells.copies(each) for each in baseline], axis=-1)
        found = factor(labels, (scores, copies), cells.labelled[key], (cells.miou(key), cells.copies(key)))
        row = asdict(key) | {"baseline": f"{baseline[0].encoding} {baseline[0].initialisation}"}
        row |= {"labelled_tiles": cells.labelled[key], "seeds": len(cells.seeds)}
        row |= {"factor": found.value, "low": found.low, "high": found.high, "least": found.least, "most": found.most}
        rows.append({**row, "told": str(found), "paper_told": paper_factor(key, baseline), **cells.source})
    return pd.DataFrame(rows, columns=COLUMNS)


def paper_factor(key: CellKey, baseline: Sequence[CellKey]) -> str:
    """The factor that the paper's own table gives, without an interval; "-" where it lacks a cell."""
    published = paper_cells()
    if key not in published or any(each not in published for each in baseline):
        return "-"
    labels = np.array([each.fraction for each in baseline])
    needed = labels_needed(labels, np.array([published[each] for each in baseline]), published[key])
    value = float(needed) / key.fraction
    limits = (labels.min() / key.fraction, labels.max() / key.fraction)
    return Factor(value, value, value, *limits).told(value)


def efficiency_text(frame: pd.DataFrame, cells: Cells) -> str:
    """The factors as plain text."""
    return document(_title(cells), aligned(*_grid(frame)), f"{HOW_TO_READ} {cells.caution}")


def efficiency_markdown(frame: pd.DataFrame, cells: Cells) -> str:
    """The factors as Markdown."""
    return document(_title(cells), markdown(*_grid(frame)), f"{HOW_TO_READ} {cells.caution}", bold=True)


def _arms(keys: Any) -> list[tuple[CellKey, list[CellKey]]]:
    """Each cell that is compared, with its baseline's cells at all fractions that were run."""
    plain, beside = BASELINES
    fractions = sorted({key.fraction for key in keys})
    found = []
    for key in keys:
        encodings = [key.encoding] if key.initialisation != "scratch" else []
        encodings += [plain] if key.encoding == beside else []
        for encoding in encodings:
            found.append((key, [CellKey(key.table, key.regions, encoding, "scratch", f) for f in fractions]))
    return found


def _title(cells: Cells) -> str:
    return f"Label efficiency ({cells.provenance}): what an arm is worth in labels of its baseline"


def _grid(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Arms down, fractions across."""
    fractions = sorted(frame["fraction"].unique())
    heads = ["Arm", "Pre-training", "Baseline", *(f"{fraction:g} % (paper)" for fraction in fractions)]
    rows = []
    parts = frame.groupby(["table", "regions", "encoding", "initialisation", "baseline"], sort=False)
    for (_, regions, encoding, initialisation, baseline), part in parts:
        told = {row.fraction: f"{row.told} ({row.paper_told})" for row in part.itertuples()}
        of, how = str(baseline).rsplit(" ", 1)
        against = TITLES[how].lower() if of == encoding else TITLES[of]
        arm = f"{TITLES[encoding]}{', ' + regions if regions else ''}"
        rows.append([arm, TITLES[initialisation], against, *(told.get(fraction, "-") for fraction in fractions)])
    return heads, rows
