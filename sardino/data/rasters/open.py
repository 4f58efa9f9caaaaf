"""A gridded file of any kind, opened lazily: GeoTIFF, NetCDF or Zarr, with its grid, read window by window."""

import itertools
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from sardino.data.rasters.warp import Kind, Transform
from sardino.data.sources.archives.layout import MARKERS
from sardino.data.sources.source import LeftOut
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError, first_line

_NAMES = (
    ("y", "x"),
    ("lat", "lon"),
    ("latitude", "longitude"),
    ("northing", "easting"),
    ("Y", "X"),
    ("rlat", "rlon"),
)
_DEGREES = {"degrees_north", "degrees_east", "degree_north", "degree_east", "degrees", "degree"}
_EDGE_POINTS = 21


@dataclass(frozen=True)
class Gridded:
    """A file on a regular grid; no pixel is read before a window is asked for.

    Args:
        path: of the file.
        data: its variables; those that have the dimensions "y" and "x" lie on the grid. Packed as in the file.
        crs, transform, shape: the grid, north up, west to east; shape is (rows, columns).
        flipped: whether (rows, columns) run the other way in the file.
    """

    path: Path
    data: xr.Dataset
    crs: str
    transform: Transform
    shape: tuple[int, int]
    flipped: tuple[bool, bool]

    @property
    def names(self) -> list[str]:
        """Variables that lie on the grid."""
        return [
            str(name) for name, v in self.data.data_vars.items() if {"y", "x"} <= set(v.dims) and v.dtype.kind in "iufb"
        ]

    def window(self, tile: Tile, margin_px: int = 2) -> tuple[slice, slice] | None:
        """Rows and columns that a tile needs, with a margin; None where it lies outside."""
        rows, columns = self._place(tile)
        if columns[1] <= 0 or rows[1] <= 0 or columns[0] >= self.shape[1] or rows[0] >= self.shape[0]:
            return None
        return (
            slice(max(rows[0] - margin_px, 0), min(rows[1] + margin_px, self.shape[0])),
            slice(max(columns[0] - margin_px, 0), min(columns[1] + margin_px, self.shape[1])),
        )

    def holds(self, tile: Tile) -> bool:
        """Whether a tile lies wholly inside."""
        rows, columns = self._place(tile)
        return min(rows[0], columns[0]) >= 0 and rows[1] <= self.shape[0] and columns[1] <= self.shape[1]

    def _place(self, tile: Tile) -> tuple[tuple[int, int], tuple[int, int]]:
        """First row and column of a tile, and those behind its last; they may lie outside."""
        bounds = tile.bounds
        if CRS(tile.crs) != CRS(self.crs):
            convert = Transformer.from_crs(tile.crs, self.crs, always_xy=True)
            bounds = convert.transform_bounds(*tile.bounds, densify_pts=_EDGE_POINTS)
        left, bottom, right, top = bounds
        a, _, c, _, e, f = self.transform
        tiny = 1e-6  # a tile that ends where the grid begins lies outside
        columns = math.floor((left - c) / a + tiny), math.ceil((right - c) / a - tiny)
        rows = math.floor((top - f) / e + tiny), math.ceil((bottom - f) / e - tiny)
        return rows, columns

    def read(self, name: str, window: tuple[slice, slice]) -> xr.DataArray:
        """One variable in a window, dimensions (..., y, x), north up, as packed in the file."""
        picked = [
            slice(size - part.stop, size - part.start) if flip else part
            for part, size, flip in zip(window, self.shape, self.flipped, strict=True)
        ]
        part = self.data[name].isel(y=picked[0], x=picked[1]).transpose(..., "y", "x")
        try:
            values = part.load()
        except Exception as error:  # each engine has errors of its own
            raise SardinoError(f"{self.path} cannot be read ({error}): copy the file again") from error
        return values.isel(
            y=slice(None, None, -1 if self.flipped[0] else 1), x=slice(None, None, -1 if self.flipped[1] else 1)
        )

    def corner(self, window: tuple[slice, slice]) -> Transform:
        """Transform of a window."""
        a, b, c, d, e, f = self.transform
        return a, b, c + a * window[1].start, d, e, f + e * window[0].start


