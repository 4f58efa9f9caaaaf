"""Pixels from one grid to another, by what they mean: classes are picked, decibels are averaged as power."""

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.radiometry import to_db, to_power
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

Kind = Literal["classes", "db", "amplitude", "values"]
"""What pixels mean: codes that cannot be mixed, decibels or amplitudes (mixed in power), any other quantity."""
KINDS = get_args(Kind)
Transform = tuple[float, float, float, float, float, float]
_ALIGNED_PX, _DEGREE_M = 1e-3, 111_320
_EDGE_POINTS = 21  # on each edge of a tile: what is straight in one CRS bends in another


def window_on(transform: Transform, shape: tuple[int, int], other: Transform) -> tuple[int, int] | None:
    """Row and column at which a grid begins in another of the same CRS; None where their pixels do not coincide."""
    a, b, c, d, e, f = transform
    column, row = (c - other[2]) / other[0], (f - other[5]) / other[4]
    # A pixel size that differs by a rounding error may still drift off over the width of the grid.
    drift = max(abs(a / other[0] - 1) * shape[1], abs(e / other[4] - 1) * shape[0])
    apart = max(abs(column - round(column)), abs(row - round(row)), drift)
    if b or d or other[1] or other[3] or apart > _ALIGNED_PX:
        return None
    return round(row), round(column)


def overlap(
    place: tuple[int, int], shape: tuple[int, ...], within: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a grid that lies within another, in which it begins at a place: in its own pixels, in the other's."""
    (row, column), (top, left) = place, (max(place[0], 0), max(place[1], 0))
    bottom, right = max(min(row + shape[0], within[0]), top), max(min(column + shape[1], within[1]), left)
    own = slice(top - row, bottom - row), slice(left - column, right - column)
    return own, (slice(top, bottom), slice(left, right))


def grid_profile(crs: str, transform: Transform, shape: tuple[int, int]) -> dict[str, Any]:
    """A grid as rasterio is told of it."""
    return {"crs": crs, "transform": Affine(*transform), "height": shape[0], "width": shape[1]}


def bounds_in(tile: Tile, crs: CRS) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of a tile in another CRS, its bent edges included."""
    if CRS(tile.crs) == crs:
        return tile.bounds
    return Transformer.from_crs(tile.crs, crs, always_xy=True).transform_bounds(*tile.bounds, densify_pts=_EDGE_POINTS)


def resample(
    values: NDArray[Any],
    crs: str,
    transform: Transform,
    to_crs: str,
    to_transform: Transform,
    to_shape: tuple[int, int],
    kind: Kind,
    nodata: float = IGNORE,
) -> NDArray[Any]:
    """Planes (C, H, W) on another grid, (C, *to_shape), nodata where there is none.

    Classes, of any integer type, are taken from the nearest pixel. Everything else becomes floating point, NaN where
    missing, and is interpolated bilinearly, or averaged where the new pixels are larger; decibels and amplitudes are so
    in power, because the mean of decibels lies below the decibels of the mean (by 2.5 dB for single-look speckle).
    Pixels without data take no part. `nodata` is that of classes.
    """
    if kind not in KINDS:
        raise SardinoError(f"pixels are {', '.join(KINDS)}, not '{kind}'")
    missing = nodata if kind == "classes" else math.nan
    source = values
    if kind != "classes" and values.dtype.kind != "f":
        source = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    if kind in ("db", "amplitude"):
        source = to_power(source) if kind == "db" else source**2
    method = Resampling.nearest
    if kind != "classes":
        coarser = _pixel_m(to_transform, to_crs) > 1.5 * _pixel_m(transform, crs)
        method = Resampling.average if coarser else Resampling.bilinear
    out = np.full((len(values), *to_shape), missing, source.dtype)
    here = {"src_transform": Affine(*transform), "src_crs": crs, "src_nodata": missing}
    there = {"dst_transform": Affine(*to_transform), "dst_crs": to_crs, "dst_nodata": missing}
    reproject(np.ascontiguousarray(source), out, **here, **there, resampling=method)
    if kind == "amplitude":
        return np.sqrt(out)
    return to_db(out) if kind == "db" else out


def _pixel_m(transform: Transform, crs: str) -> float:
    """Height of a pixel in metres, near enough to tell a coarse grid from a fine one."""
    return abs(transform[4]) * (_DEGREE_M if CRS(crs).is_geographic else 1)
