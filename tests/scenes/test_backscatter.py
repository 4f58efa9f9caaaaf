"""Radiometry of the synthetic world: speckle statistics, noise floor, signatures."""

import numpy as np
import pytest

from sardino.scenes.backscatter import (
    NOISE_FLOOR_DB,
    VV_VH_CORRELATION,
    effective_looks,
    mean_power,
    observe,
    speckle,
)
from sardino.scenes.cover import covers
from sardino.scenes.landscape import landscape
from sardino.scenes.noise import Grid, Keys
from sardino.scenes.world import REGIONS
from sardino.tiles.landcover import WORLDCOVER


def lag(field: np.ndarray, axis: int, shift: int = 1) -> float:
    a = np.take(field, np.arange(field.shape[axis] - shift), axis).ravel()
    b = np.take(field, np.arange(shift, field.shape[axis]), axis).ravel()
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("looks", [4.4, 66.0])
def test_speckle_has_unit_mean_the_stated_looks_and_the_footprint(looks: float) -> None:
    field = speckle((700, 700), looks, 10.0, np.random.default_rng(0))
    assert field.mean() == pytest.approx(1, abs=0.01)
    assert field.mean() ** 2 / field.var() == pytest.approx(looks, rel=0.05)
    # 22 m in azimuth (rows) and 20 m in range at 10 m spacing.
    assert lag(field, 0) == pytest.approx(0.71, abs=0.05)
    assert lag(field, 1) == pytest.approx(0.66, abs=0.05)
    assert abs(lag(field, 1, 5)) < 0.02


def test_speckle_accepts_looks_per_pixel() -> None:
    looks = np.where(np.arange(400) < 200, 5.0, 50.0)[None, :] * np.ones((400, 1))
    field = speckle((400, 400), looks, 10.0, np.random.default_rng(1))
    assert field[:, :190].var() / field[:, 210:].var() == pytest.approx(10, rel=0.15)


def test_coherent_covers_average_less() -> None:
    table = covers()
    cover = np.array([[table["lake"], table["industrial"]]], np.uint8)
    once, often = effective_looks(cover, 4.4, 1), effective_looks(cover, 4.4, 15)
    np.testing.assert_allclose(once, 4.4, rtol=1e-6)
    assert often[0, 0] == pytest.approx(66, rel=1e-6)
    assert 4.4 < often[0, 1] < 33


def test_observation_adds_the_floor_and_draws_each_image_on_its_own() -> None:
    power = np.zeros((4, 2, 200, 200), np.float32)
    vv, vh = observe(power, np.full((200, 200), 66.0, np.float32), 10.0, (1, 2))
    assert 10 * np.log10(vv.mean()) == pytest.approx(NOISE_FLOOR_DB[0], abs=0.05)
    assert 10 * np.log10(vh.mean()) == pytest.approx(NOISE_FLOOR_DB[1], abs=0.05)
    images = np.concatenate([vv, vh]).reshape(8, -1)
    between = np.corrcoef(images) - np.eye(8)
    assert np.abs(between).max() < 0.05
    again, _ = observe(power, np.full((200, 200), 66.0, np.float32), 10.0, (1, 2))
    other, _ = observe(power, np.full((200, 200), 66.0, np.float32), 10.0, (1, 3))
    np.testing.assert_array_equal(vv, again)
    assert not np.array_equal(vv, other)


@pytest.fixture(scope="module")
def scene():
    preset, keys = REGIONS["europe"], Keys(0, "europe")
    grid = Grid(preset.origin[0] + 10 * np.arange(448.0), preset.origin[1] - 10 * np.arange(448.0))
    land = landscape(grid, preset, keys)
    return land, mean_power(land, grid, keys)


def test_covers_keep_their_mean_backscatter(scene) -> None:
    land, power = scene
    table = covers()
    checked = 0
    for number, name in enumerate(table.names):
        inside = land.cover == number
        if inside.sum() < 6000 or table.label[number] == WORLDCOVER.codes.index(50):
            continue
        checked += 1
        measured = np.median(10 * np.log10(power[:, :, inside]), axis=2)
        np.testing.assert_allclose(measured, table.mean_db[number], atol=1.0, err_msg=name)
    assert checked >= 4


def test_classes_stand_in_their_known_order(scene) -> None:
    land, power = scene
    label = covers().label[land.cover]
    level = {c: 10 * np.log10(power[:, :, label == WORLDCOVER.codes.index(c)].mean((0, 2))) for c in (10, 30, 50, 80)}
    assert (level[50] > level[10]).all() and (level[10] > level[30]).all() and (level[30] > level[80]).all()
    assert -10 < level[10][0] < -7.5 and -16 < level[10][1] < -13.5


def test_polarisations_of_a_patch_vary_together(scene) -> None:
    land, power = scene
    inside = land.sharp & (covers().label[land.cover] == WORLDCOVER.codes.index(40))
    table = covers().mean_db[land.cover][inside]  # (N, 4, 2)
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
