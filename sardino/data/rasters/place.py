"""Where the grid of a file lies: north up, on the earth, and how large its pixels are there."""

import math
from pathlib import Path

from pyproj import CRS, Geod
from pyproj.exceptions import CRSError

from sardino.data.places.utm import transformer
from sardino.data.rasters.warp import Transform
from sardino.errors import SardinoError, first_line

PLAIN: Transform = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # of pixels that lie nowhere


def north_up(
    path: Path, transform: tuple[float, ...], shape: tuple[int, int], turned: bool = False
) -> tuple[Transform, tuple[bool, bool]]:
    """A grid turned north up and west to east, and whether its rows and columns ran the other way.

    SardinoError where it is no grid, or a rotated one; where `turned` the latter is as it is.
    """
    a, b, c, d, e, f = transform
    if not (all(map(math.isfinite, transform)) and (a or b) and (d or e)):
        raise SardinoError(f"{path} states a geotransform that is none, {transform}: copy the file again")
    if (b or d) and turned:
        return (a, b, c, d, e, f), (False, False)
    if b or d:
        raise SardinoError(f"{path} lies on a rotated grid: warp it north-up first (gdalwarp {path} north-up.tif)")
    flipped = e > 0, a < 0
    grid = abs(a), 0.0, c + a * shape[1] * flipped[1], 0.0, -abs(e), f + e * shape[0] * flipped[0]
    return grid, flipped


def check_place(path: Path, crs: str, transform: Transform, shape: tuple[int, int]) -> None:
    """SardinoError where a CRS cannot be read or is no CRS of the earth, or a grid does not lie on the earth in it."""
    try:
        found = CRS(crs)
    except CRSError as error:
        raise SardinoError(f"{path} has a CRS that cannot be read ({first_line(error)}): set the right one") from error
    if not (found.is_geographic or found.is_projected):
        raise SardinoError(f"{path} lies in the local CRS '{found.name}', nowhere on earth: georeference it first")
    a, _, c, _, e, f = transform
    middle = c + a * shape[1] / 2, f + e * shape[0] / 2
    longitude, latitude = transformer(crs, "EPSG:4326").transform(*middle)
    if not (abs(longitude) <= 540 and abs(latitude) <= 90):
        raise SardinoError(f"{path} has its middle at {middle}, which is no place in {found.name}: set the right CRS")


def crs_said(path: Path, stated: str, given: str) -> str:
    """The CRS that a file states, or where it states none the one that the caller gives.

    SardinoError where both are said and differ.
    """
    if stated and given and stated != given:
        try:
            alike = CRS(stated) == CRS(given)
        except CRSError as error:
            raise SardinoError(f"the CRS {given}, or that of {path}, cannot be read ({first_line(error)})") from error
        if not alike:
            raise SardinoError(f"{path} says that it lies in {stated}, not {given}: leave --crs out")
    return stated or given


def pixel_size_m(crs: str, transform: Transform, shape: tuple[int, int]) -> tuple[float, float]:
    """Width and height on the ground, in metres, of the pixel in the middle of a grid, whatever its CRS."""
    a, b, c, d, e, f = transform
    x, y = c + (a * shape[1] + b * shape[0]) / 2, f + (d * shape[1] + e * shape[0]) / 2
    longitude, latitude = transformer(crs, "EPSG:4326").transform([x, x + a, x + b], [y, y + d, y + e])
    _, _, length = Geod(ellps="WGS84").inv(longitude[:1] * 2, latitude[:1] * 2, longitude[1:], latitude[1:])
    return float(length[0]), float(length[1])
