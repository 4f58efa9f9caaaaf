"""One door for pixels: however they are written they mean the same behind every door, or are refused by a sentence."""

import ast
import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.shutil import copy
from rasterio.transform import Affine

import sardino
from sardino.data.rasters.chop import chop
from sardino.data.rasters.label_shares import LabelRasters
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.raster import read_square_raster
from sardino.data.rasters.scene import open_scene
from sardino.data.sources.folder.chips import ChipFiles
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),  # rasterio's own
]

UTM, LEFT, TOP, STEP = "EPSG:32631", 500_000.0, 5_500_000.0, 10.0
SHAPE = ROWS, COLUMNS = 12, 16
NORTH_UP = Affine(STEP, 0, LEFT, 0, -STEP, TOP)
TILE = Tile("all", UTM, (STEP, 0.0, LEFT, 0.0, -STEP, TOP), SHAPE)

# Factor and offset with which decibels fit each type.
PACKINGS = {"int16": (0.01, 0.0), "uint16": (0.01, -100.0), "int32": (0.001, 1.0), "uint8": (0.1, -25.5)}
PACKINGS |= {"float32": (1.0, 0.0), "float64": (1.0, 0.0)}
NODATA = {"int16": -32768, "uint16": 65535, "int32": -9999, "uint8": 0, "float32": -9999.0, "float64": 1e20}


@dataclass(frozen=True)
class Encoding:
    """How decibels are written to a file."""

    driver: str
    dtype: str
    missing: str
    swapped: bool  # VH before VV
    south_up: bool
    blocks: bool
    seed: int


