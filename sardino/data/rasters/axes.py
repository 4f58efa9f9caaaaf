"""The axes of a NetCDF or Zarr file, as CF attributes or custom name them: where its pixels lie, and when they were."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS

from sardino.errors import SardinoError, first_line

# What files that do not follow CF call their coordinates.
_AXES = [pair.split() for pair in ("y x", "lat lon", "latitude longitude", "northing easting", "Y X", "rlat rlon")]
_LEAST_EPSG = 1024  # of a CRS; a grid mapping of CF is a number of no meaning, 0 as a rule
_ROTATED = ("rlat", "rlon")
_KILOMETRES = {"km", "kilometer", "kilometers", "kilometre", "kilometres"}
_DEGREES = {"degrees_north", "degrees_east", "degree_north", "degree_east", "degrees", "degree"}


def axis_names(path: Path, data: xr.Dataset, lat: str = "", lon: str = "") -> tuple[str, str] | None:
    """Names of the dimensions from north to south and from west to east; None where nothing tells them.

    SardinoError where coordinates that are named are not there, or the grid is curvilinear.
    """
    if bool(lat) != bool(lon):
        raise SardinoError("name both coordinates: --lat and --lon")
    if lat:
        pair = (lat, lon)
    else:
        known = [(y, x) for y, x in _AXES if {y, x} <= set(map(str, data.dims)) & set(map(str, data.variables))]
        pair = _cf_axis(data, "Y", "latitude"), _cf_axis(data, "X", "longitude")
        pair = pair if all(pair) else known[0] if known else ("", "")
        if not all(pair):
            _refuse_curvilinear(path, data)
            return None
    if not all(name in data.variables for name in pair):
        raise SardinoError(f"{path} {no_coordinates(data, ' and '.join(pair))}")
    if any(data[name].ndim != 1 for name in pair):
        raise _curvilinear(path, *pair)
    for name in pair:
        if name != (dim := str(data[name].dims[0])):
            raise SardinoError(f"{path} indexes {name} by {dim}: rename the dimension to {name} first")
        if data[name].dtype.kind not in "iuf":
            raise SardinoError(f"{path} has coordinates {name} that are no numbers: correct them")
    return pair


def _refuse_curvilinear(path: Path, data: xr.Dataset) -> None:
    """SardinoError where each pixel has a latitude of its own."""
    for y, x in _AXES:
        if all(name in data.variables and data[name].ndim == 2 for name in (y, x)):
            raise _curvilinear(path, y, x)


def _curvilinear(path: Path, y: str, x: str) -> SardinoError:
    return SardinoError(f"{path} lies on a curvilinear grid ({y} and {x} are not 1-D): warp it first")


def no_coordinates(data: xr.Dataset, missing: str = "known to CF") -> str:
    """What is to be said of a file without coordinates, behind its name."""
    there = ", ".join(map(str, data.coords)) or "none"
    remedy = "rename them to lat and lon, or name them to `sardino tiles chop` with --lat and --lon"
    return f"has no coordinates {missing}: {remedy}, it has {there}"


def _cf_axis(data: xr.Dataset, axis: str, name: str) -> str:
    """The 1-D coordinate that CF attributes call an axis; "" where there is none."""
    for found, variable in data.coords.items():
        standard = variable.attrs.get("standard_name") in (name, f"projection_{axis.lower()}_coordinate")
        if variable.ndim == 1 and (standard or variable.attrs.get("axis") == axis):
            return str(found)
    return ""


def crs_stated(path: Path, data: xr.Dataset) -> str:
    """The CRS that a file states, "" where it states none; SardinoError where it cannot be read.

    A `crs` or `spatial_ref` that no variable refers to is read too, by its attributes of CF, or by its value, which in
    TerraMesh is the number of an EPSG code.
    """
    try:
        if data.rio.crs:
            return str(data.rio.crs.to_string())
        for name in ("crs", "spatial_ref"):
            if name in data.variables and (crs := _crs_of(data.variables[name])):
                return str(crs.to_string())
        return ""
    except Exception as error:  # of rasterio, pyproj and rioxarray
        raise SardinoError(f"{path} has a CRS that cannot be read ({first_line(error)}): set the right one") from error


def _crs_of(variable: xr.Variable) -> CRS | None:
    """The CRS that a variable is, by its attributes or, of one value without those of CF, by that."""
    if {"crs_wkt", "spatial_ref", "grid_mapping_name"} & set(variable.attrs):
        return CRS.from_cf(variable.attrs)
    texts = set(variable.values.astype(str).ravel()) if variable.dtype.kind in "iufUOS" and variable.ndim < 2 else set()
    if len(texts) != 1:
        return None
    text = str(*texts).strip()
    with suppress(ValueError):
        return CRS.from_epsg(int(float(text))) if float(text) >= _LEAST_EPSG else None
    return CRS.from_user_input(text) if text else None


def numbered(data: xr.Dataset) -> bool:
    """Whether y and x only number rows and columns, from 0 or from 1."""
    axes = [data[name].values for name in ("y", "x")]
    return any(all(np.array_equal(axis, np.arange(len(axis)) + first) for axis in axes) for first in (0, 1))


def in_metres(data: xr.Dataset, names: tuple[str, str], crs: str) -> xr.Dataset:
    """The dataset, its axes in metres where they state kilometres and the CRS does not count in those."""
    if crs and CRS(crs).axis_info[0].unit_conversion_factor == 1000:
        return data
    far = [name for name in names if str(data[name].attrs.get("units", "")).lower() in _KILOMETRES]
    return data.assign_coords({name: data[name] * 1000.0 for name in far})


def crs_implied(data: xr.Dataset, names: tuple[str, str]) -> str:
    """The CRS that the coordinates of a file without one imply; "" where they do not."""
    called = {str(data[name].attrs.get("standard_name", "")) for name in names}
    if names == _ROTATED or called & {"grid_latitude", "grid_longitude"}:
        return ""  # degrees of another pole
    units = {str(data[name].attrs.get("units", "")) for name in names}
    geographic = names in (("lat", "lon"), ("latitude", "longitude")) or units <= _DEGREES
    inside = all(np.abs(data[name].values).max(initial=0) <= most for name, most in zip(names, (90, 360), strict=True))
    return "EPSG:4326" if geographic and inside else ""


def regular_axis(path: Path, values: NDArray[Any]) -> tuple[float, float]:
    """First pixel centre and step of an axis; SardinoError unless it is regular and two pixels long."""
    centres = values.astype(np.float64)
    if len(centres) < 2:
        raise SardinoError(f"{path} is less than two pixels wide: its pixel size is unknown")
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    apart = np.abs(centres - (centres[0] + step * np.arange(len(centres)))).max()
    if not np.isfinite(apart) or step == 0 or apart > 0.1 * abs(step):
        raise SardinoError(f"{path} lies on an irregular grid: warp it to a regular one first")
    return float(centres[0]), float(step)


def dates_of(path: Path, axis: xr.DataArray) -> NDArray[np.datetime64] | None:
    """Dates along an axis in UTC, to the second; None where it is no time. SardinoError where they cannot be read."""
    if (dates := _dates_of(path, axis)) is not None and np.isnat(dates).any():
        raise SardinoError(f"{path} has a time that is none (NaT) among its {len(dates)}: correct its time axis")
    return dates


def _dates_of(path: Path, axis: xr.DataArray) -> NDArray[np.datetime64] | None:
    units = str(axis.attrs.get("units", ""))
    if axis.dtype.kind == "M":
        return axis.values.astype("datetime64[s]")
    if axis.dtype.kind in "UOS":
        with suppress(ValueError, TypeError):
            return axis.values.astype(str).astype("datetime64[s]")
    if " since " not in units.lower():
        return None
    attributes = {**axis.attrs, "units": units.lower().replace(" utc", "")}
    try:
        decoded = xr.decode_cf(xr.Dataset({"dates": ("place", axis.values, attributes)}))
        return decoded["dates"].values.astype("datetime64[s]")
    except Exception as error:  # pandas and cftime have errors of their own
        stated = f"'{units}'{' of the calendar ' + str(axis.attrs['calendar']) if 'calendar' in axis.attrs else ''}"
        raise SardinoError(
            f"{path} counts time in the unit {stated}, which cannot be read ({first_line(error)}): "
            "write it as days since 1970-01-01"
        ) from error