def open_gridded(path: Path, *, lat: str = "", lon: str = "", crs: str = "", group: str = "") -> Gridded:
    """Open a GeoTIFF (.tif), a NetCDF file (.nc, .h5) or a Zarr store (.zarr) lazily.

    Args:
        path: the file.
        lat, lon: names of its coordinates, where they are not those of CF or of custom.
        crs: where the file states none.
        group: inside a NetCDF or Zarr file.

    Raises:
        SardinoError: the file is missing, damaged, of another kind, without a CRS, or not on a regular grid.
    """
    if not path.exists():
        raise SardinoError(f"there is no file {path}")
    try:
        data = _open(path, group)
    except SardinoError:
        raise
    except Exception as error:  # each engine has errors of its own
        where = f"{path} (group {group})" if group else str(path)
        raise SardinoError(f"{where} cannot be read ({first_line(error)}): copy the file again") from error
    names = _spatial(path, data, lat, lon)
    stated = crs or _crs_of(data, names)
    if not stated:
        raise SardinoError(f"{path} states no CRS: name it, for example --crs EPSG:4326")
    data = data.rename({old: new for old, new in zip(names, ("y", "x"), strict=True) if old != new})
    if CRS(stated).is_geographic and float(data["x"].max()) > 180.5:
        # Longitudes from 0 to 360, as climate models write them.
        data = data.assign_coords(x=(data["x"] + 180) % 360 - 180).sortby("x")
    (south, step_y), (west, step_x) = _axis(path, data["y"].values), _axis(path, data["x"].values)
    flipped = step_y > 0, step_x < 0
    top = max(south, south + step_y * (data.sizes["y"] - 1)) + abs(step_y) / 2
    left = min(west, west + step_x * (data.sizes["x"] - 1)) - abs(step_x) / 2
    transform = (abs(step_x), 0.0, left, 0.0, -abs(step_y), top)
    opened = Gridded(path, data, stated, transform, (data.sizes["y"], data.sizes["x"]), flipped)
    if not opened.names:
        raise SardinoError(f"{path} holds no variable on the grid of {names[0]} and {names[1]}")
    return opened


