"""The leakage report: it finds every leak that is built into the tiles, and judges the buffer by the pixels."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy.ndimage import gaussian_filter

from sardino.data.places.area import Aoi
from sardino.data.places.correlogram import Correlogram
from sardino.data.places.leakage import Leakage, store_leakage, table_leakage
from sardino.data.places.partitions import square_grid
from sardino.data.places.splits import split_table
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import tile_table
from sardino.data.tiles.tile import Chip, Tile, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

ORIGIN = (500_000.0, 5_500_000.0)


def store_of(path: Path, tiles: list[Tile], splits: list[str], width_px: float) -> TileStore:
    def chip(number: int) -> Chip:
        noise = np.random.default_rng(number).normal(size=(2, *tiles[number].shape))
        image = gaussian_filter(noise, (0, width_px, width_px), mode="wrap") * 10 - 12
        return Chip(image.astype(np.float32), np.zeros(tiles[number].shape, np.uint8), {})

    return write_store(
        path, tiles, splits, chip, channels=("vv", "vh"), legend=WORLDCOVER, product="test", synthetic=True,
        metadata={}, bands=[0] * len(tiles),
    )  # fmt: skip


def test_clean_splits_are_said_to_be_clean() -> None:
    tiles = square_grid(Aoi("a", shapely.box(5.5, 50.0, 6.5, 50.5)), 300)
    table = split_table(tile_table(tiles), bands=5, buffer_m=4000)
    report = table_leakage(table)
    assert report.overlaps == 0 and report.overlapping is None and report.enough is None
    assert report.smallest_m is not None and report.smallest_m >= 4000
    assert set(report.distances_m) == {"train-val", "train-test", "val-test"}
    assert report.tiles["none"] == (table["split"] == "none").sum()
    assert "give the tile store" in report.sentence


def test_the_smallest_distance_is_that_of_the_nearest_pair() -> None:
    tiles = list(tile_grid("r", "EPSG:32631", ORIGIN, 100, 10.0, 8, 1))
    table = tile_table(tiles, split=["train", "none", "none", "val", "none", "test", "train", "train"])
    report = table_leakage(table)
    assert report.distances_m["train-val"] == pytest.approx(2000, rel=0.001)
    assert report.distances_m["val-test"] == pytest.approx(1000, rel=0.001)
    assert report.distances_m["train-test"] == pytest.approx(0, abs=1e-3)


def test_a_shared_corner_is_found_and_named() -> None:
    tiles = list(tile_grid("r", "EPSG:32631", ORIGIN, 100, 10.0, 4, 1))
    leak = Tile("r", "EPSG:32632", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), (100, 100))
    x, y = shapely.transform(
        shapely.Point(tiles[3].centre), _zone_32, interleaved=False
    ).coords[0]  # fmt: skip
    leak = Tile("r", "EPSG:32632", (10.0, 0.0, x, 0.0, -10.0, y), (100, 100))
    report = table_leakage(tile_table([*tiles, leak], split=["train"] * 4 + ["test"]))
    assert report.overlaps == 1 and report.overlapping == (tiles[3].id, leak.id)
    assert report.enough is False and report.sentence.startswith("LEAKAGE: 1 pairs")
    unused = table_leakage(tile_table([*tiles, leak], split=["train"] * 4 + ["none"]))
    assert unused.overlaps == 0 and unused.smallest_m is None


def _zone_32(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:32631", "EPSG:32632", always_xy=True).transform(x, y)


@pytest.mark.parametrize(("gap", "enough"), [(1, True), (0, False)])
def test_the_buffer_is_judged_by_the_pixels(tmp_path: Path, gap: int, enough: bool) -> None:
    row = list(tile_grid("r", "EPSG:32631", ORIGIN, 64, 10.0, 40, 1))
    tiles = row[:: 1 + gap]
    splits = [("train", "val", "test")[n % 3] for n in range(len(tiles))]
    report = store_leakage(store_of(tmp_path / "s", tiles, splits, 3.0), "vh")
    assert report.pixels is not None and report.channel == "vh"
    length = report.pixels.length_m(0.1)
    assert length == pytest.approx(60 * np.sqrt(np.log(10)), rel=0.15)
    assert report.smallest_m == pytest.approx(640 * gap, abs=1) and report.enough is enough
    assert ("enough." in report.sentence) if enough else ("split with --buffer-m" in report.sentence)
    assert any("below 1/e at" in line for line in report.lines())
    with pytest.raises(SardinoError, match="no channel 'hh': it holds vv, vh"):
        store_leakage(TileStore.open(tmp_path / "s"), "hh")


def test_tiles_without_coordinates_have_overlaps_but_no_distance(tmp_path: Path) -> None:
    tiles = [Tile("r", "", (1.0, 0.0, 64.0 * n, 0.0, -1.0, 0.0), (64, 64)) for n in range(3)]
    report = store_leakage(store_of(tmp_path / "s", tiles, ["train", "val", "test"], 2.0))
    assert report.unplaced == 3 and report.smallest_m is None and report.overlaps == 0 and report.enough is None
    assert report.means is None and "their distance is not known" in report.sentence


def test_correlation_beyond_the_tiles_leaves_the_question_open() -> None:
    curve = Correlogram(np.array([0.0, 500.0]), np.array([1.0, 0.8]), np.ones(2))
    near, far = (
        Leakage({"train": 1, "test": 1}, 0, None, {"train-test": metres}, 0, curve, None, "vv")
        for metres in (100.0, 5000.0)
    )
    assert near.enough is False and "too near" in near.sentence
    assert far.enough is None and "whether that is enough is open" in far.sentence
    # Where tiles are smaller than the landscape, their means tell.
    means = Correlogram(np.array([1000.0, 3000.0]), np.array([0.5, 0.0]), np.ones(2))
    known = Leakage({"train": 1, "test": 1}, 0, None, {"train-test": 5000.0}, 0, curve, means, "vv")
    assert known.decorrelation == (pytest.approx(2600), "tile means") and known.enough


def test_tiles_without_splits_are_refused() -> None:
    with pytest.raises(SardinoError, match="no splits yet"):
        table_leakage(tile_table(list(tile_grid("r", "EPSG:32631", ORIGIN, 8, 10.0, 2, 2))))
