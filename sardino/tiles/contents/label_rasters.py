"""Label rasters of an area: sheets or one file a tile, in any CRS, of the year asked for, read tile by tile."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, transform_bounds

from sardino.errors import SardinoError
from sardino.tiles.grid import Tile
from sardino.tiles.landcover import IGNORE, WORLDCOVER, Legend

_YEAR = re.compile(r"(?<!\d)(19[7-9]\d|20[0-4]\d)(?!\d)")
_YEAR_TAGS = ("year", "time_coverage_start", "time_start", "start_date", "date", "product_year")


class LabelRasters:
    """Label rasters of an area, in any CRS, read tile by tile.

    Args:
        paths: files, or folders of .tif files; they may be adjoining sheets or one file a tile.
        legend: meaning of the product's codes.
        year: refuse a file that states another one in its tags or its name.
        nodata: codes that mean "no label", besides the value that a file declares and a 0 that is no class.

    Raises:
        SardinoError: no file, a file that is damaged, without CRS, no label raster, or of another year.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        legend: Legend = WORLDCOVER,
        year: int | None = None,
        nodata: Sequence[int] = (),
    ) -> None:
        files = [file for path in paths for file in (sorted(path.rglob("*.tif")) if path.is_dir() else [path])]
        if not files:
            raise SardinoError(f"there is no label raster in {', '.join(map(str, paths))}: give .tif files")
        self.legend = legend
        self.nodata = {int(code) for code in nodata} | ({0} - set(legend.codes))
        self._files = files
        self._places = shapely.STRtree([shapely.box(*_bounds_of(file, year)) for file in files])

    def read(self, tile: Tile) -> NDArray[np.uint8]:
        """Class indices on the tile's own grid, nearest pixel, IGNORE where there is no label."""
        if not tile.crs:
            raise SardinoError(f"tile {tile.id} of {tile.region} states no CRS: labels cannot be found for it")
        index = np.full(tile.shape, IGNORE, np.uint8)
        # An edge that is straight in one CRS bends in another: a thousandth of a degree is room enough.
        near = self._places.query(tile.footprint_in("EPSG:4326").buffer(1e-3))
        for file in (self._files[number] for number in sorted(near)):
            if (index == IGNORE).any():
                index = np.where(index == IGNORE, self._read(file, tile), index)
        return index

    def _read(self, file: Path, tile: Tile) -> NDArray[np.uint8]:
        rows, columns = tile.shape
        try:
            with (
                rasterio.open(file) as dataset,
                WarpedVRT(
                    dataset,
                    crs=tile.crs,
                    transform=Affine(*tile.transform),
                    width=columns,
                    height=rows,
                    resampling=Resampling.nearest,
                    add_alpha=True,  # tells "outside the file" from a class of code 0
                ) as warped,
            ):
                codes, inside = warped.read(1), warped.read(dataset.count + 1) > 0
        except rasterio.errors.RasterioError as error:
            raise SardinoError(f"{file} cannot be read at tile {tile.id} ({error}): copy the file again") from error
        inside &= ~np.isin(codes, list(self.nodata))
        index = np.where(inside, self.legend.encode(codes), IGNORE).astype(np.uint8)
        if foreign := np.unique(codes[inside & (index == IGNORE)]).tolist():
            raise SardinoError(
                f"{file} holds the codes {', '.join(map(str, foreign[:8]))}, which are no class of "
                f"'{self.legend.name}': name another legend, or what they are with --nodata"
            )
        return index


def _bounds_of(file: Path, year: int | None) -> tuple[float, float, float, float]:
    """Bounds in degrees of a file that is a label raster with a CRS, and of the year asked for."""
    if not file.is_file():
        raise SardinoError(f"there is no label raster {file}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(file) as dataset:
                crs, bounds, kind = dataset.crs, dataset.bounds, np.dtype(dataset.dtypes[0])
                stated = _year_in(dataset.tags(), file.name)
    except rasterio.errors.RasterioError as error:
        raise SardinoError(f"{file} cannot be read ({error}): copy the file again") from error
    if crs is None:
        raise SardinoError(f"{file} states no CRS: labels cannot be placed; set it with gdal_edit -a_srs")
    if not np.issubdtype(kind, np.integer):
        raise SardinoError(f"{file} holds {kind} values and no class codes: give a label raster of an integer type")
    if year and stated and year not in stated:
        raise SardinoError(f"{file} is of {' and '.join(map(str, sorted(stated)))}, not of {year}")
    return transform_bounds(crs, "EPSG:4326", *bounds)


def _year_in(tags: dict[str, str], name: str) -> set[int]:
    """Years that a file states in its tags, or else in its name."""
    lower = {key.lower(): value for key, value in tags.items()}
    stated = {int(year) for tag in _YEAR_TAGS for year in _YEAR.findall(lower.get(tag, ""))}
    return stated or {int(year) for year in _YEAR.findall(name)}
