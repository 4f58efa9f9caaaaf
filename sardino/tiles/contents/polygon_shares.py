"""Label shares of polygons that are no tiles, such as communes: counted on label rasters, and handed down to tiles."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine

from sardino.errors import SardinoError
from sardino.tiles.contents.label_rasters import LabelRasters
from sardino.tiles.contents.shares import shares_of_counts
from sardino.tiles.grid import Tile
from sardino.tiles.places.zones import crs_at, reproject

EQUAL_AREA = "EPSG:6933"
"""Areas are compared here: the cylindrical equal-area projection of the whole earth (EASE-Grid 2.0)."""
_SLIVER = 1e-3
"""Polygons that only touch a tile overlap it by rounding errors: such a share of its area says nothing."""
_OVERLAP = 0.05
"""Outlines that were simplified overlap by a little; more than this is a map of another kind."""
_WINDOW_PX = 1024

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def shares_in_polygons(
    polygons: geopandas.GeoDataFrame, rasters: LabelRasters, gsd_m: float = 10.0, progress: Progress = iter
) -> pd.DataFrame:
    """Shares of polygons counted on label rasters, of the pixels whose centre lies inside.

    Args:
        polygons: in EPSG:4326, from `read_polygons`.
        rasters: the labels.
        gsd_m: pixels counted, in metres of the UTM zone of the polygon's centre.
        progress: wraps the loop over polygons, for example `tqdm`.

    Returns:
        share_<code> and labelled_share, one row a polygon, indexed as they are. A window of 1024 px is in
        memory at a time, however large a polygon is.
    """
    rows = []
    for outline in progress(polygons.geometry):
        west, south, east, north = outline.bounds
        crs = crs_at((west + east) / 2, (south + north) / 2)
        shape = reproject(shapely.segmentize(outline, 0.05), "EPSG:4326", crs)
        counts, inside = np.zeros(256, np.int64), 0
        for window in _windows(shape.bounds, crs, gsd_m):
            mask = rasterize([(shape, 1)], out_shape=window.shape, transform=Affine(*window.transform), dtype="uint8")
            if mask.any():
                counts += np.bincount(rasters.read(window)[mask == 1], minlength=256)
                inside += int(mask.sum())
        rows.append(shares_of_counts(counts, inside, rasters.legend))
    return pd.DataFrame(rows, index=polygons.index)


def shares_from_polygons(
    tiles: Sequence[Tile], polygons: geopandas.GeoDataFrame, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Shares of tiles taken over from coarser polygons, each weighted by the area that it has in the tile.

    Args:
        tiles: tiles with a CRS.
        polygons: for example communes, with shares in `columns`; they must not overlap.
        columns: share columns, all that begin with "share_" by default.

    Returns:
        The columns, NaN where polygons hold less than a thousandth of the tile, and covered_share, the
        share of the tile's area under polygons with shares; indexed by tile id. Areas are those of an
        equal-area projection.
    """
    names = list(columns) if columns else [name for name in polygons.columns if str(name).startswith("share_")]
    if missing := [name for name in names if name not in polygons] or ([] if names else ["share_<code>"]):
        raise SardinoError(f"the polygons lack the columns {', '.join(missing)}: count their shares first")
    if polygons.crs is None:
        raise SardinoError("the polygons state no CRS: save them as GeoJSON in longitude and latitude")
    known = polygons[np.isfinite(polygons[names].to_numpy(float)).all(axis=1)]
    foreign = _equal_area(geopandas.GeoSeries(known.geometry.make_valid().to_numpy(), crs=polygons.crs))
    outlines = geopandas.GeoSeries([tile.footprint_in("EPSG:4326") for tile in tiles], crs="EPSG:4326")
    own = _equal_area(outlines)
    in_tile, in_polygon = foreign.sindex.query(own, predicate="intersects")
    area = own.iloc[in_tile].intersection(foreign.iloc[in_polygon], align=False).area.to_numpy()
    shares = known[names].to_numpy(float)
    total = np.bincount(in_tile, area, len(tiles))
    covered = total / own.area.to_numpy()
    if (covered > 1 + _OVERLAP).any():
        tile = tiles[int(np.argmax(covered))].id
        raise SardinoError(f"the polygons overlap at tile {tile}: their shares cannot be weighted by area")
    weight = np.where(covered > _SLIVER, total, np.nan)
    data = {
        name: np.bincount(in_tile, area * shares[in_polygon, place], len(tiles)) / weight
        for place, name in enumerate(names)
    }
    return pd.DataFrame(data | {"covered_share": covered}, index=pd.Index([tile.id for tile in tiles], name="id"))


def write_polygons(polygons: geopandas.GeoDataFrame, path: Path) -> None:
    """Write polygons with their columns, whole or not at all: GeoParquet (.parquet) or GeoJSON by the suffix."""
    path = Path(path)
    if path.suffix not in (".parquet", ".geojson") or not path.parent.is_dir():
        raise SardinoError(f"polygons are written to a .parquet or .geojson file of a folder that exists, not {path}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix == ".parquet":
            polygons.to_parquet(partial)
        else:
            partial.write_text(polygons.to_json(drop_id=True), "utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _windows(bounds: Sequence[float], crs: str, gsd_m: float) -> Iterator[Tile]:
    """Windows of whole pixels that cover a box."""
    left, bottom = (int(np.floor(value / gsd_m)) for value in bounds[:2])
    right, top = (int(np.ceil(value / gsd_m)) for value in bounds[2:])
    for y in range(top, bottom, -_WINDOW_PX):
        for x in range(left, right, _WINDOW_PX):
            shape = min(_WINDOW_PX, y - bottom), min(_WINDOW_PX, right - x)
            yield Tile("", crs, (gsd_m, 0.0, x * gsd_m, 0.0, -gsd_m, y * gsd_m), shape)


def _equal_area(shapes: geopandas.GeoSeries) -> geopandas.GeoSeries:
    # An edge that is straight in degrees is bent here; a vertex each tenth of a degree keeps it within metres.
    step = 0.1 if CRS(shapes.crs).is_geographic else 10_000
    return shapes.segmentize(step).to_crs(EQUAL_AREA)
