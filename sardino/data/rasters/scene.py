"""A whole scene to be mapped: any raster that GDAL reads, a NetCDF file or a Zarr store, read window by window."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint

from sardino.data.rasters.metric_grid import ROWS, Read, warped
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.warp import Grid, Kind, Transform
from sardino.errors import SardinoError

_CACHE = 64 * 2**20  # bytes of GDAL's block cache: rows are read in whole blocks, which it need not keep for long
_LEAST_ROWS, _MOST_ROWS_RASTER, _MOST_ROWS_STACK = 64, 1024, 256


@dataclass(frozen=True)
class Scene:
    """What a file or folder says of itself; no pixel is read before it is asked for."""

    path: Path
    crs: str
    transform: Transform
    shape: tuple[int, int]  # (rows, columns)
    names: tuple[str, ...]  # of its bands, "" for one without a name
    units: tuple[str, ...]  # of its bands: "db", "linear", "amplitude", "" for one without, or a word of its own
    product: str  # what the bands are, such as "Sentinel-1 gamma0"; "" where it does not say
    chunk_rows: int  # that the file holds together, so that reading them at once decodes nothing twice
    files: tuple[str, ...] = ()  # that a VRT is made of
    numbers: tuple[int, ...] = ()  # of these bands in the file, from 0
    doubts: tuple[str, ...] = ()  # sentences on what may not mean what the file says
    gcps: tuple[GroundControlPoint, ...] = ()  # by which alone it is placed
    warped_from: tuple[Grid, Kind] | None = None  # the file's own grid, where it is not this one, and what pixels mean

    @property
    def grid(self) -> Grid:
        """Where it lies."""
        return Grid(self.crs, self.transform, self.shape, self.gcps)

    def on(self, grid: Grid, kind: Kind) -> "Scene":
        """The scene on another grid, to which its pixels are warped as they are read, by what they mean."""
        place: dict[str, Any] = {"crs": grid.crs, "transform": grid.transform, "shape": grid.shape, "gcps": ()}
        return replace(self, **place, chunk_rows=ROWS, warped_from=(self.grid, kind))

    @contextmanager
    def reading(self, bands: Sequence[int], threads: int) -> Iterator[Read]:
        """Open the file for reading some bands, by numbers from 0; to be used in the thread that opened it.

        `threads` decode; xarray reads in one.
        """
        chosen, own = [self.numbers[number] for number in bands], self.warped_from[0] if self.warped_from else self.grid
        with (
            rasterio.Env(GDAL_CACHEMAX=_CACHE, GDAL_NUM_THREADS=threads),
            open_pixels(self.path, crs=own.crs, turned=True) as pixels,
        ):

            def read(top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
                return pixels.values(chosen, (slice(top, bottom), slice(left, right))).astype(np.float32, copy=False)

            yield warped(read, own, self.grid, self.warped_from[1], len(chosen)) if self.warped_from else read

    def state(self) -> list[list[Any]]:
        """Name, bytes and nanoseconds of the last change of every file behind the scene: another is another scene.

        A Zarr folder counts by its number of files, their bytes and the newest of them.
        """
        if self.path.is_dir():
            found = [file.stat() for file in self.path.rglob("*") if file.is_file()]
            newest = max((about.st_mtime_ns for about in found), default=0)
            return [[self.path.name, len(found), sum(about.st_size for about in found), newest]]
        files = [file for file in map(Path, self.files) if file.is_file()] or [self.path]
        return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def open_scene(path: Path, crs: str = "") -> Scene:
    """Open a scene by what it is: .nc, .h5 and Zarr stores as stacks by xarray, everything else by GDAL.

    A raster's names, unit and product are taken from where `sardino tiles mosaic` and GDAL put them. A stack has
    variables over (y, x), (band, y, x) or (season, pol, y, x), and a band's name is made of its labels: "winter_vv" is
    the place winter of variable vv (a composite of this project), winter and vv of a variable of two such dimensions,
    or the label of a band. A composite of this project (its attributes name "quantity" and "composite") is in linear
    power. A grid may be rotated, or known by ground control points.

    Args:
        crs: where the file states none.

    Raises:
        SardinoError: missing, damaged, complex, without a CRS, or irregular, each with its remedy.
    """
    path = Path(path)
    if not path.exists():
        raise SardinoError(f"there is no scene {path}")
    with open_pixels(path, crs=crs, turned=True) as pixels:
        pixels.placed()
        # Passes of each pixel, of a composite, are no backscatter.
        numbers = tuple(n for n, band in enumerate(pixels.bands) if not band.variable.startswith("count_"))
        if not numbers:
            raise SardinoError(f"{path} holds no variable of backscatter")
        bands, most = [pixels.bands[n] for n in numbers], _MOST_ROWS_STACK if pixels.stacked else _MOST_ROWS_RASTER
        product = str(pixels.about.get("product", pixels.about.get("quantity", "")))
        rows, names = _rows_at_once(pixels.block_rows or most, most), tuple(band.name for band in bands)
        grid = pixels.crs, pixels.transform, pixels.shape
        units = tuple(band.unit for band in bands)
        return Scene(path, *grid, names, units, product, rows, pixels.files, numbers, pixels.doubts, pixels.gcps)


def _rows_at_once(held: int, most: int) -> int:
    """Rows to read at once of a file that holds so many together."""
    return min(held, most) if held >= _LEAST_ROWS else math.ceil(_LEAST_ROWS / held) * held
