"""Tables of tiles in the seeds' layout: places on metre grids, names and splits as given, escapes refused."""

from pathlib import Path

import archive_folder
import geopandas
import pytest
from archive_folder import AOI, HASH, SPLITS, STEM, identifier, write_table
from pyproj import Transformer
from shapely import box

from sardino.data.sources.archives.layout import open_layout
from sardino.errors import SardinoError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / STEM / "s1grd-2020").mkdir(parents=True)
    return write_table(tmp_path, 7)


def test_names_and_splits_are_kept_as_given(table: Path) -> None:
    layout = open_layout(table, tile_px=32)
    assert {tile.region for tile in layout.tiles} == {AOI} and layout.folder.name == STEM
    assert list(layout.identifiers) == [identifier(number) for number in range(7)]
    assert list(layout.splits) == [SPLITS[number % 5] for number in range(7)]
    assert layout == open_layout(table.parent, tile_px=32)


def test_a_tile_is_square_in_metres_and_shares_its_centre(table: Path) -> None:
    for number, tile in enumerate(open_layout(table, tile_px=32).tiles):
        assert tile.crs == "EPSG:32619" and tile.shape == (32, 32) and tile.transform[0] == 10
        assert tile.transform[2] % 10 == 0 and tile.transform[5] % 10 == 0
        west, south, east, north = archive_folder.bounds(number)
        to_utm = Transformer.from_crs("EPSG:4326", tile.crs, always_xy=True).transform
        x, y = to_utm((west + east) / 2, (south + north) / 2)
        assert abs(tile.centre[0] - x) <= 5 and abs(tile.centre[1] - y) <= 5


def test_the_small_edition_finds_its_table_splits_and_folder(tmp_path: Path) -> None:
    (tmp_path / STEM).mkdir()
    table = write_table(tmp_path, 5, "_miniset")
    layout = open_layout(table, tile_px=32)
    assert layout.folder == tmp_path / STEM
    assert layout.splits == SPLITS


def test_splits_of_the_table_count_where_no_csv_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / STEM).mkdir()
    table = write_table(tmp_path, 3, csv_file=False, split=["test", None, "val"])
    assert open_layout(table, tile_px=32).splits == ("test", "", "val")


def test_splits_can_be_assigned_by_bands(tmp_path: Path) -> None:
    (tmp_path / STEM).mkdir()
    layout = open_layout(write_table(tmp_path, 20, csv_file=False), tile_px=32)
    assert set(layout.splits) == {""}
    assigned = layout.assigned(5, 0.0)
    assert assigned.bands == tuple(number // 4 for number in range(20))  # tiles follow each other eastwards
    assert [assigned.splits.count(split) for split in ("train", "val", "test")] == [12, 4, 4]


def test_the_first_of_each_split(table: Path) -> None:
    chosen = open_layout(table, tile_px=32).first(1)
    assert chosen.splits == ("train", "val", "test")
    assert chosen.identifiers == (identifier(0), identifier(3), identifier(4))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "", "a\\b", "/abs", "x" * 80])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / STEM).mkdir()
    frame = geopandas.GeoDataFrame({"identifier": [name]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:4326")
    table = tmp_path / f"{STEM}.geojson"
    table.write_text(frame.to_json())
    with pytest.raises(SardinoError, match="not trusted"):
        open_layout(table)


def test_a_data_set_outside_the_folder_is_refused(table: Path) -> None:
    layout = open_layout(table, tile_px=32)
    assert layout.dataset("s1grd-2020").is_dir()
    for name in ("../", "s1grd-2021", ""):
        with pytest.raises(SardinoError, match="holds s1grd-2020"):
            layout.dataset(name)


def test_bad_tables_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match=r"give the \.geojson"):
        open_layout(tmp_path / "nothing")
    with pytest.raises(SardinoError, match="it holds none"):
        open_layout(tmp_path)
    table = write_table(tmp_path, 2)
    with pytest.raises(SardinoError, match="unpack the data sets"):
        open_layout(table)
    (tmp_path / STEM).mkdir()
    other = tmp_path / f"{AOI}_partitions_aschips_{HASH[::-1]}.geojson"
    other.write_text("{")
    with pytest.raises(SardinoError, match="name one"):
        open_layout(tmp_path)
    other.with_suffix("").mkdir()
    with pytest.raises(SardinoError, match="cannot be read"):
        open_layout(other)
    odd = table.rename(tmp_path / "tiles.geojson")
    with pytest.raises(SardinoError, match="is not named"):
        open_layout(odd)


def test_bad_splits_end_in_a_sentence(table: Path) -> None:
    listed = table.parent / "mine.csv"
    listed.write_text("identifier,split\n0000000000000,holdout\n")
    with pytest.raises(SardinoError, match="'holdout'"):
        open_layout(table, splits=listed)
    listed.write_text("name,part\nx,train\n")
    with pytest.raises(SardinoError, match="no columns identifier and split"):
        open_layout(table, splits=listed)
    listed.write_text("identifier,split\nffffffffffff0,train\n")
    with pytest.raises(SardinoError, match="another partition"):
        open_layout(table, splits=listed)
    (table.parent / f"{STEM}_splits.csv").write_text("identifier,split\n")
    with pytest.raises(SardinoError, match="several lists"):
        open_layout(table)


def test_a_list_of_splits_as_a_spreadsheet_saves_it(table: Path) -> None:
    (known,) = open_layout(table).identifiers[:1]
    listed = table.parent / "mine.csv"
    listed.write_text(f"identifier,split\r\n{known},test\r\n", "utf-8-sig", newline="")
    assert open_layout(table, splits=listed).splits[0] == "test"


def test_a_repeated_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / STEM).mkdir()
    frame = geopandas.GeoDataFrame({"identifier": ["a", "a"]}, geometry=[box(0, 0, 1, 1)] * 2, crs="EPSG:4326")
    table = tmp_path / f"{STEM}.geojson"
    table.write_text(frame.to_json())
    with pytest.raises(SardinoError, match="twice"):
        open_layout(table)
