"""The tile store: what is written is read, whole or not at all, and nothing foreign is taken for it."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import xarray
import zarr

from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import unpack
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import tile_table
from sardino.data.tiles.tile import Chip, Tile, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

CHANNELS = ["vv", "vh"]
SIZE = 16
TILES = list(tile_grid("north", "EPSG:32631", (500_000, 5_500_000), SIZE, 10.0, 3, 1)) + list(
    tile_grid("south", "EPSG:32633", (500_000, 4_500_000), SIZE, 10.0, 2, 1)
)
SPLITS = ["train", "train", "val", "test", "train"]


def chip(number: int) -> Chip:
    rng = np.random.default_rng(number)
    db = rng.normal(-12, 4, (2, SIZE, SIZE)).astype(np.float32)
    db[0, :2] = np.nan
    label = rng.integers(0, 11, (SIZE, SIZE)).astype(np.uint8)
    label[-1] = IGNORE
    layers = {
        "optical": rng.integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8),
        "biomass_t_ha": rng.random((SIZE, SIZE)).astype(np.float32),
    }
    return Chip(db, label, layers)


def write(path: Path, **changes: object) -> TileStore:
    arguments: dict = {
        "tiles": TILES,
        "splits": SPLITS,
        "chips": chip,
        "channels": CHANNELS,
        "legend": WORLDCOVER,
        "product": "test",
        "synthetic": True,
        "metadata": {"looks": 4.4},
        "bands": [0, 1, 3, 4, 5],
    }
    return write_store(path, **(arguments | changes))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    return write(tmp_path_factory.mktemp("data") / "store")


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def copy(written: TileStore, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written.path, tmp_path / "store"))


def test_pixels_and_layers_come_back(written: TileStore) -> None:
    ids = [TILES[number].id for number in (4, 0, 2)]
    db, label = written.read(ids)
    assert db.dtype == np.float32 and label.dtype == np.uint8
    for place, number in enumerate((4, 0, 2)):
        np.testing.assert_allclose(db[place], chip(number).backscatter_db, atol=0.0051)
        np.testing.assert_array_equal(label[place], chip(number).label)
        for name, layer in chip(number).layers.items():
            np.testing.assert_array_equal(written.read_layer(name, ids)[place], layer)


def test_places_and_facts_come_back(written: TileStore) -> None:
    assert [written.tile(tile.id) for tile in TILES] == TILES
    assert (written.channels, written.legend, written.unit) == (CHANNELS, WORLDCOVER, "dB")
    assert (written.tile_px, written.synthetic, written.metadata) == (SIZE, True, {"looks": 4.4})
    assert written.layers == ["biomass_t_ha", "optical"]
    assert written.ids("train", ["south"]) == [TILES[4].id] and len(written.ids()) == len(written) == 5
    assert {split: len(written.ids(split)) for split in ("train", "val", "test")} == {"train": 3, "val": 1, "test": 1}


def test_the_index_says_what_a_tile_holds(written: TileStore) -> None:
    index = geopandas.read_parquet(written.path / "tiles.parquet")
    row = index.iloc[0]
    label = chip(0).label
    assert index.crs == "EPSG:4326" and row.geometry.contains(row.geometry.centroid)
    shares = [row[f"share_{code}"] for code in WORLDCOVER.codes]
    assert sum(shares) == pytest.approx(1)
    assert row["share_80"] == pytest.approx((label == 7).sum() / (label != IGNORE).sum())
    assert row["labelled_share"] == pytest.approx(15 / 16) and row["valid_share"] == pytest.approx(15 / 16)


def test_xarray_shows_decibels_by_name_without_a_warning(written: TileStore) -> None:
    with xarray.open_zarr(written.path / "tiles.zarr", chunks=None) as dataset:
        plane = dataset["backscatter"].sel(tile=TILES[1].id, channel="vh").values
        np.testing.assert_allclose(plane, chip(1).backscatter_db[1], atol=0.0051)
        assert np.isnan(dataset["backscatter"].sel(channel="vv").values[:, :2]).all()
        assert dataset.attrs["channels"] == CHANNELS


def test_neither_workers_nor_the_folder_change_the_fingerprint(written: TileStore, tmp_path: Path) -> None:
    assert write(tmp_path / "again", workers=3).fingerprint == written.fingerprint
    other = write(tmp_path / "other", splits=["val", *SPLITS[1:]])
    assert other.fingerprint != written.fingerprint


def test_the_same_tiles_give_the_same_bytes_in_every_file(written: TileStore, tmp_path: Path) -> None:
    assert hashes(write(tmp_path / "store", workers=2).path) == hashes(written.path)


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    """A store of which two tiles are only listed."""
    return write_partly(tmp_path_factory.mktemp("partly") / "store")


def write_partly(path: Path, workers: int = 1) -> TileStore:
    columns = {"split": SPLITS, "band": [0, 1, 3, 4, 5], "labelled_share": [1.0] * 5}
    made = [0, 2, 3]
    return write(
        path,
        tiles=[TILES[n] for n in made],
        splits=[SPLITS[n] for n in made],
        bands=[columns["band"][n] for n in made],
        chips=lambda place: chip(made[place]),
        listed_only=tile_table(TILES, **columns).drop(index=made),
        workers=workers,
    )


def test_a_store_lists_tiles_that_have_no_pixels(partly: TileStore, written: TileStore) -> None:
    assert len(partly) == 3 and len(partly.listed) == 5 and "3 of 5 listed" in repr(partly)
    assert set(partly.ids("train", listed=True)) == set(written.ids("train")) > set(partly.ids("train"))
    assert partly.ids("train", ["south"], listed=True) == [TILES[4].id] and partly.listed.crs == "EPSG:4326"
    assert {"region", "crs", "transform", "band", "labelled_share"} <= set(partly.listed)
    np.testing.assert_array_equal(partly.read([TILES[2].id])[1], written.read([TILES[2].id])[1])
    with pytest.raises(SardinoError, match=f"no tile {TILES[1].id}"):
        partly.read([TILES[1].id])
    assert len(pickle.loads(pickle.dumps(partly)).listed) == 5
    assert written.listed is written.index, "where all have pixels, as in every older store, the index is the list"


def test_the_list_is_part_of_the_store(partly: TileStore, written: TileStore, tmp_path: Path) -> None:
    partly.verify()
    again = write_partly(tmp_path / "again", workers=3)
    assert hashes(again.path) == hashes(partly.path) and again.fingerprint != written.fingerprint
    whole = geopandas.read_parquet(again.path / "listed.parquet")
    for damaged, message in ((whole.assign(split="train"), "was changed after"), (whole[:-1], "not the list of this")):
        damaged.to_parquet(again.path / "listed.parquet")
        with pytest.raises(SardinoError, match=message):
            TileStore.open(again.path).verify()
    (again.path / "listed.parquet").unlink()
    with pytest.raises(SardinoError, match=r"listed\.parquet is missing"):
        TileStore.open(again.path)


def test_compression_changes_the_bytes_and_nothing_that_is_read(written: TileStore, tmp_path: Path) -> None:
    small = write(tmp_path / "store", compression="zstd")
    assert small.fingerprint == written.fingerprint
    for one, other in zip(small.read(small.ids()), written.read(written.ids()), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("backscatter", "label"):
        np.testing.assert_array_equal(small.read_array(name, small.ids()), written.read_array(name, written.ids()))
    chunk = "tiles.zarr/backscatter/c/0/0/0/0"
    assert (small.path / chunk).stat().st_size < (written.path / chunk).stat().st_size == 2 * SIZE**2 * 2
    small.verify()


def test_counts_are_the_decibels_on_disk(written: TileStore) -> None:
    counts, label = (written.read_array(name, written.ids()) for name in ("backscatter", "label"))
    db, same = written.read(written.ids())
    np.testing.assert_array_equal(unpack(counts), db)
    np.testing.assert_array_equal(label, same)
    assert counts.dtype == np.int16 and counts.flags.writeable


def test_passes_come_back_where_they_are_known(written: TileStore, tmp_path: Path) -> None:
    def counted(number: int) -> Chip:
        whole = chip(number)
        passes = np.full((4, SIZE, SIZE), 7 + number, np.int16)
        passes[1, 0, 0], passes[2, 0, 0] = 0, 300
        return Chip(whole.backscatter_db, whole.label, whole.layers, passes)

    store = write(tmp_path / "store", chips=counted)
    passes = store.read_array("passes", [TILES[3].id, TILES[0].id])
    assert passes.shape == (2, 4, SIZE, SIZE) and passes[0, 0, 1, 1] == 10 and passes[1, 0, 1, 1] == 7
    assert passes[0, 1, 0, 0] == 0 and passes[0, 2, 0, 0] == 255
    with xarray.open_zarr(store.path / "tiles.zarr", chunks=None) as dataset:
        assert int(dataset["passes"].sel(tile=TILES[0].id, season="winter")[1, 1]) == 7
    store.verify()
    with pytest.raises(SardinoError, match="does not know 'passes': it holds backscatter, label"):
        written.read_array("passes", written.ids())
    with pytest.raises(SardinoError, match="no count per season"):
        Chip(chip(0).backscatter_db, chip(0).label, {}, np.zeros((3, SIZE, SIZE), np.int16))


def test_a_store_travels_to_another_process_by_its_path(written: TileStore) -> None:
    other = pickle.loads(pickle.dumps(written))
    assert other.fingerprint == written.fingerprint and other.ids() == written.ids()


def test_a_tile_without_crs_has_no_footprint_but_a_place(tmp_path: Path) -> None:
    tiles = [Tile("site", "", (1, 0, SIZE * n, 0, -1, 0), (SIZE, SIZE)) for n in range(2)]
    store = write(tmp_path / "store", tiles=tiles, splits=["train"] * 2, bands=[0, 0])
    assert store.index.geometry.isna().all() and store.tile(tiles[1].id) == tiles[1]


def test_a_writer_that_fails_leaves_no_store(tmp_path: Path) -> None:
    def fails(number: int) -> Chip:
        if number == 3:
            raise RuntimeError("power cut")
        return chip(number)

    for workers in (1, 2):
        with pytest.raises(RuntimeError, match="power cut"):
            write(tmp_path / "store", chips=fails, workers=workers)
        with pytest.raises(SardinoError, match="only half written"):
            TileStore.open(tmp_path / "store")
    assert len(write(tmp_path / "store")) == 5


def test_a_store_is_replaced_only_on_request_and_nothing_else_ever(tmp_path: Path) -> None:
    write(tmp_path / "store")
    with pytest.raises(SardinoError, match="exists already"):
        write(tmp_path / "store")
    assert write(tmp_path / "store", product="second", overwrite=True).product == "second"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    with pytest.raises(SardinoError, match="left alone"):
        write(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "thesis.tex").exists()


def test_the_writer_refuses_what_does_not_fit(tmp_path: Path) -> None:
    def changed(**parts: object) -> object:
        whole = chip(0)
        return lambda number: Chip(*(parts.get(n, getattr(whole, n)) for n in ("backscatter_db", "label", "layers")))

    empty = np.full((2, SIZE, SIZE), np.nan, np.float32)
    cases = [
        ({"chips": changed(backscatter_db=empty)}, "no valid pixel"),
        ({"chips": changed(backscatter_db=np.zeros((3, SIZE, SIZE), np.float32))}, "needed is"),
        ({"chips": changed(label=np.full((SIZE, SIZE), 11, np.uint8))}, "outside the 11 classes"),
        ({"chips": lambda n: chip(n) if n == 0 else Chip(chip(n).backscatter_db, chip(n).label)}, "same layers"),
        ({"tiles": [TILES[0]] * 5}, "twice"),
        ({"tiles": [*TILES[:4], Tile("x", "", (1, 0, 0, 0, -1, 0), (8, 8))]}, "square tiles of one size"),
        ({"splits": ["training"] * 5}, "unknown split"),
        ({"splits": ["train"]}, "do not match"),
        ({"channels": ["vv", "vv"]}, "repeat"),
        ({"tiles": [], "splits": [], "bands": []}, "at least one tile"),
    ]
    for change, message in cases:
        with pytest.raises(SardinoError, match=message):
            write(tmp_path / "store", **change)


def test_a_missing_store_and_a_foreign_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match="there is no tile store"):
        TileStore.open(tmp_path / "store")
    with pytest.raises(SardinoError, match=r"tiles\.zarr is missing"):
        TileStore.open(tmp_path)


def alter(store: Path, **attributes: object) -> None:
    file = store / "tiles.zarr" / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"].update(attributes)
    document["attributes"] = {k: v for k, v in document["attributes"].items() if v is not None}
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"format": "other"}, "no sardino-tiles store"),
        ({"version": 1}, "format version 1"),
        ({"legend": None}, "lacks the attributes legend"),
        ({"channels": ["vv"]}, "contradicts itself"),
        ({"layers": ["optical", "built_percent"]}, "lost its array 'layer_built_percent'"),
    ],
)
def test_wrong_metadata_is_named(copy: Path, attributes: dict[str, object], message: str) -> None:
    alter(copy, **attributes)
    with pytest.raises(SardinoError, match=message):
        TileStore.open(copy)


@pytest.mark.parametrize("part", ["tiles.parquet", "tiles.zarr/zarr.json"])
def test_a_damaged_file_is_named(copy: Path, part: str) -> None:
    (copy / part).write_bytes(b"not what it was")
    with pytest.raises(SardinoError, match="cannot be read"):
        TileStore.open(copy)


def test_a_damaged_or_lost_chunk_is_named_when_it_is_read(copy: Path) -> None:
    store = TileStore.open(copy)
    first, second = (copy / "tiles.zarr/backscatter/c" / str(n) / "0/0/0" for n in range(2))
    first.write_bytes(first.read_bytes()[:40])
    second.unlink()
    with pytest.raises(SardinoError, match=f"damaged at tile {TILES[0].id}"):
        store.read([TILES[0].id])
    with pytest.raises(SardinoError, match=f"damaged at tile {TILES[1].id}.*is missing"):
        store.read([TILES[1].id])
    assert store.damaged() == [TILES[0].id, TILES[1].id]


def test_a_changed_pixel_no_longer_matches_the_fingerprint(copy: Path) -> None:
    TileStore.open(copy).verify()
    zarr.open_group(copy / "tiles.zarr", mode="r+")["label"][2, 0, 0] = IGNORE
    changed = TileStore.open(copy)
    assert changed.damaged() == [TILES[2].id]
    with pytest.raises(SardinoError, match=f"changed after it was written, at 1 tiles, {TILES[2].id}"):
        changed.verify()


def test_a_changed_index_no_longer_matches_the_fingerprint(copy: Path) -> None:
    index = geopandas.read_parquet(copy / "tiles.parquet")
    index.loc[0, "split"] = "test"
    index.to_parquet(copy / "tiles.parquet")
    with pytest.raises(SardinoError, match=r"the index of .* was changed"):
        TileStore.open(copy).verify()


def test_requirements_are_refused_by_name(written: TileStore) -> None:
    written.require(channels=CHANNELS, unit="dB", tile_px=SIZE)
    with pytest.raises(SardinoError, match="needed are vh, vv"):
        written.require(channels=["vh", "vv"])
    with pytest.raises(SardinoError, match="backscatter in dB, needed is power"):
        written.require(unit="power")
    with pytest.raises(SardinoError, match="16 px, needed are 448 px"):
        written.require(tile_px=448)


def test_unknown_names_are_refused(written: TileStore) -> None:
    for asked in (lambda: written.ids("training"), lambda: written.ids(regions=["east"])):
        with pytest.raises(SardinoError, match=r"there is no split|has no region east"):
            asked()
    with pytest.raises(SardinoError, match="has no tile"):
        written.read(["0" * 13])
    with pytest.raises(SardinoError, match="it holds biomass_t_ha, optical"):
        written.read_layer("built_percent", written.ids())
