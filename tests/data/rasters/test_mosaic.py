"""Mosaics: tiles on one grid come back pixel by pixel, others by what their pixels mean, as valid COGs."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_validate

from sardino.data.rasters.mosaic import mosaic, mosaic_files, mosaic_grid, mosaic_values
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, to_db, to_power
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import tile_table
from sardino.data.tiles.tile import Chip, Tile, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

# rasterio itself multiplies transforms in the way that affine is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SIZE = 32
WEST, EAST = "EPSG:32631", "EPSG:32632"
ORIGIN = (500_000.0, 5_500_000.0)


def make_store(path: Path, tiles: list[Tile], chips: list[Chip], channels: list[str]) -> TileStore:
    splits = [("train", "val", "test")[number % 3] for number in range(len(tiles))]
    return write_store(
        path, tiles, splits, lambda n: chips[n], channels=channels, legend=WORLDCOVER, product="test",
        synthetic=True, metadata={}, bands=list(range(len(tiles))),
    )  # fmt: skip


def random_chip(seed: int) -> Chip:
    rng = np.random.default_rng(seed)
    vv, vh = (rng.normal(level, 4, (4, SIZE, SIZE)).astype(np.float32).round(2) for level in (-10, -17))
    layers = {
        "optical": rng.integers(1, 256, (3, SIZE, SIZE)).astype(np.uint8),
        "biomass_t_ha": rng.random((SIZE, SIZE)).astype(np.float32),
    }
    db = np.stack([vv, vh, vv - vh], axis=1).reshape(12, SIZE, SIZE)
    return Chip(db, rng.integers(0, 11, (SIZE, SIZE)).astype(np.uint8), layers)


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    """Five of the six tiles of a 3 x 2 block."""
    tiles = list(tile_grid("north", WEST, ORIGIN, SIZE, 10.0, 3, 2))[:5]
    chips = [random_chip(number) for number in range(5)]
    chips[1].label[:3] = IGNORE
    chips[2].backscatter_db[:, 5] = np.nan
    return make_store(tmp_path_factory.mktemp("block") / "store", tiles, chips, list(CHANNELS))


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    """One tile on either side of 6 degrees east, 0 and -20 dB, tree cover and water."""
    tiles = [
        *tile_grid("west", WEST, (714_000, 5_540_000), SIZE, 10.0, 1, 1),
        *tile_grid("east", EAST, (286_000, 5_540_000), SIZE, 10.0, 1, 1),
    ]
    chips = [
        Chip(
            np.stack([np.full((SIZE, SIZE), v, np.float32) for v in (vv, vv - 7, 7)]),
            np.full((SIZE, SIZE), label, np.uint8),
        )
        for vv, label in ((0.0, 0), (-20.0, 7))
    ]
    path = tmp_path_factory.mktemp("zones") / "store"
    return make_store(path, tiles, chips, ["winter_vv", "winter_vh", "winter_vv-vh"])


def read(path: Path):
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.transform, dataset


def test_store_to_mosaic_keeps_every_pixel(block: TileStore, tmp_path: Path) -> None:
    bands = ["spring_vh", "winter_vv", "fall_vv-vh"]
    mosaic(block, tmp_path / "db.tif", bands)
    mosaic(block, tmp_path / "label.tif", ["label"])
    mosaic(block, tmp_path / "optical.tif", ["optical"])
    mosaic(block, tmp_path / "biomass.tif", ["biomass_t_ha"])
    db, transform, _ = read(tmp_path / "db.tif")
    label, optical, biomass = (read(tmp_path / f"{name}.tif")[0] for name in ("label", "optical", "biomass"))
    assert db.shape == (3, 2 * SIZE, 3 * SIZE)
    places = [block.channels.index(name) for name in bands]
    for tile_id in block.ids():
        left, _, _, top = block.tile(tile_id).bounds
        row, column = round((transform.f - top) / 10), round((left - transform.c) / 10)
        part = np.s_[:, row : row + SIZE, column : column + SIZE]
        stored, classes = block.read([tile_id])
        np.testing.assert_array_equal(db[part], stored[0][places])
        np.testing.assert_array_equal(label[part], WORLDCOVER.decode(classes))
        np.testing.assert_array_equal(optical[part], block.read_layer("optical", [tile_id])[0])
        np.testing.assert_array_equal(biomass[part], block.read_layer("biomass_t_ha", [tile_id]))
    # The sixth tile is not there: nodata.
    gap = np.s_[:, SIZE:, 2 * SIZE :]
    assert np.isnan(db[gap]).all() and (label[gap] == 0).all()


def test_the_file_is_a_cog_that_explains_itself(block: TileStore, tmp_path: Path) -> None:
    mosaic(block, tmp_path / "db.tif", ["winter_vv", "winter_vh"])
    mosaic(block, tmp_path / "label.tif", ["label"], crs="EPSG:3035", resolution=5)
    for path in (tmp_path / "db.tif", tmp_path / "label.tif"):
        valid, errors, _ = cog_validate(path)
        assert valid, errors
        with rasterio.open(path) as dataset:
            assert "PREDICTOR" not in dataset.tags(ns="IMAGE_STRUCTURE"), "it would hide the steps of 0.01 dB"
    with rasterio.open(tmp_path / "db.tif") as dataset:
        assert dataset.descriptions == ("winter_vv", "winter_vh") and np.isnan(dataset.nodata)
        assert dataset.tags()["fingerprint"] == block.fingerprint and dataset.tags()["unit"] == "dB"
    with rasterio.open(tmp_path / "label.tif") as dataset:
        assert dataset.nodata == 0 and dataset.crs == "EPSG:3035" and dataset.res == (5, 5)
        assert dataset.colormap(1)[40] == (0xF0, 0x96, 0xFF, 255)
        assert set(np.unique(dataset.read())) <= {0, *WORLDCOVER.codes}
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_tiles_of_two_zones_meet_in_one_crs(zones: TileStore, tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match=r"the tiles lie in EPSG:32631, EPSG:32632: name the CRS"):
        mosaic(zones, tmp_path / "no.tif", ["label"])
    mosaic(zones, tmp_path / "label.tif", ["label"], crs="EPSG:3035", resolution=10)
    mosaic(zones, tmp_path / "db.tif", ["winter_vv", "winter_vv-vh"], crs="EPSG:3035", resolution=10)
    label, db = read(tmp_path / "label.tif")[0][0], read(tmp_path / "db.tif")[0]
    for code in (10, 80):
        assert (label == code).sum() == pytest.approx(SIZE**2, rel=0.05)
    np.testing.assert_allclose(db[0][label == 10], 0, atol=1e-4)
    np.testing.assert_allclose(db[0][label == 80], -20, atol=1e-4)
    np.testing.assert_allclose(db[1][label > 0], 7, atol=1e-4)
    assert np.isnan(db[0][label == 0]).mean() > 0.95


def test_coarse_mosaics_average_power_and_its_ratio_is_taken_afterwards(block: TileStore, tmp_path: Path) -> None:
    tile_id = block.ids()[0]
    bands = ["winter_vv", "winter_vh", "winter_vv-vh"]
    mosaic(block, tmp_path / "db.tif", bands, ids=[tile_id], resolution=80)
    (vv, vh, difference), transform, _ = read(tmp_path / "db.tif")
    np.testing.assert_allclose(difference, vv - vh, atol=1e-4)
    # The origin of the grid is a multiple of the resolution, so is that of the tiles.
    assert (transform.c, transform.f) == ORIGIN
    blocks = to_power(block.read([tile_id])[0][0][0]).reshape(SIZE // 8, 8, SIZE // 8, 8).mean((1, 3))
    np.testing.assert_allclose(vv, to_db(blocks), atol=1e-3)


def test_values_of_a_table_become_a_map(block: TileStore, tmp_path: Path) -> None:
    tiles = [block.tile(tile_id) for tile_id in block.ids()]
    table = tile_table(tiles, split=list(block.index["split"]), share_10=[0.1, 0.2, np.nan, 0.4, 0.5])
    assert mosaic_values(table, "share_10", tmp_path / "share.tif") == {}
    share = read(tmp_path / "share.tif")[0][0]
    assert share.shape == (16, 24)
    corners = share[::8, ::8]
    np.testing.assert_allclose(corners, [[0.1, 0.2, np.nan], [0.4, 0.5, np.nan]])
    names = mosaic_values(table, "split", tmp_path / "split.tif", crs="EPSG:4326", resolution=0.0005)
    codes, _, _ = read(tmp_path / "split.tif")
    assert names == {1: "test", 2: "train", 3: "val"} and set(np.unique(codes)) == {0, 1, 2, 3}
    with rasterio.open(tmp_path / "split.tif") as dataset:
        assert dataset.tags()["class_2"] == "train"
    with pytest.raises(SardinoError, match="no column 'mood'"):
        mosaic_values(table, "mood", tmp_path / "no.tif")


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([None, 7.0, 10.0, 200.0]))
def test_the_grid_holds_every_tile_and_little_more(columns: int, rows: int, resolution: float | None) -> None:
    tiles = list(tile_grid("north", WEST, ORIGIN, SIZE, 10.0, columns, rows))
    _, (a, _, c, _, e, f), shape = mosaic_grid(tiles, resolution=resolution)
    left, top = min(t.bounds[0] for t in tiles), max(t.bounds[3] for t in tiles)
    right, bottom = max(t.bounds[2] for t in tiles), min(t.bounds[1] for t in tiles)
    assert left - a < c <= left and right <= c + a * shape[1] < right + a
    assert top <= f < top - e and bottom + e < f + e * shape[0] <= bottom


@pytest.mark.parametrize(
    ("bands", "options", "sentence"),
    [
        (["winter_vv", "label"], {}, "cannot be one mosaic"),
        (["nope"], {}, "or one layer"),
        ([], {}, "cannot be one mosaic"),
        (["label"], {"ids": []}, "at least one tile"),
        (["label"], {"crs": "EPSG:0"}, "'EPSG:0' is no CRS"),
        (["label"], {"crs": "EPSG:3035"}, "name the resolution"),
        (["label"], {"resolution": -1.0}, "larger than 0"),
        (["label"], {"crs": "EPSG:4326", "resolution": 1e-9}, "coarser resolution"),
    ],
)
def test_what_cannot_be_a_mosaic_is_refused(block: TileStore, tmp_path: Path, bands, options, sentence: str) -> None:
    with pytest.raises(SardinoError, match=sentence):
        mosaic(block, tmp_path / "no.tif", bands, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_stays_unless_asked(block: TileStore, tmp_path: Path) -> None:
    path = tmp_path / "taken.tif"
    path.write_text("mine")
    with pytest.raises(SardinoError, match="exists already"):
        mosaic(block, path, ["label"])
    assert path.read_text() == "mine"
    mosaic(block, tmp_path / "absent" / "map.tif", ["label"])
    assert (tmp_path / "absent" / "map.tif").exists()

    def stop(tiles):
        yield next(iter(tiles))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mosaic(block, path, ["label"], overwrite=True, progress=stop)
    assert path.read_text() == "mine" and list(tmp_path.glob("*.tif")) == [path]
    mosaic(block, path, ["label"], overwrite=True)
    assert read(path)[0].shape == (1, 2 * SIZE, 3 * SIZE)


def test_the_synthetic_world_comes_back(tmp_path: Path) -> None:
    source = World(seed=3)
    tiles = source.tiles("europe", SIZE, 2, 1)
    chips = [source.chip(tile) for tile in tiles]
    store = make_store(tmp_path / "store", tiles, chips, list(CHANNELS))
    mosaic(store, tmp_path / "label.tif", ["label"])
    mosaic(store, tmp_path / "db.tif", list(CHANNELS))
    label, db = read(tmp_path / "label.tif")[0][0], read(tmp_path / "db.tif")[0]
    np.testing.assert_array_equal(label, WORLDCOVER.decode(np.hstack([chip.label for chip in chips])))
    np.testing.assert_allclose(db, np.concatenate([chip.backscatter_db for chip in chips], axis=2), atol=0.0051)


def test_files_become_a_mosaic_and_files_that_differ_do_not(block: TileStore, zones: TileStore, tmp_path: Path) -> None:
    bands = ["winter_vv", "winter_vh"]
    mosaic(block, tmp_path / "db.tif", bands)
    mosaic(block, tmp_path / "label.tif", ["label"])
    for name, wanted in (("db", bands), ("label", ["label"])):
        (tmp_path / name).mkdir()
        for tile_id in block.ids():
            mosaic(block, tmp_path / name / f"{tile_id}.tif", wanted, ids=[tile_id])
        mosaic_files(tmp_path / name, tmp_path / f"{name}-again.tif")
        np.testing.assert_array_equal(read(tmp_path / f"{name}-again.tif")[0], read(tmp_path / f"{name}.tif")[0])
        with rasterio.open(tmp_path / f"{name}-again.tif") as dataset:
            assert list(dataset.descriptions) == wanted and cog_validate(dataset.name)[0]
            if name == "label":
                assert dataset.nodata == 0 and dataset.colormap(1)[40] == (0xF0, 0x96, 0xFF, 255)
    # A coarse mosaic of files of unit dB is averaged in power, as that of the store is.
    mosaic(block, tmp_path / "coarse.tif", bands, ids=block.ids()[:1], resolution=160)
    one = tmp_path / "one"
    one.mkdir()
    (tmp_path / "db" / f"{block.ids()[0]}.tif").rename(one / "a.tif")
    mosaic_files(one, tmp_path / "coarse-again.tif", resolution=160)
    np.testing.assert_array_equal(read(tmp_path / "coarse-again.tif")[0], read(tmp_path / "coarse.tif")[0])
    mosaic(zones, one / "b.tif", ["label"], ids=zones.ids()[:1])
    with pytest.raises(SardinoError, match="differ in bands, type or nodata"):
        mosaic_files(one, tmp_path / "no.tif")
    (one / "b.tif").write_bytes(b"damaged")
    with pytest.raises(SardinoError, match=r"b\.tif cannot be read"):
        mosaic_files(one, tmp_path / "no.tif")
    with pytest.raises(SardinoError, match=r"there is no \.tif file"):
        mosaic_files(tmp_path / "label" / "absent", tmp_path / "no.tif")
    assert not (tmp_path / "no.tif").exists()


def test_what_files_say_of_their_pixels_counts_in_a_mosaic(tmp_path: Path) -> None:
    power = np.random.default_rng(6).integers(1, 900, (1, SIZE, SIZE)).astype(np.uint16)
    (tmp_path / "files").mkdir()
    profile: dict = {"driver": "GTiff", "height": SIZE, "width": SIZE, "count": 1, "dtype": "uint16", "crs": WEST}
    for number, left in enumerate((0, SIZE)):
        place = Affine(10, 0, ORIGIN[0] + 10 * left, 0, -10, ORIGIN[1])
        with rasterio.open(tmp_path / "files" / f"{number}.tif", "w", transform=place, **profile) as file:
            file.write(power)
            file.scales, file.offsets = [0.01], [0.5]
            file.write_mask(power[0] > 100 * (number + 1))
    mosaic_files(tmp_path / "files", tmp_path / "m.tif")
    values = read(tmp_path / "m.tif")[0][0]
    for number, part in enumerate((values[:, :SIZE], values[:, SIZE:])):
        wanted = np.where(power[0] > 100 * (number + 1), power[0] * 0.01 + 0.5, np.nan)
        np.testing.assert_allclose(part, wanted, rtol=1e-5)
