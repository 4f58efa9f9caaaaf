"""Effects of the experiment of notebook 11: a table, a figure and sentences that say what the numbers say."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from sardino.reporting.figures.effects import draw_effects
from sardino.reporting.tables.effects import MOST_PAIRS, RESPONSES, effects_table, findings, render_effects, shown

FACTORS = {"rate": ["1e-6", "5e-4"], **{name: ["off", "on"] for name in ("views", "patch", "steps", "input")}}


@pytest.fixture
def cells() -> pd.DataFrame:
    """Nothing but the rate does anything: it moves the backbone, and its tokens gain ten points."""
    runs = [(*run, seed) for seed in (0, 1) for run in product(*FACTORS.values())]
    made = pd.DataFrame(runs, columns=[*FACTORS, "seed"])
    fast, rng = made["rate"] == "5e-4", np.random.default_rng(0)
    noise = pd.DataFrame(rng.normal(0, 1e-2, (len(made), 2)))
    of_probe, of_map = (noise - noise.groupby(fast).transform("mean")).to_numpy().T
    made["moved_percent"] = np.where(fast, 10.0, 0.1) * rng.uniform(0.9, 1.1, len(made))
    made["probe"], made["probe_before"] = 0.3 + 0.1 * fast + of_probe, 0.3
    return made.assign(miou=0.25 + of_map, miou_before=0.25)


def test_words_follow_from_the_numbers(cells):
    table = effects_table(cells, FACTORS)
    told = findings(cells, FACTORS, table)
    slow, fast = told.split("With rate 5e-4")
    assert "With rate 1e-6 (32 pre-trainings beside 1 untrained backbone) the weights moved by 0.1 % of their" in slow
    assert "frozen tokens neither gained nor lost" in slow and "maps fine-tuned from it neither" in slow
    assert "frozen tokens gained +10" in fast and "maps fine-tuned from it neither" in fast
    assert "tokens, points of mIoU, is clear of zero: rate: 5e-4, not 1e-6 (+10" in fast
    turned = cells.assign(probe=0.6 - cells["probe"])
    assert "frozen tokens lost -10" in findings(turned, FACTORS, effects_table(turned, FACTORS))


def test_the_table_shows_each_factor_and_the_pairs_that_stand_out(cells):
    cells.loc[(cells["patch"] == "on") & (cells["steps"] == "on"), "miou"] += 0.2
    table = effects_table(cells, FACTORS)
    names = shown(table)
    assert names[:5] == [f"{name}: {on}, not {off}" for name, (off, on) in FACTORS.items()]
    assert names[5] == "patch × steps" and len(names) == 5 + MOST_PAIRS
    text = render_effects(cells, FACTORS, table, "markdown")
    assert text.count("\n| ") == 2 + len(names) and "64 pre-trainings" in text
    assert "Of 10 of two the largest are listed: by luck alone about 0 of them" in " ".join(text.split())


def test_the_figure_has_a_panel_for_each_response_and_a_row_for_each_effect(cells):
    table = effects_table(cells, FACTORS)
    figure = draw_effects(table, "An experiment (synthetic world)")
    assert len(figure.axes) == len(RESPONSES)
    for axes, response in zip(figure.axes, RESPONSES, strict=True):
        points = [line for line in axes.lines if line.get_marker() == "o"]
        here = table[table["response"] == response].set_index("effect").loc[shown(table)]
        np.testing.assert_allclose([point.get_xdata()[0] for point in points], here["estimate"])
        clear = (here["low"] > 0) | (here["high"] < 0)
        assert [point.get_markerfacecolor() != "white" for point in points] == clear.tolist()