RASTERS = st.builds(
    Encoding,
    st.sampled_from(["GTiff", "VRT", "HFA"]),
    st.sampled_from(list(PACKINGS)),
    st.sampled_from(["none", "nodata", "mask", "msk", "alpha"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**16),
).filter(lambda how: (how.driver, how.missing) != ("HFA", "alpha"))  # which that format cannot say
STACKS = st.builds(
    Encoding,
    st.sampled_from(["h5netcdf", "scipy", "zarr2", "zarr3"]),
    st.sampled_from(["int16", "int32", "float32", "float64"]),
    st.sampled_from(["none", "fill", "missing_value", "vector", "both", "range", "limits"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**16),
)


def truth(how: Encoding) -> np.ndarray:
    """(2, H, W) decibels, VV and VH, in steps of a tenth, NaN where missing."""
    rng = np.random.default_rng(how.seed)
    db = (rng.integers(-220, -30, (2, *SHAPE)) / 10).astype(np.float32)
    if how.missing != "none":
        db[:, rng.random(SHAPE) < 0.3] = np.nan
    return db


def stored(db: np.ndarray, how: Encoding, fill: float) -> np.ndarray:
    scale, offset = PACKINGS[how.dtype]
    numbers = (db.astype(np.float64) - offset) / scale
    numbers = np.round(numbers) if np.dtype(how.dtype).kind in "iu" else numbers
    return np.where(np.isnan(db), fill, numbers).astype(how.dtype)


def write_raster(path: Path, db: np.ndarray, how: Encoding) -> None:
    scale, offset = PACKINGS[how.dtype]
    valid = np.isfinite(db[0])
    # What lies beneath a mask looks like data.
    numbers = stored(db, how, NODATA[how.dtype] if how.missing == "nodata" else 100)
    names = ["VV", "VH"]
    if how.swapped:
        numbers, names = numbers[::-1], names[::-1]
    if how.missing == "alpha":
        numbers, names = np.concatenate([numbers, 200 * valid[None].astype(how.dtype)]), [*names, "alpha"]
    place = NORTH_UP
    if how.south_up:
        numbers, valid, place = numbers[:, ::-1], valid[::-1], Affine(STEP, 0, LEFT, 0, STEP, TOP - STEP * ROWS)
    driver = "HFA" if how.driver == "HFA" else "GTiff"
    target = path.with_suffix(".img" if driver == "HFA" else ".tif")
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16} if how.blocks and driver == "GTiff" else {}
    internal = {"GDAL_TIFF_INTERNAL_MASK": how.missing == "mask"}
    profile = {"driver": driver, "height": ROWS, "width": COLUMNS, "count": len(numbers), "dtype": how.dtype}
    profile |= {"crs": UTM, "transform": place, "nodata": NODATA[how.dtype] if how.missing == "nodata" else None}
    with rasterio.Env(**internal), rasterio.open(target, "w", **profile, **tiles) as file:
        file.write(numbers)
        file.descriptions, file.units = names, ["dB"] * 2 + [""] * (len(names) - 2)
        file.scales, file.offsets = (
            [value] * 2 + [first] * (len(names) - 2) for value, first in ((scale, 1), (offset, 0))
        )
        if how.missing in ("mask", "msk"):
            file.write_mask(valid)
    if how.missing == "alpha":
        with rasterio.open(target, "r+") as file:
            file.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
    if how.driver == "VRT":
        copy(target, path.with_suffix(".vrt"), driver="VRT")


def write_stack(path: Path, db: np.ndarray, how: Encoding) -> None:
    scale, offset = PACKINGS[how.dtype]
    one, other = np.dtype(how.dtype).type([-9999, -8888])
    attributes: dict = {"units": "dB"} | (
        {} if (scale, offset) == (1, 0) else {"scale_factor": scale, "add_offset": offset}
    )
    numbers = stored(db, how, -32_000 if how.missing in ("range", "limits") else one)
    if how.missing in ("vector", "both"):
        numbers[:, ::2] = np.where(numbers[:, ::2] == one, other, numbers[:, ::2])
    low = np.nanmin(stored(db, how, 30_000))
    attributes |= {
        "fill": {"_FillValue": one},
        "missing_value": {"missing_value": one},
        "vector": {"missing_value": np.array([one, other])},
        "both": {"_FillValue": one, "missing_value": other},
        "range": {"valid_range": np.array([low, np.dtype(how.dtype).type(32_000)])},
        "limits": {"valid_min": low},
    }.get(how.missing, {})
    if how.driver.startswith("zarr"):  # its attributes are JSON, in which xarray finds a fill value of its own
        attributes = {
            k: v.tolist() if isinstance(v, np.ndarray | np.generic) and k != "_FillValue" else v
            for k, v in attributes.items()
        }
    y = TOP - STEP * (np.arange(ROWS) + 0.5)
    places = {"y": y, "x": LEFT + STEP * (np.arange(COLUMNS) + 0.5)}
    bands = dict(zip(("VV", "VH"), numbers, strict=True))
    data = xr.Dataset({name: (("y", "x"), plane, dict(attributes)) for name, plane in bands.items()}, places)
    data = data.isel(y=slice(None, None, -1)) if how.south_up else data
    data = (data[["VH", "VV"]] if how.swapped else data).rio.write_crs(UTM).rio.write_coordinate_system()
    for variable in data.data_vars.values():
        variable.encoding["_FillValue"] = variable.attrs.pop("_FillValue", None)
        if how.blocks and how.driver != "scipy":
            variable.encoding["chunks" if how.driver.startswith("zarr") else "chunksizes"] = (5, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how.driver.startswith("zarr"):
            data.to_zarr(path.with_suffix(".zarr"), zarr_format=int(how.driver[-1]), consolidated=False)
        else:
            data.to_netcdf(path.with_suffix(".nc"), engine=how.driver)


def behind_every_door(path: Path, out: Path) -> dict[str, np.ndarray]:
    """(2, H, W) decibels, VV and VH, as each door gives them."""
    found: dict[str, np.ndarray] = {}
    stack = path.suffix in (".nc", ".zarr")
    scene = open_scene(path)
    order = [[name.upper() for name in scene.names].index(name) for name in ("VV", "VH")]
    assert {*scene.units} == {"db"} and scene.doubts == ()
    with scene.reading(order, 1) as read:
        found["map"] = read(0, ROWS, 0, COLUMNS)
        np.testing.assert_array_equal(read(3, 9, 2, 11), found["map"][:, 3:9, 2:11])
    if path.suffix != ".zarr":  # a folder is no file of a chip
        layout: dict = {"files": f"{{chip}}{path.suffix}", "bands": ["vv", "vh"], "unit": "db"}
        layout |= {"variables": {"vv": "VV", "vh": "VH"}} if stack else {}
        whole = {"name": "t", "title": "t", "product": "t", "channels": ["vv", "vh"], "backscatter": layout}
        found["import"] = ChipFiles(path.parent, FolderSpec.model_validate(whole), path.stem).backscatter_db
        rasters = [read_square_raster(path, name) for name in ("VV", "VH")] if stack else [read_square_raster(path)]
        values = np.concatenate([raster.values for raster in rasters])
        found["archives"] = values if stack else values[order]
    with open_pixels(path) as pixels:
        done = chop(pixels, [TILE], out)
    assert done.written == [TILE.id]
    if stack:
        with xr.open_dataset(out / f"{TILE.id}.nc", engine="h5netcdf") as cut:
            found["chop"] = np.stack([cut[name].values for name in ("VV", "VH")])
    else:
        with rasterio.open(out / f"{TILE.id}.tif") as cut:
            found["chop"] = cut.read(masked=True).filled(np.nan)[order]
            assert cut.units == ("dB", "dB")
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(how=RASTERS | STACKS)
def test_pixels_mean_the_same_behind_every_door(tmp_path: Path, how: Encoding) -> None:
    folder = tmp_path / "one"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    db, path = truth(how), folder / "chip.tif"
    (write_raster if how.driver in ("GTiff", "VRT", "HFA") else write_stack)(path, db, how)
    suffix = {"VRT": ".vrt", "HFA": ".img", "h5netcdf": ".nc", "scipy": ".nc", "zarr2": ".zarr", "zarr3": ".zarr"}
    found = behind_every_door(path.with_suffix(suffix.get(how.driver, ".tif")), folder / "cut")
    for door, values in found.items():
        np.testing.assert_allclose(values, db, atol=2e-3, err_msg=f"{door} of {how}")


# What is no pixel is told.

ODD_HEADERS: list[dict] = [
    *(
        {"crs": text}
        for text in ("EPSG:0", 'LOCAL_CS["engine",UNIT["metre",1]]', "not a CRS", "EPSG:4978", "EPSG:4326")
    ),
    *(
        {"transform": Affine(*grid)}
        for grid in ((10, 3, 5e5, 3, -10, 5e6), (0, 0, 5e5, 0, -10, 5e6), (10, 0, 9e9, 0, -10, 9e9))
    ),
    *({"transform": Affine(*grid)} for grid in ((1, 0, 0, 0, 1, 0), (float("nan"), 0, 0, 0, -1, 0))),
    *({"scales": value} for value in (0.0, float("nan"), float("inf"))),
    {"nodata": 1e30},
    {"dtype": "complex64"},
    {"names": "\udcff"},
]


def odd_attributes(rng: np.random.Generator) -> dict:
    keys = [
        "_FillValue",
        "missing_value",
        "scale_factor",
        "add_offset",
        "valid_range",
        "valid_min",
        "units",
        "flag_values",
    ]
    values = ["text", "", -9999, 0, np.nan, np.inf, [1, 2], [1.5], 2**40, [], [0, 1, 2], "3"]
    return {str(key): values[rng.integers(len(values))] for key in rng.choice(keys, 3, replace=False)}


def told(path: Path) -> str:
    """What is said of a file that is not read; "" where it is, though perhaps not as labels."""
    said = {}
    for door in (_read_labels, _read_by_door, _read_as_scene, read_square_raster):
        try:
            door(path)
        except SardinoError as error:
            said[door] = str(error)
            assert "\n" not in said[door] and len(said[door]) < 600, said
    said.pop(_read_labels, "")
    return "".join(said.values())


def _read_labels(path: Path) -> None:
    LabelRasters([path]).read(TILE)


def _read_as_scene(path: Path) -> None:
    with open_scene(path).reading([0], 1) as read:
        read(0, 4, 0, 4)


def _read_by_door(path: Path) -> None:
    with open_pixels(path) as pixels:
        if np.prod(pixels.shape) < 1e6 and len(pixels.bands) < 100:
            pixels.values()


def damaged(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, min(len(content), 700), rng.integers(1, 12)):
        content[place] = rng.integers(256)
    path.write_bytes(content[: rng.integers(4, len(content))] if rng.random() < 0.3 else content)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    plain = Encoding("GTiff", "int16", "nodata", False, False, True, 1)
    write_raster(folder / "s.tif", truth(plain), plain)
    copy(folder / "s.tif", folder / "s.vrt", driver="VRT")
    for engine, name in (("h5netcdf", "s.nc"), ("scipy", "c.nc"), ("zarr3", "s.zarr")):
        how = Encoding(engine, "int16", "fill", False, False, False, 1)
        write_stack(folder / name, truth(how), how)
    shutil.make_archive(str(folder / "s.zarr"), "zip", folder / "s.zarr")
    return folder


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # GDAL's words that are no UTF-8
@pytest.mark.parametrize("name", ["s.tif", "s.vrt", "s.nc", "c.nc", "s.zarr", "s.zarr.zip"])
def test_a_damaged_file_is_read_or_told_in_one_sentence(tmp_path: Path, sound: Path, name: str) -> None:
    rng, refused = np.random.default_rng(7), 0
    for _ in range(60):
        shutil.rmtree(tmp_path, ignore_errors=True)
        shutil.copytree(sound, tmp_path)
        path = tmp_path / name
        damaged(path / "zarr.json" if name == "s.zarr" else path, rng)
        refused += bool(told(path))
    assert refused > 10


def test_a_zipped_store_is_what_its_folder_is(sound: Path) -> None:
    with open_pixels(sound / "s.zarr") as folder, open_pixels(sound / "s.zarr.zip") as archive:
        assert (archive.bands, archive.grid, archive.doubts) == (folder.bands, folder.grid, folder.doubts)
        np.testing.assert_array_equal(archive.values(), folder.values())
    assert open_scene(sound / "s.zarr.zip").state()[0][:1] == ["s.zarr.zip"]


def test_a_store_deeper_in_a_zip_file_is_to_be_unzipped(sound: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "deep.zarr"), "zip", sound, "s.zarr")
    with pytest.raises(SardinoError, match=r"deep\.zarr\.zip holds its Zarr store in a folder of its own: unzip it"):
        open_pixels(tmp_path / "deep.zarr.zip")


def test_odd_attributes_are_read_or_told_in_one_sentence(tmp_path: Path) -> None:
    rng, refused = np.random.default_rng(8), 0
    numbers = np.arange(ROWS * COLUMNS, dtype=np.int16).reshape(SHAPE)
    for number in range(185):
        y, x = TOP - STEP * np.arange(ROWS), LEFT + STEP * np.arange(COLUMNS)
        data = (
            xr.Dataset({"v": (("y", "x"), numbers)}, {"y": y, "x": x}).rio.write_crs(UTM).rio.write_coordinate_system()
        )
        path = tmp_path / f"{number}.zarr"
        data.to_zarr(path, zarr_format=3, consolidated=False)
        about = json.loads((path / "v" / "zarr.json").read_text())
        about["attributes"] |= odd_attributes(rng)
        (path / "v" / "zarr.json").write_text(json.dumps(about))
        refused += bool(told(path))
    assert refused > 20


@pytest.mark.parametrize("odd", ODD_HEADERS, ids=str)
def test_an_odd_header_is_told_in_one_sentence(tmp_path: Path, odd: dict) -> None:
    path, dtype = tmp_path / "s.tif", odd.get("dtype", "float32")
    profile = {"height": ROWS, "width": COLUMNS, "count": 1, "dtype": dtype, "crs": UTM, "transform": NORTH_UP}
    profile |= {key: odd[key] for key in ("transform", "nodata") if key in odd}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(np.ones((1, *SHAPE), dtype))
        if "scales" in odd:
            file.scales = [odd["scales"]]
    if "crs" in odd or "names" in odd:
        text = '<VRTDataset rasterXSize="16" rasterYSize="12"><SRS>{}</SRS>'
        text += "<GeoTransform>500000,10,0,5500000,0,-10</GeoTransform>"
        text += '<VRTRasterBand dataType="Float32" band="1"><Description>{}</Description></VRTRasterBand></VRTDataset>'
        path = tmp_path / "s.vrt"
        path.write_text(text.format(odd.get("crs", UTM), odd.get("names", "a")), errors="surrogateescape")
    if odd.keys() & {"crs", "scales", "dtype"} or odd.get("transform", NORTH_UP) != NORTH_UP:
        assert told(path)
    else:
        told(path)


def written(path: Path, numbers: np.ndarray, attributes: dict, names: tuple[str, str] = ("y", "x"), **axes) -> Path:
    """A NetCDF file of one variable, packed as its attributes say."""
    y, x = TOP - STEP * (np.arange(ROWS) + 0.5), LEFT + STEP * (np.arange(COLUMNS) + 0.5)
    place = {names[0]: (names[0], y, axes.get("y", {})), names[1]: (names[1], x, axes.get("x", {}))}
    data = xr.Dataset({"v": (names, numbers)}, place)
    if axes.get("crs", True):
        data = data.rio.write_crs(UTM)
    data.v.attrs |= attributes
    data.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("limits", [{"valid_range": np.array([-30.0, 0.0])}, {"valid_min": -30.0, "valid_max": 0.0}])
def test_unsigned_numbers_have_limits_as_values(tmp_path: Path, limits: dict) -> None:
    numbers = np.full(SHAPE, 100, np.uint8).view(np.int8)
    numbers[0, 0] = -1
    packed = {"units": "dB", "scale_factor": 0.125, "add_offset": -30.0, "_Unsigned": "true", "_FillValue": np.int8(-1)}
    with open_pixels(written(tmp_path / "a.nc", numbers, packed | limits)) as pixels:
        values = pixels.values()[0]
    assert np.isnan(values[0, 0]) and np.isnan(values).sum() == 1 and values[1, 1] == -17.5


def test_unsigned_numbers_may_stand_for_signed_ones(tmp_path: Path) -> None:
    numbers = np.full(SHAPE, -60, np.int8)
    numbers[0, 0] = -128
    packed = {"units": "dB", "scale_factor": 0.25, "_Unsigned": "false", "_FillValue": np.uint8(128)}
    with open_pixels(written(tmp_path / "a.nc", numbers.view(np.uint8), packed)) as pixels:
        values = pixels.values()[0]
    assert np.isnan(values[0, 0]) and np.nanmax(values) == np.nanmin(values) == -15


def test_the_lowest_float_is_missing_however_its_text_is_rounded(tmp_path: Path) -> None:
    lowest = np.finfo(np.float32).min
    values = np.where(np.arange(COLUMNS) < 4, lowest, np.full(SHAPE, -12, np.float32))
    profile = {"height": ROWS, "width": COLUMNS, "count": 1, "dtype": "float32", "crs": UTM, "transform": NORTH_UP}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **profile) as file:
        file.write(values[None])
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    text = (tmp_path / "a.vrt").read_text()
    text = text.replace('band="1">', 'band="1"><NoDataValue>-3.40282306074e+38</NoDataValue>', 1)
    (tmp_path / "a.vrt").write_text(text)
    with open_pixels(tmp_path / "a.vrt") as pixels:
        assert np.isnan(pixels.values()[0]).mean() == 0.25


