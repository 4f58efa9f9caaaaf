"""Which tiles and layers attention is scored on, and where the numbers say they come from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.tile import Chip, Tile, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.dino.recipe import SMALL
from sardino.dino.vit import Architecture, build_vit
from sardino.evaluation.attention_scores import COLUMNS
from sardino.study import attention
from sardino.study.attention import (
    LANDCOVER,
    adjacent,
    first_by_hash,
    gather,
    land_cover_alignment,
    patch_references,
    place_columns,
    score_arms,
    views,
)
from sardino.weights.card import Card, SegmenterCard
from sardino.weights.save import save_backbone, save_segmenter

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
    data = SimpleNamespace(source="folder", seed=0, composite="mean")
    profile = SimpleNamespace(arm=lambda _: arm, architecture=lambda _: shape, data=data)
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


def test_tiles_without_neighbours_are_shown_as_they_are(space, store):
    ids = first_by_hash(store)
    tiles, chips = views(space, "arm", store, ids)
    assert tiles == [store.tile(tile) for tile in ids]
    np.testing.assert_array_equal([c.label for c in chips], store.read(ids)[1])


def test_adjacent_tiles_are_put_together_row_by_row(space, tmp_path, monkeypatch):
    """From a store of 4 x 3 tiles, 2 x 2 around each, in their place, with all layers."""
    monkeypatch.setattr(attention, "ACROSS", 2 * SIDE // PATCH)
    grid = list(tile_grid("here", ZONES[0], (500_000, 5_000_000), SIDE, 10, 4, 3))
    bands = [n // 4 for n in range(12)]
    options = {"channels": ("vv", "vh"), "legend": WORLDCOVER, "product": "made", "synthetic": True, "metadata": {}}
    store = write_store(tmp_path / "store", grid, ["test"] * 12, chip, bands=bands, **options)
    (corner, last), (first, second) = views(space, "arm", store, [grid[0].id, grid[11].id])
    assert corner.bounds == (500_000, 5_000_000 - 640, 500_640, 5_000_000)
    assert last.bounds == (500_640, 5_000_000 - 960, 501_280, 5_000_000 - 320)
    for joined, numbers in ((first, (0, 1, 4, 5)), (second, (6, 7, 10, 11))):
        a, b, c, d = (chip(number) for number in numbers)
        np.testing.assert_array_equal(joined.label, np.block([[a.label, b.label], [c.label, d.label]]))
        optical = [[part.layers["optical"] for part in row] for row in ((a, b), (c, d))]
        np.testing.assert_array_equal(joined.layers["optical"], np.block(optical))
    assert adjacent(store, grid[0].id, 4) == []


def test_land_around_a_tile_of_the_world_is_simulated(space, monkeypatch):
    tile = World(seed=3).tiles("europe", SIDE, 2, 2)[3]
    store = SimpleNamespace(tile_px=SIDE, layers=[], tile=lambda _: tile)
    monkeypatch.setattr(space.profile, "data", SimpleNamespace(source="world", seed=3, composite="mean"))
    (around,), (seen,) = views(space, "arm", store, ["any"])
    more = (PATCH * attention.ACROSS - SIDE) // 2
    assert around.shape == seen.label.shape == (224, 224) and around.centre == tile.centre
    inner = slice(more, more + SIDE)
    np.testing.assert_array_equal(seen.label[inner, inner], World(seed=3).chip(tile).label)


def test_predictions_blend_windows_of_the_trained_tiles(space, tmp_path, monkeypatch):
    """In one window the network's own answer; in several, only what each window says where it is alone."""
    torch.manual_seed(0)
    card = SegmenterCard(
        "unet", Architecture(24, 2, 3, PATCH, 2, SIDE), {"unet_width": 4, "unet_depth": 2, "decoder_width": 8},
        ("vv", "vh"), "dB", {"channels": ["vv", "vh"], "mean": [-12, -12], "std": [2, 2], "unit": "dB"},
        WORLDCOVER.to_dict(), {"synthetic": True}, {},
    )  # fmt: skip
    model = card.build().eval()
    save_segmenter(tmp_path, model, card)
    monkeypatch.setattr(space, "segmenter", lambda _: tmp_path, raising=False)
    db = np.random.default_rng(0).normal(-12, 2, (2, 2, 2 * SIDE, 2 * SIDE)).astype(np.float32)
    normalised = torch.from_numpy((db + 12) / 2)
    with torch.inference_mode():
        alone, corner = (
            model(normalised[:, :, :SIDE, :SIDE]).argmax(1),
            model(normalised[:, :, -SIDE:, -SIDE:]).argmax(1),
        )
    np.testing.assert_array_equal(attention.predicted(space, "arm", db[:, :, :SIDE, :SIDE])["attention"], alone)
    maps = attention.predicted(space, "arm", db)["unet_attention"]
    assert maps.shape == (2, 2 * SIDE, 2 * SIDE) and maps.dtype == np.uint8
    np.testing.assert_array_equal(maps[:, :PATCH, :PATCH], alone[:, :PATCH, :PATCH])
    np.testing.assert_array_equal(maps[:, -PATCH:, -PATCH:], corner[:, -PATCH:, -PATCH:])
