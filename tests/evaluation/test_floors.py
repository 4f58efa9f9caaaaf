"""Floors learn from granted pixels alone, are scored like a table's cells, and know what is missing."""

import numpy as np
import pytest

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.floors import MODELS, draw_pixels, floors, pixel_features
from sardino.evaluation.scores import confusion, miou

SIDE, CLASSES = 12, 3


def read(ids):
    """Tiles by name: class 0 is bright, class 1 is dark, class 2 is rough; channel 1 is noise."""
    tiles = []
    for name in ids:
        rng = np.random.default_rng(int(name[4:]))
        label = np.repeat(rng.permutation([0, 0, 1, 2]), SIDE // 4)[:, None].repeat(SIDE, 1).astype(np.uint8)
        level = np.array([-5.0, -20.0, -12.0])[label] + rng.normal(0, np.array([0.5, 0.5, 6.0])[label])
        label[0, 0] = IGNORE
        level[0, 1] = np.nan
        tiles.append((np.stack([level, rng.normal(size=level.shape)]).astype(np.float32), label))
    return tuple(np.stack(each) for each in zip(*tiles, strict=True))


TRAIN, TEST = [f"tile{n}" for n in range(20)], [f"tile{n}" for n in range(20, 28)]
GRANTED = {10.0: {0: TRAIN[:2], 1: TRAIN[2:4]}, 100.0: {0: TRAIN, 1: TRAIN}}


@pytest.fixture(scope="module")
def found():
    return floors(read, GRANTED, TEST, CLASSES, 0.0)


def test_every_model_is_scored_at_every_fraction_and_draw(found):
    rows, matrices = found
    assert len(rows) == len(matrices) == 2 * 2 * (1 + 2 + 2)
    assert list(dict.fromkeys(row["encoding"] for row in rows)) == list(MODELS)
    assert {(row["fraction"], row["draw"], row["labelled_tiles"]) for row in rows} == {
        (10.0, 0, 2), (10.0, 1, 2), (100.0, 0, 20), (100.0, 1, 20)}  # fmt: skip
    for row in rows:
        cell = matrices[row["confusion_key"]]
        assert cell.shape == (len(TEST), CLASSES, CLASSES) and row["miou"] == miou(cell.sum(0))
        assert row["pixels"] == row["labelled_tiles"] * (SIDE**2 - 1), "what has no label teaches nothing"


def test_models_that_look_beat_the_most_frequent_class_and_surroundings_show_roughness(found):
    all_labels = [row for row in found[0] if (row["fraction"], row["draw"]) == (100.0, 0)]
    scores = {(row["encoding"], row["initialisation"]): row["miou"] for row in all_labels}
    _, label = read(TEST)
    most = np.zeros_like(label)
    assert scores["majority", "none"] == pytest.approx(float(miou(confusion(most, label, CLASSES))))
    for model in ("logistic", "forest"):
        assert scores[model, "channels"] > scores["majority", "none"] + 0.2
    assert scores["forest", "surroundings"] > scores["forest", "channels"] + 0.02


def test_the_same_numbers_each_time_whatever_the_order_of_tiles(found):
    turned = {fraction: {draw: ids[::-1] for draw, ids in draws.items()} for fraction, draws in GRANTED.items()}
    rows, matrices = floors(read, turned, TEST, CLASSES, 0.0)
    assert rows == found[0]
    assert all(np.array_equal(matrices[key], found[1][key]) for key in matrices)


def test_surroundings_are_mean_and_spread_of_what_is_known():
    rng = np.random.default_rng(0)
    pixels = rng.normal(-12, 3, (2, 3, SIDE, SIDE)).astype(np.float32)
    pixels[0, 0, :4] = np.nan
    pixels[1, 2] = np.nan
    told = pixel_features(pixels, "surroundings")
    assert told.shape == (2, 15, SIDE, SIDE)
    np.testing.assert_array_equal(told[:, :3], pixels)
    for number, (side, score) in enumerate(((3, np.nanmean), (5, np.nanmean), (9, np.nanmean), (7, np.nanstd)), 1):
        half = side // 2
        padded = np.pad(pixels, ((0, 0), (0, 0), (half, half), (half, half)), mode="symmetric")
        boxes = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (2, 3))
        with pytest.warns(RuntimeWarning):  # boxes without a value
            expected = score(boxes, (-2, -1))
        np.testing.assert_allclose(told[:, 3 * number : 3 * number + 3], expected, rtol=1e-4, atol=2e-3)
    whole = pixel_features(pixels[:, 1:2], "surroundings")
    np.testing.assert_array_equal(whole[0], told[0, 1::3])
    np.testing.assert_array_equal(pixel_features(pixels, "channels"), pixels)
    with pytest.raises(SardinoError, match="no features 'texture'"):
        pixel_features(pixels, "texture")


def test_pixels_are_drawn_by_number_from_each_tile_alike():
    first, again, other = (draw_pixels(read, TRAIN, "channels", seed, most=100) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(first[1]) == 100 and not np.array_equal(first[0], other[0], equal_nan=True)
    assert IGNORE not in first[1]


def test_a_fraction_of_one_class_predicts_it():
    def water(ids):
        backscatter, label = read(ids)
        return backscatter, np.where(label == IGNORE, label, 1).astype(np.uint8)

    rows, _ = floors(water, {1.0: {0: TRAIN[:1]}}, TEST, CLASSES, 0.0)
    assert all(row["miou"] == 1 for row in rows)


def test_where_rare_classes_weigh_more_both_models_name_them_more_often():
    plain, weighed = (floors(read, {10.0: {0: TRAIN[:2]}}, TEST, CLASSES, balance)[1] for balance in (0.0, 1.0))
    for model in ("logistic", "forest"):
        rare = [each[f"confusion_{model}_channels_10_0"].sum((0, 1))[1:].sum() for each in (plain, weighed)]
        assert rare[1] > rare[0]
    assert (plain["confusion_majority_none_10_0"] == weighed["confusion_majority_none_10_0"]).all()
