"""Cells know their repetitions, which of them still rise and what stands below them; tables say so, and only there."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import copies, interval
from sardino.evaluation.scores import RISING
from sardino.reporting.figures.curves import draw_validation
from sardino.reporting.tables import render
from sardino.reporting.tables.cells import Cells, read_cells
from sardino.reporting.tables.claims import claims_table, render_claims
from sardino.reporting.tables.metrics import differences_table, efficiency_table, render_efficiency
from sardino.reporting.tables.paper import CellKey
from sardino.reporting.tables.tables import arms_and_floors, table1, table2

TITLES = {"europe": "Europe", "all": "Europe, CONUS, China"}
FRACTIONS = [0.1, 1.0, 10.0]
RISES = CellKey(1, "europe", "tokens", "unfrozen", 10.0)
UNET = CellKey(2, "", "unet", "scratch", 1.0)


def pairs(fraction: float) -> list[tuple[int, int]]:
    """Five draws of the fewest labels, two of the others with two seeds."""
    return [(draw, 7) for draw in range(5)] if fraction < 1 else [(0, 7), (1, 8)]


def gain(key: CellKey, number: int) -> float:
    """One cell rises on average though one of its repetitions falls; another rises in one repetition alone."""
    risen = {RISES: [0.05, -0.01], UNET: [0.03, -0.02]}
    return risen.get(key, [0.0] * 5)[number]


def accuracy(key: CellKey) -> float:
    """From scratch below the floors."""
    return 0.3 if key.initialisation == "scratch" and key.table == 1 else 0.7


def floor(key: CellKey) -> float:
    return {"majority": 0.2, "logistic": 0.5, "forest": 0.45}[key.encoding]


@pytest.fixture(scope="module")
def cells(write, tmp_path_factory) -> Cells:
    folder = tmp_path_factory.mktemp("runs")
    return read_cells(write(folder, accuracy, pairs=pairs, gain=gain, floor=floor), folder)


def test_a_floors_row_is_that_of_its_matrices_and_the_strongest_is_marked(cells: Cells) -> None:
    for frame in (table1(cells, TITLES, FRACTIONS), table2(cells, FRACTIONS)):
        floors = arms_and_floors(frame)[1]
        assert len(floors) == 9 and set(floors[floors["strongest"]]["encoding"]) == {"logistic"}
        for row in floors.itertuples():
            key = CellKey(0, "", row.encoding, row.initialisation, row.fraction)
            assert (row.low, row.high) == interval(copies(cells.confusions[key], cells.blocks))
            assert row.draws == len(cells.confusions[key]) == (5 if row.fraction < 1 else 2)
            assert pd.isna(row.rising) and pd.isna(row.paper_miou)
    assert not arms_and_floors(frame)[0]["strongest"].any()


def test_arms_below_the_strongest_floor_are_named_from_the_data(cells: Cells) -> None:
    first, second = table1(cells, TITLES, FRACTIONS), table2(cells, FRACTIONS)
    text = render.table1(first, cells, "markdown")
    assert "below it: Europe / Attention maps / From scratch (0.1 %, 1 %, 10 %); Europe / Tokens / From scratch" in text
    assert "frozen (" not in text.split("below it")[1]
    assert "below it: no arm." in render.table2(second, cells)
    floors = arms_and_floors(first)[1]
    for form in ("text", "markdown"):
        rows = render.table1(first, cells, form)
        assert all(f"{row.miou:.3f}{'*' * row.strongest} [{row.low:.3f}" in rows for row in floors.itertuples())
        assert rows.count("* [") == 3 and "9,000 (1,000)" in rows
        assert max(map(len, render.table1(first, cells).split("Each cell:")[0].splitlines())) <= 120


def test_marks_appear_exactly_where_the_rule_says(cells: Cells) -> None:
    first, second = table1(cells, TITLES, FRACTIONS), table2(cells, FRACTIONS)
    marked = first[first["rising"] == True]  # noqa: E712
    assert list(marked[["regions", "encoding", "initialisation", "fraction"]].itertuples(index=False, name=None)) == [
        (RISES.regions, RISES.encoding, RISES.initialisation, RISES.fraction)
    ]
    assert marked["gain_last_fifth"].item() == pytest.approx(0.02) and marked["steps"].item() == 100
    for form in ("text", "markdown", "latex"):
        mark = r"\textuparrow{} [" if form == "latex" else "\N{UPWARDS ARROW} ["
        told = render.table1(first, cells, form)
        assert told.count(mark) == 1 and f"{cells.miou(RISES):.3f}{mark}" in told and "1 of 36 cells" in told
        assert mark not in render.table2(second, cells, form), "the mean over its repetitions is below the rule"
    assert f"more than {RISING} mIoU" in told


def test_what_rests_on_a_cell_that_rises_says_so(cells: Cells) -> None:
    claims = claims_table(cells, list(TITLES), FRACTIONS).set_index("id")
    assert claims.loc["tokens-no-gain-10", "rising"] == 1 and claims.loc["attention-no-gain-10", "rising"] == 0
    assert "1 of its 2 cells still rise." in claims.loc["tokens-no-gain-10", "why"]
    assert "rise" not in claims.loc["attention-no-gain-10", "why"]
    lines = render_claims(claims.reset_index(), cells).splitlines()
    assert next(line for line in lines if "tokens-no-gain-10" in line).endswith("\N{UPWARDS ARROW}")
    assert not next(line for line in lines if "attention-no-gain-10" in line).endswith("\N{UPWARDS ARROW}")
    differences = differences_table(cells)
    at = (differences["regions"] == "europe") & (differences["encoding"] == "tokens") & (differences["fraction"] == 10)
    named = differences[at & (differences["rising"] == True)]["comparison"]  # noqa: E712
    assert sorted(named) == [
        "arm - strongest floor", "pre-trained, not frozen - from scratch", "tokens - attention maps"]  # fmt: skip
    assert "\N{UPWARDS ARROW}" in render_efficiency(efficiency_table(cells), cells)


def test_an_arm_beside_the_strongest_floor_has_a_paired_interval(cells: Cells) -> None:
    frame = differences_table(cells)
    beside = frame[frame["comparison"] == "arm - strongest floor"]
    assert len(beside) == len(cells.arms) == 48
    scratch = (beside["initialisation"] == "scratch") & (beside["table"] == 1)
    assert (beside[scratch]["high"] < 0).all() and (beside[~scratch]["low"] > 0).all()


def test_repetitions_are_counted_by_percentage_of_labels(cells: Cells) -> None:
    assert (
        "(5 draws of the labels and 1 seed at 0.1 %, 2 draws of the labels and 2 seeds at 1 % and 10 %)"
        in cells.caution
    )
    assert "One draw tells nothing of other labels" in cells.caution
    frame = table2(cells, FRACTIONS).set_index(["encoding", "initialisation", "fraction"])
    assert tuple(frame.loc[("unet", "scratch", 0.1), ["draws", "seeds"]]) == (5, 1)


def test_the_order_of_repetitions_does_not_matter(runs, tmp_path: Path) -> None:
    records = runs(accuracy, fractions=[1.0], arms=["europe"], seeds=(0, 1, 2))
    first, told = read_cells(records, tmp_path), records[3]["results"]["cells"]
    for order in permutations(told):
        records[3]["results"]["cells"] = list(order)
        other = read_cells(records, tmp_path)
        assert all(np.array_equal(first.confusions[key], other.confusions[key]) for key in first.confusions)
        assert first.told == other.told


def test_other_repetitions_of_the_same_labels_are_refused(runs, tmp_path: Path) -> None:
    records = runs(accuracy, pairs=pairs)
    records[1]["results"]["cells"][-1]["draw"] = 9
    with pytest.raises(SardinoError, match=r"\(draw, seed\) .*\(9, 8\).* run finetune-europe"):
        read_cells(records, tmp_path)


def test_records_without_the_fields_are_not_marked(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(accuracy), tmp_path)
    frame = table1(cells, TITLES, FRACTIONS)
    assert frame[["steps", "gain_last_fifth", "rising", "decoder_parameters"]].isna().all(axis=None)
    text = render.table1(frame, cells)
    assert "\N{UPWARDS ARROW}" not in text.split("Each cell:")[0] and "Europe / Tokens - (-)" in text
    assert claims_table(cells, list(TITLES), FRACTIONS)["rising"].isna().all()


def test_curves_of_every_cell_beside_the_floors(cells: Cells) -> None:
    figure = draw_validation(cells, TITLES, FRACTIONS)
    panels = [axes for axes in figure.axes if axes.get_lines()]
    assert len(panels) == 3 * 5
    for number, axes in enumerate(panels):
        arms = 4 if number % 5 == 4 else 3
        assert len(axes.get_lines()) == 3 + 2 * arms
        curve = axes.get_lines()[3]
        assert list(curve.get_xdata()) == [20, 40, 60, 80, 100]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == 5 and "Strongest floor" in names and "synthetic world" in figure.get_suptitle()