def test_degrees_of_another_pole_are_no_latitudes(tmp_path: Path) -> None:
    axes = [{"standard_name": f"grid_{name}", "units": "degrees"} for name in ("latitude", "longitude")]
    data = xr.Dataset(
        {"v": (("rlat", "rlon"), np.zeros(SHAPE, np.float32))},
        {"rlat": ("rlat", np.arange(ROWS) / 10, axes[0]), "rlon": ("rlon", np.arange(COLUMNS) / 10, axes[1])},
    )
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with open_pixels(tmp_path / "a.nc") as pixels, pytest.raises(SardinoError, match="states no CRS"):
        pixels.placed()


def test_what_is_wrong_is_named_and_not_the_file_blamed(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.nc", np.zeros(SHAPE, np.float32), {})
    twice = written(tmp_path / "b.nc", np.zeros(SHAPE, np.float32), {}, ("lat", "lon"))
    with xr.open_dataset(twice, engine="h5netcdf") as data:
        data.load().assign(y=(("lat", "lon"), np.zeros(SHAPE))).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    garbage = written(tmp_path / "d.nc", np.zeros(SHAPE, np.float32), {}, crs=False)
    with xr.open_dataset(garbage, engine="h5netcdf") as data:
        mapped = data.load().assign(crs=((), 0, {"crs_wkt": "garbage"}))
        mapped.v.attrs["grid_mapping"] = "crs"
        mapped.to_netcdf(tmp_path / "e.nc", engine="h5netcdf")
    with rasterio.open(tmp_path / "s.tif", "w", driver="GTiff", height=1, width=1, count=1, dtype="uint8") as file:
        file.write(np.ones((1, 1, 1), np.uint8))
    copy(tmp_path / "s.tif", tmp_path / "s.vrt", driver="VRT")
    (tmp_path / "s.tif").unlink()
    (tmp_path / "S1A.SAFE").mkdir()
    for path, options, sentence in (
        (whole, {"group": "nope"}, "has it a group 'nope'"),
        (tmp_path / "c.nc", {}, "has a variable y beside its axes lat and lon: rename it"),
        (tmp_path / "e.nc", {}, "has a CRS that cannot be read"),
        (tmp_path / "S1A.SAFE", {}, "is a folder without a Zarr store: name a raster in it"),
    ):
        with pytest.raises(SardinoError, match=sentence):
            open_pixels(path, **options)
    with open_pixels(tmp_path / "s.vrt") as pixels, pytest.raises(SardinoError, match=r"s\.tif"):
        pixels.values()


# Nobody else.

OPENERS = {"open_rasterio", "open_dataset", "open_zarr", "open_mfdataset", "open_dataarray", "load_dataset"}
ALLOWED = {
    "data/rasters/open.py": "the door",
    "data/rasters/verify.py": "whether a file can be read at all, bytes and not meaning",
    "data/rasters/geotiff.py": "what is written here",
    "data/rasters/chop.py": "what is written here",
    "data/rasters/interferometry.py": "groups of a granule that hold no pixels",
    "data/sources/earthengine.py": "what Earth Engine computes, no file",
    "data/sources/stac/read.py": "headers; odc-stac reads, and the door says how the pixels are packed",
    "mapping/resume.py": "maps that are written here",
    "study/quickstart.py": "maps that are written here",
}


def test_no_other_module_opens_a_raster() -> None:
    package = Path(sardino.__file__).parent
    opens = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                if (owner, node.func.attr) == ("rasterio", "open") or node.func.attr in OPENERS:
                    opens.add(path.relative_to(package).as_posix())
    assert opens == set(ALLOWED)
