"""`sardino ingest`: a table of tiles in, a store out, everything left out said on the way."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from distributed import default_client
from typer.testing import CliRunner

from sardino.cli.app import Verbs
from sardino.cli.stores import app, cluster
from sardino.data.places.utm import reproject
from sardino.data.sources.source import LeftOut
from sardino.data.sources.stac.source import StacSource
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import tile_table, write_table
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

TILES = World().tiles("europe", 16, 6, 1)
parent = typer.Typer(cls=Verbs)
parent.add_typer(app, name="ingest")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "tiles.parquet"
    write_table(tile_table(TILES, split=["train"] * 4 + ["val", "test"], band=[0, 1, 2, 3, 4, 5]), path)
    return path


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """No catalogue is asked: chips come from the synthetic world, and the third tile has no scenes."""
    seen: dict[str, Any] = {}

    def chip(self: StacSource, tile: Tile) -> Any:
        seen["source"] = self
        if tile == TILES[2]:
            raise LeftOut("no ascending scene in summer")
        return World().chip(tile)

    monkeypatch.setattr(StacSource, "chip", chip)
    return seen


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(parent, ["ingest", *map(str, arguments)])


def test_splits_and_bands_of_the_table_reach_the_store_and_what_is_left_out_is_said(
    table: Path, tmp_path: Path
) -> None:
    result = invoke("stac", table, tmp_path / "store", "--year", 2021)
    assert result.exit_code == 0, result.output
    store = TileStore.open(tmp_path / "store")
    assert list(store.index["split"]) == ["train"] * 3 + ["val", "test"] and list(store.index["band"]) == [
        0,
        1,
        3,
        4,
        5,
    ]
    assert f"left out {TILES[2].id}: no ascending scene in summer" in result.output
    assert "1 of 6 tiles were left out" in result.output
    assert re.search(r"^summer_vh: \d+(\.\d)? % valid, -\S+ to -?\S+ dB$", result.output, re.MULTILINE)


def test_tiles_that_the_split_dropped_are_not_ingested(tmp_path: Path) -> None:
    path = tmp_path / "tiles.parquet"
    write_table(tile_table(TILES, split=["train", "none", "none", "none", "val", "test"], band=range(6)), path)
    result = invoke("stac", path, tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert TileStore.open(tmp_path / "store").ids() == [TILES[n].id for n in (0, 4, 5)]


def test_splits_that_share_ground_across_zones_are_refused(tmp_path: Path) -> None:
    one = Tile("here", "EPSG:32631", (10.0, 0.0, 833_500.0, 0.0, -10.0, 100_000.0), (64, 64))
    west, south, _, _ = reproject(one.footprint, one.crs, "EPSG:4326").bounds
    other = Tile("there", "EPSG:4326", (1e-4, 0.0, west, 0.0, -1e-4, south + 1e-4), (64, 64))
    path = tmp_path / "tiles.parquet"
    write_table(tile_table([one, other], split=["train", "test"], band=[0, 1]), path)
    result = invoke("stac", path, tmp_path / "store")
    assert result.exit_code == 2 and "1 pairs of tiles of different splits in" in result.output
    assert not (tmp_path / "store.staging").exists()


def test_strict_ends_in_a_sentence_and_exit_code_2(table: Path, tmp_path: Path) -> None:
    result = invoke("stac", table, tmp_path / "store", "--strict")
    assert result.exit_code == 2 and f"error: 1 of 6 tiles could not be made ({TILES[2].id}" in result.output
    assert not (tmp_path / "store").exists()
    assert invoke("stac", table, tmp_path / "store").exit_code == 0


def test_options_reach_the_source(table: Path, tmp_path: Path, offline: dict[str, Any]) -> None:
    words = (
        "--url http://127.0.0.1:1 --orbit descending --composite median --skip-season winter --exclude S1_x "
        "--layer optical --labels none --assets v,h --limit 2"
    )
    invoke("stac", table, tmp_path / "a", *words.split())
    source = offline["source"]
    assert source.catalogue.url == "http://127.0.0.1:1" and not source.catalogue.signed
    assert source.needed == ("spring", "summer", "fall") and source.assets == ("v", "h") and source.exclude == ("S1_x",)
    assert (source.orbit, source.composite, source.layers) == ("descending", "median", ("optical",))
    assert source.label_collection == "" and len(TileStore.open(tmp_path / "a")) == 2
    invoke("stac", table, tmp_path / "b", "--limit", 1)
    assert offline["source"].catalogue.signed
    invoke("stac", table, tmp_path / "c", "--limit", 1, "--no-sign")
    assert not offline["source"].catalogue.signed


def test_a_table_without_splits_goes_to_train_and_says_so(tmp_path: Path) -> None:
    write_table(tile_table(TILES), tmp_path / "tiles.geojson")
    result = invoke("stac", tmp_path / "tiles.geojson", tmp_path / "store")
    assert result.exit_code == 0 and "sardino tiles split" in result.output
    assert set(TileStore.open(tmp_path / "store").index["split"]) == {"train"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--orbit", "up"], "'up' is not one of"),
        (["--assets", "vv"], "--assets takes"),
        (["--skip-season", "autumn"], "--skip-season takes"),
        (["--year", "2019"], "WorldCover exists for 2020 and 2021"),
        (["--url", "catalogue"], "no URL of a STAC API"),
        (["--layer", "height"], "no recipe"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_fetched(
    table: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    result = invoke("stac", table, tmp_path / "store", *options)
    assert result.exit_code == 2 and message in result.output
    assert not list(tmp_path.glob("store*"))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    result = invoke("stac", tmp_path / "none.parquet", tmp_path / "store")
    assert result.exit_code == 2 and "none.parquet" in result.output


def test_an_address_where_nothing_listens_is_said() -> None:
    with pytest.raises(SardinoError, match="no Dask scheduler answers"), cluster("nonsense://x", 1):
        pass
    # A client that never came to be must not be what xarray and Dask turn to from then on.
    with pytest.raises(ValueError, match="No clients found"):
        default_client()


def test_help_names_what_a_geetiles_user_knows() -> None:
    text = " ".join(invoke("stac", "--help").output.split())
    assert "geetiles" in text and "s1grd" in text and "--dask" in text
