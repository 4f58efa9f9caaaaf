"""What each part of a recipe adds to a map, and what it costs: cells that differ in it, one less the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import bounds
from sardino.reporting.rows import HYBRID, SELF_TRAINED, WIDE
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.contrasts import gain
from sardino.reporting.tables.metrics import efficiency_table
from sardino.reporting.tables.paper import BASELINES, TITLES, CellKey
from sardino.reporting.tables.render import NOTES, Form, document, marked, rising_note, scored

UNET, BESIDE = BASELINES
Row = tuple[str, str]  # encoding and initialisation, of Table 2
# What a part is, the row with it, and the row without.
PARTS: dict[str, tuple[Row, Row]] = {
    "Attention maps of an untrained ViT": ((BESIDE, "scratch"), (UNET, "scratch")),
    "Pre-training of that ViT": ((BESIDE, "unfrozen"), (BESIDE, "scratch")),
    "A wider U-Net": ((WIDE, "scratch"), (UNET, "scratch")),
    "Tokens at its lowest level": ((HYBRID, "scratch"), (UNET, "scratch")),
    "Pre-training of U-Net and ViT": ((HYBRID, "unfrozen"), (HYBRID, "scratch")),
    "The ViT fine-tuned, not frozen": ((HYBRID, "unfrozen"), (HYBRID, "frozen")),
    "Self-training after pre-training": ((HYBRID, SELF_TRAINED), (HYBRID, "unfrozen")),
    "Self-training of a plain U-Net": ((UNET, SELF_TRAINED), (UNET, "scratch")),
    "Pre-trained, over the wide U-Net": ((HYBRID, "unfrozen"), (WIDE, "scratch")),
    "Self-trained too, over the wide U-Net": ((HYBRID, SELF_TRAINED), (WIDE, "scratch")),
}


@dataclass(frozen=True)
class Work:
    """What one training took, or a mean of several."""

    tflop: float  # 10^12 floating-point operations, counted on the network
    minutes: float  # of one core, as the records tell


def parts_table(cells: Cells) -> pd.DataFrame:
    """A row for each part and percentage of labels of which both cells were run.

    Columns: part, the facts of the cell with it, miou, other_miou, difference, low, high, rising, what the labels are.
    SardinoError where no part was run.
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
    if not rows:
        raise SardinoError(
            f"profile '{cells.profile}' has no two rows of Table 2 that differ in a part: run more of it"
        )
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
    notes = [NOTES["whole"]] * cells.whole + [NOTES[SELF_TRAINED]] * (SELF_TRAINED in set(frame["initialisation"]))
    return document(form, title, (heads, rows), f"{cells.caution}{rising_note(frame)}", *notes)


def costs_table(cells: Cells, trained: Mapping[CellKey, Work], pretrained: Mapping[CellKey, Work]) -> pd.DataFrame:
    """A row for each cell of Table 2, by labels: its score, what it took, and what it is worth.

    Columns: the facts of the cell, miou, low, high; tflop and minutes of one training, and of its pre-training
    (tflop_before, minutes_before; NaN where that is not known); factor (in labels of the plain U-Net: see
    `efficiency_table`), its text (told), and minutes_a_tile: those beyond a plain U-Net with that many labels, for each
    labelled tile that the factor spares. NaN where the factor's interval reaches 1, or lies beyond what is known.

    Args:
        trained: of each cell, one training.
        pretrained: of each cell that has one, one pre-training.
    """
    worth = efficiency_table(cells)
    worth = worth[worth["baseline"] == f"{UNET} scratch"].set_index(["encoding", "initialisation", "fraction"])
    plain = sorted(
        (key for key in trained if (key.encoding, key.initialisation) == (UNET, "scratch")), key=attrgetter("fraction")
    )
    labels = [cells.facts(key)["labelled_tiles"] for key in plain]
    rows: list[dict[str, Any]] = []
    for key in sorted((key for key in cells.arms if key.table == 2), key=attrgetter("fraction")):
        low, high = cells.interval(key)
        own, before = trained[key], pretrained.get(key, Work(0.0, 0.0))
        row = {**cells.facts(key), "miou": cells.miou(key), "low": low, "high": high}
        row |= {"tflop": own.tflop, "minutes": own.minutes}
        row |= {"tflop_before": before.tflop, "minutes_before": before.minutes}
        row |= {"factor": np.nan, "told": "-", "minutes_a_tile": np.nan}
        place = (key.encoding, key.initialisation, key.fraction)
        if place in worth.index:
            found, tiles = worth.loc[place], row["labelled_tiles"]
            row |= {"factor": found["factor"], "told": found["told"], "rising": found["rising"]}
            if found["low"] > 1 and np.isfinite(found["factor"]):
                rival = np.interp(np.log(tiles * found["factor"]), np.log(labels), [trained[k].minutes for k in plain])
                row["minutes_a_tile"] = (own.minutes + before.minutes - rival) / (tiles * (found["factor"] - 1))
        rows.append({**row, **cells.source})
    return pd.DataFrame(rows)


