"""What a scene may be, and what is refused with the command that makes it fit."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from made import CHANNELS, NORMALISATION, ORIGIN, UTM, backscatter, read, segmenter, write_scene
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.shutil import copy
from rasterio.transform import Affine

from sardino.data.rasters.place import pixel_size_m
from sardino.data.rasters.scene import open_scene
from sardino.data.tiles.radiometry import to_power
from sardino.errors import SardinoError
from sardino.mapping.job import Job
from sardino.mapping.model import load_landcover, match_scene
from sardino.mapping.scene_map import make_map

ROWS, COLUMNS = 70, 90
VALUES = backscatter(ROWS, COLUMNS)
VALUES[:, 3:9, 5:20] = np.nan


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_landcover(segmenter(tmp_path_factory.mktemp("model")))


def pixels(path, model, **options):
    """What the model is given of a whole scene, in dB."""
    scene = match_scene(open_scene(path), model, **options)
    with scene.reading() as window:
        return window(0, scene.scene.shape[0], 0, scene.scene.shape[1])


def test_a_mosaic_is_taken_as_it_is(tmp_path, model):
    path = write_scene(tmp_path / "scene.tif", VALUES)
    np.testing.assert_array_equal(pixels(path, model), VALUES)
    scene = open_scene(path)
    assert ({*scene.units}, scene.product, scene.chunk_rows) == ({"db"}, "Sentinel-1 gamma0", 64)
    assert match_scene(scene, model).doubts == ()
    with match_scene(scene, model).reading() as window:
        np.testing.assert_array_equal(window(2, 5, 80, 90), VALUES[:, 2:5, 80:90])


def test_bands_go_by_name_and_others_are_left(tmp_path, model):
    more = np.stack([VALUES[2], VALUES[0] + 100, VALUES[1], VALUES[0]])
    path = write_scene(tmp_path / "s.tif", more, names=["winter_vv-vh", "summer_vv", "winter_vh", "winter_vv"])
    np.testing.assert_array_equal(pixels(path, model), VALUES)
    bare = write_scene(tmp_path / "bare.tif", VALUES[::-1].copy(), names=[None] * 3)
    np.testing.assert_array_equal(pixels(bare, model, channels=CHANNELS[::-1]), VALUES)


def test_names_of_bands_go_without_regard_to_case(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", VALUES[1::-1].copy(), names=["Winter_VH", "WINTER_VV"])
    np.testing.assert_allclose(pixels(path, model), VALUES, atol=1e-5)
    twice = write_scene(tmp_path / "twice.tif", VALUES, names=["winter_vv", "winter_VV", "winter_vh"])
    with pytest.raises(SardinoError, match="more than one band winter_vv"):
        pixels(twice, model)


def test_the_difference_of_two_bands_is_made_where_it_is_missing(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", VALUES[:2], names=CHANNELS[:2])
    np.testing.assert_allclose(pixels(path, model), VALUES, atol=1e-5)


@pytest.mark.parametrize("unit", ["linear", "amplitude"])
def test_power_and_amplitude_become_decibels(tmp_path, model, unit):
    power = to_power(VALUES[:2]) if unit == "linear" else to_power(VALUES[:2]) ** 0.5
    power[:, 40] = 0  # as catalogues fill what is missing
    power = np.nan_to_num(power)
    wanted = VALUES.copy()
    wanted[:, 40] = np.nan
    for tags, options in (({"unit": unit}, {}), ({}, {"unit": unit})):
        path = write_scene(tmp_path / "s.tif", power, names=CHANNELS[:2], tags=tags, nodata=0)
        np.testing.assert_allclose(pixels(path, model, **options), wanted, atol=1e-4)


def test_a_mask_band_tells_what_is_missing(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", np.nan_to_num(VALUES, nan=-10), nodata=None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.isfinite(VALUES[0]))
    np.testing.assert_array_equal(pixels(path, model), VALUES)


def test_packed_integers_are_unpacked(tmp_path, model):
    counts = np.where(np.isnan(VALUES), -32768, np.round(VALUES * 100)).astype(np.int16)
    path = write_scene(tmp_path / "s.tif", counts, nodata=-32768)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = [0.01] * 3, [0.0] * 3
    np.testing.assert_allclose(pixels(path, model), VALUES, atol=0.006)


def test_a_vrt_is_a_scene_and_changes_with_its_source(tmp_path, model):
    path = write_scene(tmp_path / "scene.tif", VALUES)
    copy(path, tmp_path / "scene.vrt", driver="VRT")
    np.testing.assert_array_equal(pixels(tmp_path / "scene.vrt", model), VALUES)
    before = open_scene(tmp_path / "scene.vrt").state()
    write_scene(path, VALUES[:, ::-1].copy())
    assert open_scene(tmp_path / "scene.vrt").state() != before


def stack(values, dims, coords, name="backscatter", **attrs):
    place = {
        "y": ORIGIN[1] - 10 * (np.arange(values.shape[-2]) + 0.5),
        "x": ORIGIN[0] + 10 * (np.arange(values.shape[-1]) + 0.5),
    }
    return xr.DataArray(values, {**coords, **place}, dims, name, attrs).rio.write_crs(UTM)


def stacks():
    bands = stack(VALUES, ("band", "y", "x"), {"band": list(CHANNELS)}, units="dB").to_dataset()
    seasons = stack(VALUES[None], ("season", "pol", "y", "x"), {"season": ["winter"], "pol": ["vv", "vh", "vv-vh"]})
    power = to_power(VALUES[:2])
    composite = xr.Dataset(
        {
            name: stack(power[n : n + 1], ("season", "y", "x"), {"season": ["winter"]})
            for n, name in enumerate(("vv", "vh"))
        },
        attrs={"quantity": "gamma0", "composite": "mean"},
    )
    composite["count_vv"] = (("season", "y", "x"), np.ones((1, ROWS, COLUMNS), np.int16))
    single = xr.Dataset({name: stack(v, ("y", "x"), {}, units="dB") for name, v in zip(CHANNELS, VALUES, strict=True)})
    return {
        "bands": bands,
        "seasons": seasons.to_dataset().assign_attrs(units="dB"),
        "composite": composite,
        "single": single,
        "south_up": bands.isel(y=slice(None, None, -1)),
    }


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
@pytest.mark.parametrize("kind", list(stacks()))
def test_a_stack_is_a_scene(tmp_path, model, kind, suffix):
    path, data = tmp_path / f"scene.{suffix}", stacks()[kind]
    if suffix == "nc":
        data.to_netcdf(path, engine="h5netcdf")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Zarr 3 has no specification of strings yet
            data.to_zarr(path, consolidated=False)
    np.testing.assert_allclose(pixels(path, model), VALUES, atol=1e-4)
    scene = open_scene(path)
    assert scene.transform == (10, 0, ORIGIN[0], 0, -10, ORIGIN[1]) and scene.shape == (ROWS, COLUMNS)
    job = Job(scene=path, out=tmp_path / f"{kind}.tif", kind="landcover", model=model.folder, device="cpu", threads=1)
    make_map(job)
    make_map(job.changed(scene=write_scene(tmp_path / "s.tif", VALUES), out=tmp_path / "same.tif"))
    assert np.mean(read(job.out) != read(tmp_path / "same.tif")) < 0.001


@pytest.mark.parametrize(
    ("crs", "transform", "size"),
    [
        (UTM, Affine(10, 0, 500_000, 0, -10, 5_500_000), (10.0, 10.0)),
        ("EPSG:3857", Affine(10, 0, 334_000, 0, -10, 6_446_000), (6.43, 6.43)),
        ("EPSG:4326", Affine(1e-4, 0, 3, 0, -1e-4, 50), (7.17, 11.12)),
        ("EPSG:2263", Affine(32.8084, 0, 1_000_000, 0, -32.8084, 200_000), (10.0, 10.0)),  # feet
    ],
)
def test_a_pixel_is_measured_on_the_ground(tmp_path, crs, transform, size):
    path = write_scene(tmp_path / "s.tif", VALUES, crs=crs, transform=transform)
    scene = open_scene(path)
    assert pixel_size_m(scene.crs, scene.transform, scene.shape) == pytest.approx(size, rel=0.005)


REFUSED = {
    "no CRS": ({"crs": None}, r"no CRS.*terrain-correct.*rio edit-info --crs EPSG:32631"),
    "rotated": (
        {"transform": Affine(10, 1, 5e5, 1, -10, 5.5e6)},
        r"rotated grid: say --warp, or warp it first.*gdalwarp",
    ),
    "other bands": ({"names": ["winter_vv", "red", "nir"]}, r"needs winter_vh, winter_vv-vh too: add them"),
    "no names": ({"names": [None] * 3}, r"does not name its 3 bands.*--channels winter_vv,winter_vh,winter_vv-vh"),
    "a name twice": ({"names": ["winter_vv", "winter_vv", "winter_vh"]}, r"more than one band winter_vv"),
    "no unit": ({"tags": {}}, r"does not say its unit: say --unit db, or --unit linear"),
    "unknown unit": ({"tags": {"unit": "counts"}}, r"is in 'counts': say --unit db"),
    "coarse": (
        {"transform": Affine(20, 0, 5e5, 0, -20, 5.5e6)},
        r"20 m by 20 m .* trained on 10 m.*gdalwarp -t_srs EPSG:32631 -tr 10 10 -r bilinear",
    ),
    "fine": ({"transform": Affine(5, 0, 5e5, 0, -5, 5.5e6)}, r"not as decibels.*-tr 10 10 -r average"),
    "degrees": (
        {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 3, 0, -1e-4, 50)},
        r"7\.\d+ m by 11\.\d+ m.*-t_srs EPSG:32631 -tr 10 10",
    ),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_a_scene_that_does_not_fit_is_refused_with_what_to_do(tmp_path, model, case):
    changed, words = REFUSED[case]
    path = write_scene(tmp_path / "s.tif", VALUES, **changed)
    job = Job(scene=path, out=tmp_path / "map.tif", kind="landcover", model=model.folder, device="cpu")
    with pytest.raises(SardinoError, match=words):
        make_map(job)
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.tif"]


def warped_map(path, model, out, **options):
    """A map's codes, and its grid."""
    job = Job(scene=path, out=out, kind="landcover", model=model.folder, device="cpu", threads=1, warp=True, **options)
    doubts = make_map(job)
    with rasterio.open(out) as made:
        assert made.tags().get("warped_from", made.crs) == ("EPSG:4326" if "4326" in path.stem else UTM)
        return made.read(1), made, doubts


