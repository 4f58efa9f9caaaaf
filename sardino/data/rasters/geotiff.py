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
from rasterio.transform import Affine
from rasterio.windows import Window

from sardino.data.rasters.warp import Transform
from sardino.errors import SardinoError

_LARGEST_PX = 1 << 36
_BLOCK = 512
_CACHE = 64 * 2**20
"""Bytes of GDAL's block cache; rasterio takes bytes, where GDAL's own option counts megabytes."""


@dataclass(frozen=True)
class GeoTiff:
    """What a raster to be written is.

    Args:
        crs, transform, shape: its grid; shape is (rows, columns).
        bands: names of the bands.
        dtype: of the pixels.
        nodata: value of pixels without data; also what untouched pixels hold.
        colors: "#rrggbb" by value, for classes.
        tags: further facts, as texts.
        stepped: floats are multiples of a step, as tiles' hundredths of a decibel are; a predictor would hide that,
            and make the file larger and slower to read.
    """

    crs: str
    transform: Transform
    shape: tuple[int, int]
    bands: Sequence[str]
    dtype: str
    nodata: float
    colors: dict[int, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    stepped: bool = False

    def __post_init__(self) -> None:
        if not self.crs or math.prod(self.shape) * len(self.bands) > _LARGEST_PX or min(self.shape) < 1:
            raise SardinoError(
                f"a raster of {self.shape[1]} x {self.shape[0]} px in '{self.crs}' cannot be written: "
                f"name a CRS and a coarser resolution, or fewer tiles"
            )


class Canvas:
    """A raster that is being filled; a pixel that has a value keeps it."""

    def __init__(self, dataset: Any, what: GeoTiff) -> None:
        self._dataset = dataset
        self.what = what

    def lay(self, values: np.ndarray[Any, Any], row: int, column: int) -> None:
        """Put (C, h, w) values, nodata where there are none, at a place; the part outside is cut off.

        Where two pieces overlap, as tiles of neighbouring UTM zones do, the first one stays.
        """
        rows, columns = self.what.shape
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + values.shape[1], rows), min(column + values.shape[2], columns)
        if top >= bottom or left >= right:
            return
        new = values[:, top - row : bottom - row, left - column : right - column]
        window = Window(left, top, right - left, bottom - top)
        old = self._dataset.read(window=window)
        empty = np.isnan(old) if math.isnan(self.what.nodata) else old == self.what.nodata
        self._dataset.write(np.where(empty, new, old).astype(self.what.dtype), window=window)


@contextmanager
def write_geotiff(
    path: Path, what: GeoTiff, overwrite: bool = False, verify: Callable[[Path], None] = lambda finished: None
) -> Iterator[Canvas]:
    """Open a raster for filling; on leaving it becomes a Cloud-Optimized GeoTIFF with overviews, valid by rio-cogeo.

    Overviews of classes hold the nearest pixel, others averages as they are stored: they are for display only.

    Args:
        overwrite: replace a file that is already there.
        verify: looks at the finished file before it gets its name, and raises where it is not right: GDAL tells
            nobody that the disk was full when it closed a file.

    Raises:
        SardinoError: the path is taken, or the disk is full.
    """
    from rio_cogeo.cogeo import cog_translate
    from rio_cogeo.profiles import cog_profiles

    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise SardinoError(f"a raster is written as a .tif file, not {path}")
    if path.exists() and not overwrite:
        raise SardinoError(f"{path} exists already: remove it, or ask to overwrite it")
    # A folder for two files and rio-cogeo's own; one name a raster, so that the next run overwrites the gigabytes that
    # a killed one left.
    folder = path.with_name(f".{path.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    flat, finished = folder / "flat.tif", folder / "cog.tif"
    predictor = 1 if what.colors or what.stepped else 3 if what.dtype.startswith("float") else 2
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE):
            with rasterio.open(flat, "w+", **_profile(what)) as dataset:
                dataset.descriptions = tuple(what.bands)
                dataset.update_tags(**what.tags)
                if what.colors:
                    colors = {value: bytes.fromhex(color.lstrip("#")) for value, color in what.colors.items()}
                    dataset.write_colormap(1, {value: (*rgb, 255) for value, rgb in colors.items()})
                yield Canvas(dataset, what)
            cog_translate(
                flat,
                finished,
                cog_profiles.get("deflate") | {"predictor": predictor},
                nodata=what.nodata,
                overview_resampling="nearest" if what.colors else "average",
                in_memory=False,
                quiet=True,
                config={"GDAL_TIFF_OVR_BLOCKSIZE": str(_BLOCK), "GDAL_NUM_THREADS": "ALL_CPUS"},
            )
            verify(finished)
        os.replace(finished, path)
    except rasterio.errors.RasterioError as error:
        raise SardinoError(f"{path} cannot be written ({error}): is the disk full?") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _profile(what: GeoTiff) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "crs": what.crs,
        "transform": Affine(*what.transform),
        "height": what.shape[0],
        "width": what.shape[1],
        "count": len(what.bands),
        "dtype": what.dtype,
        "nodata": what.nodata,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "sparse_ok": True,
        # Interleaved by pixel, GDAL 3.10 fills the other bands of a new block with 0 and not with nodata.
        "interleave": "band",
        "bigtiff": "if_safer",
        # The optical layer is no colour table: each band has its name.
        "photometric": "minisblack",
    }
