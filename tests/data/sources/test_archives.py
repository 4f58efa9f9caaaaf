"""Archive folders to chips: every encoding gives the truth of the place, every fault is named."""

import pickle
from pathlib import Path
from typing import Any

import archive_folder
import numpy as np
import pytest
import rasterio
from archive_folder import SIZE, STEM, identifier, truth_db, write_folder, write_raster
from pyproj import Transformer

from sardino.data.sources.archives.layout import Layout, open_layout
from sardino.data.sources.archives.source import S1_BANDS, ArchiveSource, open_archive
from sardino.data.sources.source import LeftOut
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.tile import Tile
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

PX = 32
NAME = identifier(0)


def source(root: Path, **choices: Any) -> tuple[ArchiveSource, Layout]:
    layout = open_layout(root, tile_px=PX)
    return open_archive(layout, **choices), layout


def expected(tile: Tile, channel: str, direction: str = "asc") -> np.ndarray:
    a, _, c, _, e, f = tile.transform
    x, y = np.meshgrid(c + a * (np.arange(PX) + 0.5), f + e * (np.arange(PX) + 0.5))
    longitude, latitude = Transformer.from_crs(tile.crs, "EPSG:4326", always_xy=True).transform(x, y)
    season, _, polarisation = channel.partition("_")
    if polarisation == "vv-vh":
        return expected(tile, f"{season}_vv", direction) - expected(tile, f"{season}_vh", direction)
    return truth_db(longitude, latitude, f"{season}_{polarisation}{direction}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder(tmp_path, 2)
    return tmp_path


@pytest.mark.parametrize(("encoding", "within"), [("db", 0.05), ("byte-db", 0.1), ("whole-db", 1.05)])
@pytest.mark.parametrize("direction", ["asc", "des"])
def test_every_encoding_gives_the_truth_of_the_place(
    tmp_path: Path, encoding: str, within: float, direction: str
) -> None:
    write_folder(tmp_path, 1, encoding, named=direction == "asc")
    archive, layout = source(tmp_path, direction=direction)
    assert archive.encoding == encoding and archive.codes == "official"
    chip = archive.chip(layout.tiles[0])
    assert archive.channels == CHANNELS
    for number, channel in enumerate(CHANNELS):
        wrong = np.abs(chip.backscatter_db[number] - expected(layout.tiles[0], channel, direction))
        assert np.nanmax(wrong) < within, channel
        assert np.isfinite(wrong).mean() > 0.99


def test_labels_and_layers_come_in_the_units_of_a_store(root: Path) -> None:
    archive, layout = source(root)
    chip = archive.chip(layout.tiles[0])
    tree, crop = WORLDCOVER.codes.index(10), WORLDCOVER.codes.index(40)
    assert set(np.unique(chip.label)) <= {tree, crop, IGNORE}
    assert (chip.label[:, :13] == tree).mean() > 0.95 and (chip.label[:, -13:] == crop).all()
    assert set(chip.layers) == {"optical", "vegetation_percent", "biomass_t_ha", "built_percent"}
    assert chip.layers["optical"].dtype == np.uint8
    assert (chip.layers["optical"][:, 16, 16] == [80, 100, 120]).all()  # July, not June
    assert np.allclose(chip.layers["biomass_t_ha"], 120)
    assert chip.layers["vegetation_percent"][16, 16] == 60
    assert chip.layers["vegetation_percent"][16, 0] == 0 and np.isnan(chip.layers["vegetation_percent"][16, -1])
    built = chip.layers["built_percent"]
    assert (np.diff(built[16]) > 0).all() and built.min() >= 0 and built.max() <= 100
    assert chip.notes == ()


def test_nodata_of_the_label_never_becomes_tree_cover(root: Path) -> None:
    for kind, code in {"official": 30, "mapped": 3}.items():
        codes = np.full((SIZE, SIZE), code, np.uint8)
        codes[:, :22] = 0
        write_raster(root / STEM / "esaworldcover-2020" / f"{NAME}.tif", codes, 0)
        archive, layout = source(root, codes=kind)
        label = archive.chip(layout.tiles[0]).label
        assert (label[:, :12] == IGNORE).all() and (label[:, -12:] == WORLDCOVER.codes.index(30)).all()


def test_mapped_codes_are_told_from_official_ones(root: Path) -> None:
    for number in range(2):
        codes = archive_folder.truth_code(*archive_folder.centres(number)) // 10
        write_raster(root / STEM / "esaworldcover-2020" / f"{identifier(number)}.tif", codes, number)
    archive, layout = source(root)
    assert archive.codes == "mapped"
    assert (archive.chip(layout.tiles[0]).label[:, -12:] == WORLDCOVER.codes.index(40)).all()
    for number in range(2):  # 10 alone is tree cover or mangroves
        codes = np.full((SIZE, SIZE), 10, np.uint8)
        write_raster(root / STEM / "esaworldcover-2020" / f"{identifier(number)}.tif", codes, number)
    with pytest.raises(SardinoError, match="state whether"):
        source(root)
    archive, layout = source(root, codes="mapped")
    assert (archive.chip(layout.tiles[0]).label[8:24, 8:24] == WORLDCOVER.codes.index(95)).all()


def test_wrapped_pixels_are_counted_and_missing_or_kept_on_request(root: Path) -> None:
    path = root / STEM / "s1grd-2020" / f"{NAME}.tif"
    stored = archive_folder.seasons(0)
    stored[S1_BANDS.index("summer_vhasc"), 15:30, 15:30] = 230  # -33 dB read as -2.9
    write_raster(path, stored, 0, S1_BANDS)
    archive, layout = source(root)
    chip = archive.chip(layout.tiles[0])
    assert np.isnan(chip.backscatter_db[CHANNELS.index("summer_vh"), 14, 14])
    assert np.isfinite(chip.backscatter_db[CHANNELS.index("winter_vh"), 14, 14])
    assert "wrapped by 30 dB" in chip.notes[0] and "level 225" in chip.notes[0]
    kept, _ = source(root, suspects="keep")
    assert kept.chip(layout.tiles[0]).backscatter_db[CHANNELS.index("summer_vh"), 14, 14] > -4


def test_a_direction_without_data_is_refused_by_name(root: Path) -> None:
    stored = archive_folder.seasons(0)
    stored[0::2] = 255
    write_raster(root / STEM / "s1grd-2020" / f"{NAME}.tif", stored, 0, S1_BANDS)
    archive, layout = source(root)
    with pytest.raises(LeftOut, match="no ascending data"):
        archive.chip(layout.tiles[0])
    archive, layout = source(root, direction="des")
    assert np.isfinite(archive.chip(layout.tiles[0]).backscatter_db).mean() > 0.99
    stored = archive_folder.seasons(0)
    stored[S1_BANDS.index("fall_vvdes")] = 255
    write_raster(root / STEM / "s1grd-2020" / f"{NAME}.tif", stored, 0, S1_BANDS)
    with pytest.raises(LeftOut, match="incomplete descending data, constant are fall_vv:"):
        archive.chip(layout.tiles[0])


def test_a_whole_archive_without_a_direction_is_refused_at_once(root: Path) -> None:
    for number in range(2):
        stored = archive_folder.seasons(number)
        stored[0::2] = 255
        write_raster(root / STEM / "s1grd-2020" / f"{identifier(number)}.tif", stored, number, S1_BANDS)
    with pytest.raises(SardinoError, match="complete ascending data"):
        source(root)


def test_years_must_agree_unless_asked(root: Path) -> None:
    (root / STEM / "esaworldcover-2020").rename(root / STEM / "esaworldcover-2021")
    with pytest.raises(SardinoError, match="different years"):
        source(root)
    archive, layout = source(root, other_year=True)
    assert archive.metadata()["datasets"]["label"] == "esaworldcover-2021"
    assert (archive.chip(layout.tiles[0]).label != IGNORE).any()


def test_layers_of_another_year_are_left_unless_asked(root: Path) -> None:
    (root / STEM / "ghsbuilts-2020").rename(root / STEM / "ghsbuilts-2015")
    assert "built_percent" not in dict(source(root)[0].layers)
    assert dict(source(root, other_year=True)[0].layers)["built_percent"] == "ghsbuilts-2015"


def test_a_missing_data_set_is_named(root: Path) -> None:
    with pytest.raises(SardinoError, match=r"no data set 's1grd-2019': it holds .*s1grd-2020"):
        source(root, backscatter="s1grd-2019")
    (root / STEM / "s1grd-2020").rename(root / STEM / "radar")
    with pytest.raises(SardinoError, match="no data set for s1grd-<year>"):
        source(root)


@pytest.mark.parametrize("dataset", ["s1grd-2020", "esaworldcover-2020"])
def test_a_damaged_or_absent_file_leaves_the_tile_out_by_name(root: Path, dataset: str) -> None:
    archive, layout = source(root)
    path = root / STEM / dataset / f"{NAME}.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LeftOut, match=f"{dataset}/{NAME}.tif cannot be read .*copy the file again"):
        archive.chip(layout.tiles[0])
    path.unlink()
    with pytest.raises(LeftOut, match=f"no {NAME}.tif"):
        archive.chip(layout.tiles[0])
    (path.parent / f"{NAME}.tif.nodata").write_text("")
    with pytest.raises(LeftOut, match="without data"):
        archive.chip(layout.tiles[0])
    (path.parent / f"{NAME}.tif.nodata").unlink()
    (path.parent / f"{NAME}.skipped").write_text("no granule\n")
    with pytest.raises(LeftOut, match=r"without data \(no granule\)"):
        archive.chip(layout.tiles[0])
    assert archive.chip(layout.tiles[1]).label.shape == (PX, PX)


def test_a_label_elsewhere_or_of_another_legend_leaves_the_tile_out(root: Path) -> None:
    archive, layout = source(root)
    path = root / STEM / "esaworldcover-2020" / f"{NAME}.tif"
    codes = archive_folder.truth_code(*archive_folder.centres(0))
    write_raster(path, codes, 0, crs="EPSG:32631", transform=rasterio.Affine(10, 0, 500_000, 0, -10, 5_500_000))
    with pytest.raises(LeftOut, match="no label inside the tile"):
        archive.chip(layout.tiles[0])
    write_raster(path, np.full((SIZE, SIZE), 23, np.uint8), 0)
    with pytest.raises(LeftOut, match=r"codes \[23\]"):
        archive.chip(layout.tiles[0])
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_raster(path, codes, 0, crs=None, transform=rasterio.Affine.identity())
    with pytest.raises(LeftOut, match="states no CRS"):
        archive.chip(layout.tiles[0])


def test_a_label_in_another_crs_over_the_tile_is_warped(root: Path) -> None:
    archive, layout = source(root)
    tile = layout.tiles[0]
    a, _, c, _, e, f = tile.transform
    codes = np.repeat(np.where(np.arange(SIZE) < 6 + PX / 2, 10, 40)[None], SIZE, 0).astype(np.uint8)
    grid = rasterio.Affine(a, 0, c - 6 * a, 0, e, f - 6 * e)
    write_raster(root / STEM / "esaworldcover-2020" / f"{NAME}.tif", codes, 0, crs=tile.crs, transform=grid)
    label = archive.chip(tile).label
    assert (label[:, : PX // 2] == 0).all() and (label[:, PX // 2 :] == 3).all()


def test_nan_tiles_and_thin_tiles_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, 2, "db")
    archive, layout = source(tmp_path)
    path = tmp_path / STEM / "s1grd-2020" / f"{NAME}.tif"
    stored = archive_folder.seasons(0, "db")
    stored[:, :, : SIZE // 2] = np.nan
    write_raster(path, stored, 0)
    share = np.isfinite(archive.chip(layout.tiles[0]).backscatter_db).mean()
    assert 0.4 < share < 0.6
    thin, _ = source(tmp_path, min_valid=0.8)
    with pytest.raises(LeftOut, match="too few valid pixels in winter_vv 5"):
        thin.chip(layout.tiles[0])
    write_raster(path, np.full_like(stored, np.nan), 0)
    with pytest.raises(LeftOut, match="no ascending data"):
        archive.chip(layout.tiles[0])


def test_a_file_stored_otherwise_than_the_rest_is_left_out(root: Path) -> None:
    archive, layout = source(root)
    path = root / STEM / "s1grd-2020" / f"{NAME}.tif"
    write_raster(path, archive_folder.seasons(0, "whole-db"), 0, S1_BANDS)
    with pytest.raises(LeftOut, match="stored as whole-db, the others as byte-db"):
        archive.chip(layout.tiles[0])
    write_raster(path, archive_folder.seasons(0)[:12], 0)
    with pytest.raises(LeftOut, match="has 12 bands"):
        archive.chip(layout.tiles[0])


def test_a_missing_layer_is_said_and_stays_missing(root: Path) -> None:
    archive, layout = source(root)
    (root / STEM / "biomass-2020" / f"{NAME}.nc").write_bytes(b"nothing")
    (root / STEM / "s2rgbm-2020" / f"{NAME}.tif").unlink()
    chip = archive.chip(layout.tiles[0])
    assert np.isnan(chip.layers["biomass_t_ha"]).all() and not chip.layers["optical"].any()
    assert any(note.startswith("biomass_t_ha is missing") and "cannot be read" in note for note in chip.notes)
    assert any(note.startswith("optical is missing") for note in chip.notes)


def test_a_foreign_tile_is_refused(root: Path) -> None:
    archive, layout = source(root)
    a, b, c, d, e, f = layout.tiles[0].transform
    with pytest.raises(LeftOut, match="not in the table"):
        archive.chip(Tile("conus", layout.tiles[0].crs, (a, b, c + 10, d, e, f), (PX, PX)))


def test_a_source_travels_and_its_tiles_make_a_store(root: Path, tmp_path: Path) -> None:
    archive, layout = source(root)
    assert pickle.loads(pickle.dumps(archive)) == archive
    store = write_store(
        tmp_path / "store",
        layout.tiles,
        layout.splits,
        lambda number: archive.chip(layout.tiles[number]),
        channels=archive.channels,
        legend=archive.legend,
        product=archive.product,
        synthetic=archive.synthetic,
        metadata=archive.metadata(),
        bands=layout.bands,
    )
    assert store.metadata["identifiers"] == dict(zip(store.index["id"], layout.identifiers, strict=True))
    assert store.metadata["orbit_pass"] == "ascending" and store.metadata["encoding"] == "byte-db"
    assert len(store) == 2 and "optical" in store.layers


def test_bad_choices_are_refused(root: Path) -> None:
    for choices, sentence in [
        ({"direction": "both"}, "asc or des"),
        ({"optical_month": 13}, "month from 1"),
        ({"encoding": "jpeg"}, "an encoding is"),
        ({"backscatter": "../s1"}, "no data set"),
    ]:
        with pytest.raises(SardinoError, match=sentence):
            source(root, **choices)
