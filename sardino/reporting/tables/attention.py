"""What each head sees, in words and as a short table, read from the tidy scores."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from sardino.data.tiles.tile import LAYERS
from sardino.evaluation.attention_scores import MIDDLE, POSITION
from sardino.reporting.record import provenance
from sardino.reporting.tables.render import NOTES, Form, document

SHOWN = "separation"  # the measure of the figure and the table: a rank correlation, whichever way it points
SIGNED = ("auc", "spearman")  # the measures that tell which way
WAYS = {1: "+", -1: "\N{MINUS SIGN}", 0: "\N{PLUS-MINUS SIGN}"}
COARSE = "landcover_300m"  # the labels once more, coarser: in attention_scores.csv only
BEST = 3
Column = tuple[str, str, str]  # layer, class and title


@dataclass(frozen=True)
class Cell:
    """One head and one class or amount."""

    beyond: float  # separation more than the best null has, and its interval
    low: float
    high: float
    way: int  # 1: the head attends to it, -1: it avoids it, 0: the interval of the mean holds no relation

    @property
    def seen(self) -> bool:
        """The interval lies above 0."""
        return self.low > 0

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
        column = (row["layer"], row["class"], row["class"] or _title(row["layer"]))
        mean = signed.loc[column[:2]]
        middle = MIDDLE[mean["measure"]] or 0.0
        way = int(mean["low"] > middle) - int(mean["high"] < middle)
        found[column] = Cell(row["beyond"], row["beyond_low"], row["beyond_high"], way)
    return found


def position_share(part: pd.DataFrame, head: int) -> float:
    """Of a head's variance what the place of the patch alone explains; NaN where it is not known."""
    return float(part[(part["head"] == head) & (part["measure"] == POSITION)]["value"].iloc[0])


def percent(share: float) -> str:
    """A share for readers."""
    return "-" if pd.isna(share) else f"{100 * max(0.0, share):.0f} %"


def render_attention(frame: pd.DataFrame, form: Form = "text") -> str:
    """A row for each head, with what came out; as Markdown also how to read it."""
    rows = []
    for _, part in frame.groupby("arm", sort=False):
        for head in heads_of(part):
            told = "; ".join(f"{title} {cell}" for title, cell in _best(part, head)) or "nothing beyond its nulls"
            rows.append([part["arm_title"].iloc[0], str(head), percent(position_share(part, head)), told])
    where = provenance(synthetic=bool(frame["synthetic"].iloc[0]), derived=bool(frame["derived"].any()))
    grid = (["Backbone", "Head", "Position", f"Sees most (at most {BEST})"], rows)
    notes = [attention_outcome(frame), *[NOTES["attention"]] * (form == "markdown")]
    return document(form, f"What each head sees ({where})", grid, *notes)


def attention_outcome(frame: pd.DataFrame) -> str:
    """How many pairs of a head and a layer lie beyond every null, arm by arm, in a sentence each."""
    told = []
    for _, part in frame.groupby("arm", sort=False):
        cells = [cell for head in heads_of(part) for cell in head_cells(part, head).values()]
        ways = [cell.way for cell in cells if cell.seen]
        shares = part.loc[part["measure"] == POSITION, ["value", "random"]]
        span = dict.fromkeys([percent(shares["value"].min()), percent(shares["value"].max())])
        told.append(
            f"{part['arm_title'].iloc[0]}: of {len(cells)} pairs of a head and a class or amount {len(ways)} lie "
            f"beyond every null ({ways.count(1)} attended to, {ways.count(-1)} avoided, {ways.count(0)} the one or the "
            f"other from tile to tile); position explains {' to '.join(span)} of a head's variance, "
            f"and at most {percent(shares['random'].max())} of an untrained one's."
        )
    return " ".join(told)


def attention_summary(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Per arm and head, for the record: position share, and what the head has most of beyond its nulls."""
    rows = []
    for arm, part in frame.groupby("arm", sort=False):
        for head in heads_of(part):
            share = position_share(part, head)
            sees = {title: asdict(cell) for title, cell in _best(part, head)}
            known = None if pd.isna(share) else share
            rows.append({"arm": str(arm), "head": int(head), "position_share": known, "sees": sees})
    return rows


def heads_of(part: pd.DataFrame) -> list[int]:
    """Numbers of an arm's heads."""
    return sorted(part["head"].unique())


def _best(part: pd.DataFrame, head: int) -> list[tuple[str, Cell]]:
    """Titles and cells of what a head sees most."""
    seen = [(title, cell) for (_, _, title), cell in head_cells(part, head).items() if cell.seen]
    return sorted(seen, key=lambda item: -item[1].beyond)[:BEST]


def _title(layer: str) -> str:
    return "Optical brightness" if layer == "optical" else LAYERS.get(layer, layer).split(" (")[0]
