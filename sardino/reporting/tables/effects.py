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
        each = "; ".join(f"{row.effect} ({row.estimate:+.1f})" for row in sure.itertuples()) or "none"
        told.append(f"Switches of one factor whose effect on the {RESPONSES[name]}, is clear of zero: {each}.")
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
    """Means over the controls, since all the cells beside one untrained backbone share its chance."""
    found, controls = responses(cells), [cells[f"{column}_before"] for column in _JUDGED.values()]
    number = len(cells.groupby(controls))
    moved = cells["moved_percent"]
    beside = f"{number} untrained backbone{'s' * (number > 1)}"
    said = f"With {name} ({len(cells)} pre-trainings beside {beside}) the weights moved by {moved.median():.2g} % of "
    said += f"their norm ({moved.min():.2g} to {moved.max():.2g})"
    for response, subject in (("probe", "frozen tokens"), ("map", "maps fine-tuned from it")):
        values = found[response].groupby(controls).mean() if number > 1 else found[response]
        mean, low, high = mean_interval(values.to_numpy())
        verdict = "gained" if low > 0 else "lost" if high < 0 else "neither gained nor lost, as far as these runs tell:"
        said += f"; {subject} {verdict} {mean:+.1f} points of mIoU [{low:+.1f}, {high:+.1f}]"
    return f"{said}."
