"""Pixels of a file: its bands, its grid, and windows of them as they are stored or as they are meant."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.control import GroundControlPoint

from sardino.data.rasters.axes import dates_of
from sardino.data.rasters.packing import Packing
from sardino.data.rasters.warp import Grid, Kind, Transform, bounds_in
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError, first_line

RASTER = "band_data"  # name of the one variable of a file that GDAL reads
DAMAGED = "is it a raster, and whole? copy the file again"
Window = tuple[slice, slice]  # rows and columns, from the north and from the west


@dataclass(frozen=True)
class Band:
    """One plane of a file, and what its pixels mean."""

    name: str  # "" where the file gives none
    unit: str  # "db", "linear", "amplitude", its own word where that is another, "" where it gives none
    kind: Kind
    dtype: np.dtype[Any]  # as stored
    packing: Packing
    variable: str = RASTER  # that it is a plane of
    at: Mapping[str, int] = field(default_factory=dict)  # its place on the variable's other dimensions
    colors: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # (R, G, B, alpha) of each code


@dataclass(frozen=True)
class Pixels:
    """What a file says of its pixels, and the pixels; to be used in the thread that opened it, and closed."""

    path: Path
    bands: tuple[Band, ...]
    crs: str  # for example "EPSG:32631"; "" where the file states none
    transform: Transform  # north up, west to east, unless opened as it is; pixel coordinates where there is no CRS
    shape: tuple[int, int]  # (rows, columns)
    data: Any  # xr.Dataset packed as in the file, its grid named "y" and "x"; or rasterio's dataset
    read: Callable[[Sequence[Band], slice, slice], tuple[NDArray[Any], NDArray[np.bool_] | None]]
    close: Callable[[], None]
    unplaced: str = ""  # why nobody knows where it lies, behind the file's name; "" where that is known
    doubts: tuple[str, ...] = ()  # sentences on what may not mean what it says; the caller refuses or tells
    flipped: tuple[bool, bool] = (False, False)  # whether rows and columns run the other way in the file
    about: Mapping[str, Any] = field(default_factory=dict)  # tags or attributes of the whole file
    block_rows: int = 0  # that the file holds together; 0 where it does not say
    files: tuple[str, ...] = ()  # that it is made of
    gcps: tuple[GroundControlPoint, ...] = ()  # by which alone it is placed
    unnamed: Transform | None = None  # where it lies in a CRS that it does not state

    def __enter__(self) -> "Pixels":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def grid(self) -> Grid:
        """Where it lies."""
        return Grid(self.crs, self.transform, self.shape, self.gcps)

    @property
    def stacked(self) -> bool:
        """Whether xarray reads it."""
        return isinstance(self.data, xr.Dataset)

    @cached_property
    def geographic(self) -> bool:
        """Whether its map units are degrees."""
        return bool(CRS(self.crs).is_geographic)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables that lie on the grid."""
        return tuple(dict.fromkeys(band.variable for band in self.bands))

    def numbers(self, variable: str) -> list[int]:
        """The numbers, from 0, of a variable's bands."""
        found = [number for number, band in enumerate(self.bands) if band.variable == variable]
        if not found:
            there = ", ".join(self.variables)
            raise SardinoError(f"{self.path} has no variable {variable} on its grid: it has {there}")
        return found

    def kind(self, variable: str) -> Kind:
        """What a variable's pixels mean; SardinoError where its bands differ."""
        kinds = {self.bands[number].kind for number in self.numbers(variable)}
        if len(kinds) > 1:
            differ = " and ".join(sorted(kinds))
            raise SardinoError(f"{self.path} has bands of {differ}: say which with --kind, or split it")
        return kinds.pop()

    def placed(self) -> "Pixels":
        """Itself; SardinoError where nobody knows where it lies."""
        if self.unplaced:
            raise SardinoError(f"{self.path} {self.unplaced}")
        return self

    def dates(self, numbers: Sequence[int]) -> tuple[NDArray[np.datetime64] | None, NDArray[np.int_]]:
        """The date of each of a variable's bands, UTC to the second, and its place on the time axis; None without."""
        bands = [self.bands[number] for number in numbers]
        for dim in bands[0].at if self.stacked else ():
            dates = dates_of(self.path, self.data[dim]) if dim in self.data.coords else None
            if dates is not None:
                places = np.array([band.at[dim] for band in bands])
                return dates[places], places
        return None, np.zeros(len(bands), int)

    def as_stored(self, bands: Sequence[int], window: Window | None) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Bands by number in a window: (C, h, w) as stored, and (C, h, w) bool, what masks say; None without masks."""
        spans = window or tuple(slice(0, size) for size in self.shape)
        rows, columns = (
            slice(size - span.stop, size - span.start) if flip else span
            for span, size, flip in zip(spans, self.shape, self.flipped, strict=True)
        )
        with explained(self.path):
            stored, beside = self.read([self.bands[n] for n in bands], rows, columns)
        north, west = (slice(None, None, -1 if flip else 1) for flip in self.flipped)
        known = None if beside is None else np.broadcast_to(beside, stored.shape)[:, north, west]
        return stored[:, north, west], known

    def stored(
        self, bands: Sequence[int] | None = None, window: Window | None = None, nodata: Sequence[float] = ()
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands by number, all by default, in a window: (C, h, w) as stored, and (C, h, w) bool where they are valid.

        Missing is what nodata, mask, alpha band, valid range and `nodata` say, and what is not finite.
        """
        numbers = range(len(self.bands)) if bands is None else bands
        (stored, beside), chosen = self.as_stored(numbers, window), [self.bands[n] for n in numbers]
        packings = [replace(band.packing, missing=(*band.packing.missing, *map(float, nodata))) for band in chosen]
        if len(set(packings)) == 1:
            valid = packings[0].valid(stored)
        else:
            valid = np.stack([packing.valid(plane) for packing, plane in zip(packings, stored, strict=True)])
        if beside is not None:
            valid &= beside
        return stored, valid

    def values(
        self, bands: Sequence[int] | None = None, window: Window | None = None, nodata: Sequence[float] = ()
    ) -> NDArray[Any]:
        """Bands as they are meant, (C, h, w) float32 (float64 of wider types): scaled, NaN where missing."""
        chosen = [self.bands[n].packing for n in (range(len(self.bands)) if bands is None else bands)]
        stored, valid = self.stored(bands, window, nodata)
        if len({(packing.scale, packing.offset) for packing in chosen}) == 1:
            return chosen[0].values(stored, valid)
        return np.stack([p.values(plane, known) for p, plane, known in zip(chosen, stored, valid, strict=True)])

    def window(self, tile: Tile) -> Window | None:
        """Rows and columns that a tile lies on; None where it lies outside."""
        place = self._place(tile)
        if any(end <= 0 or first >= size for first, end, size in place):
            return None
        rows, columns = (slice(max(first, 0), min(end, size)) for first, end, size in place)
        return rows, columns

    def around(self, window: Window, margin_px: int) -> Window:
        """A window with a margin, as far as there are pixels."""
        rows, columns = (
            slice(max(span.start - margin_px, 0), min(span.stop + margin_px, size))
            for span, size in zip(window, self.shape, strict=True)
        )
        return rows, columns

    def holds(self, tile: Tile) -> bool:
        """Whether a tile lies wholly inside."""
        return all(first >= 0 and end <= size for first, end, size in self._place(tile))

    def _place(self, tile: Tile) -> list[tuple[int, int, int]]:
        """Of rows and columns a tile's first, the one behind its last, even outside, and how many there are."""
        left, bottom, right, top = bounds_in(tile, CRS(self.crs))
        a, _, c, _, e, f = self.transform
        if self.geographic:  # the same meridian has many names: take those that are nearest to the file's
            right += 360 * (right < left)
            turn = 360 * round((c + a * self.shape[1] / 2 - (left + right) / 2) / 360)
            left, right = left + turn, right + turn
        tiny = 1e-6  # a tile that ends where the grid begins lies outside
        return [
            (math.floor((top - f) / e + tiny), math.ceil((bottom - f) / e - tiny), self.shape[0]),
            (math.floor((left - c) / a + tiny), math.ceil((right - c) / a - tiny), self.shape[1]),
        ]

    def part(self, window: Window) -> Grid:
        """Where a window lies; in degrees its middle lies between 180 west and 180 east."""
        (a, b, c, d, e, f), (rows, columns) = self.transform, window
        left, middle = c + a * columns.start, c + a * (columns.start + columns.stop) / 2
        if self.geographic:
            left -= 360 * math.floor((middle + 180) / 360)
        shape = rows.stop - rows.start, columns.stop - columns.start
        return Grid(self.crs, (a, b, left, d, e, f + e * rows.start), shape)


@contextmanager
def explained(path: Path, group: str = "", held: Any = None) -> Iterator[None]:
    """Errors of a library as one sentence, what is held closed then; its warnings are doubts or errors of ours."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except Exception as error:  # each engine has errors of its own
        if held is not None:
            held.close()
        if isinstance(error, SardinoError):
            raise
        remedy = f"has it a group '{group}', and is it whole?" if group else DAMAGED
        said = first_line(error.__cause__ or error)  # rasterio's own words name the error behind it, and no more
        raise SardinoError(f"{path} cannot be read ({said}): {remedy}") from error
