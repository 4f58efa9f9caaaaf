"""A Cloud-Optimized GeoTIFF grown piece by piece: memory holds one piece, and the file appears whole or not at all."""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError  # what a copy raises; rasterio has no public name for it
from rasterio.enums import Resampling
from rasterio.rio.overview import get_maximum_overview_level
from rasterio.windows import Window

from sardino.data.rasters.packing import Packing
from sardino.data.rasters.warp import Transform, grid_profile, overlap
from sardino.errors import SardinoError
from sardino.files import writing

_LARGEST_PX = 1 << 36
_BLOCK, _MANY = 512, 16
_CACHE = 64 * 2**20  # bytes of GDAL's block cache; rasterio takes bytes, where GDAL's own option counts megabytes
_FLAT = {"driver": "GTiff", "tiled": True, "sparse_ok": True}
# By pixel, GDAL 3.10 fills the other bands of a new block with 0 and not with nodata. The optical layer is no colour
# table: each band has its name.
_FLAT |= {"bigtiff": "if_safer", "interleave": "band", "photometric": "minisblack"}
_COMPRESSED = {"tiled": True, "compress": "deflate", "interleave": "pixel", "bigtiff": "if_safer"}


@dataclass(frozen=True)
class GeoTiff:
    """What a raster to be written is."""

    crs: str
    transform: Transform
    shape: tuple[int, int]  # (rows, columns)
    bands: Sequence[str]  # their names
    dtype: str  # "float16" is stored in 16 bits and read by GDAL as float32
    nodata: float  # value of pixels without data; also what untouched pixels hold
    colors: dict[int, str] = field(default_factory=dict)  # "#rrggbb" by value, for classes
    tags: dict[str, str] = field(default_factory=dict)  # further facts
    # Floats are multiples of a step, as tiles' hundredths of a decibel are; a predictor would hide that, and make the
    # file larger and slower to read.
    stepped: bool = False
    packing: Sequence[Packing] = ()  # a band each, where floats are stored as other numbers

    @property
    def block(self) -> int:
        """Side of a block; of a raster of very many bands smaller, since a reader of pixels holds all their blocks."""
        return _BLOCK if len(self.bands) < _MANY else _BLOCK // 4

    def __post_init__(self) -> None:
        if not self.crs or math.prod(self.shape) * len(self.bands) > _LARGEST_PX or min(self.shape) < 1:
            what = f"a raster of {self.shape[1]} x {self.shape[0]} px in '{self.crs}'"
            raise SardinoError(f"{what} cannot be written: name a CRS and a coarser resolution, or fewer tiles")


@dataclass(frozen=True)
class Canvas:
    """A raster that is being filled; a pixel that has a value keeps it."""

    dataset: Any  # of rasterio
    what: GeoTiff

    def lay(self, values: np.ndarray[Any, Any], row: int, column: int) -> None:
        """Put (C, h, w) values, nodata where there are none, at a place; the part outside is cut off.

        Where two pieces overlap, as tiles of neighbouring UTM zones do, the first one stays.
        """
        own, there = overlap((row, column), values.shape[1:], self.what.shape)
        new = values[:, *own]
        if not new.size:
            return
        window = Window.from_slices(*there)
        old = self.dataset.read(window=window)
        empty = np.isnan(old) if math.isnan(self.what.nodata) else old == self.what.nodata
        self.dataset.write(np.where(empty, new, old).astype(self.dataset.dtypes[0]), window=window)

    def fill(self, values: np.ndarray[Any, Any], window: Window) -> None:
        """Put (C, h, w) values in a window where no other piece lies: nothing is read to be kept."""
        self.dataset.write(values.astype(self.dataset.dtypes[0], copy=False), window=window)


@contextmanager
def write_geotiff(
    path: Path, what: GeoTiff, overwrite: bool = False, verify: Callable[[Path], None] = lambda finished: None
) -> Iterator[Canvas]:
    """Open a raster for filling; on leaving it becomes a Cloud-Optimized GeoTIFF with overviews.

    Overviews of classes hold the nearest pixel, others averages as they are stored: they are for display only.

    `overwrite`: replace a file that is already there. `verify`: looks at the finished file before it gets its name, and
    raises where it is not right: GDAL tells nobody that the disk was full when it closed a file. Raises SardinoError:
    the path is taken, or the disk is full.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise SardinoError(f"a raster is written as a .tif file, not {path}")
    if path.exists() and not overwrite:
        raise SardinoError(f"{path} exists already: remove it, or ask to overwrite it")
    # For two files; one name a raster, so that the next run overwrites what a killed one left.
    folder = path.with_name(f".{path.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    with writing(path):
        folder.mkdir(parents=True)
    flat, finished = folder / "flat.tif", folder / "cog.tif"
    predictor = 1 if what.colors or what.stepped else 3 if what.dtype.startswith("float") else 2
    blocks: dict[str, Any] = {"blockxsize": what.block, "blockysize": what.block}
    if what.dtype == "float16":
        blocks["nbits"] = 16
    if len(what.bands) >= _MANY:
        blocks["interleave"] = "band"
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE):
            profile = _FLAT | blocks | grid_profile(what.crs, what.transform, what.shape)
            stored = "float32" if what.dtype == "float16" else what.dtype
            profile |= {"count": len(what.bands), "dtype": stored, "nodata": what.nodata}
            with rasterio.open(flat, "w+", **profile) as dataset:
                dataset.descriptions = tuple(what.bands)
                dataset.update_tags(**what.tags)
                if what.packing:
                    dataset.scales = [each.scale for each in what.packing]
                    dataset.offsets = [each.offset for each in what.packing]
                if what.colors:
                    colors = {value: bytes.fromhex(color.lstrip("#")) for value, color in what.colors.items()}
                    dataset.write_colormap(1, {value: (*rgb, 255) for value, rgb in colors.items()})
                yield Canvas(dataset, what)
            _optimize(flat, finished, what, {"predictor": predictor} | blocks)
            verify(finished)
        os.replace(finished, path)
    except (rasterio.errors.RasterioError, CPLE_BaseError) as error:
        raise SardinoError(f"{path} cannot be written ({error}): is the disk full?") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _optimize(flat: Path, finished: Path, what: GeoTiff, layout: dict[str, Any]) -> None:
    """Copy a plain GeoTIFF, compressed and its overviews before its pixels, in GDAL's order of a Cloud-Optimized one.

    Overviews are made in the plain file: GDAL's driver COG and rio-cogeo copy it once more for them, and the driver
    cannot lay bands apart before GDAL 3.11.
    """
    method = Resampling.nearest if what.colors else Resampling.average
    levels = get_maximum_overview_level(what.shape[1], what.shape[0], minsize=what.block)
    with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=str(what.block), GDAL_NUM_THREADS="ALL_CPUS"):
        with rasterio.open(flat, "r+") as dataset:
            dataset.build_overviews([2**level for level in range(1, levels + 1)], method)
        rasterio.shutil.copy(flat, finished, driver="GTiff", copy_src_overviews=True, **_COMPRESSED | layout)