def _open(path: Path, group: str) -> xr.Dataset:
    if path.suffix.lower() in (".tif", ".tiff"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            bands = rioxarray.open_rasterio(path, cache=False, masked=False, mask_and_scale=False)
        if not isinstance(bands, xr.DataArray):
            raise SardinoError(f"{path} holds several images: split them first (gdal_translate)")
        return bands.to_dataset(name="band_data")
    decoding: dict[str, Any] = {"mask_and_scale": False, "decode_coords": "all"}
    if path.suffix.lower() == ".zarr" or (path / "zarr.json").exists() or (path / ".zgroup").exists():
        return xr.open_zarr(path, group=group or None, chunks=None, consolidated=False, **decoding)
    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"
    engine = "scipy" if classic else "h5netcdf"
    return xr.open_dataset(path, engine=engine, cache=False, group=group or None, **decoding)


def _spatial(path: Path, data: xr.Dataset, lat: str, lon: str) -> tuple[str, str]:
    """Names of the dimensions from north to south and from west to east."""
    if bool(lat) != bool(lon):
        raise SardinoError("name both coordinates: --lat and --lon")
    if lat:
        pair = (lat, lon)
    else:
        by_cf = tuple(
            next((str(n) for n, v in data.coords.items() if v.ndim == 1 and _is_axis(v, key, name)), "")
            for key, name in (("Y", "latitude"), ("X", "longitude"))
        )
        known = [pair for pair in _NAMES if set(pair) <= set(map(str, data.dims)) and set(pair) <= set(data.variables)]
        pair = (by_cf[0], by_cf[1]) if all(by_cf) else known[0] if known else ("", "")
    found: list[Hashable] = list(data.variables)
    if not all(pair) or not set(pair) <= set(found):
        raise SardinoError(
            f"{path} has no coordinates {' and '.join(pair) if lat else 'known to CF'}: name them with --lat and "
            f"--lon, it has {', '.join(map(str, data.coords)) or 'none'}"
        )
    if any(data[name].ndim != 1 for name in pair):
        raise SardinoError(f"{path} lies on a curvilinear grid ({pair[0]} and {pair[1]} are 2-D): warp it first")
    dims = tuple(str(data[name].dims[0]) for name in pair)
    for name, dim in zip(pair, dims, strict=True):
        if name != dim:
            raise SardinoError(f"{path} indexes {name} by {dim}: rename the dimension to {name} first")
    return pair


def _is_axis(variable: xr.DataArray, axis: str, name: str) -> bool:
    standard = str(variable.attrs.get("standard_name", ""))
    return variable.attrs.get("axis") == axis or standard in (name, f"projection_{axis.lower()}_coordinate")


def _crs_of(data: xr.Dataset, names: tuple[str, str]) -> str:
    if data.rio.crs:
        return str(data.rio.crs.to_string())
    units = {str(data[name].attrs.get("units", "")) for name in names}
    geographic = names in (("lat", "lon"), ("latitude", "longitude")) or units <= _DEGREES
    inside = all(
        float(np.abs(data[name].values).max(initial=0)) <= limit for name, limit in zip(names, (90, 360), strict=True)
    )
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


# A scene to be mapped: any raster that GDAL reads, a NetCDF file or a Zarr folder, read window by window.

Read = Callable[[int, int, int, int], NDArray[np.float32]]
"""Of first row, row behind, first column, column behind: (bands, h, w) as the file means them, NaN where missing."""


@dataclass(frozen=True)
class Scene(ABC):
    """What a file says of itself; no pixel is read before it is asked for.

    Args:
        path: file or folder.
        crs, transform, shape: its grid, north up; shape is (rows, columns).
        names: of its bands, "" for one without a name.
        unit: of its bands: "db", "linear", "amplitude", "" where it does not say, its own word where that is another.
        product: what the bands are, such as "Sentinel-1 gamma0"; "" where it does not say.
        chunk_rows: rows that the file holds together, so that reading them at once decodes nothing twice.
    """

    path: Path
    crs: str
    transform: Transform
    shape: tuple[int, int]
    names: tuple[str, ...]
    unit: str
    product: str
    chunk_rows: int

    @abstractmethod
    def reading(self, bands: Sequence[int], threads: int) -> AbstractContextManager[Read]:
        """Open the file for reading some bands, by numbers from 0; to be used in the thread that opened it.

        Args:
            threads: that decode.
        """

    @abstractmethod
    def state(self) -> list[list[Any]]:
        """Name, size and time of last change of every file behind the scene: another state is another scene."""


def open_scene(path: Path) -> Scene:
    """Open a scene by what it is: .nc, .h5 and Zarr folders as stacks, everything else by GDAL.

    Raises:
        SardinoError: missing, damaged, without a CRS, rotated or upside down, each with its remedy.
    """

    path = Path(path)
    if not path.exists():
        raise SardinoError(f"there is no scene {path}")
    stack = path.is_dir() or path.suffix.lower() in (".nc", ".nc4", ".h5", ".zarr")
    return open_stack(path) if stack else open_raster(path)


def file_state(path: Path) -> list[Any]:
    """[name, bytes, nanoseconds of the last change] of one file."""
    about = path.stat()
    return [path.name, about.st_size, about.st_mtime_ns]


# One raster file, GeoTIFF or NetCDF: read whole, north up, with its place and its dates, or refused by name.

_SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


@dataclass(frozen=True)
class Raster:
    """A raster file in memory.

    Args:
        path: where it was read.
        values: (bands, H, W) in the file's own type, row 0 in the north.
        nodata: value that the file declares as missing.
        crs: for example "EPSG:32631"; "" where the file states none.
        transform: pixel to map; pixel coordinates, north up, where there is no CRS.
        dates: one date a band where the file has a time axis.
    """

    path: Path
    values: NDArray[Any]
    nodata: float | None
    crs: str
    transform: Transform
    dates: NDArray[np.datetime64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[1], self.values.shape[2]

    def masked(self, nodata: list[float]) -> NDArray[np.float32]:
        """Values as float32, with NaN for the declared nodata, for the values given and for infinities."""
        values = self.values.astype(np.float32)
        for missing in [*nodata, *([] if self.nodata is None else [self.nodata])]:
            values[self.values == missing] = np.nan
        values[~np.isfinite(values)] = np.nan
        return values

    def require_same_grid(self, other: "Raster") -> None:
        """Refuse another raster of the same chip that has another size or lies elsewhere."""
        if other.shape != self.shape:
            raise SardinoError(
                f"{other.path} is {_size(other)}, {self.path} is {_size(self)}: warp it to the same grid first"
            )
        if not (self.crs and other.crs):
            return
        apart = max(abs(a - b) for a, b in zip(_corners(self), _corners(other), strict=True))
        if CRS(self.crs) != CRS(other.crs) or apart > abs(self.transform[0]) / 2:
            raise SardinoError(f"{other.path} and {self.path} lie on different grids: warp one to the other first")


def read_raster(path: Path, variable: str = "") -> Raster:
    """Read all bands of a file, or one variable of a NetCDF file.

    Raises:
        SardinoError: the file is missing or damaged, or its grid is rotated, in degrees, or not square.
    """
    if not path.is_file():
        raise SardinoError(f"there is no file {path}: complete the folder, or correct the template in its spec")
    source = f"netcdf:{path}:{variable}" if variable else str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(source) as dataset:
                values = dataset.read()
                crs = dataset.crs.to_string() if dataset.crs else ""
                transform: Transform = tuple(dataset.transform)[:6]
                nodata = dataset.nodata
                control_points = len(dataset.gcps[0])
                dates = _dates(dataset.tags(), [dataset.tags(band) for band in dataset.indexes])
    except rasterio.errors.RasterioError as error:
        what = f"the variable {variable} of {path}" if variable else str(path)
        raise SardinoError(f"{what} cannot be read ({first_line(error)}): copy the file again") from error
    if control_points and not crs:
        raise SardinoError(f"{path} has ground control points only: terrain-correct or warp it to a UTM grid first")
    if not crs:
        return Raster(path, values, nodata, "", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), dates)
    if transform[1] or transform[3]:
        raise SardinoError(f"{path} lies on a rotated grid: warp it north-up first (gdalwarp -t_srs {crs})")
    if transform[4] > 0:
        a, b, c, d, e, f = transform
        values, transform = values[:, ::-1], (a, b, c, d, -e, f + e * values.shape[1])
    raster = Raster(path, np.ascontiguousarray(values), nodata, crs, transform, dates)
    _require_square(raster)
    return raster


def pixel_size_m(raster: Raster) -> tuple[float, float]:
    """Width and height on the ground, in metres, of the pixel in the middle of a raster with a CRS."""
    a, _, c, _, e, f = raster.transform
    x, y = c + a * raster.shape[1] / 2, f + e * raster.shape[0] / 2
    to_degrees = Transformer.from_crs(raster.crs, "EPSG:4326", always_xy=True).transform
    longitude, latitude = to_degrees([x, x + a, x], [y, y, y + e])
    _, _, length = Geod(ellps="WGS84").inv(longitude[:1] * 2, latitude[:1] * 2, longitude[1:], latitude[1:])
    return float(length[0]), float(length[1])


def _require_square(raster: Raster) -> None:
    width, height = pixel_size_m(raster)
    if CRS(raster.crs).is_geographic:
        a, _, c, _, e, f = raster.transform
        zone = int((c + a * raster.shape[1] / 2 + 180) // 6) + 1
        utm = (32600 if f + e * raster.shape[0] / 2 >= 0 else 32700) + zone
        raise SardinoError(
            f"{raster.path} is in degrees ({raster.crs}): warp it first (gdalwarp -t_srs EPSG:{utm} -tr 10 10)"
        )
    if not math.isclose(width, height, rel_tol=0.02):
        raise SardinoError(
            f"{raster.path} has pixels of {width:.1f} by {height:.1f} m: warp it to square pixels first (gdalwarp -tr)"
        )


def _dates(tags: dict[str, str], bands: list[dict[str, str]]) -> NDArray[np.datetime64] | None:
    """Dates of the bands of a NetCDF variable, from its CF time axis as GDAL hands it on."""
    for axis in (name.removeprefix("NETCDF_DIM_") for name in (bands[0] if bands else {})):
        unit, _, start = tags.get(f"{axis}#units", "").partition(" since ")
        if unit in _SECONDS:
            epoch = np.datetime64(start.strip().replace(" ", "T").rstrip("Z"), "s")
            seconds = [round(float(band[f"NETCDF_DIM_{axis}"]) * _SECONDS[unit]) for band in bands]
            return epoch + np.array(seconds).astype("timedelta64[s]")
    return None


def _corners(raster: Raster) -> tuple[float, float, float, float]:
    a, _, c, _, e, f = raster.transform
    return c, f, c + a * raster.shape[1], f + e * raster.shape[0]


def _size(raster: Raster) -> str:
    return f"{raster.shape[1]} x {raster.shape[0]} px"


# One file of an archive tile, GeoTIFF or NetCDF, in degrees or metres; what is damaged leaves the tile out by name.


@dataclass(frozen=True)
class ArchiveRaster:
    """A raster in memory.

    Args:
        path: where it was read.
        values: (bands, H, W) in the file's own type, row 0 in the north.
        names: of the bands; "" where the file gives none.
        crs: always stated.
        transform: pixel to map.
        nodata: value declared as missing.
    """

    path: Path
    values: NDArray[Any]
    names: tuple[str, ...]
    crs: str
    transform: Transform
    nodata: float | None


def tile_file(folder: Path, identifier: str) -> Path:
    """The file of a tile in a data set's folder.

    Raises:
        LeftOut: a marker says that the tile has no data there, or there is no file.
    """
    for suffix in (".tif", ".nc"):
        if (path := folder / f"{identifier}{suffix}").is_file():
            return path
    for marker in MARKERS:
        for path in sorted(folder.glob(f"{identifier}*{marker}")):
            said = path.read_text(errors="replace").strip()[:80]
            raise LeftOut(f"{path} marks the tile as without data{f' ({said})' if said else ''}")
    raise LeftOut(f"{folder} has no {identifier}.tif or .nc: download the tile")


def read_archive_raster(path: Path, variable: str = "") -> ArchiveRaster:
    """Read a file whole.

    Args:
        path: .tif, or .nc.
        variable: of a NetCDF file; by default its only one.

    Raises:
        LeftOut: the file is damaged, has no CRS, or lies on a rotated grid.
    """
    raster = _read(path, variable)
    a, b, _, d, e, _ = raster.transform
    if b or d or a <= 0 or e >= 0:
        raise LeftOut(f"{path} lies on a rotated or flipped grid: warp it north-up first")
    return raster


def _read(path: Path, variable: str) -> ArchiveRaster:
    # GDAL reads NetCDF 3 and 4 in the wheels of rasterio; xarray would need h5py besides.
    source = f'netcdf:"{path}":{variable}' if variable else str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(source) as file:
                if not file.count:
                    raise LeftOut(f"{path} has several variables, {len(file.subdatasets)}: name one")
                values, crs, transform = file.read(), file.crs, tuple(file.transform)[:6]
                names, nodata = tuple(name or "" for name in file.descriptions), file.nodata
                degrees = any(name.startswith(("lat#", "latitude#")) for name in file.tags())
    except rasterio.errors.RasterioError as error:
        what = f"{path} is damaged or has no variable '{variable}'" if variable else f"{path} is damaged"
        raise LeftOut(f"{what} ({first_line(error)}): remove it and download it again") from error
    if crs is None and not degrees:
        raise LeftOut(f"{path} states no CRS: download it again")
    return ArchiveRaster(path, values, names, crs.to_string() if crs else "EPSG:4326", transform, nodata)


# What the pixels of a foreign file mean: classes, decibels or another quantity, and which of them are missing.


def kind_of(variable: xr.DataArray) -> Kind:
    """What a variable's pixels mean: classes by their flags or integer type, decibels by their unit."""
    attributes = variable.attrs
    if "flag_values" in attributes or "flag_meanings" in attributes:
        return "classes"
    texts = [str(attributes.get(key, "")) for key in ("units", "unit")]
    if any(text.strip().lower() in ("db", "decibel", "decibels") for text in texts):
        return "db"
    scaled = _scale(variable) != (1, 0)
    return "classes" if variable.dtype.kind in "iub" and not scaled else "values"


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
    scale, offset = _scale(variable)
    out: NDArray[Any] = values.astype(wide)
    out = out * wide.type(scale) + wide.type(offset)
    out[missing | ~np.isfinite(out)] = np.nan
    return out, math.nan


def _scale(variable: xr.DataArray) -> tuple[float, float]:
    return float(variable.attrs.get("scale_factor", 1)), float(variable.attrs.get("add_offset", 0))


def declared_nodata(variable: xr.DataArray) -> float | None:
    """The value that a file declares as missing."""
    for where in (variable.attrs, variable.encoding):
        for key in ("_FillValue", "missing_value", "nodata"):
            if where.get(key) is not None:
                return float(np.ravel(where[key])[0])
    return None


_SAID = {
    "db": "db",
    "decibel": "db",
    "decibels": "db",
    "linear": "linear",
    "linear power": "linear",
    "power": "linear",
    "amplitude": "amplitude",
}


def unit_said(text: str) -> str:
    """The unit that a text in a file means, the text itself where it means none of them, "" where it is empty."""
    word = text.strip().lower()
    return _SAID.get(word, word)


# A scene in a raster that GDAL reads: GeoTIFF, VRT, JPEG 2000 and the rest, by rasterio.

CACHE = 64 * 2**20
"""Bytes of GDAL's block cache: rows are read in whole blocks, which it need not keep for long."""
_MOST_ROWS, _LEAST_ROWS = 1024, 64


@dataclass(frozen=True)
class RasterScene(Scene):
    """See `Scene`; also the files that a VRT is made of."""

    files: tuple[str, ...] = ()

    @contextmanager
    def reading(self, bands: Sequence[int], threads: int) -> Iterator[Read]:
        """See `Scene`."""
        indexes = [number + 1 for number in bands]
        with rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_NUM_THREADS=threads), _opened(self.path) as dataset:
            scales, offsets, missing = (
                np.array([values[n] for n in bands], np.float32)[:, None, None]
                for values in (dataset.scales, dataset.offsets, [_number(value) for value in dataset.nodatavals])
            )
            scaled = bool((scales != 1).any() or (offsets != 0).any())
            # A mask or alpha band is read beside the pixels; nodata can be told from them alone, in half the time.
            by_mask = any({MaskFlags.per_dataset, MaskFlags.alpha} & set(dataset.mask_flag_enums[n]) for n in bands)

            def read(top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
                window = Window(left, top, right - left, bottom - top)
                try:
                    values: NDArray[np.float32] = dataset.read(indexes, window=window, out_dtype="float32")
                    known = dataset.read_masks(indexes, window=window) > 0 if by_mask else None
                except RasterioError as error:
                    raise SardinoError(f"{self.path} cannot be read ({error}): copy the file again") from error
                if known is not None:
                    values[~known] = np.nan
                elif not np.isnan(missing).all():
                    values[values == missing] = np.nan
                return values * scales + offsets if scaled else values

            yield read

    def state(self) -> list[list[Any]]:
        """See `Scene`."""
        here = [file for file in map(Path, self.files) if file.is_file()] or [self.path]
        return [file_state(file) for file in here]


def open_raster(path: Path) -> RasterScene:
    """Open a raster; names, unit and product are taken from where `sardino tiles mosaic` and GDAL put them.

    Raises:
        SardinoError: not a raster, without a CRS, rotated or not north up.
    """
    with _opened(path) as dataset:
        a, b, c, d, e, f = tuple(dataset.transform)[:6]
        if dataset.crs is None:
            raise SardinoError(
                f"{path} has no CRS, so that nobody knows where it lies: terrain-correct a scene in radar geometry; "
                f"else say what its CRS is, for example rio edit-info --crs EPSG:32631 {path}"
            )
        if b or d or a <= 0 or e >= 0:
            raise SardinoError(f"{path} is rotated or not north-up: warp it first, gdalwarp {path} north-up.tif")
        tags = dataset.tags()
        said = {unit_said(unit) for unit in dataset.units if unit} or {
            unit_said(tags.get("unit") or tags.get("units") or tags.get("UNITS") or "")
        }
        block = int(dataset.block_shapes[0][0])
        return RasterScene(
            path=path,
            crs=dataset.crs.to_string(),
            transform=(a, 0.0, c, 0.0, e, f),
            shape=(dataset.height, dataset.width),
            names=tuple(name or "" for name in dataset.descriptions),
            unit=said.pop() if len(said) == 1 else " and ".join(sorted(said)),
            product=tags.get("product", ""),
            chunk_rows=min(block, _MOST_ROWS) if block >= _LEAST_ROWS else -(-_LEAST_ROWS // block) * block,
            files=tuple(dataset.files),
        )


def _number(nodata: float | None) -> float:
    """NaN where a band declares no nodata: NaN is missing in any case."""
    return math.nan if nodata is None else float(nodata)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            dataset = rasterio.open(path)
        except RasterioError as error:
            raise SardinoError(f"{path} cannot be read ({error}): is it a raster, and whole?") from error
    with dataset:
        yield dataset


# A scene in an xarray stack: NetCDF or Zarr, bands along a dimension, or seasons and polarisations.

_ROWS = 256


@dataclass(frozen=True)
class Plane:
    """One band of a stack: a variable at one place of each of its other dimensions."""

    variable: str
    at: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class StackScene(Scene):
    """See `Scene`; also where each band lies."""

    planes: tuple[Plane, ...] = ()

    @contextmanager
    def reading(self, bands: Sequence[int], threads: int) -> Iterator[Read]:
        """See `Scene`; xarray reads in one thread."""
        source = open_gridded(self.path)

        def read(top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
            return np.stack([_values(source, self.planes[n], (slice(top, bottom), slice(left, right))) for n in bands])

        try:
            yield read
        finally:
            source.data.close()

    def state(self) -> list[list[Any]]:
        """See `Scene`; a Zarr folder counts by its number of files, their bytes and the newest of them."""
        if self.path.is_file():
            return [file_state(self.path)]
        found = [file.stat() for file in self.path.rglob("*") if file.is_file()]
        newest = max((about.st_mtime_ns for about in found), default=0)
        return [[self.path.name, len(found), sum(about.st_size for about in found), newest]]


def open_stack(path: Path) -> StackScene:
    """Open a NetCDF file or Zarr folder with variables over (y, x), (band, y, x) or (season, pol, y, x).

    A band's name is made of its labels: "winter_vv" is the place winter of variable vv (a composite of this project),
    winter and vv of a variable of two such dimensions, or the label of a band. A composite of this project (its
    attributes name "quantity" and "composite") is in linear power.

    Raises:
        SardinoError: without a CRS, not on a regular grid, or damaged.
    """
    source = open_gridded(path)
    try:
        planes, names = _planes(source)
        variables = {plane.variable for plane in planes}
        about = source.data.attrs
        said = {unit_said(str(source.data[name].attrs.get("units", source.data[name].attrs.get("unit", ""))))
                for name in variables} - {""}  # fmt: skip
        stated = unit_said(str(about.get("units", about.get("unit", ""))))
        composite = "linear" if {"quantity", "composite"} <= set(about) else ""
        first = source.data[planes[0].variable]
        chunks = first.encoding.get("chunks") or first.encoding.get("chunksizes") or (_ROWS, _ROWS)
        rows = int(chunks[first.dims.index("y")]) if len(chunks) == first.ndim else _ROWS
        return StackScene(
            path=path,
            crs=source.crs,
            transform=source.transform,
            shape=source.shape,
            names=names,
            unit=" and ".join(sorted(said)) or stated or composite,
            product=str(about.get("product", about.get("quantity", ""))),
            chunk_rows=min(rows, _ROWS) if rows >= 64 else math.ceil(64 / rows) * rows,
            planes=planes,
        )
    finally:
        source.data.close()


def _planes(source: Gridded) -> tuple[tuple[Plane, ...], tuple[str, ...]]:
    """All bands, and their names."""
    found: list[Plane] = []
    labels: list[str] = []
    measured = [name for name in source.names if not name.startswith("count_")]  # passes of each pixel, of a composite
    if not measured:
        raise SardinoError(f"{source.path} holds no variable of backscatter")
    # One variable's own name says nothing of its bands; of several, each band's name ends in its variable's.
    for name in measured:
        variable = source.data[name]
        others = [str(dim) for dim in variable.dims if dim not in ("y", "x")]
        for at in itertools.product(*(range(variable.sizes[dim]) for dim in others)):
            parts = [_label(variable, dim, number) for dim, number in zip(others, at, strict=True)]
            if len(measured) > 1 or not others:
                parts.append(name)
            found.append(Plane(name, tuple(zip(others, at, strict=True))))
            labels.append("_".join(filter(None, parts)))
    return tuple(found), tuple(labels)


def _label(variable: xr.DataArray, dim: str, number: int) -> str:
    """The label of a place along a dimension; "" where its places are only numbered."""
    if dim not in variable.coords or variable.coords[dim].dtype.kind not in "UOST":
        return ""
    value = variable.coords[dim].values[number]
    return value.decode() if isinstance(value, bytes) else str(value)


def _values(source: Gridded, plane: Plane, window: tuple[slice, slice]) -> NDArray[np.float32]:
    """One band in a window as float32 with NaN."""
    one = Gridded(source.path, source.data.isel(dict(plane.at)), *_grid(source))
    values, _ = unpacked(one.read(plane.variable, window), "values")
    return values.astype(np.float32, copy=False)


def _grid(source: Gridded) -> tuple[Any, ...]:
    return source.crs, source.transform, source.shape, source.flipped
