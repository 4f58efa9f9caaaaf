"""A square grid over an area, each tile in its own UTM zone, or all in one CRS of the user's choice."""

from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from sardino.data.places.area import Aoi
from sardino.data.places.utm import (
    corners,
    equator,
    in_hemisphere,
    metric_crs,
    offset_from_meridian,
    reproject,
    transformer,
    within_zone,
    zone_bounds,
    zone_crs,
    zones_of,
)
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

Keep = Literal["within", "centre", "touching"]
KEEP = ("within", "centre", "touching")
"""Which tiles belong to an area: those inside it, those whose centre is inside, or all that share ground with it."""
MOST_TILES = 5_000_000
_STEP_DEG = 0.05


def square_grid(
    aoi: Aoi, size_px: int = 448, gsd_m: float = 10.0, crs: str | None = None, keep: Keep = "within"
) -> list[Tile]:
    """Square tiles side by side over an area.

    Without `crs`, a tile lies in the UTM zone of its centre, so that pixels measure gsd_m everywhere (UTM's scale
    stays within 0.1 %). Edges are multiples of the tile's size, from the false easting 0 and from the equator: a
    place has the same tile, and the same id, whatever the area around it. Grids of two zones do not fit together
    where they meet. There, tiles that lie whole in their zone stay; one that reaches over the border stays where it
    shares no ground with such a tile, the western zone's first; none reaches over the antimeridian. What is left out
    is a sliver along each border, on average less than one tile wide, and never more than two.

    Args:
        size_px: pixels per side; 448 in the paper.
        crs: one projected CRS in metres for all tiles instead.
        keep: which tiles belong to the area, see KEEP.

    Raises:
        SardinoError: no tile fits, or more than five million would.
    """
    step = size_px * gsd_m
    if size_px < 1 or gsd_m <= 0:
        raise SardinoError(f"a tile needs at least one pixel of a size above 0 m, not {size_px} px of {gsd_m:g} m")
    if keep not in KEEP:
        raise SardinoError(f"'{keep}' says not which tiles to keep: use {', '.join(KEEP)}")
    tiles = [
        Tile(aoi.name, name, (gsd_m, 0.0, float(left), 0.0, -gsd_m, float(top)), (size_px, size_px))
        for name, boxes in _cells_of(aoi, step, crs, keep)
        for left, _, _, top in boxes
    ]
    if not tiles:
        raise nothing_fits(aoi, f"tile of {step / 1000:g} km", keep)
    return tiles


def nothing_fits(aoi: Aoi, what: str, keep: str) -> SardinoError:
    """The error of an area that holds no tile."""
    west, south, east, north = aoi.polygon.bounds
    remedy = "; ask for smaller tiles, or keep those touching it" if keep != "touching" else ""
    where = {"within": "lies inside", "centre": "has its centre inside", "touching": "touches"}[keep]
    return SardinoError(
        f"no {what} {where} the area '{aoi.name}' ({west:.3f},{south:.3f},{east:.3f},{north:.3f}){remedy}"
    )


def area_in(aoi: Aoi, crs: str, bounds: tuple[float, float, float, float] | None = None) -> Any:
    """The area, or its part within bounds in degrees, in another CRS, with points added to long edges.

    Raises:
        SardinoError: the CRS cannot show the area.
    """
    part = aoi.polygon if bounds is None else shapely.intersection(aoi.polygon, shapely.box(*bounds))
    shown = reproject(shapely.segmentize(part, _STEP_DEG), "EPSG:4326", crs)
    if shown.is_empty:
        return shown
    if not np.isfinite(shown.bounds).all():
        raise SardinoError(f"{crs} cannot show the whole area '{aoi.name}': choose a CRS made for it")
    return shapely.make_valid(shown)


