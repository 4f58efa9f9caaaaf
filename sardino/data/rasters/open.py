"""The door for pixels: what a file of pixels says of itself, whoever asks.

Two ways in, and nothing else opens a foreign raster for its values: `open_gridded` finds the grid of a GeoTIFF, NetCDF
or Zarr file by xarray and reads it window by window; `read_raster` and `read_placed_raster` read a file whole by GDAL.
What pixels mean (scale, nodata, unit, classes or quantity) is asked of the functions at the end, one for each fact.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine, array_bounds

from sardino.data.places.utm import crs_at
from sardino.data.rasters.warp import Kind, Transform, bounds_in
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError, first_line

# What files that do not follow CF call their coordinates.
_AXES = [pair.split() for pair in ("y x", "lat lon", "latitude longitude", "northing easting", "Y X", "rlat rlon")]
_DEGREES = {"degrees_north", "degrees_east", "degree_north", "degree_east", "degrees", "degree"}
_SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


# Window by window.


@dataclass(frozen=True)
class Gridded:
    """A file on a regular grid; no pixel is read before a window is asked for."""

    path: Path
    data: xr.Dataset  # packed as in the file; variables that have the dimensions "y" and "x" lie on the grid
    crs: str
    transform: Transform  # north up, west to east
    shape: tuple[int, int]  # (rows, columns)
    flipped: tuple[bool, bool]  # whether they run the other way in the file

    @property
    def names(self) -> list[str]:
        """Variables that lie on the grid."""
        numbers = {str(name): v for name, v in self.data.data_vars.items() if v.dtype.kind in "iufb"}
        return [name for name, v in numbers.items() if {"y", "x"} <= set(v.dims)]

    def window(self, tile: Tile, margin_px: int = 2) -> tuple[slice, slice] | None:
        """Rows and columns that a tile needs, with a margin; None where it lies outside."""
        place = self._place(tile)
        if any(end <= 0 or first >= size for first, end, size in place):
            return None
        rows, columns = (slice(max(first - margin_px, 0), min(end + margin_px, size)) for first, end, size in place)
        return rows, columns

    def holds(self, tile: Tile) -> bool:
        """Whether a tile lies wholly inside."""
        return all(first >= 0 and end <= size for first, end, size in self._place(tile))

    def _place(self, tile: Tile) -> list[tuple[int, int, int]]:
        """Of rows and columns a tile's first, the one behind its last, even outside, and how many there are."""
        left, bottom, right, top = bounds_in(tile, CRS(self.crs))
        a, _, c, _, e, f = self.transform
        tiny = 1e-6  # a tile that ends where the grid begins lies outside
        return [
            (math.floor((top - f) / e + tiny), math.ceil((bottom - f) / e - tiny), self.shape[0]),
            (math.floor((left - c) / a + tiny), math.ceil((right - c) / a - tiny), self.shape[1]),
        ]

    def read(self, name: str, window: tuple[slice, slice], at: Mapping[str, int] | None = None) -> xr.DataArray:
        """One variable in a window, (..., y, x), north up, packed as in the file; at places of other dimensions."""
        rows, columns = (
            slice(size - part.stop, size - part.start) if flip else part
            for part, size, flip in zip(window, self.shape, self.flipped, strict=True)
        )
        part = self.data[name].isel(at).isel(y=rows, x=columns).transpose(..., "y", "x")
        try:
            values = part.load()
        except Exception as error:  # each engine has errors of its own
            raise SardinoError(f"{self.path} cannot be read ({first_line(error)}): copy the file again") from error
        north, west = (slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return values.isel(y=north, x=west)

    def corner(self, window: tuple[slice, slice]) -> Transform:
        """Transform of a window."""
        a, b, c, d, e, f = self.transform
        return a, b, c + a * window[1].start, d, e, f + e * window[0].start


def open_gridded(path: Path, *, lat: str = "", lon: str = "", crs: str = "", group: str = "") -> Gridded:
    """Open a GeoTIFF (.tif), a NetCDF file (.nc, .h5) or a Zarr store (.zarr) lazily.

    Args:
        lat, lon: names of its coordinates, where they are not those of CF or of custom.
        crs: where the file states none.
        group: inside a NetCDF or Zarr file.

    Raises:
        SardinoError: the file is missing, damaged, of another kind, without a CRS, or not on a regular grid.
    """
    if not path.exists():
        raise SardinoError(f"there is no file {path}")
    try:
        data = _dataset(path, group)
    except SardinoError:
        raise
    except Exception as error:  # each engine has errors of its own
        where = f"{path} (group {group})" if group else path
        raise SardinoError(f"{where} cannot be read ({first_line(error)}): copy the file again") from error
    names = _axis_names(path, data, lat, lon)
    stated = crs or _crs_of(data, names)
    if not stated:
        raise SardinoError(f"{path} states no CRS: name it, for example --crs EPSG:4326")
    data = data.rename({old: new for old, new in zip(names, ("y", "x"), strict=True) if old != new})
    if CRS(stated).is_geographic and float(data["x"].max()) > 180.5:
        # Longitudes from 0 to 360, as climate models write them.
        data = data.assign_coords(x=(data["x"] + 180) % 360 - 180).sortby("x")
    (south, step_y), (west, step_x) = _axis(path, data["y"].values), _axis(path, data["x"].values)
    top = max(south, south + step_y * (data.sizes["y"] - 1)) + abs(step_y) / 2
    left = min(west, west + step_x * (data.sizes["x"] - 1)) - abs(step_x) / 2
    transform = (abs(step_x), 0.0, left, 0.0, -abs(step_y), top)
    opened = Gridded(path, data, stated, transform, (data.sizes["y"], data.sizes["x"]), (step_y > 0, step_x < 0))
    if not opened.names:
        raise SardinoError(f"{path} holds no variable on the grid of {names[0]} and {names[1]}")
    return opened


def _dataset(path: Path, group: str) -> xr.Dataset:
    if path.suffix.lower() in (".tif", ".tiff"):
        with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
            bands = rioxarray.open_rasterio(path, cache=False, masked=False, mask_and_scale=False)
        if not isinstance(bands, xr.DataArray):
            raise SardinoError(f"{path} holds several images: split them first (gdal_translate)")
        return bands.to_dataset(name="band_data")
    decoding: dict[str, Any] = {"mask_and_scale": False, "decode_coords": "all"}
    if path.suffix.lower() == ".zarr" or (path / "zarr.json").exists() or (path / ".zgroup").exists():
        stored = xr.open_zarr(path, group=group or None, chunks=None, consolidated=False, **decoding)
        return stored[sorted(stored.data_vars, key=str)]  # Zarr lists its arrays in another order each time
    with path.open("rb") as file:
        engine = "scipy" if file.read(3) == b"CDF" else "h5netcdf"  # a classic file, or NetCDF 4
    return xr.open_dataset(path, engine=engine, cache=False, group=group or None, **decoding)


def _axis_names(path: Path, data: xr.Dataset, lat: str, lon: str) -> tuple[str, str]:
    """Names of the dimensions from north to south and from west to east."""
    if bool(lat) != bool(lon):
        raise SardinoError("name both coordinates: --lat and --lon")
    if lat:
        pair = (lat, lon)
    else:
        known = [(y, x) for y, x in _AXES if {y, x} <= set(map(str, data.dims)) & set(map(str, data.variables))]
        pair = _cf_axis(data, "Y", "latitude"), _cf_axis(data, "X", "longitude")
        pair = pair if all(pair) else known[0] if known else ("", "")
    if not all(name and name in data.variables for name in pair):
        missing, there = " and ".join(pair) if lat else "known to CF", ", ".join(map(str, data.coords)) or "none"
        raise SardinoError(f"{path} has no coordinates {missing}: name them with --lat and --lon, it has {there}")
    if any(data[name].ndim != 1 for name in pair):
        raise SardinoError(f"{path} lies on a curvilinear grid ({pair[0]} and {pair[1]} are 2-D): warp it first")
    for name in pair:
        if name != (dim := str(data[name].dims[0])):
            raise SardinoError(f"{path} indexes {name} by {dim}: rename the dimension to {name} first")
    return pair


def _cf_axis(data: xr.Dataset, axis: str, name: str) -> str:
    """The 1-D coordinate that CF attributes call an axis; "" where there is none."""
    for found, variable in data.coords.items():
        standard = variable.attrs.get("standard_name") in (name, f"projection_{axis.lower()}_coordinate")
        if variable.ndim == 1 and (standard or variable.attrs.get("axis") == axis):
            return str(found)
    return ""


def _crs_of(data: xr.Dataset, names: tuple[str, str]) -> str:
    if data.rio.crs:
        return str(data.rio.crs.to_string())
    units = {str(data[name].attrs.get("units", "")) for name in names}
    geographic = names in (("lat", "lon"), ("latitude", "longitude")) or units <= _DEGREES
    inside = all(np.abs(data[name].values).max(initial=0) <= most for name, most in zip(names, (90, 360), strict=True))
    return "EPSG:4326" if geographic and inside else ""


def _axis(path: Path, values: NDArray[Any]) -> tuple[float, float]:
    """First pixel centre and step of a regular axis."""
    centres = values.astype(np.float64)
    if len(centres) < 2:
        raise SardinoError(f"{path} is less than two pixels wide: its pixel size is unknown")
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    apart = np.abs(centres - (centres[0] + step * np.arange(len(centres)))).max()
    if not np.isfinite(apart) or step == 0 or apart > 0.1 * abs(step):
        raise SardinoError(f"{path} lies on an irregular grid: warp it to a regular one first")
    return float(centres[0]), float(step)


# Whole, by GDAL.


@dataclass(frozen=True)
class Raster:
    """A raster file in memory."""

    path: Path
    values: NDArray[Any]  # (bands, H, W) in the file's own type, row 0 in the north
    names: tuple[str, ...]  # of the bands; "" where the file gives none
    nodata: float | None  # value that the file declares as missing
    crs: str  # for example "EPSG:32631"; "" where the file states none
    transform: Transform  # pixel to map; pixel coordinates, north up, where there is no CRS
    dates: NDArray[np.datetime64] | None = None  # one a band where the file has a time axis

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[1], self.values.shape[2]

    def masked(self, nodata: list[float]) -> NDArray[np.float32]:
        """Values as float32, with NaN for the declared nodata, for the values given and for infinities."""
        values = self.values.astype(np.float32)
        for missing in [*nodata, self.nodata]:
            if missing is not None:
                values[self.values == missing] = np.nan
        values[~np.isfinite(values)] = np.nan
        return values

    def require_same_grid(self, other: "Raster") -> None:
        """Refuse another raster of the same chip that has another size or lies elsewhere."""
        if other.shape != self.shape:
            here, there = (f"{raster.path} is {raster.shape[1]} x {raster.shape[0]} px" for raster in (self, other))
            raise SardinoError(f"{there}, {here}: warp it to the same grid first")
        if not (self.crs and other.crs):
            return
        own, others = (array_bounds(*raster.shape, Affine(*raster.transform)) for raster in (self, other))
        apart = max(abs(a - b) for a, b in zip(own, others, strict=True))
        if CRS(self.crs) != CRS(other.crs) or apart > abs(self.transform[0]) / 2:
            raise SardinoError(f"{other.path} and {self.path} lie on different grids: warp one to the other first")


def read_raster(path: Path, variable: str = "") -> Raster:
    """All bands of a file, or one variable of a NetCDF file, on a square grid in metres or without a place.

    Raises:
        SardinoError: the file is missing or damaged, or its grid is rotated, in degrees, or not square.
    """
    if not path.is_file():
        raise SardinoError(f"there is no file {path}: complete the folder, or correct the template in its spec")
    raster, tags, band_tags = _read(path, variable, "copy the file again")
    raster = replace(raster, dates=_dates(tags, band_tags))
    if not raster.crs:
        return replace(raster, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    a, b, c, d, e, f = raster.transform
    if b or d:
        raise SardinoError(f"{path} lies on a rotated grid: warp it north-up first (gdalwarp -t_srs {raster.crs})")
    if e > 0:
        e, f = -e, f + e * raster.shape[0]
        raster = replace(raster, values=np.ascontiguousarray(raster.values[:, ::-1]), transform=(a, b, c, d, e, f))
    if CRS(raster.crs).is_geographic:
        utm = crs_at(c + a * raster.shape[1] / 2, f + e * raster.shape[0] / 2)
        raise SardinoError(f"{path} is in degrees ({raster.crs}): warp it first (gdalwarp -t_srs {utm} -tr 10 10)")
    width, height = pixel_size_m(raster.crs, raster.transform, raster.shape)
    if not math.isclose(width, height, rel_tol=0.02):
        pixels = f"pixels of {width:.1f} by {height:.1f} m"
        raise SardinoError(f"{path} has {pixels}: warp it to square pixels first (gdalwarp -tr)")
    return raster


def read_placed_raster(path: Path, variable: str = "") -> Raster:
    """All bands of a file, or one variable of a NetCDF file (by default its only one), in degrees or metres.

    Raises:
        SardinoError: the file is damaged, does not say where it lies, or lies on a rotated or flipped grid.
    """
    raster, tags, _ = _read(path, variable, "it is damaged, remove it and download it again")
    if not raster.crs and not any(name.startswith(("lat#", "latitude#")) for name in tags):
        raise SardinoError(f"{path} states no CRS: download it again")
    a, b, _, d, e, _ = raster.transform
    if b or d or a <= 0 or e >= 0:
        raise SardinoError(f"{path} lies on a rotated or flipped grid: warp it north-up first")
    return replace(raster, crs=raster.crs or "EPSG:4326")


@contextmanager
def open_by_gdal(path: Path, variable: str = "", remedy: str = "is it a raster, and whole?") -> Iterator[Any]:
    """The rasterio dataset of a file, or of a NetCDF file's variable; damage found while it is read is told."""
    try:
        with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
            dataset = rasterio.open(f'netcdf:"{path}":{variable}' if variable else path)
        with dataset:
            yield dataset
    except RasterioError as error:
        what = f"the variable {variable} of {path}" if variable else path
        raise SardinoError(f"{what} cannot be read ({first_line(error)}): {remedy}") from error


def _read(path: Path, variable: str, remedy: str) -> tuple[Raster, dict[str, str], list[dict[str, str]]]:
    """A file as it lies, its tags and those of its bands, in which GDAL tells of a NetCDF file's axes."""
    with open_by_gdal(path, variable, remedy) as dataset:
        if not dataset.count:
            raise SardinoError(f"{path} has several variables, {len(dataset.subdatasets)}: name one")
        if dataset.gcps[0] and not dataset.crs:
            raise SardinoError(f"{path} has ground control points only: terrain-correct or warp it to a UTM grid first")
        names, crs = tuple(name or "" for name in dataset.descriptions), dataset.crs.to_string() if dataset.crs else ""
        raster = Raster(path, dataset.read(), names, dataset.nodata, crs, tuple(dataset.transform)[:6])
        return raster, dataset.tags(), [dataset.tags(band) for band in dataset.indexes]


def pixel_size_m(crs: str, transform: Transform, shape: tuple[int, int]) -> tuple[float, float]:
    """Width and height on the ground, in metres, of the pixel in the middle of a grid, whatever its CRS."""
    a, _, c, _, e, f = transform
    x, y = c + a * shape[1] / 2, f + e * shape[0] / 2
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    longitude, latitude = to_degrees([x, x + a, x], [y, y, y + e])
    _, _, length = Geod(ellps="WGS84").inv(longitude[:1] * 2, latitude[:1] * 2, longitude[1:], latitude[1:])
    return float(length[0]), float(length[1])


def _dates(tags: dict[str, str], bands: list[dict[str, str]]) -> NDArray[np.datetime64] | None:
    """Dates of the bands of a NetCDF variable, from its CF time axis as GDAL hands it on."""
    for axis in (name.removeprefix("NETCDF_DIM_") for name in (bands[0] if bands else {})):
        unit, _, start = tags.get(f"{axis}#units", "").partition(" since ")
        if unit in _SECONDS:
            epoch = np.datetime64(start.strip().replace(" ", "T").rstrip("Z"), "s")
            seconds = [round(float(band[f"NETCDF_DIM_{axis}"]) * _SECONDS[unit]) for band in bands]
            return epoch + np.array(seconds).astype("timedelta64[s]")
    return None


# What pixels mean: one function a fact.

_UNITS = {"decibel": "db", "decibels": "db", "linear power": "linear", "power": "linear"}


def unit_said(text: str) -> str:
    """The unit that a text in a file means, the text itself where it means none of them, "" where it is empty."""
    word = text.strip().lower()
    return _UNITS.get(word, word)


def units_said(attributes: Mapping[Any, Any]) -> set[str]:
    """The units that a variable's attributes or a file's tags state, as a rule one or none."""
    return {unit_said(str(attributes.get(key, ""))) for key in ("unit", "units", "UNITS")} - {""}


def kind_of(variable: xr.DataArray) -> Kind:
    """What a variable's pixels mean: classes by their flags or integer type, decibels by their unit."""
    if "flag_values" in variable.attrs or "flag_meanings" in variable.attrs:
        return "classes"
    if "db" in units_said(variable.attrs):
        return "db"
    return "classes" if variable.dtype.kind in "iub" and scale_of(variable) == (1, 0) else "values"


def scale_of(variable: xr.DataArray) -> tuple[float, float]:
    """Factor and offset that make what is meant of what is stored."""
    return float(variable.attrs.get("scale_factor", 1)), float(variable.attrs.get("add_offset", 0))


def declared_nodata(variable: xr.DataArray) -> float | None:
    """The value that a file declares as missing."""
    for where in (variable.attrs, variable.encoding):
        for key in ("_FillValue", "missing_value", "nodata"):
            if where.get(key) is not None:
                return float(np.ravel(where[key])[0])
    return None


def unpacked(variable: xr.DataArray, kind: Kind, nodata: float | None = None) -> tuple[NDArray[Any], float]:
    """A variable's values as they are meant, and their nodata: NaN and scaled, or codes as they lie.

    Codes without a declared nodata have 0, which the caller must not take for a declared one.
    """
    stated = nodata if nodata is not None else declared_nodata(variable)
    values = variable.values
    if str(variable.attrs.get("_Unsigned", "")).lower() == "true" and values.dtype.kind == "i":
        # NetCDF 3 has no unsigned integers; its files say so in this attribute.
        values = values.view(f"u{values.dtype.itemsize}")
        stated = None if stated is None else stated % 2 ** (8 * values.dtype.itemsize)
    if kind == "classes":
        return values.astype(np.uint8) if values.dtype.kind == "b" else values, 0 if stated is None else stated
    missing = np.zeros(values.shape, bool) if stated is None else values == stated
    wide = np.dtype(np.float64 if values.dtype.itemsize > 4 else np.float32)
    scale, offset = scale_of(variable)
    out: NDArray[Any] = values.astype(wide)
    out = out * wide.type(scale) + wide.type(offset)
    out[missing | ~np.isfinite(out)] = np.nan
    return out, math.nan
