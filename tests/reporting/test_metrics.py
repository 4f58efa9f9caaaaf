"""Scores, differences and factors follow from the stored matrices; planted arms get their planted worth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.evaluation.scores import accuracy, miou_batches
from sardino.reporting.figures.curves import draw_label_efficiency
from sardino.reporting.tables import render
from sardino.reporting.tables.cells import read_cells
from sardino.reporting.tables.metrics import (
    COLUMNS,
    SCORES,
    differences_table,
    efficiency_table,
    metrics_table,
    render_efficiency,
)
from sardino.reporting.tables.paper import CellKey
from sardino.reporting.tables.tables import table1, table2

CLASSES = ["Tree cover", "Snow and ice", "Moss / lichen", "Built-up"]
TITLES = {"europe": "Europe", "all": "Europe, CONUS, China"}
FRACTIONS = [0.1, 1.0, 10.0]
PLANTED = [("wide", "scratch"), *(("hybrid", start) for start in ("scratch", "frozen", "unfrozen"))]
SELF_TRAINED = [("unet", "self-trained"), ("hybrid", "self-trained")]


def rising(key: CellKey) -> float:
    """Each tenfold of labels and not-frozen pre-training are worth the same; frozen is worse than anything."""
    lift = {"scratch": 0.0, "frozen": -0.3, "unfrozen": 0.1}[key.initialisation]
    return 0.5 + 0.1 * np.log10(key.fraction * 10) + lift + (0.05 if key.encoding == "tokens" else 0)


@pytest.fixture()
def cells(runs, tmp_path: Path):
    return read_cells(runs(rising, seeds=(0, 1, 2)), tmp_path)


def test_metrics_are_those_of_the_matrices(cells) -> None:
    frame = metrics_table(cells, CLASSES)
    assert len(frame) == len(cells.confusions) == 48
    assert {"iou_tree_cover", "iou_moss_lichen", "iou_built_up"} <= set(frame.columns)
    for row, key in zip(frame.itertuples(), cells.confusions, strict=True):
        matrices = cells.matrices(key)
        assert row.miou == pytest.approx(cells.miou(key))
        assert row.accuracy == pytest.approx(accuracy(matrices.sum(1)).mean())
        assert row.miou_batches == pytest.approx(np.mean([miou_batches(each) for each in matrices]))
        assert row.iou_tree_cover == pytest.approx(row.miou, abs=0.01)
    for name in SCORES:
        assert ((frame[f"{name}_low"] <= frame[name]) & (frame[name] <= frame[f"{name}_high"])).all()
    with pytest.raises(SardinoError, match="4 classes, the legend 3"):
        metrics_table(cells, CLASSES[:3])


def test_differences_have_the_planted_signs_and_the_papers_beside(cells) -> None:
    frame = differences_table(cells)
    groups = dict(list(frame.groupby("comparison")))
    assert {name: len(part) for name, part in groups.items()} == {
        "pre-trained, frozen - from scratch": 15,
        "pre-trained, not frozen - from scratch": 15,
        "tokens - attention maps": 18,
        "U-Net with - without attention maps": 9,
    }
    assert (groups["pre-trained, not frozen - from scratch"]["low"] > 0).all()
    assert (groups["pre-trained, frozen - from scratch"]["high"] < 0).all()
    assert (groups["tokens - attention maps"]["low"] > 0).all()
    assert frame["paper_difference"].notna().all()
    np.testing.assert_allclose(frame["difference"], frame["miou"] - frame["other_miou"])


def test_a_u_net_with_tokens_stands_in_table_2_and_beside_the_plain_one(cells) -> None:
    """Named as U-Nets are; the arm that it comes of has no rows in Table 1."""
    beside = [key for key in cells.confusions if key.encoding == "unet+attention"]
    more = {replace(key, encoding="hybrid"): key for key in beside}
    planted = replace(
        cells,
        confusions=cells.confusions | {key: cells.confusions[old] for key, old in more.items()},
        told=cells.told | {key: cells.told[old] for key, old in more.items()},
    )
    titles = {**TITLES, "masked": "Masked"}
    assert table1(planted, titles, FRACTIONS).equals(table1(cells, TITLES, FRACTIONS))
    frame = table2(planted, FRACTIONS)
    assert len(frame) == len(table2(cells, FRACTIONS)) + 9 and {key.run for key in more} == {
        f"baseline-hybrid-{start}" for start in ("scratch", "frozen", "unfrozen")
    }
    for form in ("text", "markdown", "latex"):
        assert "U-Net (SAR + tokens)" in render.table2(frame, planted, form)
        assert "tokens)" not in render.table2(table2(cells, FRACTIONS), cells, form)
    groups = dict(list(differences_table(planted).groupby("comparison")))
    with_maps, with_tokens = (groups[f"U-Net with - without {what}"] for what in ("attention maps", "tokens"))
    assert list(with_maps["difference"]) == list(with_tokens["difference"])
    assert "U-Net (SAR + tokens)" in render_efficiency(efficiency_table(planted), planted)
    assert len(draw_label_efficiency(planted, titles, FRACTIONS).axes) == 12


def test_a_wide_u_net_stands_between_and_is_what_the_one_with_tokens_must_beat(runs, tmp_path: Path) -> None:
    more = [CellKey(2, "", each, start, f) for each, start in PLANTED for f in FRACTIONS]
    records = runs(rising, more=more)
    pretrained = {"name": "pretrain-europe", "kind": "pretrain"}
    for objective in ("dino", "dense"):
        results = {"arm": "europe", "recipe": {"objective": objective}}
        planted = read_cells([*records, {**pretrained, "results": results}], tmp_path)
        frame = table2(planted, FRACTIONS)
        assert list(frame["encoding"].unique()) == ["unet", "unet+attention", "wide", "hybrid"]
        for form in ("text", "markdown", "latex"):
            text = render.table2(frame, planted, form)
            assert "U-Net (only SAR), wide" in text and (render.NOTES["whole"] in text) is (objective == "dense")
    differences = differences_table(planted).query("comparison == 'U-Net with tokens - wide U-Net'")
    starts = dict(list(differences.groupby("initialisation")))
    assert [len(starts[each]) for each in ("scratch", "frozen", "unfrozen")] == [3, 3, 3]
    assert (starts["unfrozen"]["low"] > 0).all() and (starts["frozen"]["high"] < 0).all()
    assert "hybrid" in set(efficiency_table(planted).query("baseline == 'wide scratch'")["encoding"])
    assert "wide" in render_efficiency(efficiency_table(planted), planted)
    drawn = draw_label_efficiency(planted, TITLES, FRACTIONS)
    assert [len(axes.get_lines()) for axes in drawn.axes] == 2 * [3, 3, 3, 3, 4, 5]
    looks = {(line.get_linestyle(), line.get_marker()) for line in drawn.axes[5].get_lines()}
    assert len(looks) == 5 and len(drawn.legends[0].get_texts()) == 5


def test_self_trained_rows_stand_below_those_of_their_network(runs, tmp_path: Path) -> None:
    more = [CellKey(2, "", each, start, f) for each, start in PLANTED + SELF_TRAINED for f in FRACTIONS]
    planted = read_cells(runs(lambda key: 0.5 + 0.2 * (key.initialisation == "self-trained"), more=more), tmp_path)
    frame = table2(planted, FRACTIONS)
    rows = frame[["encoding", "initialisation"]].drop_duplicates().to_records(index=False).tolist()
    assert rows[:2] == [("unet", "scratch"), SELF_TRAINED[0]] and rows[-1] == SELF_TRAINED[1]
    for form in ("text", "markdown", "latex"):
        told = " ".join(render.table2(frame, planted, form).split())
        assert "Self-trained" in told and " ".join(render.NOTES["self-trained"].split())[:60] in told
    gains = differences_table(planted).query("comparison == 'self-trained - from scratch'")
    assert len(gains) == 6 and (gains["low"] > 0).all()
    drawn = draw_label_efficiency(planted, TITLES, FRACTIONS)
    looks = {(line.get_linestyle(), line.get_marker()) for line in drawn.axes[6].get_lines()}
    assert len(looks) == 3 and len(drawn.legends[0].get_texts()) == 7


def test_pre_training_is_worth_its_planted_labels(cells) -> None:
    """0.1 more accuracy is what one step to more labels gives; beyond the last step it cannot be told."""
    frame = efficiency_table(cells)
    assert list(frame.columns) == COLUMNS and len(frame) == 2 * 2 * 2 * 3 + 9 + 6
    tokens = frame[(frame.regions == "europe") & (frame.encoding == "tokens")]
    better, worse = (tokens[tokens.initialisation == name] for name in ("unfrozen", "frozen"))
    labelled = sorted(set(frame["labelled_tiles"]))
    near = better.set_index("fraction").loc[0.1]
    assert near.factor == pytest.approx(labelled[1] / labelled[0], rel=0.05)
    assert np.isinf(better.set_index("fraction").loc[10.0, "factor"])
    assert better.set_index("fraction").loc[10.0, "told"] == "> 1 [> 1, > 1]"
    assert (worse["factor"] == -np.inf).all() and worse["told"].str.startswith("<").all()
    for text in (render_efficiency(frame, cells), render_efficiency(frame, cells, "markdown")):
        assert "synthetic world" in text.splitlines()[0] and "never extrapolated" in text and near.told in text


def test_curves_show_every_arm_and_the_papers_points(cells) -> None:
    figure = draw_label_efficiency(cells, TITLES, FRACTIONS)
    assert len(figure.axes) == 10
    assert [len(axes.get_lines()) for axes in figure.axes] == 2 * [3, 3, 3, 3, 4]
    assert all(len(line.get_xdata()) == 3 for axes in figure.axes for line in axes.get_lines())
    assert all(axes.get_xscale() == "log" for axes in figure.axes)
    assert len(figure.legends[0].get_texts()) == 4
    looks = {(line.get_linestyle(), line.get_marker()) for line in figure.axes[4].get_lines()}
    assert len(looks) == 4
    with pytest.raises(SardinoError, match="run notebook 03 for each row"):
        draw_label_efficiency(cells, {"mars": "Mars"}, FRACTIONS)
