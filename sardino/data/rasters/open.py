"""The door for pixels: what a file's pixels mean, whoever asks. Nothing else in the package opens a foreign raster.

`open_pixels` finds bands, grid and meaning of any raster that GDAL reads, a NetCDF file or a Zarr store, and reads no
pixel before it is asked for. A NetCDF file or a Zarr store is read by xarray, everything else by GDAL.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import h5py
import numpy as np
import rasterio
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr
import zarr
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import GCPTransformer, from_gcps
from rasterio.windows import Window

from sardino.data.rasters.packing import fits, kind_of, packing_of, unit_said, unit_stated
from sardino.data.rasters.pixels import RASTER, Band, Pixels, explained
from sardino.data.rasters.place import PLAIN, check_place, crs_said, north_up
from sardino.data.rasters.stack import stack_pixels
from sardino.errors import SardinoError

_ZARR = {"zarr.json", ".zgroup", ".zmetadata", ".zarray"}  # of which one lies in a store
STACKS = (".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".zarr")


def open_pixels(
    path: Path,
    *,
    lat: str = "",
    lon: str = "",
    crs: str = "",
    group: str = "",
    turned: bool = False,
    placed: bool = True,
) -> Pixels:
    """Open a raster, NetCDF file or Zarr store, and find out what its pixels mean.

    Scale, offset, nodata, mask, alpha, valid range, names and units are taken band by band from wherever the file's
    format keeps them. A geotransform or CRS that is none is not believed.

    Args:
        path: .nc, .h5 and Zarr folders, zipped too, are read by xarray, everything else by GDAL.
        lat, lon: names of its coordinates, where they are not those of CF or of custom.
        crs: where the file states none.
        group: inside a NetCDF or Zarr file.
        turned: whether the caller warps a grid that is rotated, or known by ground control points only.
        placed: whether to believe what a file says of its place.

    Returns:
        What the file says of its pixels; `unplaced` and `doubts` hold what the caller has to judge.

    Raises:
        SardinoError: the file is missing, damaged or complex, or its grid is rotated, curvilinear, irregular or known
            by ground control points only; each with its remedy.
    """
    if not path.exists():
        raise SardinoError(f"there is no file {path}")
    store = _zarr_files(path)
    if path.is_dir() and not store:
        raise SardinoError(f"{path} is a folder without a Zarr store: name a raster in it")
    if store or path.suffix.lower() in STACKS:
        with explained(path, group):
            data = _dataset(path, group, bool(store))
        with explained(path, group, data):
            return stack_pixels(path, data, bool(store) and "zarr.json" not in store, lat, lon, crs, placed)
    with explained(path):
        dataset = rasterio.open(path)
    with explained(path, held=dataset):
        return _opened_raster(path, dataset, crs, turned, placed)


# By GDAL.


def bands_of_raster(path: Path | str, dataset: Any) -> list[Band]:
    """The bands of an open rasterio dataset, without alpha bands; SardinoError where they are complex."""
    if any(dtype.startswith("complex") for dtype in dataset.dtypes):
        raise SardinoError(f"{path} holds complex numbers: detect it first, sigma0 = |z|^2 (and multilook)")
    common, bands = unit_stated(dataset.tags()), []
    for n, interpretation in zip(dataset.indexes, dataset.colorinterp, strict=True):
        if interpretation == ColorInterp.alpha:
            continue
        nodata, dtype = dataset.nodatavals[n - 1], np.dtype(dataset.dtypes[n - 1])
        scale, offset = dataset.scales[n - 1], dataset.offsets[n - 1]
        attributes = {"scale_factor": scale, "add_offset": offset} | ({} if nodata is None else {"nodata": nodata})
        packing = packing_of(attributes, dtype, f"band {n} of {path}")
        unit = unit_said(dataset.units[n - 1] or "") or unit_stated(dataset.tags(n)) or common
        colors: dict[int, tuple[int, ...]] = {}
        if interpretation == ColorInterp.palette:
            with suppress(ValueError):
                colors = dataset.colormap(n)
        kind = kind_of(dtype, packing, unit, bool(colors))
        bands.append(Band(dataset.descriptions[n - 1] or "", unit, kind, dtype, packing, RASTER, {"band": n}, colors))
    return bands


def _opened_raster(path: Path, dataset: Any, crs: str, turned: bool, placed: bool) -> Pixels:
    if dataset.subdatasets:
        many = len(dataset.subdatasets)
        raise SardinoError(f"{path} holds {many} images or variables: split them first (gdal_translate {path} -sds)")
    bands = bands_of_raster(path, dataset)
    if not bands:
        raise SardinoError(f"{path} holds no band but transparency: is it a raster?")
    stated = crs_said(path, dataset.crs.to_string() if dataset.crs else "", crs) if placed else ""
    transform, shape, unplaced = tuple(dataset.transform)[:6], (dataset.height, dataset.width), ""
    points, of_points = dataset.gcps
    by_points, doubts, gcps, unnamed = bool(points) and dataset.transform.is_identity, [], (), None
    if by_points and turned and of_points:
        gcps = tuple(points)
        stated, grid, flipped = of_points.to_string(), tuple(from_gcps(points))[:6], (False, False)
        GCPTransformer(points).close()  # raises where no polynomial goes through them
        check_place(path, stated, grid, shape)
        doubts = [f"{path} is placed by ground control points, which know no relief: what lies high is displaced"]
    elif by_points or (dataset.rpcs and not stated):
        raise SardinoError(f"{path} has ground control points only: terrain-correct or warp it first (gdalwarp)")
    elif not stated:
        said = f"else say it, rio edit-info --crs EPSG:32631 {path}"
        unplaced = f"states no CRS: terrain-correct a scene in radar geometry; {said}"
        grid, flipped = PLAIN, (False, False)
        if placed and not dataset.transform.is_identity:
            unnamed = transform
    elif dataset.transform.is_identity:
        raise SardinoError(f"{path} has a CRS and no geotransform, so that nobody knows its place: copy the file again")
    else:
        grid, flipped = north_up(path, transform, shape, turned)
        check_place(path, stated, grid, shape)
    doubts += [
        f"{path} declares the nodata {value:g} in band {band.at['band']}, which {band.dtype} cannot hold: correct it"
        for band in bands
        for value in band.packing.missing
        if not fits(value, band.dtype)
    ]
    facts: dict[str, Any] = {"about": dataset.tags(), "files": tuple(dataset.files)}
    facts |= {"block_rows": int(dataset.block_shapes[0][0]), "unnamed": unnamed}
    held = dataset, partial(_read_raster, dataset, masks_beside(dataset)), dataset.close
    return Pixels(path, tuple(bands), stated, grid, shape, *held, unplaced, tuple(doubts), flipped, gcps=gcps, **facts)


def masks_beside(dataset: Any) -> tuple[bool, list[int]]:
    """Whether masks lie beside the bands, and the numbers of alpha bands.

    Nodata is no such mask: it can be told from the pixels alone, in half the time. GDAL takes an alpha band for a mask
    beside one band or three alone.
    """
    alpha = [n for n, way in zip(dataset.indexes, dataset.colorinterp, strict=True) if way == ColorInterp.alpha]
    flags = [set(own) for n, own in zip(dataset.indexes, dataset.mask_flag_enums, strict=True) if n not in alpha]
    return any(not own or (own >= {MaskFlags.per_dataset} and MaskFlags.alpha not in own) for own in flags), alpha


def _read_raster(
    dataset: Any, beside: tuple[bool, list[int]], bands: Sequence[Band], rows: slice, columns: slice
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Bands in a window of the file, and what masks and alpha bands say of them; None where there are none."""
    (masked, alpha), indexes, valid = beside, [band.at["band"] for band in bands], None
    view = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    stored = dataset.read(indexes, window=view, out_dtype=np.result_type(*(band.dtype for band in bands)))
    if masked:
        valid = dataset.read_masks(indexes, window=view) > 0
    if alpha:
        opaque = (dataset.read(alpha, window=view) > 0).all(0, keepdims=True)
        valid = opaque if valid is None else valid & opaque
    return stored, valid


