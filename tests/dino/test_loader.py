"""The loader: the same batches with any number of workers, from memory and from the store."""

import numpy as np
import pytest
import torch

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.dino.batches import MemoryTiles, StoreTiles, load, open_tiles
from sardino.errors import SardinoError

TILES = list(tile_grid("north", "EPSG:32631", (500_000, 5_500_000), 16, 10.0, 10, 1))


def chip(number: int) -> Chip:
    rng = np.random.default_rng(number)
    db = rng.normal(-12, 4, (2, 16, 16)).astype(np.float32)
    db[1, :3] = np.nan
    return Chip(db, rng.integers(0, 11, (16, 16)).astype(np.uint8), {})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    return write_store(
        tmp_path_factory.mktemp("loader") / "store",
        TILES,
        ["train"] * 10,
        chip,
        channels=["vv", "vh"],
        legend=WORLDCOVER,
        product="test",
        synthetic=True,
        metadata={},
        bands=[0] * 10,
        compression="zstd",
    )


@pytest.fixture(scope="module")
def normalisation(store: TileStore) -> Normalisation:
    return Normalisation.of_store(store, store.ids())


def test_every_cache_gives_the_same_tiles(store: TileStore, normalisation: Normalisation) -> None:
    ids = store.ids()[::-1]
    kinds = {name: open_tiles(store, ids, normalisation, name) for name in ("memory", "none", "auto")}
    assert [type(k) for k in kinds.values()] == [MemoryTiles, StoreTiles, MemoryTiles]
    expected = store.read([ids[n] for n in (7, 0, 3)])
    for source in kinds.values():
        assert len(source) == 10
        inputs, labels = source.read([7, 0, 3])
        torch.testing.assert_close(inputs, torch.from_numpy(normalisation.apply(expected[0])), rtol=0, atol=0)
        assert torch.equal(labels, torch.from_numpy(expected[1]))
        assert (inputs[:, 1, :3] == 0).all()


def test_workers_change_neither_order_nor_pixels(store: TileStore, normalisation: Normalisation) -> None:
    source = StoreTiles(store, store.ids(), normalisation)
    order = [[3, 1], [9], [0, 2, 4], [5, 5]]
    alone, helped = list(load(source, order)), list(load(source, order, workers=2))
    assert [len(x) for x, _ in helped] == [2, 1, 3, 2]
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_a_worker_that_fails_stops_the_loader_with_the_tile(store: TileStore, normalisation: Normalisation) -> None:
    with pytest.raises(SardinoError, match="has no tile 0000000000000"):
        list(load(StoreTiles(store, ["0" * 13], normalisation), [[0]], workers=1))


def test_a_loader_refuses_what_it_cannot_do() -> None:
    with pytest.raises(SardinoError, match="at least 0 workers"):
        next(load(MemoryTiles(torch.zeros(1), torch.zeros(1)), [[0]], workers=-1))
