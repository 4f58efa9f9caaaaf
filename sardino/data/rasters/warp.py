"""Pixels from one grid to another, by what they mean: classes are picked, decibels are averaged as power."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, GCPTransformer
from rasterio.warp import Resampling, reproject

from sardino.data.places.utm import transformer
from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.radiometry import to_db, to_power
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

Kind = Literal["classes", "db", "amplitude", "values"]
"""What pixels mean: codes that cannot be mixed, decibels or amplitudes (mixed in power), any other quantity."""
KINDS = get_args(Kind)
Transform = tuple[float, float, float, float, float, float]
Floats = NDArray[np.float64]
_ALIGNED_PX = 1e-3
_EDGE_POINTS = 21  # on each edge of a tile: what is straight in one CRS bends in another


@dataclass(frozen=True)
class Grid:
    """Where pixels lie: by an affine transform, however turned, or by ground control points and a polynomial."""

    crs: str
    transform: Transform  # near enough, where there are ground control points
    shape: tuple[int, int]  # (rows, columns)
    gcps: tuple[GroundControlPoint, ...] = ()

    @property
    def straight(self) -> bool:
        """Whether rows run along one coordinate and columns along the other."""
        return not (self.gcps or self.transform[1] or self.transform[3])

    def part(self, rows: slice, columns: slice) -> "Grid":
        """The grid of a window."""
        (a, b, c, d, e, f), top, left = self.transform, rows.start, columns.start
        gcps = tuple(GroundControlPoint(at.row - top, at.col - left, at.x, at.y, at.z) for at in self.gcps)
        corner = a, b, c + a * left + b * top, d, e, f + d * left + e * top
        return Grid(self.crs, corner, (rows.stop - top, columns.stop - left), gcps)

    def on_map(self, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Coordinates of places that are counted in pixels from the first one's outer corner."""
        if self.gcps:
            with GCPTransformer(self.gcps) as fitted:
                x, y = fitted.xy(rows, columns, offset="ul")
            return x, y
        a, b, c, d, e, f = self.transform
        return a * columns + b * rows + c, d * columns + e * rows + f

    def in_pixels(self, x: Floats, y: Floats, crs: str) -> tuple[Floats, Floats]:
        """Columns and rows, with fractions and also outside, of places in a CRS."""
        x, y = transformer(crs, self.crs).transform(x, y)
        if CRS(self.crs).is_geographic:  # which may go on beyond 180 degrees
            height, width = self.shape
            middle = self.on_map(np.array([width / 2]), np.array([height / 2]))[0]
            x = (x - middle + 180) % 360 - 180 + middle
        if self.gcps:
            with GCPTransformer(self.gcps) as fitted:
                rows, columns = fitted.rowcol(x, y, op=np.positive)
            return columns, rows
        return replace(self, transform=tuple(~Affine(*self.transform))[:6]).on_map(x, y)

    def outline(self) -> tuple[Floats, Floats]:
        """Coordinates of points along the edge."""
        along, (height, width) = np.linspace(0, 1, _EDGE_POINTS), self.shape
        zero, one = np.zeros_like(along), np.ones_like(along)
        return self.on_map(
            width * np.concatenate([along, along, zero, one]), height * np.concatenate([zero, one, along, along])
        )

    def window_of(self, other: "Grid") -> tuple[slice, slice] | None:
        """Rows and columns that another grid's pixels are made of; None where it lies outside."""
        window = []
        for places, pixels, size in zip(
            self.in_pixels(*other.outline(), other.crs)[::-1], other.shape, self.shape, strict=True
        ):
            places = places[np.isfinite(places)]
            first, last = (places.min(), places.max()) if places.size else (0, 0)
            margin = 4 + 2 * math.ceil((last - first) / pixels)  # what an interpolation takes of its surroundings
            if last <= 0 or first >= size:
                return None
            window.append(slice(max(math.floor(first) - margin, 0), min(math.ceil(last) + margin, size)))
        return window[0], window[1]

    def place_in(self, other: "Grid") -> tuple[int, int] | None:
        """Row and column at which it begins in another grid; None where their pixels do not coincide."""
        if not (self.straight and other.straight) or (self.crs != other.crs and CRS(self.crs) != CRS(other.crs)):
            return None
        (a, _, c, _, e, f), (step_x, _, left, _, step_y, top) = self.transform, other.transform
        column, row = (c - left) / step_x, (f - top) / step_y
        # A pixel size that differs by a rounding error may still drift off over the width of the grid.
        drift = max(abs(a / step_x - 1) * self.shape[1], abs(e / step_y - 1) * self.shape[0])
        apart = max(abs(column - round(column)), abs(row - round(row)), drift)
        return (round(row), round(column)) if apart <= _ALIGNED_PX else None

    def spans_of(self, other: "Grid") -> tuple[float, float]:
        """How many pixels of this grid one of another spans, to the right and down, in its middle."""
        row, column = other.shape[0] / 2, other.shape[1] / 2
        x, y = other.on_map(np.array([column, column + 1, column]), np.array([row, row, row + 1]))
        columns, rows = self.in_pixels(x, y, other.crs)
        right, down = (math.hypot(columns[n] - columns[0], rows[n] - rows[0]) for n in (1, 2))
        return right, down


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


def resample(values: NDArray[Any], here: Grid, there: Grid, kind: Kind, nodata: float = IGNORE) -> NDArray[Any]:
    """Planes (C, H, W) of one grid on another, (C, *there.shape), nodata where there is none.

    Pixels that coincide are copied; where the grids are one, what is given may be what is returned. Else classes, of
    any integer type, are taken from the nearest pixel. Everything else becomes floating point, NaN where missing, and
    is interpolated bilinearly, or averaged where the new pixels are larger; decibels and amplitudes are so in power,
    because the mean of decibels lies below the decibels of the mean (by 2.5 dB for single-look speckle). Pixels without
    data take no part. `nodata` is that of classes.
    """
    if kind not in KINDS:
        raise SardinoError(f"pixels are {', '.join(KINDS)}, not '{kind}'")
    missing = nodata if kind == "classes" else math.nan
    source = values
    if kind != "classes" and values.dtype.kind != "f":
        source = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    place = there.place_in(here)
    if place == (0, 0) and there.shape == here.shape:
        return source
    out = np.full((len(values), *there.shape), missing, source.dtype)
    if place:
        own, shared = overlap(place, there.shape, here.shape)
        out[:, *own] = source[:, *shared]
        return out
    if kind in ("db", "amplitude"):
        source = to_power(source) if kind == "db" else source**2
    right, down = here.spans_of(there)
    method = Resampling.nearest
    if kind != "classes":
        method = Resampling.average if down > 1.5 else Resampling.bilinear
    grids: dict[str, Any] = {"gcps": here.gcps} if here.gcps else {"src_transform": Affine(*here.transform)}
    grids |= {"src_crs": here.crs, "dst_transform": Affine(*there.transform), "dst_crs": there.crs}
    # GDAL would take the scale from the outlines of what it is given, and another one of each window.
    grids |= {"XSCALE": min(1, 1 / right), "YSCALE": min(1, 1 / down)}
    for plane, made in zip(source, out, strict=True):  # together, a pixel that one of them lacks would spread
        reproject(np.ascontiguousarray(plane), made, **grids, src_nodata=missing, dst_nodata=missing, resampling=method)
    if kind == "amplitude":
        return np.sqrt(out)
    return to_db(out) if kind == "db" else out
