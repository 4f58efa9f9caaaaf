"""Backscatter of the synthetic world: signatures, their spread and seasons, and the angle they are seen under."""

import numpy as np
import pytest

from sardino.data.sources.world.landscape import landscape
from sardino.data.sources.world.noise import Grid, Keys
from sardino.data.sources.world.sensor import REFERENCE_DEG, VV_VH_CORRELATION, incidence_deg, mean_power
from sardino.data.sources.world.tables import REGIONS, covers
from sardino.data.tiles.landcover import WORLDCOVER


@pytest.fixture(scope="module")
def scene():
    preset, keys = REGIONS["europe"], Keys(0, "europe")
    grid = Grid(preset.origin[0] + 10 * np.arange(448.0), preset.origin[1] - 10 * np.arange(448.0))
    land = landscape(grid, preset, keys)
    return land, mean_power(land, grid, keys), incidence_deg(grid) - REFERENCE_DEG


def test_covers_keep_their_mean_backscatter(scene) -> None:
    land, power, tilt = scene
    table = covers()
    checked = 0
    for number, name in enumerate(table.names):
        inside = land.cover == number
        if inside.sum() < 6000 or table.label[number] == WORLDCOVER.codes.index(50):
            continue
        checked += 1
        measured = np.median(10 * np.log10(power[:, :, inside]), axis=2)
        expected = table.mean_db[number] + tilt[inside].mean() * table.slope_db[number]
        np.testing.assert_allclose(measured, expected, atol=1.0, err_msg=name)
    assert checked >= 4


def test_classes_stand_in_their_known_order(scene) -> None:
    land, power, _ = scene
    label = covers().label[land.cover]
    level = {c: 10 * np.log10(power[:, :, label == WORLDCOVER.codes.index(c)].mean((0, 2))) for c in (10, 30, 50, 80)}
    assert (level[50] > level[10]).all() and (level[10] > level[30]).all() and (level[30] > level[80]).all()


def test_polarisations_of_a_patch_vary_together(scene) -> None:
    land, power, tilt = scene
    inside = land.sharp & (covers().label[land.cover] == WORLDCOVER.codes.index(40))
    table = covers().mean_db[land.cover][inside]  # (N, 4, 2)
    table += (tilt[inside][:, None] * covers().slope_db[land.cover][inside])[:, None]
    deviation = 10 * np.log10(power[:, :, inside]).transpose(2, 0, 1) - table
    # Shared texture and weather push the correlation above that of the patches alone.
    both = np.corrcoef(deviation.mean(1).T)[0, 1]
    assert VV_VH_CORRELATION - 0.15 < both < 0.97


def test_tables_state_the_physical_signs() -> None:
    table = covers()
    winter, spring, summer, _ = np.moveaxis(table.mean_db, 1, 0)
    assert summer[table["broadleaf"], 1] < winter[table["broadleaf"], 1]
    assert summer[table["conifer"], 1] > winter[table["conifer"], 1]
    assert summer[table["maize"], 1] > winter[table["maize"], 1] + 2
    assert summer[table["winter_cereal"], 0] < winter[table["winter_cereal"], 0] - 2
    assert spring[table["rapeseed"], 1] > winter[table["rapeseed"], 1] + 2
    assert (winter[:, 0] > winter[:, 1]).all()
    assert set(table.label.tolist()) == set(range(len(WORLDCOVER)))
    assert (table.slope_db < 0).all(), "steeper looks are brighter"
    assert table.slope_db[table["lake"], 0] == table.slope_db[:, 0].min()


@pytest.mark.parametrize("region", REGIONS)
def test_noise_free_backscatter_continues_across_tile_borders(region: str) -> None:
    """Also where a window sees no town, or another first one: roads keep their brightness."""
    preset, keys = REGIONS[region], Keys(2, region)
    x = preset.origin[0] + 10 * np.arange(400.0)
    y = preset.origin[1] - 4000 - 10 * np.arange(160.0)

    def power(columns: slice) -> np.ndarray:
        grid = Grid(x[columns], y)
        return mean_power(landscape(grid, preset, keys), grid, keys)

    inner = slice(8, -8)
    whole, part = power(slice(0, 400)), power(slice(150, 250))
    apart = 10 * np.log10(whole[:, :, inner, 158:242] / part[:, :, inner, inner])
    assert np.abs(apart).max() < 0.01
