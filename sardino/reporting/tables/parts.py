"""What each part of a recipe adds to a map, and what it costs: cells that differ in it, one less the other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sardino.evaluation.bootstrap import bounds
from sardino.reporting.rows import HYBRID, SELF_TRAINED, WIDE
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.contrasts import gain
from sardino.reporting.tables.metrics import efficiency_table
from sardino.reporting.tables.paper import BASELINES, TITLES, CellKey
from sardino.reporting.tables.render import NOTES, Form, document, marked, rising_note, scored

UNET, BESIDE = BASELINES
Row = tuple[str, str]  # encoding and initialisation, of Table 2
# What a part is, the row with it, and the row without. The last two are the recipe as a whole.
PARTS: dict[str, tuple[Row, Row]] = {
    "Attention maps of DINO": ((BESIDE, "unfrozen"), (UNET, "scratch")),
    "A wider U-Net": ((WIDE, "scratch"), (UNET, "scratch")),
    "Tokens at its lowest level": ((HYBRID, "scratch"), (UNET, "scratch")),
    "Pre-training of both": ((HYBRID, "unfrozen"), (HYBRID, "scratch")),
    "A ViT that learns on": ((HYBRID, "unfrozen"), (HYBRID, "frozen")),
    "Self-training after it": ((HYBRID, SELF_TRAINED), (HYBRID, "unfrozen")),
    "Self-training alone": ((UNET, SELF_TRAINED), (UNET, "scratch")),
    "Pre-trained, over the wide U-Net": ((HYBRID, "unfrozen"), (WIDE, "scratch")),
    "Self-trained too, over the wide U-Net": ((HYBRID, SELF_TRAINED), (WIDE, "scratch")),
}


@dataclass(frozen=True)
class Work:
    """What one training took, or a mean of several."""

    tflop: float  # 10^12 floating-point operations, counted on the network
    minutes: float  # of one core, as the records tell

    def __add__(self, other: "Work") -> "Work":
        return Work(self.tflop + other.tflop, self.minutes + other.minutes)


def parts_table(cells: Cells) -> pd.DataFrame:
    """A row for each part and percentage of labels of which both cells were run.

    Columns: part, the facts of the cell with it, miou, other_miou, difference, low, high, rising, what the labels are.
    """
    rows = []
    fractions = sorted({key.fraction for key in cells.arms})
    for part, pair in PARTS.items():
        for fraction in fractions:
            better, other = (CellKey(2, "", *row, fraction) for row in pair)
            if not {better, other} <= cells.confusions.keys():
                continue
            low, high = bounds(gain(part, better, other).copies(cells))
            row = {"part": part, **cells.facts(better), "miou": cells.miou(better), "other_miou": cells.miou(other)}
            row |= {"difference": row["miou"] - row["other_miou"], "low": low, "high": high}
            rows.append({**row, "rising": cells.rising(better, other), **cells.source})
    return pd.DataFrame(rows)


def render_parts(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """Parts down, labels across: the difference of mIoU with its interval."""
    fractions = sorted(frame["fraction"].unique())
    rows = []
    for part, of_part in frame.groupby("part", sort=False):
        told = {
            row.fraction: marked(f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]", row)
            for row in of_part.itertuples()
        }
        rows.append([part, *(told.get(fraction, "-") for fraction in fractions)])
    title = f"What each part adds ({cells.provenance}): difference of mIoU"
    heads = ["Part", *(f"{fraction:g} % of labels" for fraction in fractions)]
    return document(form, title, (heads, rows), f"{cells.caution}{rising_note(frame)}")


def costs_table(cells: Cells, trained: Mapping[CellKey, Work], pretrained: Mapping[CellKey, Work]) -> pd.DataFrame:
    """A row for each cell of Table 2, by labels: its score, what it took, and what it is worth.

    Columns: the facts of the cell, miou, low, high; tflop and minutes of one training, and of its pre-training
    (tflop_before, minutes_before); factor (in labels of the plain U-Net: see `efficiency_table`) and its text, told;
    minutes_a_tile (those beyond a U-Net with as many labels, for each labelled tile that the factor saves).

    Args:
        trained: of each cell, one training.
        pretrained: of each cell that has one, one pre-training.
    """
    worth = efficiency_table(cells)
    worth = worth[worth["baseline"] == f"{UNET} scratch"].set_index(["encoding", "initialisation", "fraction"])
    rows: list[dict[str, Any]] = []
    for key in sorted((key for key in cells.arms if key.table == 2), key=lambda key: key.fraction):
        low, high = cells.interval(key)
        own, before = trained[key], pretrained.get(key, Work(0.0, 0.0))
        row = {**cells.facts(key), "miou": cells.miou(key), "low": low, "high": high}
        row |= {"tflop": own.tflop, "minutes": own.minutes}
        row |= {"tflop_before": before.tflop, "minutes_before": before.minutes}
        place = (key.encoding, key.initialisation, key.fraction)
        factor, told = worth.loc[place, ["factor", "told"]] if place in worth.index else (np.nan, "-")
        saved = (factor - 1) * row["labelled_tiles"]
        more = own.minutes + before.minutes - trained[replace(key, encoding=UNET, initialisation="scratch")].minutes
        row |= {"factor": factor, "told": told, "minutes_a_tile": more / saved if 0 < saved < np.inf else np.nan}
        rows.append({**row, **cells.source})
    return pd.DataFrame(rows)


def render_costs(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """Labels and rows of Table 2 down: the score, minutes and operations, and what they are worth."""
    rows = []
    for row in frame.itertuples():
        took = [f"{row.minutes_before:.1f} + {row.minutes:.1f}", f"{row.tflop_before:.0f} + {row.tflop:.0f}"]
        if not row.tflop_before:
            took = [f"{row.minutes:.1f}", f"{row.tflop:.0f}"]
        each = "-" if pd.isna(row.minutes_a_tile) else f"{row.minutes_a_tile:.2g}"
        names = [f"{row.fraction:g} %", TITLES[row.encoding], TITLES[row.initialisation]]
        rows.append([*names, scored(row), *took, row.told, each])
    heads = ["Labels", "Model", "Backbone", "mIoU", "Minutes", "TFLOP", "Labels' worth", "Minutes a tile saved"]
    title = f"What each row costs ({cells.provenance}): a pre-training + a fine-tuning"
    return document(form, title, (heads, rows), f"{NOTES['costs']} {cells.caution}{rising_note(frame)}")


def findings(parts: pd.DataFrame, costs: pd.DataFrame) -> str:
    """What adds, what takes away and what cannot be told, part by part; then the highest score of each column."""
    told = []
    for part, rows in parts.groupby("part", sort=False):
        each = (f"{100 * row.difference:+.1f} ({_verdict(row)}) at {row.fraction:g} %" for row in rows.itertuples())
        told.append(f"{part}: {', '.join(each)}.")
    for fraction, rows in costs.groupby("fraction"):
        best = rows.loc[rows["miou"].idxmax()]
        plain = rows[(rows["encoding"] == UNET) & (rows["initialisation"] == "scratch")].iloc[0]
        name = f"{TITLES[best['encoding']]}, {TITLES[best['initialisation']].lower()}"
        times = (best["tflop"] + best["tflop_before"]) / plain["tflop"]
        said = (
            f"With {fraction:g} % of the labels the highest mIoU is {best['miou']:.3f} ({name}), for {times:.1f} times "
        )
        told.append(f"{said}the operations of the plain U-Net, which has {plain['miou']:.3f}.")
    return " ".join(["Points of mIoU.", *told])


def _verdict(row: Any) -> str:
    return "gain" if row.low > 0 else "loss" if row.high < 0 else "undecided"
