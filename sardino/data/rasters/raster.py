"""A raster file whole in memory: as stored, as meant, and on a grid that a source of tiles can use."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, array_bounds

from sardino.data.places.utm import nominal_m
from sardino.data.rasters.metric_grid import metric_grid
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.packing import Packing
from sardino.data.rasters.pixels import Band, Pixels, Window
from sardino.data.rasters.place import PLAIN, pixel_size_m
from sardino.data.rasters.warp import Grid, Kind, Transform, resample
from sardino.errors import SardinoError


@dataclass(frozen=True)
class Raster:
    """The bands of a file, row 0 in the north."""

    path: Path
    stored: NDArray[Any]  # (C, H, W) in the file's own type; what is missing may have become NaN in it
    beside: NDArray[np.bool_] | None  # (C, H, W), what masks and alpha bands say of it, None without: False is missing
    bands: tuple[Band, ...]
    crs: str  # for example "EPSG:32631"; "" where the file states none
    transform: Transform  # pixel to map; pixel coordinates, north up, where there is no CRS
    doubts: tuple[str, ...] = ()  # sentences on what may not mean what it says
    dates: NDArray[np.datetime64] | None = None  # one a band where the file has a time axis
    gcps: tuple[GroundControlPoint, ...] = ()  # by which alone it is placed
    unnamed: Transform | None = None  # where it lies in a CRS that it does not state
    moments: NDArray[np.int_] | None = None  # each band's place on the time axis

    @property
    def grid(self) -> Grid:
        """Where it lies."""
        return Grid(self.crs, self.transform, self.shape, self.gcps)

    @property
    def shape(self) -> tuple[int, int]:
        return self.stored.shape[1], self.stored.shape[2]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(C, H, W), whether a number is none of those that the file declares as missing."""
        return np.stack([self._known(number) for number in range(len(self.bands))])

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """(C, H, W) float32 as the file means them, NaN where missing; it is `stored` where that can hold them."""
        alike = self.stored.dtype == np.float32 and not any(band.packing.scaled for band in self.bands)
        values = self.stored if alike else np.empty(self.stored.shape, np.float32)
        # Plane by plane, because fresh memory for more of them may cost as much as reading them.
        for number, (band, stored) in enumerate(zip(self.bands, self.stored, strict=True)):
            values[number] = band.packing.values(stored if alike else stored.copy(), self._known(number))
        return values

    def _known(self, number: int) -> NDArray[np.bool_]:
        """(H, W), where a band is valid."""
        valid = self.bands[number].packing.valid(self.stored[number])
        return valid if self.beside is None else valid & self.beside[number]

    @property
    def codes(self) -> NDArray[Any]:
        """(C, H, W) numbers as they are compared with codes: as stored, or as meant where the file scales them."""
        return self.values if any(band.packing.scaled for band in self.bands) else self.stored

    def without(self, nodata: Sequence[float]) -> NDArray[np.float32]:
        """The values, NaN also where the stored number is one of those given."""
        if not nodata:
            return self.values
        return np.where(Packing(missing=tuple(map(float, nodata))).valid(self.stored), self.values, np.float32(np.nan))

    def by_date(self) -> list[tuple[np.datetime64 | None, "Raster"]]:
        """Its bands date by date, as its time axis has them; all of them with None where it has none."""
        if self.dates is None or self.moments is None:
            return [(None, self)]
        parts = []
        for moment in np.unique(self.moments):
            own = np.flatnonzero(self.moments == moment)
            given: dict[str, Any] = {"stored": self.stored[own], "bands": tuple(self.bands[n] for n in own)}
            given |= {"beside": None if self.beside is None else self.beside[own], "dates": self.dates[own]}
            parts.append((self.dates[own[0]], replace(self, **given, moments=self.moments[own])))
        return parts

    def on(self, grid: Grid, kind: Kind, nodata: Sequence[float] = ()) -> "Raster":
        """The raster on another grid, warped by what its pixels mean; itself where its pixels are that grid's."""
        if self.shape == grid.shape and self.grid.place_in(grid) == (0, 0):
            return self
        if kind == "classes":
            stored = resample(self.codes, self.grid, grid, kind, 0)
            beside = resample(self.valid.astype(np.uint8), self.grid, grid, kind, 0) > 0
        else:
            stored = resample(self.without(nodata), self.grid, grid, kind)
            beside = None
        bands = tuple(replace(band, packing=Packing()) for band in self.bands)
        place: dict[str, Any] = {"crs": grid.crs, "transform": grid.transform, "gcps": ()}
        return replace(self, stored=stored, beside=beside, bands=bands, **place)

    def require_same_grid(self, other: "Raster") -> None:
        """Refuse another raster of the same chip that has another size or lies elsewhere."""
        if other.shape != self.shape:
            here, there = (f"{raster.path} is {raster.shape[1]} x {raster.shape[0]} px" for raster in (self, other))
            raise SardinoError(f"{there}, {here}: say --warp, or warp it to the same grid first")
        own, others = (raster.transform if raster.crs else raster.unnamed for raster in (self, other))
        if own is None or others is None:
            return
        edges = [array_bounds(*self.shape, Affine(*transform)) for transform in (own, others)]
        apart = max(abs(a - b) for a, b in zip(*edges, strict=True))
        if (self.crs and other.crs and CRS(self.crs) != CRS(other.crs)) or apart > abs(own[0]) / 2:
            remedy = "say --warp, or warp one to the other first"
            if bare := [raster.path for raster in (self, other) if not raster.crs]:
                remedy = f"{bare[0]} states no CRS, set it (rio edit-info --help) or correct its geotransform"
            raise SardinoError(f"{other.path} and {self.path} lie on different grids: {remedy}")


