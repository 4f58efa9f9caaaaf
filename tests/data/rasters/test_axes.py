"""The axis of time: whichever unit a file counts it in, a pass has its date; what nobody can read is told."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sardino.data.rasters.axes import dates_of
from sardino.data.rasters.open import open_pixels
from sardino.errors import SardinoError

WANTED = np.array(["2019-12-07T05:30:00", "2020-06-03T05:30:00"], "datetime64[s]")
SECONDS = {
    "days": 86400,
    "Day": 86400,
    "hours": 3600,
    "minutes": 60,
    "seconds": 1,
    "milliseconds": 1e-3,
    "microseconds": 1e-6,
}


def axis(units: str, values: np.ndarray | list, **attributes: str) -> xr.DataArray:
    return xr.DataArray(values, dims="time", attrs={"units": units} | attributes)


@pytest.mark.parametrize("unit", SECONDS)
@pytest.mark.parametrize(
    ("since", "begin"),
    [
        ("1970-01-01", "1970-01-01"),
        ("2014-4-3", "2014-04-03"),
        ("2000-01-01 12:00:00 UTC", "2000-01-01T12:00"),
        ("2019-12-01 06", "2019-12-01T06:00"),
        ("2019-12-01 00:00:00 +02:00", "2019-11-30T22:00"),
    ],
)
def test_dates_are_the_same_in_every_unit(unit: str, since: str, begin: str) -> None:
    seconds = (WANTED - np.datetime64(begin, "s")).astype(float)
    found = dates_of(Path("s.nc"), axis(f"{unit} since {since}", seconds / SECONDS[unit]))
    assert found is not None and found.dtype == "datetime64[s]"
    assert (np.abs(found - WANTED) <= np.timedelta64(1, "s")).all()


def test_an_axis_that_is_no_time_has_no_dates() -> None:
    assert dates_of(Path("s.nc"), axis("degrees", [30.0, 40.0])) is None


@pytest.mark.parametrize(
    ("units", "attributes"),
    [
        ("days since the launch", {}),
        ("fortnights since 2014-04-03", {}),
        ("days since 2014-02-30", {}),
        ("days since 2014-04-03", {"calendar": "of the moon"}),
    ],
)
def test_a_unit_that_nobody_can_read_is_told(tmp_path: Path, units: str, attributes: dict) -> None:
    place = {"y": 5e6 - 10.0 * np.arange(4), "x": 5e5 + 10.0 * np.arange(4)}
    planes = xr.Dataset({"vv": (("time", "y", "x"), np.zeros((2, 4, 4)))}, {"time": [3, 15], **place})
    planes["time"].attrs |= {"units": units} | attributes
    planes.to_netcdf(tmp_path / "passes.nc", engine="h5netcdf")
    with open_pixels(tmp_path / "passes.nc") as pixels:
        with pytest.raises(SardinoError, match=r"passes\.nc counts time in the unit '.*write it as days since") as told:
            pixels.dates(pixels.numbers("vv"))[0]
        assert "\n" not in str(told.value) and units in str(told.value)


@pytest.mark.parametrize(("number", "stated"), [(32631, "EPSG:32631"), (0, ""), (1, "")])
def test_a_bare_number_is_an_epsg_code_and_a_grid_mapping_none(tmp_path: Path, number: int, stated: str) -> None:
    axes = {"x": [5.0, 15.0, 25.0], "y": [25.0, 15.0, 5.0]}
    data = xr.Dataset({"vv": (("y", "x"), np.ones((3, 3), np.float32)), "crs": number}, axes)
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with open_pixels(tmp_path / "a.nc") as pixels:
        assert pixels.crs == stated


def test_a_number_that_is_no_code_is_refused(tmp_path: Path) -> None:
    data = xr.Dataset({"vv": (("y", "x"), np.ones((2, 2), np.float32)), "crs": 39999}, {"x": [0, 1], "y": [1, 0]})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(SardinoError, match=r"a\.nc has a CRS that cannot be read .*: set the right one"):
        open_pixels(tmp_path / "a.nc")
