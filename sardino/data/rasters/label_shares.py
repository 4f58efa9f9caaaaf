"""Label shares: how much of each class a tile holds, counted on pixels or taken over from coarser polygons."""

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
import zarr
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from sardino.data.places.utm import crs_at, reproject
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.raster import raster_of
from sardino.data.rasters.warp import Grid
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER, Legend, codes_in
from sardino.data.tiles.store import ARRAYS, TileStore
from sardino.data.tiles.tile import Progress, Tile
from sardino.errors import SardinoError
from sardino.files import files_in, whole

_YEAR = re.compile(r"(?<!\d)(19[7-9]\d|20[0-4]\d)(?!\d)")
_YEAR_TAGS = ("year", "time_coverage_start", "time_start", "start_date", "date", "product_year")
_EQUAL_AREA = "EPSG:6933"  # where areas are compared: cylindrical, of the whole earth (EASE-Grid 2.0)
_SLIVER = 1e-3  # polygons that only touch a tile overlap it by rounding errors: such a share of its area says nothing
_OVERLAP = 0.05  # outlines that were simplified overlap by a little; more than this is a map of another kind
_WINDOW_PX = 1024


class LabelRasters:
    """Label rasters of an area, in any CRS, read tile by tile.

    Args:
        paths: files, or folders of .tif files; they may be adjoining sheets or one file a tile.
        legend: meaning of the product's codes.
        year: refuse a file that states another one in its tags or its name.
        nodata: codes that mean "no label", besides the value that a file declares and a 0 that is no class.

    Raises SardinoError: no file, a file that is damaged, without CRS, no label raster, or of another year.
    """

    def __init__(
        self, paths: Sequence[Path], legend: Legend = WORLDCOVER, year: int | None = None, nodata: Sequence[int] = ()
    ) -> None:
        files = [file for path in paths for file in (files_in(path, "**/*.tif") if path.is_dir() else [path])]
        if not files:
            raise SardinoError(f"there is no label raster in {', '.join(map(str, paths))}: give .tif files")
        self.legend, self._files = legend, files
        self._nodata = [*map(int, nodata), *({0} - set(legend.codes))]
        self._places = shapely.STRtree([shapely.box(*_bounds_of(file, year)) for file in files])

    def read(self, tile: Tile) -> NDArray[np.uint8]:
        """Class indices on the tile's own grid, nearest pixel, IGNORE where there is no label."""
        if not tile.crs:
            raise SardinoError(f"tile {tile.id} of {tile.region} states no CRS: labels cannot be found for it")
        index, grid = np.full(tile.shape, IGNORE, np.uint8), Grid(tile.crs, tile.transform, tile.shape)
        # An edge that is straight in one CRS bends in another: a thousandth of a degree is room enough.
        near = self._places.query(tile.footprint_in("EPSG:4326").buffer(1e-3))
        for file in (self._files[number] for number in sorted(near)):
            if (index == IGNORE).any():
                index = np.where(index == IGNORE, self._read(file, grid), index)
        return index

    def _read(self, file: Path, grid: Grid) -> NDArray[np.uint8]:
        with open_pixels(file, turned=True) as pixels:
            window = pixels.grid.window_of(grid)
            if window is None:
                return np.full(grid.shape, IGNORE, np.uint8)
            labels = raster_of(pixels, range(len(pixels.bands)), window).on(grid, "classes")
        codes = codes_in(labels.codes, file)
        inside = labels.valid[0] & ~np.isin(codes, self._nodata)
        index = np.where(inside, self.legend.encode(codes), IGNORE).astype(np.uint8)
        if foreign := np.unique(codes[inside & (index == IGNORE)]).tolist():
            codes_are = f"the codes {', '.join(map(str, foreign[:8]))}, which are no class of '{self.legend.name}'"
            raise SardinoError(f"{file} holds {codes_are}: say with --nodata which of them mean no label")
        return index


