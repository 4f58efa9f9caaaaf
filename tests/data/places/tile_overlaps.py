"""An independent judge of overlaps: outlines with many points, in one equal-area projection of the whole earth."""

import geopandas
import numpy as np
import shapely

from sardino.data.tiles.tile import Tile

PIXEL_M2 = 100.0


def shared_ground(tiles: list[Tile]) -> list[tuple[int, int]]:
    """Pairs of tiles that share more than one pixel of 10 m."""
    shapes = np.empty(len(tiles), object)
    for crs in {tile.crs for tile in tiles}:
        rows = [row for row, tile in enumerate(tiles) if tile.crs == crs]
        outlines = [shapely.segmentize(tiles[row].footprint, max(tiles[row].shape) * 10 / 16) for row in rows]
        shapes[rows] = geopandas.GeoSeries(outlines, crs=crs).to_crs("EPSG:6933").to_numpy()
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    once = first < second
    first, second = first[once], second[once]
    area = shapely.area(shapely.intersection(shapes[first], shapes[second]))
    return [(int(a), int(b)) for a, b in zip(first[area > PIXEL_M2], second[area > PIXEL_M2], strict=True)]