def read_raster(path: Path, variable: str = "", turned: bool = False, placed: bool = True) -> Raster:
    """All bands of a file, or one variable of a NetCDF file (by default its only one), in degrees, metres or nowhere.

    Raises:
        SardinoError: what `open_pixels` refuses, or several variables of which none is named.
    """
    with open_pixels(path, turned=turned, placed=placed) as pixels:
        if not variable and len(pixels.variables) > 1:
            raise SardinoError(f"{path} has several variables, {', '.join(pixels.variables)}: name one")
        return raster_of(pixels, pixels.numbers(variable or pixels.variables[0]))


def raster_of(pixels: Pixels, numbers: Sequence[int], window: Window | None = None) -> Raster:
    """Bands of an open file, by number, in a window of it or whole."""
    dates, moments = pixels.dates(numbers)
    bands = tuple(pixels.bands[number] for number in numbers)
    own = pixels.grid.part(*window) if window else pixels.grid
    place = (own.crs, own.transform) if own.crs else ("", PLAIN)
    stored = pixels.as_stored(numbers, window)
    return Raster(pixels.path, *stored, bands, *place, pixels.doubts, dates, own.gcps, pixels.unnamed, moments)


def read_square_raster(
    path: Path,
    variable: str = "",
    warp: Kind | None = None,
    nodata: Sequence[float] = (),
    size_m: float = 0.0,
    placed: bool = True,
) -> Raster:
    """`read_raster` on a north-up grid of square pixels in metres, or without a place.

    Of another grid, or of pixels of another size than one that is given, it is warped to such pixels, by default of
    about its own size, as what `warp` says that they mean; or it is refused. Not `placed`, it has no place whatever it
    says.
    """
    if not path.is_file():
        raise SardinoError(f"there is no file {path}: complete the folder, or correct the template in its spec")
    raster = read_raster(path, variable, turned=True, placed=placed)
    if not raster.crs:
        return raster
    width, height = pixel_size_m(raster.crs, raster.transform, raster.shape)
    fault = ""
    if raster.gcps:
        fault = "is placed by ground control points alone"
    elif not raster.grid.straight:
        fault = "lies on a rotated grid"
    elif CRS(raster.crs).is_geographic:
        fault = f"is in degrees ({raster.crs})"
    elif not math.isclose(width, height, rel_tol=0.02):
        fault = f"has pixels of {nominal_m(width):.3g} m by {nominal_m(height):.3g} m"
    elif size_m and not math.isclose(width, size_m, rel_tol=0.02):
        fault = f"has pixels of {nominal_m(width):.3g} m"
    if not fault:
        return raster
    pixel_m = nominal_m(size_m, 0.02) if size_m else nominal_m(max(width, height), math.inf)
    grid = metric_grid(raster.grid, pixel_m, path)
    if warp:
        return raster.on(grid, warp, nodata)
    step = f"{grid.transform[0]:g}"
    command = f"gdalwarp -t_srs {grid.crs} -tr {step} {step} {path} warped.tif"
    raise SardinoError(f"{path} {fault}: say --warp, or warp it first ({command})")