def _bounds_of(file: Path, year: int | None) -> tuple[float, float, float, float]:
    """Bounds in degrees of a file that is a label raster with a CRS, and of the year asked for."""
    if not file.is_file():
        raise SardinoError(f"there is no label raster {file}")
    with open_pixels(file, turned=True) as pixels:
        kind, grid = pixels.bands[0].dtype, pixels.placed().grid
        tags = {key.lower(): str(value) for key, value in pixels.about.items()}
    if kind.kind not in "iu":
        raise SardinoError(f"{file} holds {kind} values and no class codes: give a label raster of an integer type")
    in_tags = {found for tag in _YEAR_TAGS for found in _YEAR.findall(tags.get(tag, ""))}
    stated = sorted(in_tags or set(_YEAR.findall(file.name)))
    if year and stated and str(year) not in stated:
        raise SardinoError(f"{file} is of {' and '.join(stated)}, not of {year}")
    x, y = grid.outline()
    return transform_bounds(grid.crs, "EPSG:4326", x.min(), y.min(), x.max(), y.max())


def shares_of(counts: NDArray[np.int64], size: int, legend: Legend) -> dict[str, float]:
    """share_<code> of the labelled pixels for each class (NaN where none is), and labelled_share among all.

    `counts` are the pixels of each class index, (256,); `size` those with and without a label.
    """
    pixels = counts[: len(legend)]
    labelled = int(pixels.sum())
    shares = pixels / labelled if labelled else np.full(len(legend), np.nan)
    named = {f"share_{code}": float(share) for code, share in zip(legend.codes, shares, strict=True)}
    return named | {"labelled_share": labelled / size if size else 0.0}


def shares_in_store(store: TileStore, layer: str = "label", progress: Progress = iter) -> pd.DataFrame:
    """Shares of all tiles of a store in the classes of its legend, by tile id; of its label, or of "landcover_300m"."""
    if layer not in ("label", "landcover_300m"):
        raise SardinoError(f"layer '{layer}' holds no classes: count 'label' or 'landcover_300m'")
    # Labels are read beside the store: its own reading brings the twelve channels along.
    labels = zarr.open_array(store.path / ARRAYS / "label", mode="r")

    def read(tile: str) -> NDArray[np.uint8]:
        return np.asarray(labels[store.row(tile)]) if layer == "label" else store.read_layer(layer, [tile])[0]

    return _counted({tile: tile for tile in store.ids()}, read, store.legend, progress)


def shares_in_rasters(tiles: Sequence[Tile], rasters: LabelRasters, progress: Progress = iter) -> pd.DataFrame:
    """Shares of tiles counted on label rasters, indexed by tile id; NaN and labelled_share 0 without a label."""
    return _counted({tile.id: tile for tile in tiles}, rasters.read, rasters.legend, progress)


def _counted(
    tiles: dict[str, Any], read: Callable[[Any], NDArray[np.uint8]], legend: Legend, progress: Progress
) -> pd.DataFrame:
    """Shares of the class indices that are read of each tile, one tile in memory at a time."""
    labels = map(read, progress(tiles.values()))
    rows = [shares_of(np.bincount(label.ravel(), minlength=256), label.size, legend) for label in labels]
    return pd.DataFrame(rows, index=pd.Index(list(tiles), name="id"))


def with_shares(
    table: geopandas.GeoDataFrame, shares: pd.DataFrame, prefix: str = "", overwrite: bool = False
) -> geopandas.GeoDataFrame:
    """A table, of tiles by their id or of the polygons that were counted, with shares as further columns."""
    named = shares.add_prefix(prefix).reindex(table.index if shares.index.equals(table.index) else table["id"])
    there = [name for name in named.columns if name in table]
    if there and not overwrite:
        raise SardinoError(f"the table has {', '.join(there[:3])} already: choose a prefix, or ask to overwrite them")
    out = table.drop(columns=there)
    for name in named.columns:
        out.insert(len(out.columns) - 1, name, named[name].to_numpy())
    return out


# Polygons that are no tiles, such as communes: counted on label rasters, and handed down to tiles.


