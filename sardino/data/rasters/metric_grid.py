"""Pixels of any grid read as if they lay north-up on a metric one."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from sardino.data.places.utm import crs_at, transformer
from sardino.data.rasters.place import pixel_size_m
from sardino.data.rasters.warp import Grid, Kind, resample
from sardino.errors import SardinoError

Read = Callable[[int, int, int, int], NDArray[np.float32]]
"""Of first row, row behind, first column, column behind: (bands, h, w) as the file means them, NaN where missing."""
ROWS, COLUMNS = 128, 512  # of a block, as in GDAL's warped rasters
_WIDEST_M = 1.5e6  # of what UTM shows without pixels on the ground differing by more than a hundredth or so
_METRIC = 0.1  # share by which a map unit may differ from a metre on the ground


def metric_grid(there: Grid, pixel_m: float, name: object = "a grid") -> Grid:
    """The grid of square pixels over another: in its own CRS where that is metric on the ground, else in UTM.

    It begins where the other does if that is north-up in the same CRS, else at whole multiples of its pixel.
    SardinoError, with the `name` of the other, where it reaches too far to lie in one UTM zone.
    """
    (a, _, _, d, _, _), (height, width) = there.transform, there.shape
    width_m = pixel_size_m(there.crs, there.transform, there.shape)[0]
    if CRS(there.crs).is_projected and abs(width_m / math.hypot(a, d) - 1) < _METRIC:
        crs = there.crs
    else:
        middle = there.on_map(np.array([width / 2]), np.array([height / 2]))
        crs = crs_at(*(float(of[0]) for of in transformer(there.crs, "EPSG:4326").transform(*middle)))
    x, y = transformer(there.crs, crs).transform(*there.outline())
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (crs == there.crs or width * width_m < _WIDEST_M)):
        raise SardinoError(f"{name} of {width} x {height} px in {there.crs} reaches beyond {crs}: cut it first")
    left, top = float(x.min()), float(y.max())
    if crs != there.crs or not there.straight:
        left, top = math.floor(left / pixel_m) * pixel_m, math.ceil(top / pixel_m) * pixel_m
    rows, columns = (max(math.ceil(side / pixel_m - 1e-6), 1) for side in (top - y.min(), x.max() - left))
    return Grid(crs, (pixel_m, 0.0, left, 0.0, -pixel_m, top), (rows, columns))


def warped(read: Read, there: Grid, here: Grid, kind: Kind, bands: int) -> Read:
    """Read windows of one grid from pixels of another, warped by what they mean.

    Blocks are warped whole, so that a pixel does not depend on the window that it is read in.
    """

    def block(top: int, left: int) -> NDArray[np.float32]:
        rows, columns = slice(top, min(top + ROWS, here.shape[0])), slice(left, min(left + COLUMNS, here.shape[1]))
        part = here.part(rows, columns)
        window = there.window_of(part)
        if window is None:
            return np.full((bands, *part.shape), np.nan, np.float32)
        values = read(window[0].start, window[0].stop, window[1].start, window[1].stop)
        return resample(values, there.part(*window), part, kind)

    def of_window(top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
        north, west = top // ROWS * ROWS, left // COLUMNS * COLUMNS
        blocks = [[block(row, column) for column in range(west, right, COLUMNS)] for row in range(north, bottom, ROWS)]
        whole: NDArray[np.float32] = np.block(blocks)
        return whole[:, top - north : bottom - north, left - west : right - west]

    return of_window