def test_a_scene_of_another_grid_is_mapped_on_the_model_s(tmp_path, model):
    plain = write_scene(tmp_path / "s.tif", VALUES)
    codes, made, _ = warped_map(plain, model, tmp_path / "plain.tif")
    south_up = Affine(10, 0, ORIGIN[0], 0, 10, ORIGIN[1] - 10 * ROWS)
    path = write_scene(tmp_path / "south.tif", VALUES[:, ::-1].copy(), transform=south_up)
    other, there, _ = warped_map(path, model, tmp_path / "south-map.tif")
    np.testing.assert_array_equal(other, codes)
    assert there.transform == made.transform
    power = {"tags": {"unit": "linear"}, "names": CHANNELS[:2]}
    there = Affine(1.4e-4, 0, 3.2, 0, -0.9e-4, 49.6)
    for name, values, tags in (("db", VALUES[:2], {}), ("power", to_power(VALUES[:2]), power)):
        options = {"names": CHANNELS[:2]} | tags
        path = write_scene(tmp_path / f"{name}-4326.tif", values, crs="EPSG:4326", transform=there, **options)
        codes, made, _ = warped_map(path, model, tmp_path / f"{name}-map.tif")
        assert made.crs == "EPSG:32631" and made.res == (10, 10)
        assert all(edge % 10 == 0 for edge in made.bounds)
        assert 0.8 < np.mean(codes != made.nodata) < 1
        if name == "db":
            of_decibels = codes
    assert np.mean(of_decibels == codes) > 0.999


