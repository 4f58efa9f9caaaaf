"""Floors learn from granted pixels alone, are scored like a table's cells, and know what is missing."""

import numpy as np
import pandas as pd
import pytest

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation import floors as floors_module
from sardino.evaluation.floors import COLUMNS, draw_pixels, floors, pixel_features
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
BLOCKS = np.arange(8) // 2


@pytest.fixture(scope="module")
def table():
    return floors(read, GRANTED, TEST, BLOCKS, CLASSES)


def test_every_model_is_scored_at_every_fraction(table):
    assert list(table.columns) == COLUMNS and len(table) == 2 * (1 + 2 + 2)
    assert list(dict.fromkeys(table["model"])) == ["majority", "logistic", "forest"]
    assert (table["low"] <= table["miou"]).all() and (table["miou"] <= table["high"]).all()
    assert set(table["seeds"]) == {2} and set(table["labelled_tiles"]) == {2, 20}
    assert (table["pixels"] == table["labelled_tiles"] * (SIDE**2 - 1)).all(), "what has no label teaches nothing"


def test_models_that_look_beat_the_most_frequent_class_and_surroundings_show_roughness(table):
    scores = table.set_index(["model", "features", "fraction"])["miou"]
    _, label = read(TEST)
    most = np.zeros_like(label)
    assert scores["majority", "none", 100.0] == pytest.approx(float(miou(confusion(most, label, CLASSES))))
    for model in ("logistic", "forest"):
        assert scores[model, "channels", 100.0] > scores["majority", "none", 100.0] + 0.2
    assert scores["forest", "surroundings", 100.0] > scores["forest", "channels", 100.0] + 0.02


def test_the_same_numbers_each_time_whatever_the_order_of_tiles(table):
    turned = {fraction: {seed: ids[::-1] for seed, ids in draws.items()} for fraction, draws in GRANTED.items()}
    pd.testing.assert_frame_equal(floors(read, turned, TEST, BLOCKS, CLASSES), table)


def test_surroundings_are_mean_and_spread_of_what_is_known():
    rng = np.random.default_rng(0)
    pixels = rng.normal(-12, 3, (2, 3, SIDE, SIDE)).astype(np.float32)
    pixels[0, 0, :4] = np.nan
    pixels[1, 2] = np.nan
    told = pixel_features(pixels, "surroundings")
    assert told.shape == (2, 9, SIDE, SIDE)
    np.testing.assert_array_equal(told[:, :3], pixels)
    half = floors_module.BOX_PX // 2
    padded = np.pad(pixels, ((0, 0), (0, 0), (half, half), (half, half)), mode="symmetric")
    boxes = np.lib.stride_tricks.sliding_window_view(padded, (2 * half + 1, 2 * half + 1), (2, 3))
    with pytest.warns(RuntimeWarning):  # boxes without a value
        mean, spread = np.nanmean(boxes, (-2, -1)), np.nanstd(boxes, (-2, -1))
    np.testing.assert_allclose(told[:, 3:6], mean, rtol=1e-4)
    np.testing.assert_allclose(told[:, 6:], spread, atol=2e-3)
    np.testing.assert_array_equal(pixel_features(pixels, "channels"), pixels)
    with pytest.raises(SardinoError, match="no features 'texture'"):
        pixel_features(pixels, "texture")


def test_pixels_are_drawn_by_the_seed_from_each_tile_alike():
    first, again, other = (draw_pixels(read, TRAIN, "channels", seed, most=100) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(first[1]) == 100 and not np.array_equal(first[0], other[0], equal_nan=True)
    assert IGNORE not in first[1]


def test_a_fraction_of_one_class_predicts_it():
    def water(ids):
        backscatter, label = read(ids)
        return backscatter, np.where(label == IGNORE, label, 1).astype(np.uint8)

    table = floors(water, {1.0: {0: TRAIN[:1]}}, TEST, BLOCKS, CLASSES)
    assert (table["miou"] == 1).all()
