"""The synthetic world: deterministic, continuous, valid, and made of what its presets promise."""

import dataclasses
import hashlib
import subprocess
import sys

import numpy as np
import pytest

from sardino.data.sources.world.landscape import landscape
from sardino.data.sources.world.noise import Grid, Keys
from sardino.data.sources.world.synthetic import World
from sardino.data.sources.world.tables import REGIONS, covers
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.tile import LAYERS, Tile
from sardino.errors import SardinoError

MADE = set(LAYERS) - {"ndvi", "elevation_m"}
"""The layers that the world has."""


def shares_of(region: str, seed: int, kilometres: float = 20.0, step: float = 100.0) -> np.ndarray:
    preset = REGIONS[region]
    offset = np.arange(step / 2, kilometres * 1000, step)
    scene = landscape(Grid(preset.origin[0] + offset, preset.origin[1] - offset), preset, Keys(seed, region))
    label = covers().label[scene.cover]
    return np.bincount(label.ravel(), minlength=len(WORLDCOVER)) / label.size


def digest(chip) -> str:
    parts = [chip.backscatter_db, chip.label, *(chip.layers[name] for name in sorted(chip.layers))]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


@pytest.fixture(scope="module")
def chips():
    world = World()
    return {name: [world.chip(t) for t in world.tiles(name, 96, 3, 2)] for name in REGIONS}


def test_same_tile_gives_same_bytes_in_any_order() -> None:
    tiles = World(seed=3).tiles("europe", 64, 3, 1)
    first = digest(World(seed=3).chip(tiles[1]))
    world = World(seed=3)
    backwards = [digest(world.chip(t)) for t in reversed(tiles)]
    assert backwards[1] == first
    assert len(set(backwards)) == 3


def test_seeds_and_regions_show_different_worlds() -> None:
    tile = World().tiles("europe", 64, 1, 1)[0]
    assert digest(World(seed=0).chip(tile)) != digest(World(seed=1).chip(tile))
    assert not np.allclose(shares_of("europe", 0, 5), shares_of("europe", 1, 5))
    assert not np.allclose(shares_of("europe", 0, 5), shares_of("china", 0, 5))


@pytest.mark.parametrize("region", REGIONS)
def test_land_cover_and_layers_continue_across_tile_borders(region: str) -> None:
    world = World(seed=1)
    left, right = world.tiles(region, 64, 2, 1)
    wide = Tile(region, left.crs, left.transform, (64, 128))
    one, two, both = world.chip(left), world.chip(right), world.chip(wide)
    np.testing.assert_array_equal(np.hstack([one.label, two.label]), both.label)
    for name in MADE:
        joined = np.concatenate([one.layers[name], two.layers[name]], axis=-1)
        np.testing.assert_allclose(joined.astype(float), both.layers[name].astype(float), atol=1e-3, err_msg=name)


def test_land_cover_depends_on_the_place_only() -> None:
    preset, keys = REGIONS["europe"], Keys(0, "europe")
    x, y = preset.origin[0] + 10 * np.arange(90.0), preset.origin[1] - 10 * np.arange(80.0)
    whole = landscape(Grid(x, y), preset, keys).cover
    part = landscape(Grid(x[13:77:3], y[5:60:2]), preset, keys).cover
    np.testing.assert_array_equal(part, whole[5:60:2, 13:77:3])


def test_channels_are_finite_and_the_ratio_is_the_difference(chips) -> None:
    for region in chips.values():
        for chip in region:
            db = chip.backscatter_db
            assert db.shape == (len(CHANNELS), 96, 96) and db.dtype == np.float32
            assert np.isfinite(db).all() and db[0::3].max() < 25 and db[1::3].min() > -45
            np.testing.assert_allclose(db[0::3] - db[1::3], db[2::3], atol=1e-4)


def test_labels_and_layers_lie_in_range(chips) -> None:
    for region in chips.values():
        for chip in region:
            assert chip.label.max() < len(WORLDCOVER)
            assert set(chip.layers) == MADE
            assert chip.layers["optical"].shape == (3, 96, 96) and chip.layers["optical"].dtype == np.uint8
            assert chip.layers["landcover_300m"].max() < len(WORLDCOVER)
            for name, top in (("vegetation_percent", 100), ("built_percent", 100), ("biomass_t_ha", 600)):
                layer = chip.layers[name]
                assert layer.dtype == np.float32 and layer.min() >= 0 and layer.max() <= top


def test_coarse_land_cover_is_the_majority_of_its_absolute_cell() -> None:
    preset, world = REGIONS["europe"], World(seed=5)
    corner = np.ceil(preset.origin[0] / 300) * 300, np.floor(preset.origin[1] / 300) * 300
    tile = Tile("europe", preset.crs, (10.0, 0.0, corner[0], 0.0, -10.0, corner[1]), (120, 120))
    chip = world.chip(tile)
    coarse = chip.layers["landcover_300m"].reshape(4, 30, 4, 30).swapaxes(1, 2).reshape(16, 900)
    assert (coarse == coarse[:, :1]).all()
    fine = chip.label.reshape(4, 30, 4, 30).swapaxes(1, 2).reshape(16, 900)
    votes = np.stack([np.bincount(cell, minlength=len(WORLDCOVER)) for cell in fine])
    # The product samples each cell, so that near ties may fall either way.
    won = votes[np.arange(16), coarse[:, 0]]
    assert (won >= votes.max(1) - 90).all()


