"""Tiles against a foreign partition: the cell that covers most of each tile, and splits handed down from it."""

from collections.abc import Sequence

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray

from sardino.data.places.splits import UNUSED
from sardino.errors import SardinoError

_EQUAL_AREA = "EPSG:6933"


def intersect_table(
    table: geopandas.GeoDataFrame, foreign: geopandas.GeoDataFrame, name: str, field: str = ""
) -> geopandas.GeoDataFrame:
    """The table with the columns foreignid_<name>, foreignshare_<name> and, if there are splits, foreignsplit_<name>.

    Args:
        table: of tiles.
        foreign: cells of another partition, in EPSG:4326.
        name: of that partition.
        field: its attribute with ids; by default id, identifier, or the row.
    """
    if not name.replace("-", "_").isidentifier():
        raise SardinoError(f"'{name}' is no name for a column: use letters, digits, - and _")
    if field and field not in foreign:
        raise SardinoError(f"the foreign partition has no attribute '{field}': it has {', '.join(foreign.columns)}")
    field = field or next((known for known in ("id", "identifier") if known in foreign), "")
    ids = [str(value) for value in (foreign[field] if field else range(len(foreign)))]
    if len(set(ids)) != len(ids):
        raise SardinoError(f"the ids of the foreign partition repeat in '{field}': name another attribute")
    result = table.copy()
    result[f"foreignid_{name}"], result[f"foreignshare_{name}"] = foreign_ids(table, foreign, ids)
    if "split" in foreign:
        split = dict(zip(ids, foreign["split"].fillna(UNUSED).astype(str), strict=True))
        result[f"foreignsplit_{name}"] = [split.get(cell, UNUSED) for cell in result[f"foreignid_{name}"]]
    return result[[column for column in result if column != "geometry"] + ["geometry"]]


def foreign_ids(
    table: geopandas.GeoDataFrame, foreign: geopandas.GeoDataFrame, ids: Sequence[str]
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """The foreign cell that shares most ground with each tile.

    Returns:
        (N,) id of the cell, "" where none shares ground, the first in order of ids among equals; and (N,) the share
        of the tile's ground that it covers, 0 to 1.
    """
    if len(ids) != len(foreign):
        raise SardinoError(f"{len(ids)} ids do not name {len(foreign)} foreign cells")
    if table.geometry.isna().any():
        raise SardinoError("some tiles state no CRS: without a place they share no ground with other partitions")
    ours, theirs = (cells.geometry.segmentize(0.05).to_crs(_EQUAL_AREA).to_numpy() for cells in (table, foreign))
    theirs = shapely.make_valid(theirs)
    tile, cell = shapely.STRtree(theirs).query(ours, predicate="intersects")
    area = shapely.area(shapely.intersection(ours[tile], theirs[cell]))
    names = np.array([str(name) for name in ids], object)
    found, share = np.full(len(ours), "", object), np.zeros(len(ours))
    # Ascending by area, and by id from last to first, so that the best is written last.
    rank = np.argsort(np.argsort(names, kind="stable"), kind="stable")
    for row in np.lexsort((-rank[cell], np.round(area, 3))):
        if area[row] > 0:
            found[tile[row]] = names[cell[row]]
            share[tile[row]] = area[row] / shapely.area(ours[tile[row]])
    return found, np.minimum(share, 1.0)