# By xarray.


def _zarr_files(path: Path) -> set[str]:
    """What a folder or .zip file has of the files that make a Zarr store; empty where it is none.

    SardinoError where a .zip file has them deeper than xarray looks.
    """
    if path.is_dir():
        return {name for name in _ZARR if (path / name).is_file()}
    if path.suffix.lower() == ".zip":
        with suppress(BadZipFile), ZipFile(path) as archive:
            names = archive.namelist()
            if not (found := _ZARR & set(names)) and any(Path(name).name in _ZARR for name in names):
                raise SardinoError(
                    f"{path} holds its Zarr store in a folder of its own: unzip it, and give that folder"
                )
            return found
    return set()


def _dataset(path: Path, group: str, zarred: bool) -> xr.Dataset:
    decoding: dict[str, Any] = {"mask_and_scale": False, "decode_times": False, "decode_coords": "all"}
    if zarred:
        store: Any = path if path.is_dir() else zarr.storage.ZipStore(path, mode="r")
        stored = xr.open_zarr(store, group=group or None, chunks=None, consolidated=False, **decoding)
        data = stored[sorted(stored.data_vars, key=str)]  # Zarr lists its arrays in another order each time
        data.set_close(stored.close if store is path else store.close)
        return data
    with path.open("rb") as file:
        engine = "scipy" if file.read(3) == b"CDF" else "h5netcdf"  # a classic file, or NetCDF 4
    if engine == "h5netcdf":
        with h5py.File(path, "r") as whole:
            whole.attrs.get("_nc3_strict")  # damage is raised here, of which h5netcdf would print a traceback
    return xr.open_dataset(path, engine=engine, cache=False, group=group or None, **decoding)