def render_costs(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """Labels and rows of Table 2 down: the score, minutes and operations, and what they are worth."""
    rows = []
    for row in frame.itertuples():
        took = [_sum(row.minutes_before, row.minutes, 1), _sum(row.tflop_before, row.tflop, 0)]
        price = "-" if pd.isna(row.minutes_a_tile) else f"{max(row.minutes_a_tile, 0):.2g}"
        names = [f"{row.fraction:g} %", TITLES[row.encoding], TITLES[row.initialisation]]
        rows.append([*names, scored(row), *took, row.told, price])
    heads = ["Labels", "Model", "Backbone", "mIoU", "Minutes", "TFLOP", "Labels' worth", "Minutes a tile spared"]
    title = f"What each row costs ({cells.provenance}): a pre-training + a fine-tuning"
    return document(form, title, (heads, rows), f"{NOTES['costs']} {cells.caution}{rising_note(frame)}")


def _sum(before: float, own: float, digits: int) -> str:
    if not before:
        return f"{own:.{digits}f}"
    return f"{'?' if pd.isna(before) else f'{before:.{digits}f}'} + {own:.{digits}f}"


def findings(parts: pd.DataFrame, costs: pd.DataFrame, floors: Mapping[float, float]) -> str:
    """What adds, what takes away and what cannot be told, part by part; then the U-Net with the highest score.

    `floors`: mIoU of the strongest floor at each percentage of labels, where there is one.
    """
    told = []
    for part, rows in parts.groupby("part", sort=False):
        each = (f"{100 * row.difference:+.1f} ({_verdict(row)}) at {row.fraction:g} %" for row in rows.itertuples())
        told.append(f"{part}: {', '.join(each)}.")
    for fraction, rows in costs.groupby("fraction"):
        best = rows.loc[rows["miou"].idxmax()]
        said = f"With {fraction:g} % of the labels the U-Net with the highest mIoU, {best['miou']:.3f}, is "
        said += f"{TITLES[best['encoding']]}, {TITLES[best['initialisation']].lower()}"
        plain = rows[(rows["encoding"] == UNET) & (rows["initialisation"] == "scratch")]
        for other in plain[plain["miou"] < best["miou"]].itertuples():
            times = (best["tflop"] + best["tflop_before"]) / other.tflop
            said += f", for {times:.1f} times the operations of the plain one, which has {other.miou:.3f}"
        told.append(f"{said}; the strongest floor has {floors[fraction]:.3f}." if fraction in floors else f"{said}.")
    return " ".join(["Points of mIoU.", *told])


def _verdict(row: Any) -> str:
    """Whether the interval leaves zero out; of one training that is a word on its land alone."""
    once = row.draws == row.seeds == 1
    more, less = ("higher in one training", "lower in one training") if once else ("gain", "loss")
    word = more if row.low > 0 else less if row.high < 0 else "undecided"
    return f"{word}, still rising" if row.rising is True else word