def test_layers_agree_with_the_labels(chips) -> None:
    label = np.stack([c.label for region in chips.values() for c in region])
    built = np.stack([c.layers["built_percent"] for region in chips.values() for c in region])
    biomass = np.stack([c.layers["biomass_t_ha"] for region in chips.values() for c in region])
    tree, town = label == WORLDCOVER.codes.index(10), label == WORLDCOVER.codes.index(50)
    assert biomass[tree].mean() > 5 * biomass[~tree].mean()
    assert built[town].mean() > 10 * built[~town].mean()


# Percent of land, by WorldCover code: lowest and highest accepted mean of four worlds.
BANDS = {
    "europe": {10: (30, 50), 20: (1, 5), 30: (12, 26), 40: (18, 36), 50: (3, 7), 60: (0.8, 4), 80: (2, 8), 90: (1, 4)},
    "conus": {10: (25, 43), 20: (3, 12), 30: (20, 37), 40: (10, 25), 50: (2, 6), 60: (1, 9), 80: (3, 10), 90: (1, 4)},
    "china": {10: (18, 34), 20: (3, 10), 30: (18, 35), 40: (8, 22), 50: (3, 7), 60: (5, 17), 80: (4, 14), 90: (0.5, 4)},
}


@pytest.mark.parametrize("region", REGIONS)
def test_class_shares_lie_in_their_bands(region: str) -> None:
    mean = 100 * np.mean([shares_of(region, seed) for seed in range(4)], axis=0)
    share = dict(zip(WORLDCOVER.codes, mean, strict=True))
    for code, (low, high) in BANDS[region].items():
        assert low < share[code] < high, (code, share[code])
    # Snow, mangroves and moss are rare wherever they are.
    assert max(share[code] for code in (70, 95, 100)) < 3


def test_classes_occur_where_they_should() -> None:
    present = {region: np.array(WORLDCOVER.codes)[shares_of(region, 0) > 2e-4] for region in REGIONS}
    assert len(present["europe"]) >= 9
    assert 95 in present["china"] and 95 not in present["europe"] and 95 not in present["conus"]
    assert set(np.concatenate(list(present.values())).tolist()) == set(WORLDCOVER.codes)
    for preset in REGIONS.values():
        assert preset.origin[0] % 4480 == preset.origin[1] % 4480 == 0


def test_tiles_start_at_the_origin_and_touch() -> None:
    tiles = World().tiles("conus", 96, 2, 2)
    assert [t.bounds[0] for t in tiles[:2]] == [REGIONS["conus"].origin[0], REGIONS["conus"].origin[0] + 960]
    assert tiles[0].bounds[1] == tiles[2].bounds[3] and tiles[0].crs == REGIONS["conus"].crs


def test_another_process_makes_the_same_bytes() -> None:
    tile = World(seed=4).tiles("china", 48, 2, 1)[1]
    code = """
import hashlib, sys
import numpy as np
from sardino.data.sources.world.synthetic import World
world = World(seed=4)
chip = world.chip(world.tiles("china", 48, 2, 1)[1])
parts = [chip.backscatter_db, chip.label, *(chip.layers[name] for name in sorted(chip.layers))]
print(hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(World(seed=4).chip(tile))


def test_gaps_are_missing_in_both_polarisations_and_nowhere_else() -> None:
    whole, holed = World(seed=0), World(seed=0, gaps=True)
    missing = 0
    for tile in whole.tiles("europe", 48, 130, 1)[::9]:
        full, cut = whole.chip(tile).backscatter_db, holed.chip(tile).backscatter_db
        absent = np.isnan(cut)
        np.testing.assert_array_equal(cut[~absent], full[~absent])
        by_season = absent.reshape(4, 3, 48, 48)
        assert (by_season == by_season[:, :1]).all() and not by_season.all(0).any()
        missing += absent.sum()
    assert missing > 0


def test_a_median_composite_is_another_image_of_the_same_place() -> None:
    mean, median = World(dates_per_season=5), World(dates_per_season=5, composite="median")
    tile = mean.tiles("europe", 48, 1, 1)[0]
    one, other = mean.chip(tile), median.chip(tile)
    np.testing.assert_array_equal(one.label, other.label)
    assert np.median(other.backscatter_db[0] - one.backscatter_db[0]) == pytest.approx(-0.3, abs=0.15)
    assert median.metadata()["composite"] == "median"


def test_metadata_says_that_the_world_is_synthetic() -> None:
    metadata = World(seed=7, looks=3.0).metadata()
    assert metadata["synthetic"] is True and metadata["seed"] == 7 and metadata["looks"] == 3.0


def test_wrong_input_is_refused_by_name() -> None:
    with pytest.raises(SardinoError, match="'atlantis'"):
        World().tiles("atlantis", 96, 1, 1)
    tile = dataclasses.replace(World().tiles("europe", 32, 1, 1)[0], crs="EPSG:4326")
    with pytest.raises(SardinoError, match="EPSG:32631"):
        World().chip(tile)
    with pytest.raises(SardinoError, match="look"):
        World(looks=0)
    with pytest.raises(SardinoError, match="mean or median"):
        World(composite="mode")
