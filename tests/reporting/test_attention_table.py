"""What each head sees, as a table and as a figure: read from the scores, nulls and gaps included."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sardino.errors import SardinoError
from sardino.evaluation.attention_scores import Reference, attention_scores
from sardino.reporting.figures.attention_scores import draw_attention_scores
from sardino.reporting.tables.attention import (
    attention_outcome,
    attention_summary,
    columns_of,
    head_cells,
    render_attention,
)
from sardino.reporting.tables.render import NOTES

TILES, SIDE = 32, 6


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Two backbones: head 1 of "a" attends to class "x" and avoids "y" and the biomass; nothing else sees anything."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, (TILES, SIDE, SIDE)).astype(np.uint8)
    biomass = label + rng.normal(0, 0.2, label.shape)
    references = [
        Reference("landcover", label, ("x", "y", "z")),
        Reference("landcover_300m", label, ("x", "y", "z")),
        Reference("biomass_t_ha", biomass),
    ]
    parts = []
    for arm, heads in (("a", 2), ("b", 3)):
        maps = rng.random((TILES, heads, SIDE, SIDE))
        if arm == "a":
            maps[:, 0] += 1 - label
        frame = attention_scores(maps, rng.random(maps.shape), references, np.arange(TILES) // 4, shifts=4)
        for place, (name, value) in enumerate({"arm": arm, "arm_title": f"Arm {arm}", "split": "test"}.items()):
            frame.insert(place, name, value)
        parts.append(frame.assign(labels="a legend", derived=False, synthetic=True))
    return pd.concat(parts, ignore_index=True)


def test_columns_are_what_was_scored_and_labels_stand_once(scores: pd.DataFrame) -> None:
    part = scores[scores["arm"] == "a"]
    assert [title for *_, title in columns_of(part)] == ["x", "y", "Above-ground biomass"]
    cells = head_cells(part, 1)
    (x, y, biomass) = cells.values()
    assert (x.way, y.way, biomass.way) == (1, -1, -1) and all(each.seen for each in cells.values())
    of_x = (part["head"] == 1) & (part["class"] == "x") & (part["layer"] == "landcover")
    row = part[of_x & (part["measure"] == "separation")].iloc[0]
    assert x.beyond == row["beyond"] and 0 < x.low < x.beyond < x.high


def test_a_table_survives_its_file(scores: pd.DataFrame, tmp_path: Path) -> None:
    """CSV turns the empty class of an amount into a gap."""
    scores.to_csv(tmp_path / "scores.csv", index=False)
    back = pd.read_csv(tmp_path / "scores.csv")
    assert render_attention(back, "markdown") == render_attention(scores, "markdown")
    assert columns_of(back) == columns_of(scores)


def test_the_table_names_what_a_head_sees_and_what_it_avoids(scores: pd.DataFrame) -> None:
    text = render_attention(scores, "markdown")
    assert text.startswith("**What each head sees (synthetic world)**") and text.rstrip().endswith(NOTES["attention"])
    (first,) = [line for line in text.splitlines() if line.startswith("| Arm a | 1 |")]
    told = [text.split(" (")[1] for text in sorted(first.split(" | ")[3].strip(" |").split("; "))]
    assert told == ["\N{MINUS SIGN})", "+)", "\N{MINUS SIGN})"], "biomass, x, y"
    assert text.count("nothing beyond its nulls") >= 3
    assert "Arm a: of 6 pairs of a head and a class or amount" in attention_outcome(scores)
    assert attention_outcome(scores) in render_attention(scores)


def test_the_record_has_a_line_for_each_head(scores: pd.DataFrame) -> None:
    summary = attention_summary(scores)
    assert [(row["arm"], row["head"]) for row in summary] == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3)]
    assert set(summary[0]["sees"]) == {"x", "y", "Above-ground biomass"}
    assert all(row["position_share"] < 0.1 for row in summary)


def hatched(figure: Figure) -> int:
    return sum(bool(p.get_hatch()) for axes in figure.axes for p in axes.patches if isinstance(p, Rectangle))


def test_the_figure_marks_what_is_no_more_than_a_null(scores: pd.DataFrame) -> None:
    figure = draw_attention_scores(scores, "Heads (synthetic world)")
    first, second = figure.axes[:2]
    assert [label.get_text() for label in first.get_yticklabels()] == ["Head 1, position 0 %", "Head 2, position 0 %"]
    assert [label.get_text() for label in second.get_xticklabels()] == ["x", "y", "Above-ground biomass"]
    cells = [cell for arm in ("a", "b") for head in (1, 2, 3) if arm == "b" or head < 3
             for cell in head_cells(scores[scores["arm"] == arm], head).values()]  # fmt: skip
    assert hatched(figure) == sum(not cell.seen for cell in cells)
    numbers = [text.get_text() for axes in (first, second) for text in axes.texts]
    assert len(numbers) == sum(cell.seen for cell in cells) and numbers[0].startswith("+") and numbers[1][0] == "\u2212"
    assert figure.get_suptitle() == "Heads (synthetic world)"
    texts = figure.findobj(lambda artist: hasattr(artist, "get_fontsize") and bool(artist.get_text()))
    assert min(text.get_fontsize() for text in texts) >= 7


def test_nothing_seen_is_drawn_and_said_too(scores: pd.DataFrame) -> None:
    blind = scores.assign(beyond_low=-0.1)
    assert hatched(draw_attention_scores(blind, "Heads")) == 15
    assert "of 6 pairs of a head and a class or amount 0 lie beyond every null" in attention_outcome(blind)
    with pytest.raises(SardinoError, match="notebook 05"):
        draw_attention_scores(scores.iloc[:0], "Heads")
