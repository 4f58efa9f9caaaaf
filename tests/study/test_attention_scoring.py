"""Which tiles and layers attention is scored on, and where the numbers say they come from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.tile import Chip, Tile
from sardino.data.tiles.write_store import write_store
from sardino.dino.recipe import SMALL
from sardino.dino.vit import Architecture, build_vit
from sardino.evaluation.attention_scores import COLUMNS
from sardino.study.attention import (
    LANDCOVER,
    first_by_hash,
    gather,
    land_cover_alignment,
    patch_references,
    place_columns,
    score_arms,
)
from sardino.weights.card import Card
from sardino.weights.save import save_backbone

PATCH, SIDE, TILES = 8, 32, 20
SPLITS = ["train"] * 12 + ["test"] * 8
ZONES = ("EPSG:32631", "EPSG:32632")


def chip(number):
    rng = np.random.default_rng(number)
    label = rng.integers(0, 2, (SIDE // PATCH, SIDE // PATCH)).repeat(PATCH, 0).repeat(PATCH, 1).astype(np.uint8)
    label[:PATCH, :PATCH] = IGNORE
    ndvi = rng.random(label.shape).astype(np.float32)
    ndvi[-PATCH:] = np.nan
    optical = rng.integers(1, 255, (3, *label.shape)).astype(np.uint8)
    optical[:, :PATCH] = 0
    layers = {"optical": optical, "landcover_300m": label, "ndvi": ndvi, "elevation_m": np.full_like(ndvi, np.nan)}
    backscatter = rng.normal(-12, 1, (2, *label.shape)) + 5 * (label == 1)
    return Chip(backscatter.astype(np.float32), label, layers)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    tiles = [Tile("here", ZONES[n % 2], (10, 0, 320 * n, 0, -10, 0), (SIDE, SIDE)) for n in range(TILES)]
    options = {"channels": ("vv", "vh"), "legend": WORLDCOVER, "product": "made", "synthetic": True, "metadata": {}}
    bands = [n // 4 for n in range(TILES)]
    return write_store(tmp_path_factory.mktemp("store") / "store", tiles, SPLITS, chip, bands=bands, **options)


@pytest.fixture(scope="module")
def space(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("arm")
    shape = Architecture(width=24, depth=2, heads=3, patch=PATCH, channels=2, tile_px=SIDE)
    torch.manual_seed(1)
    statistics = Normalisation.of_store(store, store.ids("train")).to_dict()
    card = Card(shape, ("vv", "vh"), "dB", statistics, {"synthetic": True}, SMALL.to_dict())
    save_backbone(folder, {"teacher": build_vit(shape).state_dict()}, card)
    arm = SimpleNamespace(network="teacher", regions=["here"], title="An arm")
    profile = SimpleNamespace(arm=lambda _: arm, architecture=lambda _: shape)
    return SimpleNamespace(profile=profile, pretrain=lambda _: folder)


def test_layers_are_read_patch_by_patch_and_empty_ones_left_out(store):
    found = {each.layer: each for each in patch_references(store, store.ids()[:3], PATCH)}
    assert list(found) == [LANDCOVER, "landcover_300m", "ndvi", "optical"]
    assert found[LANDCOVER].classes == tuple(WORLDCOVER.names) and not found["ndvi"].classes
    assert (found[LANDCOVER].values[:, 0, 0] == IGNORE).all()
    np.testing.assert_array_equal(found["landcover_300m"].values, found[LANDCOVER].values)
    assert np.isnan(found["ndvi"].values[:, -1]).all() and np.isfinite(found["ndvi"].values[:, :-1]).all()
    assert np.isnan(found["optical"].values[:, 0]).all() and found["optical"].values[:, 1:].min() > 100


def test_test_tiles_are_scored_and_their_places_are_blocks(space, store):
    scored = gather(space, "arm", store)
    assert scored.split == "test" and len(scored.attention) == 8
    assert len(np.unique(scored.blocks)) == 4, "two bands in each of two zones"
    frame = score_arms(space, {"arm": scored}, {"arm": store})
    assert list(frame.columns) == ["arm", "arm_title", "split", *COLUMNS, "labels", "derived", "synthetic"]
    assert set(frame["head"]) == {1, 2, 3} and set(frame["labels"]) == {"ESA WorldCover"} and frame["synthetic"].all()
    assert set(frame["layer"]) == {LANDCOVER, "landcover_300m", "ndvi", "optical", "position"}
    assert frame["tiles"].max() == 8
    alignment = land_cover_alignment(scored)
    assert alignment["low"] < alignment["value"] < alignment["high"] and "random_value" in alignment


def test_scores_do_not_change_from_run_to_run(space, store):
    first, again = (score_arms(space, {"arm": gather(space, "arm", store)}, {"arm": store}) for _ in range(2))
    assert first.equals(again)


def test_a_store_without_a_test_split_is_scored_whole(space, store, monkeypatch):
    index = store.index.assign(split="train")
    monkeypatch.setattr(store, "index", index)
    scored = gather(space, "arm", store)
    assert scored.split == "all" and len(scored.attention) == TILES


def test_a_column_has_what_its_store_and_its_backbone_give(space, store):
    ids = first_by_hash(store)
    assert [store.tile(tile).crs for tile in ids] == list(ZONES)
    columns = place_columns(space, "arm", store, ids)
    for column in columns:
        assert column.placed and set(column.layers) == set(store.layers) and column.legend == WORLDCOVER
        assert column.attention.shape == (3, 4, 4) and column.tokens.shape == (4, 4, 3)
        assert column.rollout.mean() == pytest.approx(1) and 0 <= column.tokens.min() <= column.tokens.max() <= 1
    assert columns[0].without_tokens().tokens is None
