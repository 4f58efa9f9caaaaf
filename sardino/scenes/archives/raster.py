"""One file of an archive tile, GeoTIFF or NetCDF, in degrees or metres; what is damaged leaves the tile out by name."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from sardino.scenes.archives.layouts import MARKERS
from sardino.scenes.source import LeftOut

Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class ArchiveRaster:
    """A raster in memory.

    Args:
        path: where it was read.
        values: (bands, H, W) in the file's own type, row 0 in the north.
        names: of the bands; "" where the file gives none.
        crs: always stated.
        transform: pixel to map.
        nodata: value declared as missing.
    """

    path: Path
    values: NDArray[Any]
    names: tuple[str, ...]
    crs: str
    transform: Transform
    nodata: float | None


def tile_file(folder: Path, identifier: str) -> Path:
    """The file of a tile in a data set's folder.

    Raises:
        LeftOut: a marker says that the tile has no data there, or there is no file.
    """
    for suffix in (".tif", ".nc"):
        if (path := folder / f"{identifier}{suffix}").is_file():
            return path
    for marker in MARKERS:
        for path in sorted(folder.glob(f"{identifier}*{marker}")):
            said = path.read_text(errors="replace").strip()[:80]
            raise LeftOut(f"{path} marks the tile as without data{f' ({said})' if said else ''}")
    raise LeftOut(f"{folder} has no {identifier}.tif or .nc: download the tile")


def read_archive_raster(path: Path, variable: str = "") -> ArchiveRaster:
    """Read a file whole.

    Args:
        path: .tif, or .nc.
        variable: of a NetCDF file; by default its only one.

    Raises:
        LeftOut: the file is damaged, has no CRS, or lies on a rotated grid.
    """
    raster = _read(path, variable)
    a, b, _, d, e, _ = raster.transform
    if b or d or a <= 0 or e >= 0:
        raise LeftOut(f"{path} lies on a rotated or flipped grid: warp it north-up first")
    return raster


def _read(path: Path, variable: str) -> ArchiveRaster:
    # GDAL reads NetCDF 3 and 4 in the wheels of rasterio; xarray would need h5py besides.
    source = f'netcdf:"{path}":{variable}' if variable else str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(source) as file:
                if not file.count:
                    raise LeftOut(f"{path} has several variables, {len(file.subdatasets)}: name one")
                values, crs, transform = file.read(), file.crs, tuple(file.transform)[:6]
                names, nodata = tuple(name or "" for name in file.descriptions), file.nodata
                degrees = any(name.startswith(("lat#", "latitude#")) for name in file.tags())
    except rasterio.errors.RasterioError as error:
        what = f"{path} is damaged or has no variable '{variable}'" if variable else f"{path} is damaged"
        raise LeftOut(f"{what} ({_first_line(error)}): remove it and download it again") from error
    if crs is None and not degrees:
        raise LeftOut(f"{path} states no CRS: download it again")
    return ArchiveRaster(path, values, names, crs.to_string() if crs else "EPSG:4326", transform, nodata)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
