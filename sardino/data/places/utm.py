"""UTM zones: which one a place belongs to, so that a pixel of 10 m is 10 m everywhere; and ways between CRSs."""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from sardino.errors import SardinoError, first_line

SOUTHERNMOST, NORTHERNMOST = -80.0, 84.0  # latitudes between which UTM is defined


class Zone(NamedTuple):
    """A zone in one hemisphere; boxes (N, 4), as left, bottom, right, top, and points (..., 2) are in its CRS."""

    number: int  # 1 to 60; plain zones of six degrees, without the exceptions around Norway and Svalbard
    north: bool

    @property
    def crs(self) -> str:
        """For example "EPSG:32631" for zone 31 north."""
        return f"EPSG:{(32600 if self.north else 32700) + self.number}"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        west = 6.0 * self.number - 186.0
        return (west, 0.0, west + 6.0, NORTHERNMOST) if self.north else (west, SOUTHERNMOST, west + 6.0, 0.0)

    @property
    def equator(self) -> float:
        """Northing of the equator."""
        return 0.0 if self.north else 10_000_000.0

    def offset(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(degrees east of the central meridian, also beyond 180 degrees; latitude) of points."""
        longitude, latitude = transformer(self.crs, "EPSG:4326").transform(points[..., 0], points[..., 1])
        return (longitude - (self.bounds[0] + 3) + 180) % 360 - 180, latitude

    def on_its_side(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which boxes do not reach over the equator."""
        return np.asarray(boxes[:, 1] >= self.equator if self.north else boxes[:, 3] <= self.equator)

    def holds(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which boxes lie inside, and so share no ground with those of another zone.

        A metre inside, because the meridian between two corners is not quite straight on the map.
        """
        offset, latitude = self.offset(corners(boxes, 4))
        margin = 1 / (111_320 * np.cos(np.radians(np.clip(np.abs(latitude), 0, 85))))
        return (np.abs(offset) <= 3 - margin).all(axis=1) & self.on_its_side(boxes)


def zone_of(crs: str) -> Zone | None:
    """The WGS 84 UTM zone that a CRS is; None for any other."""
    code = crs.upper().removeprefix("EPSG:")
    if code.isdecimal() and int(code) // 100 in (326, 327) and 1 <= int(code) % 100 <= 60:
        return Zone(int(code) % 100, int(code) // 100 == 326)
    return None


def zones_of(polygon: Any) -> list[Zone]:
    """The zones that a polygon in degrees, within UTM's latitudes, reaches into, west to east, south before north."""
    _, south, _, north = polygon.bounds
    if south < SOUTHERNMOST or north > NORTHERNMOST:
        raise SardinoError(
            f"the area reaches from {south:.1f} to {north:.1f} degrees of latitude, UTM from {SOUTHERNMOST:g} to "
            f"{NORTHERNMOST:g}: cut the area, or name one CRS, for example EPSG:3995 or EPSG:3031 near the poles"
        )
    zones = [Zone(number, hemisphere) for number in range(1, 61) for hemisphere in (False, True)]
    return [zone for zone in zones if shapely.intersection(polygon, shapely.box(*zone.bounds)).area > 0]


def crs_at(longitude: float, latitude: float) -> str:
    """The UTM zone of one place."""
    return Zone(int(np.floor((longitude + 180) / 6)) % 60 + 1, latitude >= 0).crs


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


def nominal_m(size_m: float, within: float = 0.005) -> float:
    """A pixel size as it is called: the nearest of 1, 2, 5, 10, 20 and so on, unless it differs by a larger share.

    On the ground the 10 m of a UTM zone are 9.996 to 10.01.
    """
    decade = 10.0 ** math.floor(math.log10(size_m))
    called = min((step * decade for step in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / size_m)))
    return called if math.isclose(called, size_m, rel_tol=within) else size_m
