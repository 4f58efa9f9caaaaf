"""UTM zones: which one a place belongs to, so that a pixel of 10 m is 10 m everywhere."""

from functools import cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from sardino.errors import SardinoError, first_line

SOUTHERNMOST, NORTHERNMOST = -80.0, 84.0
"""Latitudes between which UTM is defined."""


def zone_number(longitude: Any) -> Any:
    """1 to 60; plain zones of six degrees, without the exceptions around Norway and Svalbard."""
    return np.floor((np.asarray(longitude) + 180) / 6).astype(np.int64) % 60 + 1


def zone_crs(number: int, north: bool) -> str:
    """For example "EPSG:32631" for zone 31 north."""
    return f"EPSG:{(32600 if north else 32700) + number}"


def zone_of(crs: str) -> tuple[int, bool] | None:
    """(number, north) of a WGS 84 UTM zone; None for any other CRS."""
    code = crs.upper().removeprefix("EPSG:")
    if code.isdecimal() and int(code) // 100 in (326, 327) and 1 <= int(code) % 100 <= 60:
        return int(code) % 100, int(code) // 100 == 326
    return None


def zone_bounds(number: int, north: bool) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a zone's hemisphere in degrees."""
    west = 6.0 * number - 186.0
    return (west, 0.0, west + 6.0, NORTHERNMOST) if north else (west, SOUTHERNMOST, west + 6.0, 0.0)


def zones_of(polygon: Any) -> list[tuple[int, bool]]:
    """The zones that a polygon in degrees reaches into, from west to east, south before north.

    Raises:
        SardinoError: the polygon reaches beyond UTM's latitudes.
    """
    _, south, _, north = polygon.bounds
    if south < SOUTHERNMOST or north > NORTHERNMOST:
        raise SardinoError(
            f"the area reaches from {south:.1f} to {north:.1f} degrees of latitude, UTM from {SOUTHERNMOST:g} to "
            f"{NORTHERNMOST:g}: cut the area, or name one CRS, for example EPSG:3995 or EPSG:3031 near the poles"
        )
    return [
        (number, hemisphere)
        for number in range(1, 61)
        for hemisphere in (False, True)
        if shapely.intersection(polygon, shapely.box(*zone_bounds(number, hemisphere))).area > 0
    ]


def crs_at(longitude: float, latitude: float) -> str:
    """The UTM zone of one place."""
    return zone_crs(int(zone_number(longitude)), latitude >= 0)


@cache
def transformer(source: str, target: str) -> Transformer:
    """Coordinates from one CRS to another, x before y; kept, because it is slow to make."""
    try:
        return Transformer.from_crs(source, target, always_xy=True)
    except CRSError as error:
        raise SardinoError(f"there is no transformation from '{source}' to '{target}' ({first_line(error)})") from error


def reproject(geometry: Any, source: str, target: str) -> Any:
    """A geometry, or an array of them, vertex by vertex; add points to long edges before."""
    if source == target:
        return geometry
    return shapely.transform(geometry, transformer(source, target).transform, interleaved=False)


def metric_crs(name: str) -> str:
    """The name of a projected CRS in metres, as EPSG code where it has one; SardinoError for any other."""
    try:
        crs = CRS.from_user_input(name)
    except CRSError as error:
        raise SardinoError(f"'{name}' is no coordinate system ({first_line(error)}): name one as EPSG:3035") from error
    if not crs.is_projected or any(axis.unit_name not in ("metre", "meter") for axis in crs.axis_info):
        raise SardinoError(f"'{name}' is not a projected coordinate system in metres: pixels of 10 m need one")
    return crs.to_string()


def corners(boxes: NDArray[np.float64], per_edge: int = 1) -> NDArray[np.float64]:
    """Points on the outlines of boxes (N, 4), each edge's first corner included: (N, 4 * per_edge, 2).

    They go clockwise from the upper left; a box is left, bottom, right, top.
    """
    left, bottom, right, top = np.asarray(boxes, float).reshape(-1, 4).T[:, :, None]
    t = np.arange(per_edge) / per_edge
    x = np.concatenate([left + t * (right - left), right + 0 * t, right - t * (right - left), left + 0 * t], axis=1)
    y = np.concatenate([top + 0 * t, top - t * (top - bottom), bottom + 0 * t, bottom + t * (top - bottom)], axis=1)
    return np.stack([x, y], axis=-1)


def offset_from_meridian(
    points: NDArray[np.float64], number: int, north: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(degrees east of a zone's central meridian, latitude) of points (..., 2) in its CRS, also beyond 180 degrees."""
    to_degrees = transformer(zone_crs(number, north), "EPSG:4326").transform
    longitude, latitude = to_degrees(points[..., 0], points[..., 1])
    west, *_ = zone_bounds(number, north)
    return (longitude - (west + 3) + 180) % 360 - 180, latitude


def equator(north: bool) -> float:
    """Northing of the equator in zones of a hemisphere."""
    return 0.0 if north else 10_000_000.0


def in_hemisphere(boxes: NDArray[np.float64], north: bool) -> NDArray[np.bool_]:
    """Which boxes, (N, 4) in a zone's CRS, do not reach over the equator."""
    return np.asarray(boxes[:, 1] >= equator(north) if north else boxes[:, 3] <= equator(north))


def within_zone(boxes: NDArray[np.float64], number: int, north: bool) -> NDArray[np.bool_]:
    """Which boxes, (N, 4) in a zone's CRS, lie inside it, and so share no ground with those of another zone.

    A metre inside, because the meridian between two corners is not quite straight on the map.
    """
    offset, latitude = offset_from_meridian(corners(boxes, 4), number, north)
    margin = 1 / (111_320 * np.cos(np.radians(np.clip(np.abs(latitude), 0, 85))))
    return (np.abs(offset) <= 3 - margin).all(axis=1) & in_hemisphere(boxes, north)
