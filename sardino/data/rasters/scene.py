"""A whole scene to be mapped: any raster that GDAL reads, a NetCDF file or a Zarr folder, read window by window."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from sardino.data.rasters.open import Gridded, open_by_gdal, open_gridded, unit_said, units_said, unpacked
from sardino.data.rasters.warp import Transform
from sardino.errors import SardinoError

Read = Callable[[int, int, int, int], NDArray[np.float32]]
"""Of first row, row behind, first column, column behind: (bands, h, w) as the file means them, NaN where missing."""
_CACHE = 64 * 2**20  # bytes of GDAL's block cache: rows are read in whole blocks, which it need not keep for long
_LEAST_ROWS, _MOST_ROWS_RASTER, _MOST_ROWS_STACK = 64, 1024, 256


@dataclass(frozen=True)
class Scene:
    """What a file or folder says of itself; no pixel is read before it is asked for."""

    path: Path
    crs: str
    transform: Transform  # north up
    shape: tuple[int, int]  # (rows, columns)
    names: tuple[str, ...]  # of its bands, "" for one without a name
    unit: str  # "db", "linear", "amplitude", "" where it does not say, its own word where that is another
    product: str  # what the bands are, such as "Sentinel-1 gamma0"; "" where it does not say
    chunk_rows: int  # that the file holds together, so that reading them at once decodes nothing twice
    files: tuple[str, ...] = ()  # that a VRT is made of
    # Of NetCDF and Zarr, where each band lies: its variable, and its place on the other dimensions.
    planes: tuple[tuple[str, dict[str, int]], ...] = ()

    @contextmanager
    def reading(self, bands: Sequence[int], threads: int) -> Iterator[Read]:
        """Open the file for reading some bands, by numbers from 0; to be used in the thread that opened it.

        `threads` decode; xarray reads in one.
        """
        if not self.planes:
            with rasterio.Env(GDAL_CACHEMAX=_CACHE, GDAL_NUM_THREADS=threads), open_by_gdal(self.path) as dataset:
                yield _read_raster(dataset, bands)
            return
        source = open_gridded(self.path)

        def plane(number: int, window: tuple[slice, slice]) -> NDArray[np.float32]:
            variable, at = self.planes[number]
            values, _ = unpacked(source.read(variable, window, at), "values")
            return values.astype(np.float32, copy=False)

        with closing(source.data):
            yield lambda top, bottom, left, right: np.stack(
                [plane(number, (slice(top, bottom), slice(left, right))) for number in bands]
            )

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


def open_scene(path: Path) -> Scene:
    """Open a scene by what it is: .nc, .h5 and Zarr folders as stacks by xarray, everything else by GDAL.

    A raster's names, unit and product are taken from where `sardino tiles mosaic` and GDAL put them. A stack has
    variables over (y, x), (band, y, x) or (season, pol, y, x), and a band's name is made of its labels: "winter_vv" is
    the place winter of variable vv (a composite of this project), winter and vv of a variable of two such dimensions,
    or the label of a band. A composite of this project (its attributes name "quantity" and "composite") is in linear
    power. Raises SardinoError: missing, damaged, without a CRS, rotated, upside down or irregular, each with its
    remedy.
    """
    path = Path(path)
    if not path.exists():
        raise SardinoError(f"there is no scene {path}")
    if path.is_dir() or path.suffix.lower() in (".nc", ".nc4", ".h5", ".zarr"):
        source = open_gridded(path)
        with closing(source.data):
            return _stack(source)
    with open_by_gdal(path) as dataset:
        return _raster(path, dataset)


def _raster(path: Path, dataset: Any) -> Scene:
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    if dataset.crs is None:
        remedy = f"terrain-correct a scene in radar geometry; else say it, rio edit-info --crs EPSG:32631 {path}"
        raise SardinoError(f"{path} has no CRS, so that nobody knows where it lies: {remedy}")
    if b or d or a <= 0 or e >= 0:
        raise SardinoError(f"{path} is rotated or not north-up: warp it first, gdalwarp {path} north-up.tif")
    names, tags = tuple(name or "" for name in dataset.descriptions), dataset.tags()
    units = {unit_said(unit) for unit in dataset.units if unit} or units_said(tags)
    unit, product = " and ".join(sorted(units)), tags.get("product", "")
    rows = _rows_at_once(int(dataset.block_shapes[0][0]), _MOST_ROWS_RASTER)
    grid = dataset.crs.to_string(), (a, 0.0, c, 0.0, e, f), (dataset.height, dataset.width)
    return Scene(path, *grid, names, unit, product, rows, files=tuple(dataset.files))


def _read_raster(dataset: Any, bands: Sequence[int]) -> Read:
    indexes = [number + 1 for number in bands]
    # NaN where a band declares no nodata: NaN is missing in any case.
    nodata = [math.nan if value is None else float(value) for value in dataset.nodatavals]
    scales, offsets, missing = (
        np.array([values[n] for n in bands], np.float32)[:, None, None]
        for values in (dataset.scales, dataset.offsets, nodata)
    )
    scaled = bool((scales != 1).any() or (offsets != 0).any())
    # A mask or alpha band is read beside the pixels; nodata can be told from them alone, in half the time.
    by_mask = any({MaskFlags.per_dataset, MaskFlags.alpha} & set(dataset.mask_flag_enums[n]) for n in bands)

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
        window = Window(left, top, right - left, bottom - top)
        values: NDArray[np.float32] = dataset.read(indexes, window=window, out_dtype="float32")
        if by_mask:
            values[dataset.read_masks(indexes, window=window) == 0] = np.nan
        elif not np.isnan(missing).all():
            values[values == missing] = np.nan
        return values * scales + offsets if scaled else values

    return read


def _stack(source: Gridded) -> Scene:
    measured = [name for name in source.names if not name.startswith("count_")]  # passes of each pixel, of a composite
    if not measured:
        raise SardinoError(f"{source.path} holds no variable of backscatter")
    names, planes = [], []
    for name in measured:
        variable = source.data[name]
        others = [str(dim) for dim in variable.dims if dim not in ("y", "x")]
        for places in itertools.product(*(range(variable.sizes[dim]) for dim in others)):
            at = dict(zip(others, places, strict=True))
            labels = [_label(variable, dim, place) for dim, place in at.items()]
            # One variable's own name says nothing of its bands; of several, each band's name ends in its variable's.
            if len(measured) > 1 or not others:
                labels.append(name)
            names.append("_".join(filter(None, labels)))
            planes.append((name, at))
    about, first = source.data.attrs, source.data[measured[0]]
    units = {unit for name in measured for unit in units_said(source.data[name].attrs)} or units_said(about)
    unit = " and ".join(sorted(units)) or ("linear" if {"quantity", "composite"} <= set(about) else "")
    chunks = first.encoding.get("chunks") or first.encoding.get("chunksizes") or ()
    held = int(chunks[first.dims.index("y")]) if len(chunks) == first.ndim else _MOST_ROWS_STACK
    grid, product = (source.crs, source.transform, source.shape), str(about.get("product", about.get("quantity", "")))
    rows = _rows_at_once(held, _MOST_ROWS_STACK)
    return Scene(source.path, *grid, tuple(names), unit, product, rows, planes=tuple(planes))


def _label(variable: xr.DataArray, dim: str, place: int) -> str:
    """The label of a place along a dimension; "" where its places are only numbered."""
    if dim not in variable.coords or variable.coords[dim].dtype.kind not in "UOST":
        return ""
    value = variable.coords[dim].values[place]
    return value.decode() if isinstance(value, bytes) else str(value)


def _rows_at_once(held: int, most: int) -> int:
    """Rows to read at once of a file that holds so many together."""
    return min(held, most) if held >= _LEAST_ROWS else math.ceil(_LEAST_ROWS / held) * held
