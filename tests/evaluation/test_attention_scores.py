"""Scores of heads beside their nulls: a planted head is seen, and nothing else is."""

import numpy as np
import pandas as pd
import pytest

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.attention_scores import COLUMNS, NULLS, Reference, attention_scores

TILES, SIDE = 48, 8
BANDS = np.repeat(np.arange(8), TILES // 8)


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    """Head 1 attends to class "b", head 2 avoids it, head 3 is noise, head 4 a pattern that is the same everywhere."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, SIDE, (TILES, 2))
    label = np.zeros((TILES, SIDE, SIDE), np.uint8)
    for tile, (row, column) in enumerate(corner):
        label[tile][np.ix_((row + np.arange(3)) % SIDE, (column + np.arange(4)) % SIDE)] = 1
    label[:, -1, -1] = IGNORE
    amount = 10 * label.astype(float) + rng.random(label.shape)
    amount[label == IGNORE] = np.nan
    noise = rng.random((TILES, 4, SIDE, SIDE))
    is_b = (label == 1).astype(float)
    pattern = np.broadcast_to(rng.random((SIDE, SIDE)), label.shape)
    maps = np.stack([is_b, 1 - is_b, 0 * is_b, 9 * pattern], axis=1) + noise
    untrained = rng.random((TILES, 3, SIDE, SIDE))
    references = [Reference("cover", label, ("a", "b", "c")), Reference("amount", amount)]
    return attention_scores(maps, untrained, references, BANDS)


def row(frame: pd.DataFrame, head: int, measure: str, name: str = "") -> pd.Series:
    (found,) = [r for _, r in frame[(frame["head"] == head) & (frame["measure"] == measure)].iterrows()
                if r["class"] == name]  # fmt: skip
    return found


def test_there_is_a_row_for_each_head_class_and_measure(planted: pd.DataFrame) -> None:
    assert list(planted.columns) == COLUMNS
    assert len(planted) == 4 * (3 * 4 + 3 + 1)
    assert not planted[["head", "layer", "class", "measure"]].duplicated().any()
    absent = planted[planted["class"] == "c"]
    assert absent["value"].isna().all() and (absent["tiles"] == 0).all() and absent["beyond"].isna().all()
    known = planted[planted["class"] == "b"]
    assert (known["tiles"] == TILES).all() and (known["bands"] == 8).all()
    np.testing.assert_allclose(known["positives"], 12 / 63, atol=0.01)


@pytest.mark.parametrize(("measure", "name"), [("auc", "b"), ("spearman", "")])
def test_what_a_head_attends_to_and_what_it_avoids_is_seen(planted: pd.DataFrame, measure: str, name: str) -> None:
    attends, avoids = row(planted, 1, measure, name), row(planted, 2, measure, name)
    assert attends["direction"] == 1 and avoids["direction"] == -1
    for each in (attends, avoids):
        assert 0 < each["beyond_low"] <= each["beyond"] <= each["beyond_high"]
        differences = [each[f"over_{null}"] for null in NULLS]
        assert each["beyond"] == min(differences) == each[f"over_{each['best_null']}"]
        assert each["over_shift"] == pytest.approx(abs(each["value"] - each["shift"]))
        assert each["low"] <= each["value"] <= each["high"]
    assert row(planted, 1, "average_precision", "b")["beyond_low"] > 0.2
    assert row(planted, 1, "jaccard", "b")["beyond_low"] > 0
    assert row(planted, 2, "average_precision", "b")["beyond"] < 0, "only what has a middle can be avoided"
    assert row(planted, 2, "mutual_information")["beyond_low"] > 0.1


@pytest.mark.parametrize(("measure", "name"), [("auc", "b"), ("spearman", ""), ("jaccard", "b")])
@pytest.mark.parametrize("head", [3, 4])
def test_noise_and_a_pattern_are_not_beyond_their_nulls(
    planted: pd.DataFrame, head: int, measure: str, name: str
) -> None:
    found = row(planted, head, measure, name)
    assert found["beyond_low"] < 0
    if measure != "jaccard":
        assert found["shift"] == pytest.approx(0.5 if name else 0, abs=0.02)


def test_the_pattern_is_told_by_its_position(planted: pd.DataFrame) -> None:
    shares = [row(planted, head, "position_share")["value"] for head in (1, 2, 3, 4)]
    assert max(shares[:3]) < 0.05 and shares[3] > 0.9
    assert row(planted, 4, "position_share")["random"] < 0.05


def test_a_layer_that_follows_the_place_is_the_positions(planted: pd.DataFrame) -> None:
    """All tiles laid out alike: attention that follows them cannot be told from a pattern, and is not credited."""
    rng = np.random.default_rng(0)
    layout = np.broadcast_to(rng.random((SIDE, SIDE)), (TILES, SIDE, SIDE))
    maps = layout[:, None] + 0.1 * rng.random((TILES, 1, SIDE, SIDE))
    found = attention_scores(maps, rng.random(maps.shape), [Reference("slope", layout)], BANDS)
    one = row(found, 1, "spearman")
    assert one["value"] > 0.9 and one["over_shift"] > 0.5 and one["best_null"] == "position" and one["beyond"] <= 0


def test_a_head_that_turns_from_tile_to_tile_separates_all_the_same() -> None:
    """It attends to the class in one tile and avoids it in the next: on average it seems to see nothing."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, (TILES, SIDE, SIDE)).astype(np.uint8)
    turn = np.where(rng.random(TILES) < 0.5, 1.0, -1.0)[:, None, None, None]
    maps = 5 + turn * label[:, None] + rng.random((TILES, 1, SIDE, SIDE))
    found = attention_scores(maps, rng.random(maps.shape), [Reference("cover", label, ("a", "b"))], BANDS)
    auc, separation = row(found, 1, "auc", "b"), row(found, 1, "separation", "b")
    assert auc["beyond_low"] < 0 and auc["low"] < 0.5 < auc["high"]
    assert separation["value"] > 0.9 and separation["beyond_low"] > 0.5
    assert 0.05 < separation["shift"] < 0.3, "chance separates too, in a tile of few patches"


def test_layers_of_other_patches_and_a_single_band_are_refused() -> None:
    maps = np.random.default_rng(0).random((4, 2, 3, 3))
    with pytest.raises(SardinoError, match=r"'cover'.*same patches"):
        attention_scores(maps, maps, [Reference("cover", np.zeros((4, 2, 2), np.uint8), ("a",))], np.arange(4))
    with pytest.raises(SardinoError, match="two bands"):
        attention_scores(maps, maps, [], np.zeros(4, int))
