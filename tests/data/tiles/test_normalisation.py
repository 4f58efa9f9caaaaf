"""Normalisation: the statistics of valid training pixels, and of nothing else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

CHANNELS = ["vv", "vh"]
TILES = list(tile_grid("r", "EPSG:32631", (0, 0), 8, 10.0, 4, 1))


def pixels(number: int) -> np.ndarray:
    db = np.random.default_rng(number).normal((-8 - number) * 4, 3, (2, 8, 8)).astype(np.float32)
    db[1, : 2 * number] = np.nan
    return db


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    return build(tmp_path_factory.mktemp("data") / "store", pixels)


def build(path: Path, source: object) -> TileStore:
    return write_store(
        path,
        TILES,
        ["train", "train", "train", "test"],
        lambda n: Chip(source(n), np.zeros((8, 8), np.uint8)),  # type: ignore[operator]
        channels=CHANNELS,
        legend=WORLDCOVER,
        product="test",
        synthetic=True,
        metadata={},
        bands=[0, 0, 0, 4],
    )


def test_it_matches_numpy_over_the_valid_pixels(store: TileStore) -> None:
    db, _ = store.read(store.ids("train"))
    found = Normalisation.of_store(store, store.ids("train"))
    np.testing.assert_allclose(found.mean, np.nanmean(db.astype(np.float64), (0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, np.nanstd(db.astype(np.float64), (0, 2, 3)), rtol=1e-12)


def test_other_tiles_than_those_named_do_not_count(store: TileStore) -> None:
    assert Normalisation.of_store(store, store.ids("train")) != Normalisation.of_store(store, store.ids())


def test_what_it_was_taken_from_becomes_standard_and_missing_becomes_zero(store: TileStore) -> None:
    db, _ = store.read(store.ids("train"))
    normal = Normalisation.of_store(store, store.ids("train")).apply(db)
    assert normal.dtype == np.float32 and (normal[np.isnan(db)] == 0).all()
    for channel in range(2):
        valid = normal[:, channel][np.isfinite(db[:, channel])]
        assert valid.mean() == pytest.approx(0, abs=1e-5) and valid.std() == pytest.approx(1, abs=1e-5)


@given(st.lists(st.tuples(st.floats(-50, 20), st.floats(0.01, 20)), min_size=1, max_size=12))
def test_it_survives_its_dictionary(statistics: list[tuple[float, float]]) -> None:
    mean, std = zip(*statistics, strict=True)
    one = Normalisation(tuple(f"c{n}" for n in range(len(mean))), mean, std)
    assert Normalisation.from_dict(one.to_dict()) == one


def test_other_channels_units_and_shapes_are_refused_by_name() -> None:
    one = Normalisation(("vv", "vh"), (-12.0, -19.0), (5.0, 5.0))
    one.require(["vv", "vh"], "dB")
    with pytest.raises(SardinoError, match="the data has vh, vv"):
        one.require(["vh", "vv"], "dB")
    with pytest.raises(SardinoError, match="in dB, the data in power"):
        one.require(["vv", "vh"], "power")
    with pytest.raises(SardinoError, match="does not hold the 2 channels"):
        one.apply(np.zeros((1, 3, 8, 8), np.float32))


def test_an_empty_or_constant_channel_is_refused_by_name(tmp_path: Path) -> None:
    def without_vh(number: int) -> np.ndarray:
        return np.stack([pixels(number)[0], np.full((8, 8), np.nan, np.float32)])

    def constant_vh(number: int) -> np.ndarray:
        return np.stack([pixels(number)[0], np.full((8, 8), -20, np.float32)])

    for name, source in {"no valid training pixel in vh": without_vh, "channel vh is constant": constant_vh}.items():
        store = build(tmp_path / name.replace(" ", "-"), source)
        with pytest.raises(SardinoError, match=name):
            Normalisation.of_store(store, store.ids("train"))
    with pytest.raises(SardinoError, match="no training tile"):
        Normalisation.of_store(store, [])


def test_a_damaged_dictionary_is_refused() -> None:
    with pytest.raises(SardinoError, match="lacks std"):
        Normalisation.from_dict({"channels": ["vv"], "mean": [0], "unit": "dB"})
