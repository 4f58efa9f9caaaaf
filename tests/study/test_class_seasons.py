"""Classes of the synthetic world by season, held against real ones."""

import numpy as np

from sardino.data.sources.world.synthetic import World
from sardino.data.sources.world.tables import REGIONS, YEAR, signatures
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, SEASONS
from sardino.data.tiles.tile import Tile
from sardino.evaluation.realism import Images, to_correct
from sardino.study.realism import class_seasons, seasons


def test_each_season_of_a_class_has_its_own_mean_and_the_year_theirs() -> None:
    level = np.array([-9.0, -10.0, -13.0, -8.0])
    stack = np.repeat(level, 2)[:, None, None] * np.ones((8, 20, 20))
    labels = np.tile((np.arange(20) < 12).astype(np.uint8), (8, 20, 1))
    labels[:, 0, 0] = 2  # too few for a mean
    stack[labels == 0] -= 7
    table = class_seasons(Images("x", {"VV": stack, "VH": stack - 6}, 10.0, labels, ("Water", "Land", "Rare")))
    assert table.loc["Land", "vv"].to_dict() == dict(zip((*SEASONS, YEAR), (*level, level.mean()), strict=True))
    assert table.loc[("Water", "summer"), "vh"] == -13 - 7 - 6
    assert "Rare" not in table.index.get_level_values("class")


def test_the_world_stands_by_the_real_means_that_count_and_its_last_version_did_not() -> None:
    preset, world = REGIONS["europe"], World(0)
    chips = []
    for k in range(40):  # along the whole swath
        corner = preset.origin[0] + 1500 * k, preset.origin[1] - 1000 * (7919 * k % 40)
        chips.append(world.chip(Tile("europe", preset.crs, (20.0, 0.0, corner[0], 0.0, -20.0, corner[1]), (40, 40))))
    stack = np.stack([chip.backscatter_db for chip in chips])
    labels = np.tile(np.stack([chip.label for chip in chips]), (4, 1, 1))
    bands = {band: seasons(stack, CHANNELS, band) for band in ("VV", "VH")}
    now, real = class_seasons(Images("x", bands, 20.0, labels, tuple(WORLDCOVER.names))), signatures()
    assert set(real.index.get_level_values("class")) <= set(now.index.get_level_values("class"))
    assert not to_correct(real, now)
    # Also where a mean does not count, woods above all, it is no further off over the year.
    off = (now[["vv", "vh"]] - real[["vv", "vh"]]).xs(YEAR, level="season").dropna()
    assert len(off) == 3 and off.abs().to_numpy().max() < 2
    before = real[["vv_before", "vh_before"]].set_axis(["vv", "vh"], axis=1)
    assert {"Cropland, year, VV", "Cropland, fall, VH"} <= set(to_correct(real, before))
