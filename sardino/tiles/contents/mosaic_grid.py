"""The grid of a mosaic: one CRS and pixel size for tiles that may lie in several UTM zones."""

import math
from collections.abc import Sequence

import numpy as np
from pyproj import CRS, Transformer

from sardino.errors import SardinoError
from sardino.tiles.contents.resampling import Transform
from sardino.tiles.grid import Tile

_EDGE_POINTS = 21


def mosaic_grid(
    tiles: Sequence[Tile], crs: str = "", resolution: float | None = None, step: int = 1
) -> tuple[str, Transform, tuple[int, int]]:
    """CRS, transform and shape of the grid that holds all tiles.

    Without a CRS and a resolution it is the tiles' own, pixel on pixel with the first of them, `step`
    pixels taken as one; otherwise its origin is a multiple of the resolution.
    """
    if not tiles:
        raise SardinoError("a mosaic needs at least one tile")
    own = sorted({tile.crs for tile in tiles})
    if "" in own:
        raise SardinoError("tiles without a CRS cannot be placed in a mosaic: leave them out")
    if not crs and len(own) > 1:
        raise SardinoError(f"the tiles lie in {', '.join(own)}: name the CRS of the mosaic, for example --crs {own[0]}")
    try:
        target = CRS.from_user_input(crs or own[0])
    except Exception as error:
        raise SardinoError(f"'{crs}' is no CRS: write for example EPSG:3035") from error
    corners = np.array([_bounds_in(tile, target) for tile in tiles])
    left, bottom = (float(value) for value in corners[:, :2].min(0))
    right, top = (float(value) for value in corners[:, 2:].max(0))
    first = next((tile for tile in tiles if CRS(tile.crs) == target), None)
    if resolution is None:
        if first is None:
            raise SardinoError(f"no tile lies in {crs}: name the resolution of the mosaic in its units")
        step_x, step_y = first.transform[0] * step, -first.transform[4] * step
        origin = first.transform[2], first.transform[5]
    else:
        if not resolution > 0:
            raise SardinoError(f"a resolution is larger than 0, not {resolution:g}")
        step_x = step_y = float(resolution)
        origin = 0.0, 0.0
    tiny = 1e-6  # a corner on a pixel edge stays there in spite of rounding
    west = math.floor((left - origin[0]) / step_x + tiny)
    north = math.ceil((top - origin[1]) / step_y - tiny)
    columns = math.ceil((right - origin[0]) / step_x - tiny) - west
    rows = north - math.floor((bottom - origin[1]) / step_y + tiny)
    transform = (step_x, 0.0, origin[0] + west * step_x, 0.0, -step_y, origin[1] + north * step_y)
    return crs or own[0], transform, (rows, columns)


def window_of(tile: Tile, crs: str, transform: Transform) -> tuple[int, int, tuple[int, int], Transform]:
    """Row, column, shape and transform of the part of the mosaic that a tile touches."""
    left, bottom, right, top = _bounds_in(tile, CRS(crs))
    a, b, c, d, e, f = transform
    column, row = math.floor((left - c) / a), math.floor((top - f) / e)
    shape = math.ceil((bottom - f) / e) - row, math.ceil((right - c) / a) - column
    return row, column, shape, (a, b, c + a * column, d, e, f + e * row)


def _bounds_in(tile: Tile, crs: CRS) -> tuple[float, float, float, float]:
    if CRS(tile.crs) == crs:
        return tile.bounds
    return Transformer.from_crs(tile.crs, crs, always_xy=True).transform_bounds(*tile.bounds, densify_pts=_EDGE_POINTS)
