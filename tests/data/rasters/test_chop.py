"""Chop: each file is exactly its tile, pixels that coincide are copied, others warped by what they mean."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from pyproj import Transformer
from rasterio.shutil import copy
from rasterio.transform import Affine

from sardino.data.rasters.chop import chop
from sardino.data.rasters.open import open_pixels
from sardino.data.tiles.radiometry import to_db, to_power
from sardino.data.tiles.tile import Tile, tile_grid
from sardino.errors import SardinoError

# rasterio itself multiplies transforms in the way that affine is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "EPSG:32631"
SIZE = 16
LEFT, TOP = 500_000.0, 5_500_000.0
TILES = list(tile_grid("north", UTM, (LEFT, TOP), SIZE, 10.0, 3, 2))
FAR = Tile("far", UTM, (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_500_000.0), (SIZE, SIZE))


def write_tif(path: Path, values: np.ndarray, *, left: float = LEFT, top: float = TOP, step: float = 10.0, **profile):
    bands, height, width = values.shape
    names = profile.pop("names", None)
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=values.dtype,
        transform=Affine(step, 0, left, 0, -step, top), **({"crs": UTM} | profile),
    ) as dataset:  # fmt: skip
        dataset.write(values)
        if names:
            dataset.descriptions = names
    return path


def scene(seed: int = 0, pad: int = 4) -> np.ndarray:
    shape = (2, 2 * SIZE + 2 * pad, 3 * SIZE + 2 * pad)
    return np.random.default_rng(seed).normal(-12, 4, shape).astype(np.float32)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def open_nc(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf", decode_coords="all") as data:
        return data.load()


def test_pixels_that_coincide_are_copied_with_names_and_nodata(tmp_path: Path) -> None:
    values = scene()
    source = write_tif(tmp_path / "s.tif", values, left=LEFT - 40, top=TOP + 40, names=("VV", "VH"), nodata=np.nan)
    done = chop(open_pixels(source), TILES, tmp_path / "out", kind="db")
    assert done.written == [tile.id for tile in TILES] and not done.left_out
    for number, tile in enumerate(TILES):
        row, column = 4 + SIZE * (number // 3), 4 + SIZE * (number % 3)
        with rasterio.open(tmp_path / "out" / f"{tile.id}.tif") as dataset:
            np.testing.assert_array_equal(dataset.read(), values[:, row : row + SIZE, column : column + SIZE])
            assert dataset.descriptions == ("VV", "VH") and dataset.bounds == tile.bounds
            assert dataset.crs == UTM and np.isnan(dataset.nodata)


def test_another_crs_is_warped_over_exactly_the_tile(tmp_path: Path) -> None:
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(LEFT, TOP)
    step = 0.00025
    rows, columns = 60, 80
    codes = np.kron(np.random.default_rng(1).choice([10, 40, 80], (1, rows // 4, columns // 4)), np.ones((1, 4, 4)))
    north, west = lat + 10 * step, lon - 10 * step
    source = write_tif(tmp_path / "map.tif", codes.astype(np.uint8), left=west, top=north, step=step,
                       crs="EPSG:4326", nodata=0)  # fmt: skip
    chop(open_pixels(source), TILES, tmp_path / "own", tile_grid=True)
    back = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    for tile in TILES:
        cut = read(tmp_path / "own" / f"{tile.id}.tif")[0]
        a, _, c, _, e, f = tile.transform
        x, y = np.meshgrid(c + a * (np.arange(SIZE) + 0.5), f + e * (np.arange(SIZE) + 0.5))
        px, py = back.transform(x, y)
        column, row = (px - west) / step, (north - py) / step
        inner = (np.abs(column - column.round()) > 0.2) & (np.abs(row - row.round()) > 0.2)
        expected = codes[0][row.astype(int), column.astype(int)]
        np.testing.assert_array_equal(cut[inner], expected[inner])
    # By default the pixels are about as large as the scene's: 17.8 m by 27.8 m here, so 9 on 160 m.
    chop(open_pixels(source), TILES[:1], tmp_path / "scene")
    with rasterio.open(tmp_path / "scene" / f"{TILES[0].id}.tif") as dataset:
        assert dataset.shape == (9, 9) and dataset.bounds == pytest.approx(TILES[0].bounds)
        assert dataset.nodata == 0 and dataset.dtypes == ("uint8",)


def test_decibels_are_averaged_in_power(tmp_path: Path) -> None:
    values = scene(2, pad=0)
    source = write_tif(tmp_path / "db.tif", values)
    chop(open_pixels(source), TILES[:1], tmp_path / "out", kind="db", resolution=40)
    blocks = to_power(values[:, :SIZE, :SIZE]).reshape(2, 4, 4, 4, 4).mean((2, 4))
    np.testing.assert_allclose(read(tmp_path / "out" / f"{TILES[0].id}.tif"), to_db(blocks), atol=1e-3)


def test_tiles_outside_and_without_data_are_told_by_name(tmp_path: Path) -> None:
    values = scene(3, pad=0)
    values[:, :SIZE, :SIZE] = np.nan
    source = write_tif(tmp_path / "s.tif", values, nodata=np.nan)
    done = chop(open_pixels(source), [*TILES, FAR], tmp_path / "out", kind="db")
    assert done.left_out == {TILES[0].id: "no valid pixel", FAR.id: "outside s.tif"}
    with (tmp_path / "out" / "left-out.csv").open() as file:
        assert dict(list(csv.reader(file))[1:]) == done.left_out
    assert {p.stem for p in (tmp_path / "out").glob("*.tif")} == {tile.id for tile in TILES[1:]}
    # The part of a tile beyond the scene is nodata.
    beyond = write_tif(tmp_path / "b.tif", scene(4, pad=0)[:, :8, :], nodata=np.nan)
    assert len(chop(open_pixels(beyond), TILES[:1], tmp_path / "part", kind="db").written) == 1
    cut = values.reshape(2, -1)[:, np.isfinite(values[0].ravel())]
    assert list(done.ranges.rows) == ["band 1", "band 2"]
    for row, plane in zip(done.ranges.rows.values(), cut, strict=True):
        assert list(row) == [5 * SIZE**2, 5 * SIZE**2, plane.min(), plane.max()]
    part = read(tmp_path / "part" / f"{TILES[0].id}.tif")
    assert np.isfinite(part[:, :8]).all() and np.isnan(part[:, 8:]).all()


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    source = open_pixels(write_tif(tmp_path / "s.tif", scene(5)))
    whole = tmp_path / "whole"
    chop(source, TILES, whole, kind="db")

    def stop(tiles):
        for number, tile in enumerate(tiles):
            if number == 4:
                raise KeyboardInterrupt
            yield tile

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        chop(source, TILES, out, kind="db", progress=stop)
    damaged = out / f"{TILES[1].id}.tif"
    damaged.write_bytes(damaged.read_bytes()[:300])
    untouched = (out / f"{TILES[0].id}.tif").stat().st_mtime_ns
    done = chop(source, TILES, out, kind="db")
    assert done.kept == [TILES[n].id for n in (0, 2, 3)] and done.written == [TILES[n].id for n in (1, 4, 5)]
    assert (out / f"{TILES[0].id}.tif").stat().st_mtime_ns == untouched
    assert {p.name: read(p).tobytes() for p in out.iterdir()} == {p.name: read(p).tobytes() for p in whole.iterdir()}


def test_a_folder_of_another_scene_is_refused(tmp_path: Path) -> None:
    chop(open_pixels(write_tif(tmp_path / "a.tif", scene(6))), TILES[:1], tmp_path / "out", kind="db")
    with pytest.raises(SardinoError, match=r"was cut from a\.tif .* wanted is b\.tif"):
        chop(open_pixels(write_tif(tmp_path / "b.tif", scene(7))), TILES[:1], tmp_path / "out", kind="db")
    for changed in ({"kind": "values"}, {"kind": "db", "nodata": 0}, {"kind": "db", "resolution": 20}):
        with pytest.raises(SardinoError, match="choose another folder"):
            chop(open_pixels(tmp_path / "a.tif"), TILES[:1], tmp_path / "out", **changed)  # type: ignore[arg-type]


def netcdf(seed: int = 0, names: tuple[str, str] = ("lat", "lon"), ascending: bool = True) -> xr.Dataset:
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(LEFT, TOP)
    step = 0.0002
    lats = lat + step * (np.arange(60) - 40)
    lons = lon + step * (np.arange(50) - 10)
    rng = np.random.default_rng(seed)
    data = xr.Dataset(
        {
            "biomass": (("time", *names), rng.normal(100, 20, (2, 60, 50)).astype(np.float32), {"units": "t/ha"}),
            "quality": (names, rng.integers(1, 4, (60, 50)).astype(np.uint8), {"flag_meanings": "good fair poor"}),
            "version": ((), 3),
            "crs": ((), 0),
            "spatial_ref": ((), 0),  # to which no variable refers
        },
        {"time": np.array(["2020-01-01", "2021-01-01"], "datetime64[ns]"), names[0]: lats, names[1]: lons},
        {"title": "made for a test"},
    )
    return data if ascending else data.isel({names[0]: slice(None, None, -1)})


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_netcdf_and_zarr_keep_their_variables_axes_and_words(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"maps{suffix}"
    if suffix == ".nc":
        netcdf().to_netcdf(path, engine="h5netcdf")
    else:
        netcdf().to_zarr(path, consolidated=False)
    done = chop(open_pixels(path), TILES, tmp_path / "out")
    assert len(done.written) == len(TILES)
    cut = open_nc(tmp_path / "out" / f"{TILES[0].id}.nc")
    assert cut["biomass"].dims == ("time", "y", "x") and cut["biomass"].attrs["units"] == "t/ha"
    assert cut["time"].values.tolist() == netcdf()["time"].values.tolist()
    assert int(cut["version"]) == 3 and cut.attrs["title"] == "made for a test"
    assert cut.rio.crs == UTM and cut.rio.bounds() == pytest.approx(TILES[0].bounds)
    assert set(np.unique(cut["quality"])) <= {1, 2, 3}
    assert float(cut["biomass"].min()) > 60 and float(cut["biomass"].max()) < 140


def test_the_direction_of_the_axes_does_not_matter(tmp_path: Path) -> None:
    netcdf(1).to_netcdf(tmp_path / "up.nc", engine="h5netcdf")
    netcdf(1, ascending=False).to_netcdf(tmp_path / "down.nc", engine="h5netcdf")
    up, down = (open_pixels(tmp_path / name) for name in ("up.nc", "down.nc"))
    assert up.transform == pytest.approx(down.transform) and up.flipped != down.flipped
    for name, source in (("up", up), ("down", down)):
        chop(source, TILES[:2], tmp_path / name)
    for tile in TILES[:2]:
        one, other = (open_nc(tmp_path / name / f"{tile.id}.nc") for name in ("up", "down"))
        np.testing.assert_allclose(one["biomass"], other["biomass"], rtol=1e-5)


def test_longitudes_from_0_to_360_are_the_same_place(tmp_path: Path) -> None:
    values = np.arange(36 * 18, dtype=np.float32).reshape(18, 36)
    lats, lons = 85 - 10.0 * np.arange(18), 5 + 10.0 * np.arange(36)
    xr.Dataset({"v": (("lat", "lon"), values)}, {"lat": lats, "lon": lons}).to_netcdf(
        tmp_path / "g.nc", engine="h5netcdf"
    )
    source = open_pixels(tmp_path / "g.nc")
    assert source.transform[2] == pytest.approx(-180)
    california = Tile("ca", "EPSG:32610", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_200_000.0), (4, 4))
    chop(source, [california], tmp_path / "out", tile_grid=True)
    # The values are a plane: 36 a step to the south, 1 a step to the east.
    lon, lat = Transformer.from_crs(california.crs, "EPSG:4326", always_xy=True).transform(*california.centre)
    expected = 36 * (85 - lat) / 10 + (lon + 360 - 5) / 10
    np.testing.assert_allclose(open_nc(tmp_path / "out" / f"{california.id}.nc")["v"].mean(), expected, atol=0.01)


def test_coordinates_unknown_to_cf_are_named(tmp_path: Path) -> None:
    netcdf(names=("breite", "laenge")).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(SardinoError, match=r"no coordinates known to CF: rename them .* with --lat and --lon, it has"):
        open_pixels(tmp_path / "a.nc").placed()
    with pytest.raises(SardinoError, match="states no CRS: name it"):
        open_pixels(tmp_path / "a.nc", lat="breite", lon="laenge").placed()
    source = open_pixels(tmp_path / "a.nc", lat="breite", lon="laenge", crs="EPSG:4326")
    assert len(chop(source, TILES[:1], tmp_path / "out").written) == 1
    with pytest.raises(SardinoError, match=r"no variable slope on its grid: it has biomass, quality"):
        chop(source, TILES, tmp_path / "no", variables=["slope"])


def test_packed_values_are_unpacked_and_flags_are_classes(tmp_path: Path) -> None:
    data = netcdf()
    data["temperature"] = (("lat", "lon"), np.full((60, 50), 1234, np.int16), {"scale_factor": 0.01, "_FillValue": -1})
    data["temperature"].values[:5] = -1
    data["power"] = (("lat", "lon"), np.full((60, 50), -11, np.float32), {"units": "dB"})
    data["temperature"].encoding = {"_FillValue": data["temperature"].attrs.pop("_FillValue")}
    data["temperature"].encoding["scale_factor"] = data["temperature"].attrs.pop("scale_factor")
    data["temperature"] = data["temperature"].copy(
        data=np.where(np.arange(60)[:, None] < 5, np.nan, 12.34) * np.ones(50)
    )
    data["temperature"].encoding = {"dtype": "int16", "_FillValue": -1, "scale_factor": 0.01}
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with open_pixels(tmp_path / "a.nc") as source:
        kinds = [source.kind(name) for name in ("temperature", "quality", "biomass", "power")]
        assert kinds == ["values", "classes", "values", "db"]
        chop(source, TILES[:1], tmp_path / "out")
    cut = open_nc(tmp_path / "out" / f"{TILES[0].id}.nc")
    np.testing.assert_allclose(cut["temperature"], 12.34, atol=1e-3)
    np.testing.assert_allclose(cut["power"], -11, atol=1e-3)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("absent.tif", lambda p: None, "there is no file"),
        ("text.tif", lambda p: p.write_text("no raster"), "cannot be read"),
        ("text.nc", lambda p: p.write_text("no raster"), "cannot be read"),
        ("plain.tif", lambda p: write_tif(p, scene(), crs=None), "states no CRS"),
        (
            "curved.nc",
            lambda p: xr.Dataset(
                {"v": (("j", "i"), np.zeros((3, 3)))},
                {"lat": (("j", "i"), np.zeros((3, 3))), "lon": (("j", "i"), np.zeros((3, 3)))},
            ).to_netcdf(p, engine="h5netcdf"),
            "curvilinear grid",
        ),
        (
            "uneven.nc",
            lambda p: xr.Dataset(
                {"v": (("lat", "lon"), np.zeros((3, 3)))}, {"lat": [0.0, 1.0, 5.0], "lon": [0.0, 1.0, 2.0]}
            ).to_netcdf(p, engine="h5netcdf"),
            "irregular grid",
        ),
        (
            "bare.nc",
            lambda p: xr.Dataset({"v": ("lat", np.zeros(3))}, {"lat": [0.0, 1, 2], "lon": [0.0, 1, 2]}).to_netcdf(
                p, engine="h5netcdf"
            ),
            "no variable on the grid",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(tmp_path: Path, name: str, make, sentence: str) -> None:
    make(tmp_path / name)
    with pytest.raises(SardinoError, match=sentence):
        open_pixels(tmp_path / name).placed()


def test_only_the_window_of_a_tile_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_pixels(write_tif(tmp_path / "s.tif", np.zeros((1, 400, 400), np.float32) - 5, tiled=True,
                                    blockxsize=16, blockysize=16))  # fmt: skip
    sizes = []

    def spy(bands, rows, columns):
        sizes.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return source.read(bands, rows, columns)

    chop(replace(source, read=spy), TILES[:2], tmp_path / "out", kind="db")
    assert sizes == [SIZE**2] * 2
    apart = [replace(tile, transform=(10.0, 0.0, LEFT + 105, 0.0, -10.0, TOP - 105)) for tile in TILES[:1]]
    chop(replace(source, read=spy), apart, tmp_path / "apart", kind="db")
    assert sizes[2] == (SIZE + 1 + 8) ** 2  # with the surroundings of which an interpolation is made


def test_an_unknown_kind_and_an_empty_table_are_refused(tmp_path: Path) -> None:
    source = open_pixels(write_tif(tmp_path / "s.tif", scene()))
    with pytest.raises(SardinoError, match="--kind is one of"):
        chop(source, TILES, tmp_path / "out", kind="mood")  # type: ignore[arg-type]
    with pytest.raises(SardinoError, match="there is no tile to cut"):
        chop(source, [], tmp_path / "out")


def test_a_zero_is_nodata_only_where_the_scene_says_so_or_ends(tmp_path: Path) -> None:
    codes = np.random.default_rng(8).integers(0, 3, (1, SIZE, 3 * SIZE)).astype(np.uint8)
    chop(open_pixels(write_tif(tmp_path / "c.tif", codes)), TILES, tmp_path / "out")
    with rasterio.open(tmp_path / "out" / f"{TILES[1].id}.tif") as dataset:
        assert dataset.nodata is None
        np.testing.assert_array_equal(dataset.read(), codes[:, :, SIZE : 2 * SIZE])
    beyond = Tile("n", UTM, (10.0, 0.0, LEFT - 80, 0.0, -10.0, TOP), (SIZE, SIZE))
    chop(open_pixels(tmp_path / "c.tif"), [beyond], tmp_path / "beyond")
    with rasterio.open(tmp_path / "beyond" / f"{beyond.id}.tif") as dataset:
        assert dataset.nodata == 255 and (dataset.read()[:, :, :8] == 255).all()
        np.testing.assert_array_equal(dataset.read()[:, :, 8:], codes[:, :, : SIZE - 8])


def test_unsigned_numbers_in_signed_files_are_unsigned(tmp_path: Path) -> None:
    data = netcdf()[["quality"]]
    data["counts"] = (("lat", "lon"), np.full((60, 50), -536, np.int16), {"_Unsigned": "true", "scale_factor": 0.5})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    source = open_pixels(tmp_path / "a.nc")
    chop(source, TILES[:1], tmp_path / "out", variables=["counts"])
    np.testing.assert_allclose(open_nc(tmp_path / "out" / f"{TILES[0].id}.nc")["counts"], 32500, rtol=1e-6)


@pytest.mark.parametrize("west", [179.9, -180.1])
def test_a_scene_over_the_antimeridian_fills_the_tiles_on_both_sides(tmp_path: Path, west: float) -> None:
    # Values are metres east of 179.9 degrees, whatever the file calls that meridian.
    step, north = 0.0005, -16.9
    east = (np.arange(400) + 0.5) * step * 1000
    source = write_tif(tmp_path / "s.tif", np.tile(east, (1, 100, 1)).astype(np.float32), left=west, top=north,
                       step=step, crs="EPSG:4326")  # fmt: skip
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32760", always_xy=True)
    tiles = []
    for longitude in (179.94, 179.9925, -179.95):  # west of it, across it, east of it
        x, y = (round(value, -1) for value in to_utm.transform(longitude, -16.92))
        tiles.append(Tile("sea", "EPSG:32760", (50.0, 0.0, x, 0.0, -50.0, y), (SIZE, SIZE)))
    done = chop(open_pixels(source), tiles, tmp_path / "out", kind="values", tile_grid=True)
    assert done.written == [tile.id for tile in tiles] and not done.left_out
    for tile in tiles:
        cut = read(tmp_path / "out" / f"{tile.id}.tif")[0]
        a, _, c, _, e, f = tile.transform
        x, y = np.meshgrid(c + a * (np.arange(SIZE) + 0.5), f + e * (np.arange(SIZE) + 0.5))
        longitude = to_utm.transform(x, y, direction="INVERSE")[0]
        np.testing.assert_allclose(cut, (longitude - 179.9) % 360 * 1000, atol=0.01)


def test_classes_keep_their_colours(tmp_path: Path) -> None:
    codes = np.random.default_rng(9).choice([3, 7], (1, 2 * SIZE, 3 * SIZE)).astype(np.uint8)
    colours = {3: (12, 34, 56, 255), 7: (200, 150, 100, 255)}
    with rasterio.open(write_tif(tmp_path / "c.tif", codes), "r+") as dataset:
        dataset.write_colormap(1, colours)
    chop(open_pixels(tmp_path / "c.tif"), TILES[:2], tmp_path / "out")
    for tile in TILES[:2]:
        with rasterio.open(tmp_path / "out" / f"{tile.id}.tif") as dataset:
            assert {code: dataset.colormap(1)[code] for code in colours} == colours


def test_the_fill_value_of_zarr_is_no_nodata_unless_somebody_chose_it(tmp_path: Path) -> None:
    codes = np.random.default_rng(10).integers(0, 4, (2 * SIZE, 3 * SIZE)).astype(np.uint8)
    place = {"y": TOP - 10 * (np.arange(2 * SIZE) + 0.5), "x": LEFT + 10 * (np.arange(3 * SIZE) + 0.5)}
    for fill, share in ((0, 0), (3, (codes[:SIZE, :SIZE] == 3).mean())):
        path = tmp_path / f"{fill}.zarr"
        data = xr.Dataset({"soil": (("y", "x"), codes)}, place).rio.write_crs(UTM)
        data.to_zarr(path, zarr_format=2, consolidated=False)
        about = json.loads((path / "soil" / ".zarray").read_text())
        (path / "soil" / ".zarray").write_text(json.dumps(about | {"fill_value": fill}))
        with open_pixels(path) as source:
            assert [text.partition(".zarr ")[2] for text in source.doubts] == [
                "has the fill_value 0 of Zarr for soil, which is not taken for missing"
            ] * (fill == 0)
            chop(source, TILES[:1], tmp_path / f"cut {fill}")
        with xr.open_dataset(tmp_path / f"cut {fill}" / f"{TILES[0].id}.nc", engine="h5netcdf") as cut:
            assert float(cut["soil"].isnull().mean()) == pytest.approx(share)


def test_where_no_tile_can_be_cut_that_is_an_error(tmp_path: Path) -> None:
    values = scene(11, pad=0)
    values[:, :SIZE, :SIZE] = np.nan
    source = open_pixels(write_tif(tmp_path / "s.tif", values, nodata=np.nan))
    out = tmp_path / "out"
    with pytest.raises(SardinoError, match=r"none of 2 tiles could be cut \(1 no valid pixel; 1 outside s\.tif\): "):
        chop(source, [TILES[0], FAR], out, kind="db")
    assert [path.name for path in out.iterdir()] == ["left-out.csv"]


def test_limits_of_packed_numbers_do_not_go_along_with_what_they_mean(tmp_path: Path) -> None:
    data = netcdf()[["quality"]]
    limits = {"valid_min": np.uint16(0), "valid_max": np.uint16(4000)}
    packed = {"units": "dB", "scale_factor": 0.01, "add_offset": -30.0, **limits}
    data["vv"] = (("lat", "lon"), np.full((60, 50), 1500, np.uint16), packed)
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    chop(open_pixels(tmp_path / "a.nc"), TILES[:1], tmp_path / "out", variables=["vv"])
    with open_pixels(tmp_path / "out" / f"{TILES[0].id}.nc") as cut:
        np.testing.assert_allclose(cut.values(), -15, atol=1e-5)


def test_what_is_missing_in_one_band_of_codes_may_be_a_class_of_another(tmp_path: Path) -> None:
    codes = np.zeros((2, SIZE, 3 * SIZE), np.uint8)
    codes[:, :, ::2] = 1
    source = write_tif(tmp_path / "c.tif", codes)
    copy(source, tmp_path / "c.vrt", driver="VRT")
    text = (tmp_path / "c.vrt").read_text()
    for band, value in ((1, 0), (2, 255)):
        own = f'band="{band}"'
        text = text.replace(f"{own}>", f"{own}><NoDataValue>{value}</NoDataValue>", 1)
    (tmp_path / "c.vrt").write_text(text)
    done = chop(open_pixels(tmp_path / "c.vrt"), TILES[:1], tmp_path / "out")
    with rasterio.open(tmp_path / "out" / f"{done.written[0]}.tif") as dataset:
        first, second = dataset.read(masked=True)
    assert first.mask.mean() == 0.5 and (first.compressed() == 1).all()
    assert not second.mask.any() and set(np.unique(second)) == {0, 1}


def test_codes_that_only_a_later_band_scales_are_scaled(tmp_path: Path) -> None:
    source = write_tif(tmp_path / "c.tif", np.full((2, SIZE, 3 * SIZE), -1500, np.int16))
    with rasterio.open(source, "r+") as dataset:
        dataset.scales = (1.0, 0.01)
    done = chop(open_pixels(source), TILES[:1], tmp_path / "out", kind="classes")
    found = read(tmp_path / "out" / f"{done.written[0]}.tif")
    np.testing.assert_allclose(found[0], -1500)
    np.testing.assert_allclose(found[1], -15, rtol=1e-6)
