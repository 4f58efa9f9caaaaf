"""A raster file whole in memory: as stored, as meant, and on a grid that a source of tiles can use."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.transform import Affine, array_bounds

from sardino.data.places.utm import crs_at
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.packing import Packing
from sardino.data.rasters.pixels import Band
from sardino.data.rasters.place import PLAIN, pixel_size_m
from sardino.data.rasters.warp import Transform
from sardino.errors import SardinoError


@dataclass(frozen=True)
class Raster:
    """The bands of a file, row 0 in the north."""

    path: Path
    stored: NDArray[Any]  # (C, H, W) in the file's own type
    valid: NDArray[np.bool_]  # (C, H, W), whether a number is none of those that the file declares as missing
    bands: tuple[Band, ...]
    crs: str  # for example "EPSG:32631"; "" where the file states none
    transform: Transform  # pixel to map; pixel coordinates, north up, where there is no CRS
    doubts: tuple[str, ...] = ()  # sentences on what may not mean what it says
    dates: NDArray[np.datetime64] | None = None  # one a band where the file has a time axis

    @property
    def shape(self) -> tuple[int, int]:
        return self.stored.shape[1], self.stored.shape[2]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """(C, H, W) float32 as the file means them, NaN where missing."""
        planes = zip(self.bands, self.stored, self.valid, strict=True)
        return np.stack([band.packing.values(stored, valid) for band, stored, valid in planes]).astype(np.float32)

    @property
    def codes(self) -> NDArray[Any]:
        """(C, H, W) numbers as they are compared with codes: as stored, or as meant where the file scales them."""
        return self.values if any(band.packing.scaled for band in self.bands) else self.stored

    def without(self, nodata: Sequence[float]) -> NDArray[np.float32]:
        """The values, NaN also where the stored number is one of those given."""
        if not nodata:
            return self.values
        return np.where(Packing(missing=tuple(map(float, nodata))).valid(self.stored), self.values, np.float32(np.nan))

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
    """All bands of a file, or one variable of a NetCDF file (by default its only one), in degrees, metres or nowhere.

    Raises:
        SardinoError: what `open_pixels` refuses, or several variables of which none is named.
    """
    with open_pixels(path) as pixels:
        if not variable and len(pixels.variables) > 1:
            raise SardinoError(f"{path} has several variables, {', '.join(pixels.variables)}: name one")
        numbers = pixels.numbers(variable) if variable else list(range(len(pixels.bands)))
        dates = pixels.dates(pixels.bands[numbers[0]].variable)
        bands = tuple(pixels.bands[number] for number in numbers)
        place = (pixels.crs, pixels.transform) if pixels.crs else ("", PLAIN)
        return Raster(path, *pixels.stored(numbers), bands, *place, pixels.doubts, dates)


def read_square_raster(path: Path, variable: str = "") -> Raster:
    """`read_raster` on a grid of square pixels in metres, or without a place; refused in degrees or not square."""
    if not path.is_file():
        raise SardinoError(f"there is no file {path}: complete the folder, or correct the template in its spec")
    raster = read_raster(path, variable)
    if not raster.crs:
        return raster
    if CRS(raster.crs).is_geographic:
        a, _, c, _, e, f = raster.transform
        utm = crs_at(c + a * raster.shape[1] / 2, f + e * raster.shape[0] / 2)
        raise SardinoError(f"{path} is in degrees ({raster.crs}): warp it first (gdalwarp -t_srs {utm} -tr 10 10)")
    width, height = pixel_size_m(raster.crs, raster.transform, raster.shape)
    if not math.isclose(width, height, rel_tol=0.02):
        pixels = f"pixels of {width:.1f} by {height:.1f} m"
        raise SardinoError(f"{path} has {pixels}: warp it to square pixels first (gdalwarp -tr)")
    return raster
