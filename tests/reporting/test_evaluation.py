"""Tables and the figure of a confusion matrix tell its pixels, each once, and differences are antisymmetric."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.evaluation.bootstrap import copies, interval
from sardino.evaluation.scores import class_iou, miou
from sardino.files import write_csv
from sardino.reporting.figures.confusion import draw_confusion
from sardino.reporting.tables.evaluation import confusion_table, render_scores, scores_table

CLASSES = ["Tree cover", "Water", "Built-up"]
TILES = 6
BLOCKS = np.arange(TILES) // 2
counts = hnp.arrays(np.int64, (TILES, 3, 3), elements=st.integers(0, 3) | st.integers(0, 10**6))


@given(counts)
@settings(max_examples=12)
def test_the_table_of_a_matrix_holds_every_pixel_once(tmp_path_factory, confusions):
    matrix = confusions.sum(0)
    path = write_csv(confusion_table(matrix, CLASSES), tmp_path_factory.mktemp("csv") / "confusion.csv")
    read = pd.read_csv(path)
    back = read.pivot(index="reference", columns="prediction", values="pixels").loc[CLASSES, CLASSES]
    np.testing.assert_array_equal(back, matrix)
    shares = read.groupby("reference").share.sum(min_count=1)[CLASSES]
    np.testing.assert_allclose(shares, np.where(matrix.sum(1), 1, np.nan), atol=2e-6)


@given(counts, counts)
@settings(max_examples=8, deadline=None)
def test_scores_follow_from_the_matrices_and_differences_change_sign_with_the_order(first, second):
    one, other = scores_table(first, BLOCKS, CLASSES, second), scores_table(second, BLOCKS, CLASSES, first)
    alone = scores_table(first, BLOCKS, CLASSES)
    pd.testing.assert_frame_equal(one[alone.columns], alone)
    np.testing.assert_allclose(one.value[one.score == "iou"], class_iou(first.sum(0)))
    np.testing.assert_allclose(one.difference, -other.difference)
    np.testing.assert_allclose(one.difference_low, -other.difference_high, atol=1e-12)
    rows = one.dropna(subset=["low"])
    assert (rows.low <= rows.high).all() and rows[["low", "high"]].stack().between(0, 1).all()


def test_the_interval_of_a_score_is_that_of_the_cells():
    rng = np.random.default_rng(0)
    confusions = rng.integers(1, 500, (TILES, 3, 3))
    row = scores_table(confusions, BLOCKS, CLASSES).set_index("score").loc["miou"]
    assert (row.low, row.high) == interval(copies(confusions[None], BLOCKS))
    assert row.value == miou(confusions.sum(0)) and row.reference_pixels == confusions.sum()


def test_a_class_of_one_block_has_a_score_and_no_interval_and_an_absent_one_no_row_for_readers():
    confusions = np.zeros((TILES, 3, 3), np.int64)
    confusions[:, 0, 0] = 5
    confusions[0, 1, 1], confusions[1, 1, 1] = 7, 1
    frame = scores_table(confusions, BLOCKS, CLASSES, confusions)
    water, built = frame[frame["class"] == "Water"].iloc[0], frame[frame["class"] == "Built-up"].iloc[0]
    assert water.value == 1 and water.difference == 0 and np.isnan([water.low, water.difference_low]).all()
    assert np.isnan(built.value) and built.reference_pixels == 0
    told = render_scores(frame, "A title", "A note.")
    assert "IoU Water         1.000  " in told and "Built-up" not in told and "nan" not in told
    assert told.startswith("A title\n") and told.endswith("A note.\n") and "+0.000 [+0.000, +0.000]" in told


def test_the_figure_names_the_classes_that_occur_with_their_colours():
    matrix = np.zeros((11, 11), np.int64)
    matrix[:5, :4] = np.arange(1, 21).reshape(5, 4)
    matrix[0] = [9_990, 10, *[0] * 9]
    figure = draw_confusion(matrix, WORLDCOVER, "A caption (synthetic world)")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == WORLDCOVER.names[:5]
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert [row.rpartition(" (")[0] for row in rows] == WORLDCOVER.names[:5]
    assert [tick.tick1line.get_markerfacecolor() for tick in axes.yaxis.get_major_ticks()] == WORLDCOVER.colors[:5]
    numbers = [text.get_text() for text in axes.texts]
    assert numbers[:5] == ["100", "<1", "0", "0", "0"] and len(numbers) == 25
    assert figure.get_suptitle() == "A caption (synthetic world)"
    assert min(text.get_fontsize() for text in axes.texts) >= 7


def test_a_reference_class_without_pixels_has_an_empty_row():
    matrix = np.array([[3, 1], [0, 0]])
    legend = type(WORLDCOVER)("Two", WORLDCOVER.classes[:2])
    assert [text.get_text() for text in draw_confusion(matrix, legend, "T").axes[0].texts] == ["75", "25"]
