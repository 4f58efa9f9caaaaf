"""A scene of the synthetic world is its chips, side by side, in their place."""

import numpy as np
import pytest
import rasterio

from sardino.data.sources.world import synthetic
from sardino.data.sources.world.synthetic import World, write_scene
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.errors import SardinoError


def test_a_scene_and_its_labels_are_the_chips_of_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "PIECE_PX", 32)
    world = World(seed=3)
    write_scene(world, "conus", tmp_path / "scene.tif", (40, 70), labels=tmp_path / "labels.tif")
    tiles = world.tiles("conus", 32, 3, 2)
    with rasterio.open(tmp_path / "scene.tif") as file, rasterio.open(tmp_path / "labels.tif") as cover:
        values, codes = file.read(), cover.read(1)
        assert file.descriptions == tuple(CHANNELS) and file.tags()["unit"] == "dB"
        assert file.crs.to_string() == tiles[0].crs and tuple(file.transform)[:6] == tiles[0].transform
        assert cover.colormap(1)[50][:3] == (250, 0, 0)
    assert values.shape == (12, 40, 70)
    last = world.chip(tiles[-1])
    np.testing.assert_array_equal(values[:, 32:, 64:], last.backscatter_db[:, :8, :6])
    np.testing.assert_array_equal(WORLDCOVER.encode(codes[32:, 64:]), last.label[:8, :6])


def test_an_empty_scene_and_an_unknown_region_are_refused(tmp_path):
    with pytest.raises(SardinoError, match="is empty"):
        write_scene(World(), "europe", tmp_path / "a.tif", (0, 10))
    with pytest.raises(SardinoError, match="no region 'mars'"):
        write_scene(World(), "mars", tmp_path / "a.tif", (10, 10))
