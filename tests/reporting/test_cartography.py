"""A map says where north is, and its classes can be told apart in grey."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sardino.data.tiles.landcover import IGNORE, WORLDCOVER, LandCoverClass, Legend
from sardino.reporting.figures.panels import (
    LEAST,
    attention_bar,
    attention_scale,
    class_legend,
    draw_attention,
    north_arrow,
)

OTHER = Legend("Another", (LandCoverClass(1, "Water", "#1A5BAB"), LandCoverClass(2, "Trees", "#358221")))


def test_classes_are_numbered_in_the_legend_and_where_they_have_room() -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    index = np.zeros((40, 40), np.uint8)
    index[:20], index[30:, 30:], index[39, 0] = 4, IGNORE, 7
    class_legend(figure, [(left, index, WORLDCOVER), (right, np.ones((40, 40), np.uint8), OTHER)], 1.0)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["1 Tree cover", "2 Built-up", "3 Permanent water bodies", "No label", "4 Trees"]
    assert legend.get_title().get_text() == "ESA WorldCover, Another"
    marks = {text.get_text(): text.get_position() for text in left.texts}
    assert set(marks) == {"1", "2"}, "a single pixel has no room"
    for text, place in (("1", 0), ("2", 4)):
        column, row = marks[text]
        assert index[int(row), int(column)] == place
    assert [text.get_text() for text in right.texts] == ["4"]


def test_an_arrow_points_up_to_north() -> None:
    axes = Figure().subplots()
    north_arrow(axes)
    (arrow,) = axes.texts
    assert arrow.get_text() == "N" and arrow.get_position()[0] == 0 and arrow.get_position()[1] < 0, (
        "N is below its tip"
    )


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0.1, 8, ["0.1", "1 = even", "8"]), (0.99, 1.3, ["1 = even", "1.3"])]
)
def test_a_head_has_one_scale_that_names_even(low: float, high: float, ticks: list[str]) -> None:
    figure = Figure()
    axes, bar = figure.subplots(1, 2)
    maps = [np.array([[low, high]] * 2), np.array([[high, low]] * 2)]
    scale = attention_scale(maps)
    assert scale.vmin == pytest.approx(min(low, 1 / LEAST)) and scale.vmax == pytest.approx(high)
    draw_attention(axes, maps[0], scale)
    attention_bar(figure, axes, bar, 1.0)
    assert [label.get_text() for label in bar.get_yticklabels()] == ticks


def test_a_flat_head_and_an_empty_one_have_a_scale_too() -> None:
    for maps in ([np.ones((2, 2))], [np.full((2, 2), np.nan)], [np.zeros((2, 2))]):
        scale = attention_scale(maps)
        assert scale.vmin < 1 < scale.vmax
        draw_attention(Figure().subplots(), maps[0], scale)