def test_a_scene_of_other_pixels_is_warped_by_wish_and_it_is_told(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", VALUES, transform=Affine(20, 0, 5e5, 0, -20, 5.5e6))
    _, made, doubts = warped_map(path, model, tmp_path / "map.tif")
    assert made.shape == (2 * ROWS, 2 * COLUMNS) and made.crs == "EPSG:32631" and made.transform.c == 5e5
    assert "warped from pixels of 20 m by 20 m to 10 m" in doubts[0]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_known_by_points_alone_is_warped_by_wish_alone(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", VALUES, crs=None, transform=Affine.identity())
    place = Affine.translation(*ORIGIN) * Affine.rotation(-12) * Affine.scale(10, -10)
    corners = [(row, column) for row in (0, ROWS // 2, ROWS) for column in (0, COLUMNS // 2, COLUMNS)]
    points = [GroundControlPoint(row, column, *(place @ (column, row))) for row, column in corners]
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = (points, CRS.from_string(UTM))
    with pytest.raises(SardinoError, match="placed by ground control points alone: say --warp"):
        pixels(path, model)
    codes, made, doubts = warped_map(path, model, tmp_path / "map.tif")
    wanted = write_scene(tmp_path / "turned.tif", VALUES, transform=place)
    same, there, _ = warped_map(wanted, model, tmp_path / "turned-map.tif")
    assert "know no relief" in doubts[0] and made.transform == there.transform
    assert np.mean(codes == same) > 0.99


def test_a_stack_without_crs_is_told_of_an_option_that_there_is(tmp_path, model):
    data = stacks()["bands"].drop_vars("spatial_ref")
    data["backscatter"].attrs.pop("grid_mapping", None)
    data["backscatter"].encoding.pop("grid_mapping", None)
    data.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    job = Job(scene=tmp_path / "s.nc", out=tmp_path / "map.tif", kind="landcover", model=model.folder, device="cpu")
    with pytest.raises(SardinoError, match="--crs EPSG"):
        make_map(job)
    make_map(job.changed(crs=UTM))
    with rasterio.open(tmp_path / "map.tif") as made:
        assert made.crs == UTM


def test_options_that_contradict_the_scene_are_refused(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", VALUES)
    with pytest.raises(SardinoError, match="has 3 bands, and --channels names 2"):
        match_scene(open_scene(path), model, channels=("a", "b"))
    with pytest.raises(SardinoError, match="says that it is in db, not linear: leave --unit out"):
        match_scene(open_scene(path), model, unit="linear")
    with pytest.raises(SardinoError, match="there is no scene"):
        open_scene(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(SardinoError, match=r"cannot be read .* is it a raster, and whole"):
        open_scene(tmp_path / "text.tif")
    job = Job(scene=path, out=path, kind="landcover", model=model.folder)
    for changed, words in (
        ({}, "would be overwritten by its map"),
        ({"out": tmp_path / "map.png"}, "a map is a .tif file"),
        ({"out": tmp_path / "text.tif"}, "exists already: remove it, or say --overwrite"),
        ({"out": tmp_path / "m.tif", "confidence": tmp_path / "text.tif"}, "exists already"),
        ({"out": tmp_path / "m.tif", "window_px": 30}, "a window is a multiple of 4 px"),
        ({"out": tmp_path / "m.tif", "model": tmp_path}, "holds no trained segmenter"),
        ({"out": tmp_path / "m.tif", "model": tmp_path, "kind": "attention"}, "holds no model"),
        ({"out": tmp_path / "m.tif", "kind": "attention"}, "a plain U-Net without attention"),
    ):
        with pytest.raises(SardinoError, match=words):
            make_map(job.changed(**changed))
    assert not (tmp_path / "m.tif").exists()


def test_what_cannot_be_checked_is_said(tmp_path, model):
    sigma = write_scene(tmp_path / "s.tif", VALUES, tags={"unit": "dB", "product": "Sentinel-1 GRD, sigma0"})
    (doubt,) = match_scene(open_scene(sigma), model).doubts
    assert "holds sigma0 and the model was trained on gamma0" in doubt
    silent = replace(model, card=replace(model.card, trained_on={}))
    (doubt,) = match_scene(open_scene(sigma), silent).doubts
    assert "does not say of what pixel size" in doubt
    other = replace(model, card=replace(model.card, unit="linear", normalisation=NORMALISATION | {"unit": "linear"}))
    with pytest.raises(SardinoError, match="trained on backscatter in linear: only dB"):
        match_scene(open_scene(sigma), other)


def test_a_scene_cut_short_is_refused_and_leaves_no_map(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", backscatter(300, 300), block=32)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SardinoError, match="cannot be read"):
        make_map(Job(scene=path, out=tmp_path / "map.tif", kind="landcover", model=model.folder, device="cpu"))
    assert not (tmp_path / "map.tif").exists()


def test_a_unit_that_is_none_of_backscatter_can_be_told(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", VALUES, tags={"unit": "1"})
    with pytest.raises(SardinoError, match="is in '1': say --unit db"):
        match_scene(open_scene(path), model)
    np.testing.assert_array_equal(pixels(path, model, unit="db"), VALUES)
    mixed = write_scene(tmp_path / "m.tif", VALUES, tags={})
    with rasterio.open(mixed, "r+") as dataset:
        dataset.units = ("dB", "dB", "linear")
    with pytest.raises(SardinoError, match="its bands are in db and linear: bring them to one unit first"):
        match_scene(open_scene(mixed), model, unit="db")


def test_given_channels_do_not_contradict_the_bands_own_names(tmp_path, model):
    path = write_scene(tmp_path / "s.tif", VALUES[:2], names=["VH", "VV"])
    with pytest.raises(SardinoError, match="names its bands VH, VV, and --channels says winter_vv,winter_vh"):
        match_scene(open_scene(path), model, channels=CHANNELS[:2])
    ordered = pixels(path, model, channels=CHANNELS[1::-1])
    np.testing.assert_array_equal(ordered[:2], VALUES[1::-1])


@pytest.mark.parametrize("suffix", ["tif", "nc"])
def test_a_crs_is_only_given_to_a_file_that_states_none(tmp_path, suffix):
    path = tmp_path / f"s.{suffix}"
    if suffix == "tif":
        write_scene(path, VALUES)
    else:
        stacks()["single"].to_netcdf(path, engine="h5netcdf")
    assert open_scene(path, crs=UTM).crs == open_scene(path).crs
    with pytest.raises(SardinoError, match=f"says that it lies in {UTM}, not EPSG:32632: leave --crs out"):
        open_scene(path, crs="EPSG:32632")
