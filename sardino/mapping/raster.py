"""A scene in a raster that GDAL reads: GeoTIFF, VRT, JPEG 2000 and the rest, by rasterio."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from sardino.errors import SardinoError
from sardino.mapping.bands import unit_said
from sardino.mapping.scene import Read, Scene, file_state

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
