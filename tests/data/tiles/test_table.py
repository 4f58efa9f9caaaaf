"""The tile table: what is written comes back, and damage is found by the tiles' own ids."""

import json
import os
from pathlib import Path

import geopandas
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Point

from sardino.data.tiles.table import read_table, tile_table, tiles_in, write_table
from sardino.data.tiles.tile import Tile, tile_grid
from sardino.errors import SardinoError

SUFFIXES = (".parquet", ".geojson")
EXACT = st.floats(-1e7, 1e7, allow_nan=False).map(lambda v: v + 0.0)


def some_tiles() -> list[Tile]:
    utm = list(tile_grid("région", "EPSG:32631", (500_000.0, 5_500_000.0), 8, 10.0, 3, 2))
    degrees = Tile("b", "EPSG:4326", (1 / 3e4, 0.0, 0.1, 0.0, -1 / 3e4, 50.7), (5, 9))
    return [*utm, degrees, Tile("without", "", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), (4, 4))]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_round_trips(tmp_path: Path, suffix: str) -> None:
    tiles = some_tiles()
    table = tile_table(
        tiles, split=["train"] * 8, band=np.arange(8), share=[0.1] * 7 + [np.nan], cell=[f"c{n}" for n in range(8)]
    )
    write_table(table, tmp_path / f"t{suffix}")
    again = read_table(tmp_path / f"t{suffix}")
    assert tiles_in(again) == tiles
    assert list(again.columns) == list(table.columns) and again.crs == "EPSG:4326"
    for name in ("id", "split", "band", "cell", "rows", "columns"):
        assert again[name].tolist() == table[name].tolist()
    assert again["share"].tolist()[:7] == [0.1] * 7 and np.isnan(again["share"].iloc[7])
    assert again.geometry[:7].geom_equals(table.geometry[:7]).all() and again.geometry[7] is None
    assert [path.name for path in tmp_path.iterdir()] == [f"t{suffix}"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(EXACT, EXACT), min_size=1, max_size=5, unique_by=lambda p: (round(p[0], 3), round(p[1], 3))))
def test_any_place_comes_back_to_the_last_bit(places: list[tuple[float, float]]) -> None:
    import tempfile

    tiles = [Tile("r", "", (10.0, 0.0, x, 0.0, -10.0, y), (8, 8)) for x, y in places]
    with tempfile.TemporaryDirectory() as folder:
        for suffix in SUFFIXES:
            path = Path(folder) / f"t{suffix}"
            write_table(tile_table(tiles), path)
            assert tiles_in(read_table(path)) == tiles


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_is_a_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    write_table(tile_table(some_tiles()), path)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"\0" * 100):
        path.write_bytes(broken)
        with pytest.raises(SardinoError, match="cannot be read as a tile table"):
            read_table(path)


def test_a_moved_tile_is_found(tmp_path: Path) -> None:
    path = tmp_path / "t.geojson"
    write_table(tile_table(some_tiles()), path)
    content = json.loads(path.read_text("utf-8"))
    content["features"][2]["properties"]["transform"][2] += 10
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(SardinoError, match="row 2 says tile"):
        read_table(path)
    content["features"][2]["properties"]["transform"] = "north"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(SardinoError, match="damaged tile"):
        read_table(path)


def test_foreign_files_and_columns_are_refused(tmp_path: Path) -> None:
    foreign = geopandas.GeoDataFrame({"identifier": ["a"]}, geometry=[Point(0, 0).buffer(1)], crs="EPSG:4326")
    foreign.to_parquet(tmp_path / "f.parquet")
    with pytest.raises(SardinoError, match="no tile table, it lacks id, region"):
        read_table(tmp_path / "f.parquet")
    with pytest.raises(SardinoError, match="there is no tile table"):
        read_table(tmp_path / "none.parquet")
    with pytest.raises(SardinoError, match=r"a \.parquet or \.geojson file"):
        write_table(tile_table(some_tiles()), tmp_path / "t.csv")
    write_table(tile_table(some_tiles()), tmp_path / "new" / "t.parquet")
    assert len(read_table(tmp_path / "new" / "t.parquet")) == len(some_tiles())
    with pytest.raises(SardinoError, match="sets the column crs itself"):
        tile_table(some_tiles(), crs=["x"] * 8)
    with pytest.raises(SardinoError, match="2 values for 8 tiles"):
        tile_table(some_tiles(), split=["train", "val"])
    with pytest.raises(SardinoError, match="twice"):
        tile_table([*some_tiles(), some_tiles()[0]])


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.geojson"
    write_table(tile_table(some_tiles()), path)
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(SardinoError, match="disk full"):
        write_table(tile_table(some_tiles()[:1]), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
