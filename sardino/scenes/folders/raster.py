"""One raster file, GeoTIFF or NetCDF: read whole, north up, with its place and its dates, or refused by name."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from rasterio.errors import NotGeoreferencedWarning

from sardino.errors import SardinoError

Transform = tuple[float, float, float, float, float, float]
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
        raise SardinoError(f"{what} cannot be read ({_first_line(error)}): copy the file again") from error
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


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no reason given"])[0].rstrip(".")
