"""What each part adds and costs: planted gains come back with their sign, their price, and in words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.reporting.figures.effects import draw_parts
from sardino.reporting.rows import baseline_rows
from sardino.reporting.tables.cells import Cells, read_cells
from sardino.reporting.tables.paper import CellKey
from sardino.reporting.tables.parts import PARTS, Work, costs_table, findings, parts_table, render_costs, render_parts

FRACTIONS = [0.1, 1.0, 10.0]
MORE = [CellKey(2, "", e, i, f) for e in ("wide", "hybrid") for i in baseline_rows(e) for f in FRACTIONS]
SELF_TRAINED = [CellKey(2, "", e, "self-trained", f) for e in ("unet", "hybrid") for f in FRACTIONS]
PRETRAINED = Work(100.0, 30.0)


def accuracy(key: CellKey) -> float:
    """More labels help; pre-training helps the U-Net with tokens as much as ten times the labels, and it alone."""
    helped = (key.encoding, key.initialisation) == ("hybrid", "unfrozen")
    lost = key.encoding == "wide"
    return 0.5 + 0.1 * np.log10(key.fraction) + 0.1 * helped - 0.05 * lost


@pytest.fixture()
def cells(runs, tmp_path: Path) -> Cells:
    return read_cells(runs(accuracy, more=MORE), tmp_path)


def took(cells: Cells) -> tuple[dict[CellKey, Work], dict[CellKey, Work]]:
    """Minutes as many as the tiles of Table 2 begin with, twice as many with tokens."""
    trained = {key: Work(10.0, 2.0 if key.encoding == "hybrid" else 1.0) for key in cells.arms}
    return trained, {key: PRETRAINED for key in trained if key.initialisation == "unfrozen"}


def test_a_part_is_its_row_less_the_row_without_it(cells: Cells) -> None:
    frame = parts_table(cells)
    assert set(frame["part"]) == {part for part in PARTS if "elf-train" not in part}, "rows that were not run are left"
    for row in frame.itertuples():
        better, other = (CellKey(2, "", *each, row.fraction) for each in PARTS[row.part])
        assert row.difference == pytest.approx(cells.miou(better) - cells.miou(other))
        assert row.low <= row.difference <= row.high
    rows = frame.set_index(["part", "fraction"])
    assert (rows.loc["Pre-training of U-Net and ViT", "low"] > 0).all() and (
        rows.loc["A wider U-Net", "high"] < 0
    ).all()


def test_costs_stand_beside_scores_and_the_labels_that_they_save(cells: Cells) -> None:
    frame = costs_table(cells, *took(cells))
    assert list(frame["fraction"]) == sorted(frame["fraction"]) and set(frame["table"]) == {2}
    rows = frame.set_index(["encoding", "initialisation", "fraction"])
    whole, plain = rows.loc["hybrid", "unfrozen", 1.0], rows.loc["unet", "scratch", 1.0]
    assert (whole["minutes_before"], plain["minutes_before"]) == (PRETRAINED.minutes, 0)
    assert whole["factor"] == pytest.approx(10, rel=0.1)
    spared = (whole["factor"] - 1) * whole["labelled_tiles"]
    assert whole["minutes_a_tile"] == pytest.approx((PRETRAINED.minutes + 2 - 1) / spared)
    assert np.isnan(rows.loc["wide", "scratch", 1.0]["minutes_a_tile"]), "worth less than its labels"
    assert np.isnan(rows.loc["hybrid", "unfrozen", 10.0]["minutes_a_tile"]), "worth more than can be told"
    assert rows.loc["hybrid", "scratch", 1.0]["factor"] == pytest.approx(1, rel=0.1)


def test_words_and_pictures_say_what_the_numbers_say(cells: Cells) -> None:
    parts, costs = parts_table(cells), costs_table(cells, *took(cells))
    told = findings(parts, costs, {1.0: 0.99})
    for part, word in (("Pre-training of U-Net and ViT", "(gain)"), ("A wider U-Net", "(loss)")):
        assert told.split(f"{part}: ")[1].split(" %.")[0].count(word) == 3
    assert told.count("the strongest floor has 0.990.") == 1
    assert told.count("is U-Net (SAR + tokens), pre-trained, not frozen, for 11.0 times the operations") == 3
    for form in ("text", "markdown"):
        text = render_parts(parts, cells, form)
        assert "synthetic world" in text.splitlines()[0] and all(part in text for part in set(parts["part"]))
        assert "30.0 + 2.0" in render_costs(costs, cells, form)
    figure = draw_parts(parts, "What each part adds (synthetic world)")
    assert [axes.get_xlabel().split(" ")[0] for axes in figure.axes] == ["0.1", "1", "10"]
    for axes, fraction in zip(figure.axes, FRACTIONS, strict=True):
        points = [line for line in axes.lines if line.get_marker() == "o"]
        here = parts[parts["fraction"] == fraction]
        np.testing.assert_allclose([point.get_xdata()[0] for point in points], 100 * here["difference"])
        clear = (here["low"] > 0) | (here["high"] < 0)
        assert [point.get_markerfacecolor() != "white" for point in points] == clear.tolist()


def test_self_training_is_a_part_where_it_was_run(runs, tmp_path: Path) -> None:
    cells = read_cells(
        runs(lambda key: accuracy(replace(key, initialisation="unfrozen")), more=MORE + SELF_TRAINED), tmp_path
    )
    frame = parts_table(cells)
    assert set(frame["part"]) == set(PARTS)
    alone = frame[frame["part"].str.startswith("Self-training")]
    assert len(alone) == 6 and (alone["difference"].abs() < 0.02).all()


def test_of_one_training_no_gain_is_claimed(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(accuracy, more=MORE, seeds=(0,)), tmp_path)
    told = findings(parts_table(cells), costs_table(cells, *took(cells)), {})
    assert "(higher in one training)" in told and "(lower in one training)" in told
    assert "(gain)" not in told and "(loss)" not in told


def test_what_was_not_run_is_left_out_or_told(runs, tmp_path: Path) -> None:
    records = runs(accuracy, more=MORE)
    bare = read_cells([record for record in records if record["name"] != "baseline-unet-scratch"], tmp_path)
    assert "A wider U-Net" not in set(parts_table(bare)["part"])
    costs = costs_table(bare, *took(bare))
    assert costs["factor"].isna().all() and "the plain one" not in findings(parts_table(bare), costs, {})
    unknown = {key: Work(100.0, np.nan) for key in bare.arms if key.initialisation == "unfrozen"}
    assert "? + 2.0" in render_costs(costs_table(bare, took(bare)[0], unknown), bare)
    with pytest.raises(SardinoError, match="no two rows of Table 2 that differ in a part"):
        parts_table(read_cells([record for record in records if record["kind"] == "finetune"], tmp_path))
