"""What each head sees, in words and as a short table, read from the tidy scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sardino.data.tiles.tile import LAYERS
from sardino.evaluation.attention_scores import MIDDLE, POSITION
from sardino.reporting.record import provenance
from sardino.reporting.tables.render import aligned, document, markdown

SHOWN = "separation"
"""The measure of the figure and of the table: a rank correlation, whichever way it points."""
SIGNED = ("auc", "spearman")
"""The measures that tell which way."""
WAYS = {1: "+", -1: "\N{MINUS SIGN}", 0: "\N{PLUS-MINUS SIGN}"}
COARSE = "landcover_300m"
"""The labels once more, coarser: in attention_scores.csv only."""
BEST = 3
HOW_TO_READ = (
    "Each entry: separation, the size of the rank correlation in a tile (|2 AUC - 1| for a class, |Spearman's| for an "
    "amount), mean over tiles, beyond the best of three nulls - the closest head of an untrained ViT, the reference "
    "moved round the tile, the head's mean map over other bands - with its 95 % interval over bands; (+) the head "
    "attends to it, (\N{MINUS SIGN}) avoids it, (\N{PLUS-MINUS SIGN}) the one or the other from tile to tile. "
    "Position: share of a head's variance over tiles and patches that the place of the patch alone explains, "
    "cross-validated over bands. No correction for the number of pairs: of pairs without any relation up to one in "
    "forty would be listed."
)
Column = tuple[str, str, str]
"""Layer, class and title."""


@dataclass(frozen=True)
class Cell:
    """One head and one class or amount.

    Args:
        beyond, low, high: separation more than the best null has, and its interval.
        way: 1 where the head attends to it, -1 where it avoids it, 0 where the interval of the mean holds no relation.
        seen: the interval lies above 0.
    """

    beyond: float
    low: float
    high: float
    way: int
    seen: bool

    def __str__(self) -> str:
        return f"{self.beyond:.2f} [{self.low:.2f}, {self.high:.2f}] ({WAYS[self.way]})"


def columns_of(part: pd.DataFrame) -> list[Column]:
    """The classes and amounts that at least one tile of an arm could be scored on, in the order of the scores."""
    known = part[(part["measure"] == SHOWN) & (part["tiles"] > 0) & (part["layer"] != COARSE)]
    pairs = known[["layer", "class"]].fillna("").drop_duplicates().itertuples(index=False, name=None)
    return [(layer, name, name or _title(layer)) for layer, name in pairs]


def head_cells(part: pd.DataFrame, head: int) -> dict[Column, Cell]:
    """What one head of an arm has beyond its nulls, by column."""
    rows = part[(part["head"] == head) & (part["tiles"] > 0) & (part["layer"] != COARSE)].fillna({"class": ""})
    signed = rows[rows["measure"].isin(SIGNED)].set_index(["layer", "class"])
    found = {}
    for row in rows[rows["measure"] == SHOWN].to_dict("records"):
        beyond, low, high = (float(row[name]) for name in ("beyond", "beyond_low", "beyond_high"))
        column = (row["layer"], row["class"], row["class"] or _title(row["layer"]))
        found[column] = Cell(beyond, low, high, _way(signed.loc[column[:2]]), low > 0)
    return found


def position_of(part: pd.DataFrame, head: int) -> str:
    """A head's position share for readers."""
    return _percent(_share(part, head))


def attention_markdown(frame: pd.DataFrame) -> str:
    """The table as Markdown, with what came out and how to read it."""
    return document(_heading(frame), markdown(*_grid(frame)), attention_outcome(frame), HOW_TO_READ, bold=True)


def attention_text(frame: pd.DataFrame) -> str:
    """The table as plain text, with what came out."""
    return document(_heading(frame), aligned(*_grid(frame)), attention_outcome(frame))


def attention_outcome(frame: pd.DataFrame) -> str:
    """How many pairs of a head and a layer lie beyond every null, arm by arm, in a sentence each."""
    told = []
    for _, part in frame.groupby("arm", sort=False):
        cells = [cell for head in _heads(part) for cell in head_cells(part, head).values()]
        seen = [cell for cell in cells if cell.seen]
        shares = part.loc[part["measure"] == POSITION, ["value", "random"]]
        untrained = shares["random"].max()
        told.append(
            f"{part['arm_title'].iloc[0]}: of {len(cells)} pairs of a head and a class or amount {len(seen)} lie "
            f"beyond every null ({sum(cell.way > 0 for cell in seen)} attended to, "
            f"{sum(cell.way < 0 for cell in seen)} avoided, {sum(cell.way == 0 for cell in seen)} the one or the other "
            f"from tile to tile); position explains {_span(shares['value'])} of a head's variance, "
            f"and at most {_percent(untrained)} of an untrained one's."
        )
    return " ".join(told)


def attention_summary(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Per arm and head, for the record: position share, and what the head has most of beyond its nulls."""
    rows = []
    for arm, part in frame.groupby("arm", sort=False):
        for head in _heads(part):
            share = _share(part, head)
            best = {
                title: {"beyond": cell.beyond, "low": cell.low, "high": cell.high, "way": cell.way}
                for (_, _, title), cell in _best(head_cells(part, head))
            }
            rows.append(
                {"arm": str(arm), "head": int(head), "position_share": None if pd.isna(share) else share, "sees": best}
            )
    return rows


def _grid(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    rows = []
    for _, part in frame.groupby("arm", sort=False):
        for head in _heads(part):
            best = _best(head_cells(part, head))
            told = "; ".join(f"{title} {cell}" for (_, _, title), cell in best) or "nothing beyond its nulls"
            rows.append([str(part["arm_title"].iloc[0]), str(head), position_of(part, head), told])
    return ["Backbone", "Head", "Position", f"Sees most (at most {BEST})"], rows


def _heads(part: pd.DataFrame) -> list[int]:
    return sorted(part["head"].unique())


def _share(part: pd.DataFrame, head: int) -> float:
    """A head's position share; NaN where it is not known."""
    return float(part[(part["head"] == head) & (part["measure"] == POSITION)]["value"].iloc[0])


def _best(cells: dict[Column, Cell]) -> Sequence[tuple[Column, Cell]]:
    seen = [(column, cell) for column, cell in cells.items() if cell.seen]
    return sorted(seen, key=lambda item: -item[1].beyond)[:BEST]


def _way(row: pd.Series) -> int:
    """Which way a mean over tiles points, where its interval says so."""
    middle = MIDDLE[str(row["measure"])] or 0.0
    return int(row["low"] > middle) - int(row["high"] < middle)


def _heading(frame: pd.DataFrame) -> str:
    where = provenance(synthetic=bool(frame["synthetic"].iloc[0]), derived=bool(frame["derived"].any()))
    return f"What each head sees ({where})"


def _title(layer: str) -> str:
    return "Optical brightness" if layer == "optical" else LAYERS.get(layer, layer).split(" (")[0]


def _span(shares: pd.Series) -> str:
    low, high = _percent(shares.min()), _percent(shares.max())
    return low if low == high else f"{low} to {high}"


def _percent(share: float) -> str:
    return "-" if pd.isna(share) else f"{100 * max(0.0, share):.0f} %"
