"""What a factorial experiment on pre-training found: effects as a table, and in words that follow from the numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sardino.evaluation.factorial import effects, mean_interval
from sardino.reporting.tables.render import NOTES, Form, document

Factors = Mapping[str, Sequence[str]]  # names of each factor's levels, the reference first

# What is judged of a cell, all beside the same backbone before it was pre-trained.
RESPONSES = {
    "moved": "distance moved, log10 of %",
    "probe": "gain of frozen tokens, points of mIoU",
    "map": "gain of fine-tuned maps, points of mIoU",
}
MOST_PAIRS = 6  # effects of two factors that a table or a figure shows


def responses(cells: pd.DataFrame) -> dict[str, pd.Series]:
    """The numbers of RESPONSES of each cell."""
    gains = {name: 100 * (cells[column] - cells[f"{column}_before"]) for name, column in _JUDGED.items()}
    return {"moved": np.log10(cells["moved_percent"]), **gains}


_JUDGED = {"probe": "probe", "map": "miou"}


def effects_table(cells: pd.DataFrame, factors: Factors) -> pd.DataFrame:
    """Effects on every response: columns response, effect, factors, estimate, low, high."""
    found = {name: effects(cells, factors, values) for name, values in responses(cells).items()}
    return pd.concat(found, names=["response"]).reset_index(level=0)


def shown(table: pd.DataFrame) -> list[str]:
    """Effects of one factor, then the few of two that stand out most in any response."""
    size = (table["estimate"].abs() / (table["high"] - table["low"])).groupby(table["effect"], sort=False).max()
    pairs = table.loc[table["factors"] == 2, "effect"].unique()
    most = size[pairs].sort_values(ascending=False, kind="stable").index[:MOST_PAIRS]
    return [*table.loc[table["factors"] == 1, "effect"].unique(), *most]


def findings(cells: pd.DataFrame, factors: Factors, table: pd.DataFrame) -> str:
    """What each level of the first factor did to a backbone, and which switches changed what pre-training gains."""
    first, levels = next(iter(factors.items()))
    run = [level for level in levels if level in set(cells[first])]
    told = [_of_level(cells[cells[first] == level], f"{first} {level}") for level in run]
    alone = table[table["factors"] == 1]
    for name in _JUDGED:
        sure = alone[(alone["response"] == name) & ((alone["low"] > 0) | (alone["high"] < 0))]
        each = "; ".join(f"{row.effect} ({row.estimate:+.1f})" for row in sure.itertuples()) or "nothing"
        told.append(f"Of all switches of one factor, what changed the {RESPONSES[name]}: {each}.")
    return " ".join(told)


def render_effects(cells: pd.DataFrame, factors: Factors, table: pd.DataFrame, form: Form = "text") -> str:
    """The table of effects, what was found, and how to read both."""
    entries = {(row.effect, row.response): row for row in table.itertuples()}
    rows = []
    for name in shown(table):
        here = (entries[name, response] for response in RESPONSES)
        rows.append([name, *(f"{row.estimate:+.2f} [{row.low:+.2f}, {row.high:+.2f}]" for row in here)])
    count = int((table["factors"] == 2).sum() / len(RESPONSES))
    title = f"Effects on a backbone (synthetic world), {len(cells)} pre-trainings"
    reading = NOTES["effects"].format(count=count, luck=0.05 * count)
    heads = ["Effect", *(text[0].upper() + text[1:] for text in RESPONSES.values())]
    return document(form, title, (heads, rows), findings(cells, factors, table), reading)


def _of_level(cells: pd.DataFrame, name: str) -> str:
    found = responses(cells)
    moved = cells["moved_percent"]
    said = f"With {name} ({len(cells)} pre-trainings) the backbone moved by {moved.median():.2g} % of its length "
    said += f"({moved.min():.2g} to {moved.max():.2g})"
    for response, subject in (("probe", "its frozen tokens"), ("map", "maps fine-tuned from it")):
        mean, low, high = mean_interval(found[response].to_numpy())
        verdict = "gained" if low > 0 else "lost" if high < 0 else "neither gained nor lost, as far as these runs tell:"
        said += f"; {subject} {verdict} {mean:+.1f} points of mIoU [{low:+.1f}, {high:+.1f}]"
    return f"{said}."