def shares_in_polygons(
    polygons: geopandas.GeoDataFrame, rasters: LabelRasters, gsd_m: float = 10.0, progress: Progress = iter
) -> pd.DataFrame:
    """Shares of polygons counted on label rasters, of the pixels whose centre lies inside, indexed as they are.

    A window of 1024 px is in memory at a time, however large a polygon is.

    `polygons`: in EPSG:4326, from `read_polygons`. `gsd_m`: pixels counted, in metres of the UTM zone of the polygon's
    centre.
    """
    rows = []
    for outline in progress(polygons.geometry):
        west, south, east, north = outline.bounds
        crs = crs_at((west + east) / 2, (south + north) / 2)
        shape = reproject(shapely.segmentize(outline, 0.05), "EPSG:4326", crs)
        left, bottom = (int(np.floor(value / gsd_m)) for value in shape.bounds[:2])
        right, top = (int(np.ceil(value / gsd_m)) for value in shape.bounds[2:])
        counts, inside = np.zeros(256, np.int64), 0
        for y, x in itertools.product(range(top, bottom, -_WINDOW_PX), range(left, right, _WINDOW_PX)):
            size = min(_WINDOW_PX, y - bottom), min(_WINDOW_PX, right - x)
            window = Tile("", crs, (gsd_m, 0.0, x * gsd_m, 0.0, -gsd_m, y * gsd_m), size)
            mask = rasterize([(shape, 1)], out_shape=size, transform=Affine(*window.transform), dtype="uint8")
            if mask.any():
                counts += np.bincount(rasters.read(window)[mask == 1], minlength=256)
                inside += int(mask.sum())
        rows.append(shares_of(counts, inside, rasters.legend))
    return pd.DataFrame(rows, index=polygons.index)


def shares_from_polygons(tiles: Sequence[Tile], polygons: geopandas.GeoDataFrame) -> pd.DataFrame:
    """Shares of tiles taken over from coarser polygons, each weighted by the area that it has in the tile.

    Polygons, for example communes, have shares in columns that begin with "share_"; they must not overlap.

    Returns the columns, NaN where polygons hold less than a thousandth of the tile, and covered_share, the share of the
    tile's area under polygons with shares; by tile id. Areas are those of an equal-area projection.
    """
    names = [name for name in polygons.columns if str(name).startswith("share_")]
    if not names:
        raise SardinoError("the polygons lack the columns share_<code>: count their shares first")
    if polygons.crs is None:
        raise SardinoError("the polygons state no CRS: save them as GeoJSON in longitude and latitude")
    known = polygons[np.isfinite(polygons[names].to_numpy(float)).all(axis=1)]
    foreign = _equal_area(geopandas.GeoSeries(known.geometry.make_valid().to_numpy(), crs=polygons.crs))
    own = _equal_area(geopandas.GeoSeries([tile.footprint_in("EPSG:4326") for tile in tiles], crs="EPSG:4326"))
    in_tile, in_polygon = foreign.sindex.query(own, predicate="intersects")
    area = own.iloc[in_tile].intersection(foreign.iloc[in_polygon], align=False).area.to_numpy()
    shares = known[names].to_numpy(float)
    total = np.bincount(in_tile, area, len(tiles))
    covered = total / own.area.to_numpy()
    if (covered > 1 + _OVERLAP).any():
        tile = tiles[int(np.argmax(covered))].id
        raise SardinoError(f"the polygons overlap at tile {tile}: their shares cannot be weighted by area")
    weight = np.where(covered > _SLIVER, total, np.nan)
    data = {}
    for name, share in zip(names, shares.T, strict=True):
        data[name] = np.bincount(in_tile, area * share[in_polygon], len(tiles)) / weight
    return pd.DataFrame(data | {"covered_share": covered}, index=pd.Index([tile.id for tile in tiles], name="id"))


def write_polygons(polygons: geopandas.GeoDataFrame, path: Path) -> None:
    """Write polygons with their columns, whole or not at all: GeoParquet (.parquet) or GeoJSON by the suffix."""
    if path.suffix not in (".parquet", ".geojson"):
        raise SardinoError(f"polygons are written to a .parquet or .geojson file, not {path}")
    with whole(path) as partial:
        if path.suffix == ".parquet":
            polygons.to_parquet(partial)
        else:
            partial.write_text(polygons.to_json(drop_id=True), "utf-8")


def _equal_area(shapes: geopandas.GeoSeries) -> geopandas.GeoSeries:
    # An edge that is straight in degrees is bent here; a vertex each tenth of a degree keeps it within metres.
    step = 0.1 if CRS(shapes.crs).is_geographic else 10_000
    return shapes.segmentize(step).to_crs(_EQUAL_AREA)
