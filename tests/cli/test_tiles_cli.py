"""`sardino tiles`: from an area to split tiles, and one sentence for each fault of the input."""

import json
from pathlib import Path

import geopandas
import pytest
import shapely
import typer
from typer.testing import CliRunner

from sardino.cli.app import Verbs
from sardino.cli.tiles import app
from sardino.data.tiles.table import read_table

ROOT = typer.Typer(cls=Verbs, rich_markup_mode=None)
ROOT.add_typer(app, name="tiles")
RUNNER = CliRunner()
BOX = "5.5,49.8,6.5,50.2"


@ROOT.callback()
def root() -> None:
    """Mounts the verbs as the whole command line does."""


def tiles(*arguments: object, code: int = 0) -> str:
    done = RUNNER.invoke(ROOT, ["tiles", *map(str, arguments)])
    assert done.exit_code == code, done.output
    if code == 2:
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    return done.stdout if code == 0 else done.stdout + done.stderr


def test_each_verb_says_what_it_replaces() -> None:
    for verb, words in {
        "grid": ("geetiles grid", "--chip_size_meters", "--aoi_wkt_file"),
        "random": ("geetiles random", "--max_rectangle_size_meters"),
        "select": ("geetiles select", "--orig_shapefile"),
        "hexagons": ("geetiles has none",),
        "aois": ("geetiles aois", "--showall", "--extract"),
        "intersect": ("geetiles intersect", "--foreign_tiles_file"),
        "split": ("geetiles split", "--nbands", "--angle", "--train_pct", "--foreign_tiles_name"),
        "leakage": ("overlaps", "exit code 1"),
    }.items():
        text = " ".join(tiles(verb, "--help").split())
        assert all(word in text for word in words), verb


@pytest.mark.parametrize("suffix", ["parquet", "geojson"])
def test_from_an_area_to_clean_splits(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"t.{suffix}"
    said = tiles("grid", BOX, out, "--size-px", 200, "--name", "ardennes")
    assert "tiles of 200 x 200 px in ardennes (EPSG:3263" in said
    said = tiles("split", out, "--bands", 10, "--direction", 60, "--buffer-m", 1500)
    table = read_table(out)
    assert f"train  {(table['split'] == 'train').sum():>8,} tiles" in said and "none" in said
    report = tiles("leakage", out)
    assert "overlapping pairs between splits: 0" in report and "give the tile store" in report
    assert tiles("split", out, "--bands", 10, "--drop", "--buffer-m", 1500, "--out", tmp_path / "d.parquet")
    assert set(read_table(tmp_path / "d.parquet")["split"]) == {"train", "val", "test"}


def test_a_box_west_of_greenwich_is_no_option(tmp_path: Path) -> None:
    assert "tiles of 448" in tiles("grid", "-3.5,51,-3,51.4", tmp_path / "t.parquet", "--keep", "touching")


def test_every_partition_and_its_splits(tmp_path: Path) -> None:
    cells = tmp_path / "communes.gpkg"
    circles = [shapely.Point(5.6 + 0.1 * n, 50.0 + 0.05 * (n % 3)).buffer(0.06) for n in range(8)]
    frame = geopandas.GeoDataFrame({"LAU": [f"c{n}" for n in range(8)]}, geometry=circles, crs="EPSG:4326")
    frame.to_crs("EPSG:3035").to_file(cells)
    tiles("random", BOX, tmp_path / "r.parquet", "--largest-m", 5000, "--seed", 3)
    tiles("select", BOX, cells, tmp_path / "s.geojson", "--field", "LAU")
    tiles("hexagons", BOX, tmp_path / "h.parquet", "--size-px", 200, "--fit", "around")
    assert read_table(tmp_path / "s.geojson")["name"].tolist() == [f"c{n}" for n in range(8)]
    for name, kind in (("r.parquet", "bands"), ("h.parquet", "blocks")):
        tiles("split", tmp_path / name, "--kind", kind, "--bands", 5, "--block-km", 30)
        assert "overlapping pairs between splits: 0" in tiles("leakage", tmp_path / name)
    tiles("intersect", tmp_path / "r.parquet", cells, "--field", "LAU")
    assert "c0" in read_table(tmp_path / "r.parquet")["foreignid_communes"].tolist()
    tiles("split", tmp_path / "r.parquet", "--bands", 5, "--foreign", "communes")
    tiles("intersect", tmp_path / "h.parquet", tmp_path / "r.parquet")
    tiles("split", tmp_path / "h.parquet", "--kind", "inherited", "--foreign", "r")
    assert "overlapping pairs between splits: 0" in tiles("leakage", tmp_path / "h.parquet")


def test_leakage_ends_with_exit_code_1(tmp_path: Path) -> None:
    from sardino.data.tiles.table import write_table

    out = tmp_path / "h.parquet"
    tiles("hexagons", BOX, out, "--size-px", 200, "--fit", "around")
    table = read_table(out)
    table["split"] = ["train", "test"] * (len(table) // 2) + ["val"] * (len(table) % 2)
    write_table(table, out)
    assert "LEAKAGE" in tiles("leakage", out, code=1)


def test_names_are_listed_and_extracted(tmp_path: Path) -> None:
    assert "paper" in tiles("aois") and "country  Luxembourg" in tiles("aois", "luxem")
    tiles("aois", "luxembourg", "--extract", tmp_path / "lux.geojson")
    assert json.loads((tmp_path / "lux.geojson").read_text())["features"]
    assert "in lux " in tiles("grid", tmp_path / "lux.geojson", tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["grid", "luxemburg", "t.parquet"], "did you mean Luxembourg?"),
        (["grid", "nowhere.shp", "t.parquet"], "there is no file nowhere.shp"),
        (["grid", "5,50,5.01,50.01", "t.parquet"], "no tile of 4.48 km lies inside"),
        (["grid", "5,50,5.5,50.5", "t.csv"], "a tile table is a .parquet or .geojson file"),
        (["grid", "5,50,5.5,50.5", "t.parquet", "--crs", "EPSG:4326"], "not a projected coordinate system"),
        (["grid", "5,50,5.5,50.5", "t.parquet", "--gsd-m", "0"], "at least one pixel of a size above 0 m"),
        (["select", BOX, "nowhere.gpkg", "t.parquet"], "there is no file nowhere.gpkg"),
        (["aois", "qqqq"], "no known area has 'qqqq'"),
        (["split", "nowhere.parquet"], "there is no tile table nowhere.parquet"),
        (["split", "grid.parquet", "--percent", "60/30/20"], "sum to 100"),
        (["split", "grid.parquet", "--percent", "most"], "--percent takes train/val/test"),
        (["split", "grid.parquet", "--bands", "4"], "at least 5 bands"),
        (["split", "grid.parquet", "--bands", "5", "--buffer-m", "90000"], "nothing of 'train' remains"),
        (["split", "grid.parquet", "--foreign", "communes"], "no column foreignid_communes"),
        (["leakage", "grid.parquet"], "no splits yet"),
        (["leakage", "."], "not a whole tile store"),
        (["intersect", "grid.parquet", "grid.parquet", "--field", "NUTS"], "no attribute 'NUTS'"),
    ],
)
def test_a_fault_of_the_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tiles("grid", BOX, "grid.parquet")
    before = Path("grid.parquet").read_bytes()
    assert sentence in tiles(*arguments, code=2)
    assert Path("grid.parquet").read_bytes() == before and not Path("t.parquet").exists()
