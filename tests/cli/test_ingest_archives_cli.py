"""`sardino ingest` for archives: from files to a store in one command, and every fault as one sentence."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sardino.cli import stores
from sardino.cli.app import Verbs
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import read_table

sys.path.insert(0, str(Path(__file__).parents[1] / "data" / "sources"))
from archive_folder import STEM, identifier, write_folder
from hub_server import serve

# rasterio silences this warning of its own warper with a filter that threads undo for each other.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_folder(folder, 5)
    return folder


def sardino(*words: object) -> Result:
    """Run the group as the whole command line does."""
    import typer

    whole = typer.Typer(cls=Verbs, rich_markup_mode=None, pretty_exceptions_enable=False)
    whole.add_typer(stores.app, name="ingest")
    return CliRunner().invoke(whole, ["ingest", *map(str, words)])


def test_a_folder_becomes_a_store_with_its_identifiers_and_splits(root: Path, tmp_path: Path) -> None:
    (root / STEM / "s1grd-2020" / f"{identifier(1)}.tif").rename(tmp_path / "away.tif")
    (root / STEM / "s1grd-2020" / f"{identifier(1)}.nodata").write_text("")
    try:
        done = sardino("geetiles", root, tmp_path / "store", "--tile-px", 32, "--workers", 1)
    finally:
        (tmp_path / "away.tif").rename(root / STEM / "s1grd-2020" / f"{identifier(1)}.tif")
        (root / STEM / "s1grd-2020" / f"{identifier(1)}.nodata").unlink()
    assert done.exit_code == 0, done.output
    assert "s1grd-2020 (byte-db), esaworldcover-2020 (official codes), asc" in done.output
    assert "1 of 5 tiles were left out" in done.output and "without data" in done.output
    store = TileStore.open(tmp_path / "store")
    listed = read_table(tmp_path / "store.tiles.parquet")
    assert list(listed["identifier"]) == [identifier(number) for number in range(5)]
    assert len(store) == 4
    assert list(store.index["split"]) == ["train", "train", "val", "test"]
    assert store.metadata["source"] == f"archive folder {STEM}"
    assert set(store.layers) == {"optical", "vegetation_percent", "biomass_t_ha", "built_percent"}
    assert "overlap" not in done.output
    store.verify()


def test_overlapping_squares_of_two_splits_are_said(root: Path, tmp_path: Path) -> None:
    done = sardino("geetiles", root, tmp_path / "store", "--tile-px", 44, "--workers", 1, "--no-layers")
    assert done.exit_code == 0, done.output
    assert "2 pairs of tiles of different splits overlap" in done.output


def test_m3leo_is_fetched_and_stored(tmp_path: Path) -> None:
    write_folder(tmp_path / "hub", 5, suffix="_miniset")
    with serve(tmp_path / "hub", "M3LEO-miniset/conus") as hub:
        words = ["m3leo", "conus", tmp_path / "store", "--cache", tmp_path / "cache", "--hub", hub.endpoint]
        done = sardino(*words, "--per-split", 1, "--tile-px", 32, "--no-layers", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "8 files fetched, 0 were there" in done.output
    store = TileStore.open(tmp_path / "store")
    assert len(store) == 3 and not store.layers


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["geetiles", "nowhere", "out"], "there is no nowhere"),
        (["m3leo", "france", "out"], "M3LEO has no area 'france'"),
        (["earthengine", "tiles.parquet", "out"], "needs a Google Cloud project"),
        (["earthengine", "t.parquet", "out", "--project", "p", "--year", "2019"], "exists for 2020 and 2021"),
    ],
)
def test_faults_are_one_sentence_and_code_2(words: list[str], sentence: str) -> None:
    done = sardino(*words)
    assert done.exit_code == 2
    assert sentence in done.output and "Traceback" not in done.output


def test_without_splits_the_remedy_is_named(root: Path, tmp_path: Path) -> None:
    empty = tmp_path / "splits.csv"
    empty.write_text(f"identifier,split\n{identifier(0)},\n")
    done = sardino("geetiles", root, tmp_path / "out", "--splits", empty, "--tile-px", 32)
    assert done.exit_code == 2 and "assign them with --bands" in done.output
    done = sardino("geetiles", root, tmp_path / "out", "--splits", empty, "--tile-px", 32, "--bands", 5, "--no-layers")
    assert done.exit_code == 0, done.output
    assert sorted(TileStore.open(tmp_path / "out").index["split"]) == ["test", "train", "train", "train", "val"]


@pytest.mark.parametrize("command", ["earthengine", "m3leo", "geetiles"])
def test_help_teaches(command: str) -> None:
    done = sardino(command, "--help")
    assert done.exit_code == 0 and "Example: sardino ingest" in done.output
    if command != "geetiles":
        assert "Not run against the live" in done.output
