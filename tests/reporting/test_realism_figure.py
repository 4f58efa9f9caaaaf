"""The realism comparison as figure, table and sentences."""

import json

import numpy as np
import pytest
from matplotlib.text import Text

from sardino.data.sources.world.tables import signatures
from sardino.errors import SardinoError
from sardino.evaluation.realism import PUBLISHED_EUROPE, Images
from sardino.reporting.figures.realism import (
    Pair,
    as_record,
    differences,
    draw_realism,
    draw_signatures,
    labelled_table,
    realism_table,
)

CLASSES = ("Water", "Land")


def images(title: str, seed: int, level: float = -12.0, labels: bool = True) -> Images:
    rng = np.random.default_rng(seed)
    shape = (3, 48, 48)
    label = np.broadcast_to((np.arange(48) > 20).astype(np.uint8), shape).copy()
    vv = (level + 6.0 * label + rng.normal(0, 1.5, shape)).astype(np.float32)
    vv[0, :2, :2] = np.nan
    vh = (vv - 7 + rng.normal(0, 0.5, shape)).astype(np.float32)
    return Images(title, {"VV": vv, "VH": vh}, 10.0, label if labels else None, CLASSES if labels else ())


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    one = Pair("One date", images("Ours", 0), images("Theirs", 1, -14.0, labels=False), published=True)
    other = Pair("Uncalibrated", images("Ours", 2), images("Theirs", 3, 40.0, labels=False), calibrated=False)
    return [one, other, Pair("Alone", images("Ours", 4))]


def test_the_table_has_a_row_for_each_side_and_no_level_where_it_is_unknown(pairs: list[Pair]) -> None:
    table = realism_table(pairs)
    assert len(table) == 2 * (3 + 2 + 1)
    assert table.loc[("One date", "VV", "published"), "mean"] == PUBLISHED_EUROPE["VV"][0]
    synthetic, real = (table.loc[("One date", "VV", side), "mean"] for side in ("synthetic", "real"))
    assert synthetic - real == pytest.approx(2, abs=0.1)
    assert np.isnan(table.loc[("Uncalibrated", "VH", "real"), "mean"])
    assert np.isfinite(table.loc[("Uncalibrated", "VH", "real"), "sd"])


def test_each_comparison_gets_one_sentence_of_numbers(pairs: list[Pair]) -> None:
    sentences = differences(realism_table(pairs))
    assert len(sentences) == 2 * (2 + 1), "two bands against real and published, two against real"
    first = next(s for s in sentences if s.startswith("One date, VV, synthetic against real"))
    assert "dB in mean" in first and "looks where the real images have" in first
    assert not any("in mean" in s for s in sentences if s.startswith("Uncalibrated"))


def test_a_record_can_hold_the_table(pairs: list[Pair]) -> None:
    record = as_record(realism_table(pairs))
    assert json.loads(json.dumps(record, allow_nan=False))["One date, VV, published"]["looks"] is None


def test_classes_have_their_means() -> None:
    table = labelled_table(images("Ours", 0))
    assert list(table.index) == list(CLASSES)
    assert table.loc["Land", "VV mean"] - table.loc["Water", "VV mean"] == pytest.approx(6, abs=0.2)


def test_the_figure_shows_both_sides_and_the_classes_in_legible_type(pairs: list[Pair]) -> None:
    figure = draw_realism(pairs, "A title")
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 3 + 2, "synthetic of each pair, real where there is one"
    names = {label.get_text() for axes in figure.axes for label in axes.get_yticklabels()}
    assert set(CLASSES) <= names
    shown = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    assert min(t.get_fontsize() for t in shown) >= 7
    assert len(draw_realism([pairs[2]], "Alone").axes) < len(figure.axes)
    with pytest.raises(SardinoError, match="at least one pair"):
        draw_realism([], "Nothing")


def test_seasons_of_a_class_stand_beside_those_of_worlds() -> None:
    real = signatures()
    world = real[["vv", "vh"]] - 2
    figure = draw_signatures(real, {"Before": world, "Now": world.drop("Tree cover")})
    assert [axes.get_title().partition(":")[0] for axes in figure.axes[:3]] == ["Cropland", "Grassland", "Tree cover"]
    lines = {line.get_label(): line for line in figure.axes[0].lines if line.get_label() in ("Before", "Now")}
    drawn = lines["Now"].get_ydata() - real.loc["Cropland", "vv"].iloc[:4].to_numpy()
    assert drawn == pytest.approx(np.full(4, -2.0))
    assert lines["Now"].get_color() != lines["Before"].get_color()


def test_bands_must_be_the_same_on_both_sides() -> None:
    ours = images("Ours", 0)
    vh = Images("VH alone", {"VH": ours.bands["VH"]}, 10.0)
    with pytest.raises(SardinoError, match="different bands"):
        Pair("x", ours, vh)
