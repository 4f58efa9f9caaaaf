"""Every score of every cell, differences between arms, and what arms are worth in labels, as tidy frames."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import bounds
from sardino.evaluation.label_efficiency import Factor, factor, labels_needed
from sardino.evaluation.scores import SCORES, class_iou, miou_batches
from sardino.reporting.rows import ENCODINGS, HYBRID, WIDE
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.contrasts import gain
from sardino.reporting.tables.paper import BASELINES, TITLES, CellKey, paper_cells
from sardino.reporting.tables.render import NOTES, Form, document, marked, rising_note

COLUMNS = ["table", "regions", "encoding", "initialisation", "baseline", "fraction", "labelled_tiles", "draws", "seeds"]
COLUMNS += ["factor", "low", "high", "least", "most", "told", "paper_told", "rising", "labels", "derived", "synthetic"]


def metrics_table(cells: Cells, classes: Sequence[str]) -> pd.DataFrame:
    """One row a cell or floor: scores averaged over repetitions, low and high of their intervals, then IoU per class.

    "miou" is the headline. "miou_batches" is the authors' mean over batches of 8 test tiles, and has no interval,
    because its batches cut across bands. A class in neither reference nor prediction of any repetition has no IoU.
    `classes`: names of the legend, in the order of the matrices.
    """
    words = ["".join(c if c.isalnum() else " " for c in name.lower()).split() for name in classes]
    rows = []
    for key in cells.confusions:
        matrices = cells.matrices(key)
        if matrices.shape[-1] != len(classes):
            raise SardinoError(f"the cell '{key}' has {matrices.shape[-1]} classes, the legend {len(classes)}")
        summed = matrices.sum(1)
        row = cells.facts(key) | {"test_tiles": len(cells.blocks), "bands": len(np.unique(cells.blocks))}
        for name, statistic in SCORES.items():
            low, high = cells.interval(key, statistic)
            row |= {name: float(statistic(summed).mean()), f"{name}_low": low, f"{name}_high": high}
        row["miou_batches"] = float(np.mean([miou_batches(each) for each in matrices]))
        values = np.ma.masked_invalid(class_iou(summed)).mean(0).filled(np.nan)  # over repetitions that know a class
        row |= {"iou_" + "_".join(each): value for each, value in zip(words, values, strict=True)}
        rows.append({**row, **cells.source})
    return pd.DataFrame(rows)


def differences_table(cells: Cells) -> pd.DataFrame:
    """Paired differences of mIoU: pre-training, tokens over attention, attention maps beside SAR, arms over floors.

    Returns one row a pair of cells that were both run: what is subtracted from what, the difference, its interval, and
    the paper's difference where the paper has both cells of these arms.
    """
    rows = []
    over = [("arm - strongest floor", key, floors[-1]) for key in cells.arms if (floors := cells.floors(key.fraction))]
    for name, better, other in [*_pairs(cells.arms), *over]:
        contrast = gain(name, better, other)
        low, high = bounds(contrast.copies(cells))
        known = all(key in paper_cells() for key in contrast.keys)
        row = {"comparison": name, **cells.facts(better), "miou": cells.miou(better), "other_miou": cells.miou(other)}
        row |= {"difference": contrast.value(cells.miou), "low": low, "high": high}
        row["rising"] = cells.rising(better, other)
        rows.append({**row, "paper_difference": contrast.paper_value if known else np.nan, **cells.source})
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
        if key.encoding == HYBRID:
            for name, other in (("U-Net with - without tokens", plain), ("U-Net with tokens - wide U-Net", WIDE)):
                found.append((name, key, CellKey(2, "", other, "scratch", key.fraction)))
    order = list(dict.fromkeys(name for name, *_ in found))
    return sorted((pair for pair in found if pair[2] in set(keys)), key=lambda pair: order.index(pair[0]))


def efficiency_table(cells: Cells) -> pd.DataFrame:
    """Pre-trained arms against the same arm from scratch, and U-Nets that see more against plain U-Nets.

    Returns COLUMNS, a row an arm and fraction. factor, low and high are -inf or inf where they are censored; least and
    most are what the curve can tell; told is the text for readers, paper_told the same of the paper's tables.
    """
    rows = []
    for key, baseline in _arms(cells.arms):
        if any(each not in cells.confusions for each in baseline):
            continue
        labels = np.array([cells.facts(each)["labelled_tiles"] for each in baseline], np.float64)
        scores = np.array([cells.miou(each) for each in baseline])
        copies = np.stack([cells.copies(each) for each in baseline], axis=-1)
        row = cells.facts(key) | {"baseline": f"{baseline[0].encoding} {baseline[0].initialisation}"}
        found = factor(labels, (scores, copies), row["labelled_tiles"], (cells.miou(key), cells.copies(key)))
        row |= {"factor": found.value, "low": found.low, "high": found.high, "least": found.least, "most": found.most}
        row |= {"told": str(found), "paper_told": paper_factor(key, baseline), **cells.source}
        rows.append({**row, "rising": cells.rising(key, *baseline)})
    return pd.DataFrame(rows, columns=COLUMNS)


def _arms(keys: Iterable[CellKey]) -> list[tuple[CellKey, list[CellKey]]]:
    """Each cell that is compared, with its baseline's cells at all fractions that were run."""
    plain, beside = BASELINES
    fractions = sorted({key.fraction for key in keys})
    found = []
    for key in keys:
        encodings = [key.encoding] if key.initialisation != "scratch" else []
        encodings += {beside: [plain], WIDE: [plain], HYBRID: [plain, WIDE]}.get(key.encoding, [])
        for encoding in encodings:
            found.append((key, [CellKey(key.table, key.regions, encoding, "scratch", f) for f in fractions]))
    return found


def paper_factor(key: CellKey, baseline: Sequence[CellKey]) -> str:
    """The factor that the paper's own table gives, without an interval; "-" where it lacks a cell."""
    published = paper_cells()
    if key not in published or any(each not in published for each in baseline):
        return "-"
    labels = np.array([each.fraction for each in baseline])
    needed = labels_needed(labels, np.array([published[each] for each in baseline]), published[key])
    value = float(needed) / key.fraction
    return Factor(value, value, value, labels.min() / key.fraction, labels.max() / key.fraction).told(value)


def render_efficiency(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """The factors for readers: arms down, fractions across."""
    fractions = sorted(frame["fraction"].unique())
    heads = ["Arm", "Pre-training", "Baseline", *(f"{fraction:g} % (paper)" for fraction in fractions)]
    rows = []
    parts = frame.groupby(["table", "regions", "encoding", "initialisation", "baseline"], sort=False)
    for (_, regions, encoding, initialisation, baseline), part in parts:
        told = {row.fraction: marked(f"{row.told} ({row.paper_told})", row) for row in part.itertuples()}
        of, how = baseline.rsplit(" ", 1)
        against = TITLES[how].lower() if of == encoding else TITLES[of]
        arm = f"{TITLES[encoding]}{', ' + regions if regions else ''}"
        rows.append([arm, TITLES[initialisation], against, *(told.get(fraction, "-") for fraction in fractions)])
    title = f"Label efficiency ({cells.provenance}): what an arm is worth in labels of its baseline"
    return document(form, title, (heads, rows), f"{NOTES['efficiency']} {cells.caution}{rising_note(frame)}")
