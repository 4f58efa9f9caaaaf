"""A gridded file of any kind, opened lazily: GeoTIFF, NetCDF or Zarr, with its grid, read window by window."""

import math
import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.errors import NotGeoreferencedWarning

from sardino.errors import SardinoError
from sardino.tiles.contents.resampling import Transform
from sardino.tiles.grid import Tile

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
        raise SardinoError(f"{where} cannot be read ({_first_line(error)}): copy the file again") from error
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


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