def belongs(area: Any, boxes: NDArray[np.float64], keep: Keep) -> NDArray[np.bool_]:
    """Which boxes, (N, 4) in the area's CRS, belong to it."""
    shapely.prepare(area)
    if keep == "centre":
        return np.asarray(shapely.contains_xy(area, (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2))
    if keep == "within":
        return np.asarray(shapely.covers(area, shapely.box(*boxes.T)))
    inner = boxes + 1e-3 * np.array([1, 1, -1, -1])  # to share an edge alone is not to share ground
    return np.asarray(shapely.intersects(area, shapely.box(*inner.T)))


def _cells_of(aoi: Aoi, step: float, crs: str | None, keep: Keep) -> list[tuple[str, NDArray[np.float64]]]:
    """(CRS, (N, 4) boxes) of the tiles, row by row from the north of each zone."""
    if crs is not None:
        name = metric_crs(crs)
        area = area_in(aoi, name)
        boxes = _lattice(area.bounds, step, 0.0)
        return [(name, boxes[belongs(area, boxes, keep)])]
    found = []
    _, lowest, _, highest = aoi.polygon.bounds
    highest = min(84.0, max(abs(lowest), abs(highest)))
    for number, north in zones_of(aoi.polygon):
        west, south, east, top = zone_bounds(number, north)
        # A tile may reach into the next zone, so it is held against the area on both sides of the border.
        beyond = min(6.0, 2 * step / (111_320 * np.cos(np.radians(highest))))
        around = (max(-180.0, west - beyond), south - beyond, min(180.0, east + beyond), top + beyond)
        name = zone_crs(number, north)
        area = area_in(aoi, name, around)
        if area.is_empty:
            continue
        boxes = _lattice(area.bounds, step, equator(north))
        boxes = boxes[_centre_in(boxes, number, north)]
        boxes = boxes[belongs(area, boxes, keep)]
        found.append((name, boxes[_stays(boxes, number, north, step)]))
    return found


def _lattice(bounds: tuple[float, float, float, float], step: float, y_origin: float) -> NDArray[np.float64]:
    """All cells (N, 4) that meet the bounds; edges are multiples of the step."""
    left, bottom = np.floor(bounds[0] / step), np.floor((bounds[1] - y_origin) / step)
    right, top = np.ceil(bounds[2] / step), np.ceil((bounds[3] - y_origin) / step)
    if (right - left) * (top - bottom) > MOST_TILES:
        raise SardinoError(
            f"the area would take more than {MOST_TILES:,} tiles of {step / 1000:g} km: ask for larger tiles, or cut it"
        )
    row, column = np.meshgrid(np.arange(top - 1, bottom - 1, -1), np.arange(left, right), indexing="ij")
    x, y = column.ravel() * step, row.ravel() * step + y_origin
    return np.stack([x, y, x + step, y + step], axis=1)


def _centre_in(boxes: NDArray[np.float64], number: int, north: bool) -> NDArray[np.bool_]:
    offset, _ = offset_from_meridian((boxes[:, :2] + boxes[:, 2:]) / 2, number, north)
    return (offset >= -3) & (offset < 3) & in_hemisphere(boxes, north)


def _stays(boxes: NDArray[np.float64], number: int, north: bool, step: float) -> NDArray[np.bool_]:
    """Which cells stay where this zone meets its neighbours; a question of nearby places only, not of the area."""
    stays = within_zone(boxes, number, north)
    over = np.flatnonzero(~stays)
    if not len(over):
        return stays
    offset, _ = offset_from_meridian(corners(boxes[over], 4), number, north)
    for side, neighbour in ((offset.max(axis=1) > 0, number + 1), (offset.min(axis=1) < 0, number - 1)):
        chosen = over[side]
        if not len(chosen) or not 1 <= neighbour <= 60:  # none reaches over the antimeridian
            continue
        theirs = _beside(boxes[chosen], zone_crs(number, north), zone_crs(neighbour, north), north, step)
        flat = theirs.reshape(-1, 4)
        inside = within_zone(flat, neighbour, north)
        if neighbour < number:
            # The western zone's tiles over the border come first.
            border = ~inside & _centre_in(flat, neighbour, north)
            inside[border] = _stays(flat[border], neighbour, north, step)
        outlines = shapely.polygons(corners(boxes[chosen], 8))
        outlines = shapely.buffer(reproject(outlines, zone_crs(number, north), zone_crs(neighbour, north)), 1.0)
        meets = shapely.intersects(shapely.box(*flat.T), np.repeat(outlines, theirs.shape[1]))
        stays[chosen] = ~(meets & inside).reshape(theirs.shape[:2]).any(axis=1)
    return stays


def _beside(boxes: NDArray[np.float64], own: str, other: str, north: bool, step: float) -> NDArray[np.float64]:
    """The cells (N, 9, 4) of another zone's grid around each cell of this one."""
    y_origin = equator(north)
    x, y = transformer(own, other).transform((boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2)
    column, row = np.floor(np.asarray(x) / step), np.floor((np.asarray(y) - y_origin) / step)
    shift = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    left = (column[:, None] + shift[:, 0]) * step
    bottom = (row[:, None] + shift[:, 1]) * step + y_origin
    return np.stack([left, bottom, left + step, bottom + step], axis=-1)
