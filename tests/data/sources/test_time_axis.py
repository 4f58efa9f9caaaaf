"""Series that a chip's own files hold on a time axis: what their bands, dates and places mean, or why nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from chip_folder import refused, run, spec
from pydantic import ValidationError

from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import TileStore

SIZE = 16
DAYS = ("2020-03-29", "2020-06-27", "2020-09-28", "2020-12-30")
LEVELS = np.ravel([(-10 - season, -17 - season, 7) for season in (3, 0, 1, 2)])  # winter first, each 1 dB lower
VARIABLES = {"files": "{chip}.nc", "variables": {"vv": "VV", "vh": "VH"}}
BANDS = {"files": "{chip}/{band}.nc", "bands": ["VV", "VH"], "names": {"VV": "vv", "VH": "vh"}}


def seasonal(**backscatter: object):
    given = {"files": "{chip}.nc", "composite": "seasonal", "nodata": []} | backscatter
    return spec(channels=list(CHANNELS), backscatter=given)


def place(row: int = 0) -> dict[str, np.ndarray]:
    pixels = np.arange(SIZE) + 0.5
    return {"x": 500_000 + 10 * pixels, "y": 5_500_000 - 1000 * row - 10 * pixels}


def one(name: str, level: float, days: tuple[str, ...] = DAYS, time: str = "time", row: int = 0) -> xr.Dataset:
    """A variable over its own time axis, each date 1 dB lower; darker in the north-west."""
    values = np.broadcast_to(level - np.arange(len(days))[:, None, None], (len(days), SIZE, SIZE)).astype(np.float32)
    values = values.copy()
    values[:, 0, 0] -= 5
    coords = place(row) | {time: np.array(days, "datetime64[ns]")}
    return xr.Dataset({name: ((time, "y", "x"), values), "crs": 32631}, coords)


def both(days: tuple[str, ...] = DAYS) -> xr.Dataset:
    return one("VV", -10, days).assign(VH=one("VH", -17, days)["VH"])


def cube(**coords: object) -> xr.Dataset:
    """VV and VH as bands of one variable."""
    values = np.stack([both()[name].values for name in ("VV", "VH")], 1)
    return xr.Dataset({"bands": (("time", "band", "y", "x"), values), "crs": 32631}, both().coords).assign_coords(
        coords
    )


def write(path: Path, data: xr.Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.to_netcdf(path, engine="h5netcdf")
    return path


def levels(store: TileStore) -> np.ndarray:
    return np.median(store.read(store.ids())[0], axis=(0, 2, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "chips"


def test_variables_bands_and_files_of_a_series_are_the_same(folder: Path) -> None:
    write(folder / "a" / "c.nc", both())
    write(folder / "b" / "c.nc", cube(band=["VV", "VH"]).transpose("band", "y", "x", "time"))
    for name, level in (("VV", -10), ("VH", -17)):
        write(folder / "c" / "c" / f"{name}.nc", one(name, level).isel(time=[2, 0, 3, 1]))
    for name, chosen in (("a", seasonal(**VARIABLES)), ("b", seasonal()), ("c", seasonal(**BANDS))):
        store = run(folder / name, chosen, overwrite=True)
        np.testing.assert_allclose(levels(store), LEVELS, atol=0.01)
        assert set(store.index["crs"]) == {"EPSG:32631"} and store.metadata["doubts"] == []


def test_dates_that_differ_between_polarisations_are_refused(folder: Path) -> None:
    late = one("VH", -17, DAYS[::-1], "later")
    write(folder / "a" / "c.nc", one("VV", -10).assign(VH=late["VH"]))
    refused(folder / "a", seasonal(**VARIABLES), "chip c has other dates for vh of c.nc and vv of c.nc: correct")
    for extra, name in enumerate(("b", "c")):
        for number, polarisation in enumerate(("VV", "VH")):
            days = (*DAYS, "2020-12-31") if number == extra else DAYS
            write(folder / name / "c" / f"{polarisation}.nc", one(polarisation, -10, days))
        refused(folder / name, seasonal(**BANDS), "other dates for VH of VH.nc and VV of VV.nc")


@pytest.mark.parametrize(
    ("data", "chosen", "message"),
    [
        (lambda: cube().assign(mask=cube().bands[:, 0]), {"variables": {"vv": "bands", "vh": "bands"}}, "has 2 bands"),
        (lambda: one("vv", -10, DAYS[:2]), {"composite": "single"}, "has 1 bands, the spec 'test' describes 2"),
        (lambda: one("vv", -10, tuple(sorted(DAYS * 2))), {}, "has 1 bands, the spec 'test' describes 2"),
        (lambda: both(("2020-03-29", "NaT", "2020-09-28", "2020-12-30")), VARIABLES, r"is none \(NaT\) among"),
        (lambda: both().drop_vars("time"), VARIABLES, r"c\.nc has no time axis for seasons: write time by CF"),
        (lambda: cube(x=np.arange(SIZE), y=np.arange(SIZE)), {}, "only number rows and columns, so that nobody knows"),
        (lambda: cube().assign(crs="nonsense"), {}, "has a CRS that cannot be read .*: set the right one"),
    ],
)  # fmt: skip
def test_a_series_that_means_nothing_is_refused(
    folder: Path, data: Callable[[], xr.Dataset], chosen: dict, message: str
) -> None:
    write(folder / "c.nc", data())
    refused(folder, seasonal(**chosen), message)


def test_a_file_of_one_date_by_its_name_holds_one(folder: Path) -> None:
    chosen = {"files": "{chip}/{time}.nc", "time_format": "%Y-%m-%d"}
    for day in DAYS:
        write(folder / "c" / f"{day}.nc", cube(band=["vv", "vh"]).isel(time=[0, 1]))
    refused(folder, seasonal(**chosen), "holds 2 dates, and its name tells one: split it")


@pytest.mark.parametrize(
    ("chosen", "named", "holds", "message"),
    [
        ({"time_format": "%Y%m%d"}, "20200629", "2020-06-27", "says that it is of 2020-06-27, and its name '20200629'"),
        ({"time_format": "%Y-%m"}, "2020-06", "2020-07-01", "says that it is of 2020-07-01, and its name '2020-06'"),
        ({"months": {"may": 5}}, "may", "2020-06-27", "says that it is of 2020-06-27, and its name 'may'"),
        ({"time_format": "%Y%m%d"}, "20200628", "2020-06-27T23:00", ""),
        ({"time_format": "%Y-%m"}, "2020-06", "2020-06-27", ""),
        ({"months": {"may": 5}}, "may", "2020-05-27", ""),
    ],
)
def test_a_date_and_the_name_of_its_file_agree(
    folder: Path, chosen: dict, named: str, holds: str, message: str
) -> None:
    given = {"composite": "seasonal", "nodata": [], "missing_season": "mask"} | {
        key: BANDS[key] for key in ("bands", "names")
    }
    wanted = spec(channels=list(CHANNELS), backscatter=given | {"files": "{chip}/{time}.nc"} | chosen)
    write(folder / "c" / f"{named}.nc", cube().isel(time=[0]).assign_coords(time=np.array([holds], "datetime64[ns]")))
    if message:
        refused(folder, wanted, message)
    else:
        assert len(run(folder, wanted)) > 0


def test_a_file_named_for_one_polarisation_that_holds_the_other_is_refused(folder: Path) -> None:
    for name, other in (("VV", "VH"), ("VH", "VV")):
        write(folder / "c" / f"{name}.nc", one(other, -10))
    refused(folder, seasonal(**BANDS), "names its bands VH, the spec 'test' describes VV")


@pytest.mark.parametrize("crs", ["EPSG:32631", "32631", 32631.0, [32631] * 4])
def test_a_crs_is_read_however_it_is_written(folder: Path, crs: object) -> None:
    data = cube().drop_vars("crs").assign(crs=("time", crs) if isinstance(crs, list) else crs)
    data["crs"].attrs["long_name"] = "EPSG code"
    write(folder / "c.nc", data)
    assert set(run(folder, seasonal()).index["crs"]) == {"EPSG:32631"}


def test_a_place_that_is_not_read_is_told(folder: Path) -> None:
    write(folder / "c.nc", cube().assign(crs=0))
    store = run(folder, seasonal())
    assert set(store.index["crs"]) == {""}
    assert store.metadata["doubts"][0].startswith("1 of 1 chips state no place that can be read")


def test_files_without_a_crs_at_other_coordinates_are_of_other_places(folder: Path) -> None:
    for row, name in enumerate(("VV", "VH")):
        write(folder / "c" / f"{name}.nc", one(name, -10, row=row).drop_vars("crs"))
    refused(folder, seasonal(**BANDS), "lie on different grids: .*VH.nc states no CRS")


def test_kilometres_are_metres_and_a_place_can_be_left_out(folder: Path) -> None:
    far = cube(x=place()["x"] / 1000, y=place()["y"] / 1000)
    for axis in ("x", "y"):
        far[axis].attrs["units"] = "km"
    write(folder / "c.nc", far)
    assert run(folder, seasonal()).metadata["gsd_m"] == pytest.approx(10, rel=0.01)
    write(folder / "d.nc", far)
    apart = seasonal().model_copy(update={"placed": False})
    store = run(folder, apart, overwrite=True)
    assert len(store) == 2 and set(store.index["crs"]) == {""} and store.metadata["doubts"] == []


def test_axes_that_only_number_rows_count_from_the_top(folder: Path) -> None:
    write(folder / "c.nc", cube(x=np.arange(SIZE), y=np.arange(SIZE)).drop_vars("crs"))
    store = run(folder, seasonal())
    corner = store.read(store.ids())[0][0, 3]
    assert corner.argmin() == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (VARIABLES | {"files": "{chip}_{time}.nc"}, "variables are of one file a chip"),
        ({"months": {"a": 1}}, "months are of the texts at {time}"),
        ({"composite": "single", "year": 2020}, "year chooses from a dated series"),
        ({"files": "{chip}_{time}.nc", "months": {"a": 1}, "year": 2020}, "year chooses from a dated series"),
        ({"files": "{chip}_{time}.nc", "time_format": "%Y"}, "time_format '%Y' tells no month"),
    ],
)
def test_settings_that_would_not_be_used_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        seasonal(**wrong)


@pytest.mark.parametrize(
    ("names", "bands", "expected"),
    [
        (["VV", "angle", "VH"], ["vv", "vh", ""], [0, 2]),
        (["angle", "VV", "VH"], ["vv", "vh", ""], [1, 2]),
        (["VV", "VH", "angle"], ["vv", "vh", ""], [0, 1]),
        (["b1", "b2", "b3"], ["vv", "", "vh"], [0, 2]),
        (["VV", "angle"], ["vv", "vh"], None),
        (["VV", "VV", "VH"], ["vv", "vh", ""], None),
    ],
)
def test_bands_go_by_the_names_that_are_understood(folder: Path, names: list[str], bands: list[str], expected) -> None:
    values = np.stack([np.full((SIZE, SIZE), -10.0 - number, np.float32) for number in range(len(names))])
    write(folder / "c.nc", xr.Dataset({"s": (("band", "y", "x"), values), "crs": 32631}, place() | {"band": names}))
    chosen = spec(backscatter={"files": "{chip}.nc", "bands": bands, "nodata": []})
    if expected is None:
        refused(folder, chosen, f"names its bands {', '.join(names)}, the spec 'test' describes")
    else:
        np.testing.assert_allclose(levels(run(folder, chosen)), [-10.0 - number for number in expected], atol=0.01)
