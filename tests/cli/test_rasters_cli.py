"""`sardino tiles` about contents: from a table and rasters to shares, mosaic, files and a package, and back."""

import re
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import typer
from rasterio.transform import Affine
from typer.testing import CliRunner

from sardino.cli import rasters, tiles
from sardino.cli.app import Verbs
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import read_table, tile_table, write_table
from sardino.data.tiles.tile import Chip, Tile, tile_grid
from sardino.data.tiles.write_store import write_store

# rasterio itself multiplies transforms in the way that affine is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SIZE = 16
TILES = list(tile_grid("north", "EPSG:32631", (500_000, 5_500_000), SIZE, 10.0, 2, 1))
FAR = Tile("far", "EPSG:32631", (10.0, 0.0, 700_000.0, 0.0, -10.0, 5_500_000.0), (SIZE, SIZE))
SHARING = ["--title", "Two tiles", "--licence", "CC-BY-4.0", "--source", "a test"]

app = typer.Typer(cls=Verbs, rich_markup_mode=None)
app.add_typer(tiles.app, name="tiles")


def run(*arguments: object):
    return CliRunner().invoke(app, ["tiles", *map(str, arguments)])


def write_tif(path: Path, values: np.ndarray) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=SIZE, width=2 * SIZE, dtype=values.dtype, crs="EPSG:32631",
        transform=Affine(10, 0, 500_000, 0, -10, 5_500_000), nodata=0,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tile table, a label raster, a scene and a store."""
    write_table(tile_table([*TILES, FAR], split=["train", "val", "test"]), tmp_path / "tiles.parquet")
    write_tif(tmp_path / "map_2020.tif", np.repeat([[10] * SIZE + [80] * SIZE], SIZE, 0).astype(np.uint8))
    rng = np.random.default_rng(0)
    write_tif(tmp_path / "scene.tif", rng.normal(-12, 3, (SIZE, 2 * SIZE)).astype(np.float32))

    def chip(number: int) -> Chip:
        db = rng.normal(-12, 3, (1, SIZE, SIZE)).astype(np.float32)
        return Chip(db, np.full((SIZE, SIZE), 7 * number, np.uint8))

    write_store(
        tmp_path / "store", TILES, ["train", "val"], chip, channels=["vv"], legend=WORLDCOVER, product="test",
        synthetic=True, metadata={}, bands=[0, 3],
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_names_the_verbs_replaced() -> None:
    listed = run("--help").stdout
    for verb, replaced in {
        "shares": ("lp.compute", "lp.from_foreign"),
        "mosaic": ("mosaic.fromvals",),
        "chop": ("sartiles", "gunw", "gssic"),
        "verify": (),
        "clean": ("cleanup",),
        "pack": ("zip.dataset",),
        "unpack": (),
    }.items():
        assert f"\n  {verb} " in listed
        page = run(verb, "--help").stdout
        assert all(name in page for name in replaced), page


def test_shares_are_counted_into_a_new_table(place: Path) -> None:
    done = run("shares", "tiles.parquet", "shares.parquet", "--labels", "map_2020.tif", "--year", 2020)
    assert done.exit_code == 0, done.output
    assert f"1 tiles without a label: {FAR.id}" in done.stdout
    table = read_table(place / "shares.parquet")
    assert table["share_10"].tolist()[:2] == [1, 0] and table["share_80"].tolist()[:2] == [0, 1]
    assert table["split"].tolist() == ["train", "val", "test"]
    again = run("shares", "shares.parquet", "both.parquet", "--foreign", "shares.parquet", "--prefix", "coarse_")
    assert again.exit_code == 0, again.output
    coarse = read_table(place / "both.parquet")
    np.testing.assert_allclose(coarse["coarse_share_80"][:2], [0, 1], atol=0.02)
    of_store = run("shares", "tiles.parquet", "store.parquet", "--store", "store")
    assert of_store.exit_code == 0 and read_table(place / "store.parquet")["share_80"].tolist()[:2] == [0, 1]


def test_communes_are_counted_and_handed_down(place: Path) -> None:
    outlines = [tile.footprint for tile in [*TILES, FAR]]
    geopandas.GeoDataFrame({"name": ["a", "b", "c"]}, geometry=outlines, crs="EPSG:32631").to_file(place / "c.gpkg")
    done = run("shares", "c.gpkg", "communes.geojson", "--labels", "map_2020.tif")
    assert done.exit_code == 0 and "1 polygons without a label: 2" in done.stdout, done.output
    assert run("shares", "tiles.parquet", "down.parquet", "--foreign", "communes.geojson").exit_code == 0
    np.testing.assert_allclose(read_table(place / "down.parquet")["share_80"][:2], [0, 1], atol=1e-3)
    again = run("shares", "communes.geojson", "o.geojson", "--labels", "map_2020.tif")
    assert again.exit_code == 2 and "has share_10, share_20, share_30 already" in again.stderr


def test_mosaics_of_a_store_and_of_a_column(place: Path) -> None:
    assert run("mosaic", "store", "label.tif").exit_code == 0
    assert run("mosaic", "store", "vv.tif", "--band", "vv", "--split", "val").exit_code == 0
    done = run("mosaic", "tiles.parquet", "split.tif", "--column", "split", "--resolution", 1000)
    assert done.exit_code == 0 and "  2 train" in done.stdout
    with rasterio.open(place / "label.tif") as dataset:
        assert dataset.shape == (SIZE, 2 * SIZE) and set(np.unique(dataset.read())) == {10, 80}
    with rasterio.open(place / "vv.tif") as dataset:
        assert dataset.bounds == pytest.approx(TILES[1].bounds)


def test_a_mosaic_of_cut_files_is_the_scene(place: Path) -> None:
    run("chop", "tiles.parquet", "scene.tif", "cut")
    assert run("mosaic", "cut", "again.tif").exit_code == 0
    with rasterio.open(place / "again.tif") as again, rasterio.open(place / "scene.tif") as scene:
        np.testing.assert_array_equal(again.read(), scene.read())
    refused = run("mosaic", "cut", "o.tif", "--band", "vv")
    assert refused.exit_code == 2 and "is a folder of files" in refused.stderr


def test_chop_tells_what_it_wrote_and_what_it_left_out(place: Path) -> None:
    done = run("chop", "tiles.parquet", "scene.tif", "cut", "--kind", "db")
    assert done.exit_code == 0, done.output
    assert f"1 tiles left out: outside scene.tif: {FAR.id}" in done.stdout
    assert "2 written, 0 kept, 1 left out in cut" in done.stdout
    assert re.search(r"^\S.*: 100 % valid, -\S+ to -?\S+$", done.stderr, re.MULTILINE)
    assert "0 written, 2 kept, 1 left out" in run("chop", "tiles.parquet", "scene.tif", "cut", "--kind", "db").stdout


def test_verify_and_clean_name_before_they_remove(place: Path) -> None:
    run("chop", "tiles.parquet", "scene.tif", "cut")
    whole = run("verify", "cut")
    assert whole.exit_code == 0 and "2 files read" in whole.stdout
    victim = place / "cut" / f"{TILES[0].id}.tif"
    victim.write_bytes(b"gone")
    found = run("verify", "cut")
    assert found.exit_code == 1 and f"unreadable: cut/{victim.name}" in found.stdout
    dry = run("clean", "cut")
    assert dry.exit_code == 0 and "nothing was removed, say --remove" in dry.stdout and victim.exists()
    assert "1 removed" in run("clean", "cut", "--remove").stdout and not victim.exists()
    assert run("verify", "store").exit_code == 0
    chunk = next(p for p in (place / "store" / "tiles.zarr" / "label" / "c" / "1").rglob("*") if p.is_file())
    chunk.write_bytes(bytes(7))
    damaged = run("verify", "store")
    assert damaged.exit_code == 1 and f"1 tiles damaged: prepare them again: {TILES[1].id}" in damaged.stdout


def test_pack_and_unpack(place: Path) -> None:
    (place / "notes.md").write_text("Read with care.")
    done = run("pack", "store", "two.tar", *SHARING, "--notes", "notes.md", "--add", "tiles.parquet")
    assert done.exit_code == 0 and "2 tiles" in done.stdout and "CC-BY-4.0" in done.stdout
    assert run("unpack", "two.tar", "copy").exit_code == 0
    TileStore.open(place / "copy" / "store").verify()
    assert (place / "copy" / "README.md").read_text().rstrip().endswith("Read with care.")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["shares", "tiles.parquet", "o.parquet"], "name one source of labels"),
        (["shares", "absent.parquet", "o.parquet", "--store", "store"], "there is no tile table"),
        (["shares", "tiles.parquet", "o.parquet", "--labels", "map_2020.tif", "--year", "2021"], "is of 2020, not of"),
        (["shares", "tiles.parquet", "o.parquet", "--labels", "scene.tif"], "no class codes"),
        (["shares", "tiles.parquet", "o.parquet", "--foreign", "tiles.parquet"], "lack the columns share_<code>"),
        (["shares", "tiles.parquet", "o.parquet", "--foreign", "scene.tif"], "cannot be read as foreign polygons"),
        (["mosaic", "store", "o.tif", "--band", "vh"], "cannot be one mosaic"),
        (["mosaic", "store", "o.tif", "--column", "split"], "is of a tile table"),
        (["mosaic", "tiles.parquet", "o.tif"], "name the --column to show"),
        (["mosaic", "store", "o.png"], "as a .tif file"),
        (["chop", "tiles.parquet", "absent.tif", "o"], "there is no file absent.tif"),
        (["chop", "tiles.parquet", "store", "o"], "there is no file of the GSSIC set"),
        (["chop", "tiles.parquet", "store", "o", "--lat", "y"], "--lat is of one scene"),
        (["chop", "tiles.parquet", "store", "o", "--max-days", "48"], "holds no GUNW granule"),
        (["verify", "absent"], "there is no folder absent"),
        (["verify", ".", "--size", "448"], "--size takes columns x rows"),
        (["clean", "store"], "is a tile store"),
        (["pack", "store", "two.zip", *SHARING], "is a .tar file"),
        (["unpack", "tiles.parquet", "o"], "is no package, or damaged"),
    ],
)
def test_a_fault_of_the_input_is_one_sentence_and_exit_code_2(place: Path, arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and sentence in lines[0]
    assert not (place / "o").exists() and not list(place.glob("o.*"))


def test_a_date_is_written_as_its_option_says(place: Path) -> None:
    done = run("chop", "tiles.parquet", "store", "o", "--start", "2020-1")
    assert done.exit_code == 2 and "'--start'" in done.stderr and "%Y-%m-%d" in done.stderr


def test_many_left_out_tiles_are_counted_and_the_first_named(capsys: pytest.CaptureFixture[str]) -> None:
    rasters.name_tiles([f"tile{number}" for number in range(50)], "lost")
    assert capsys.readouterr().out.strip().endswith("tile19 and 30 more")
    rasters.name_tiles([], "lost")
    assert capsys.readouterr().out == ""


def test_a_store_shows_vv_and_vh_of_one_season_a_tile(place):
    def chip(number: int) -> Chip:
        seasons = np.arange(12, dtype=np.float32)[:, None, None] - 20 * number
        return Chip(seasons.repeat(SIZE, 1).repeat(SIZE, 2), np.full((SIZE, SIZE), 7 * number, np.uint8))

    facts = {"legend": WORLDCOVER, "product": "made", "synthetic": True, "metadata": {}, "bands": [0, 3]}
    write_store(place / "year", TILES, ["train", "val"], chip, channels=CHANNELS, **facts)
    done = run("single", place / "year", place / "single")
    assert done.exit_code == 0 and "2 tiles of 16 px, 2 channels" in done.output, done.output
    made = TileStore.open(place / "single")
    assert made.channels == ["vv", "vh"] and made.product == "made, one season a tile" and made.synthetic
    assert list(made.index["split"]) == ["train", "val"] and made.ids() == [tile.id for tile in TILES]
    found, labels = made.read(made.ids())
    for number, (vv, vh) in enumerate(found):
        assert (vh - vv == 1).all() and vv[0, 0] + 20 * number == 3 * (int(TILES[number].id, 16) % 4)
        assert (labels[number] == 7 * number).all()
    done = run("single", place / "store", place / "none")
    assert done.exit_code != 0 and "no season has VV and VH among vv" in done.output
    assert not (place / "none").exists()
