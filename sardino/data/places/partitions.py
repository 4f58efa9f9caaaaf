"""An area cut into tiles: a square grid, hexagons, random rectangles, or polygons of the user."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray

from sardino.data.places.area import Aoi
from sardino.data.places.utm import Zone, corners, crs_at, metric_crs, reproject, transformer, zones_of
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

# Which tiles belong to an area: those inside it, those whose centre is inside, or all that share ground with it.
Keep = Literal["within", "centre", "touching"]
KEEP = get_args(Keep)
Fit = Literal["around", "centred"]
MOST_TILES = 5_000_000
# Side of the largest upright square in a hexagon with a corner to the east, in lengths of the hexagon's side.
INSCRIBED = 3.0 - math.sqrt(3.0)
_STEP_DEG = 0.05  # between points along a long edge
_WIDEST_DEG = 12.0
_SPREAD = 0.1  # standard deviation of the place of a random cut, in lengths of the side; its mean is the middle


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
    if size_px < 1 or gsd_m <= 0:
        raise SardinoError(f"a tile needs at least one pixel of a size above 0 m, not {size_px} px of {gsd_m:g} m")
    if keep not in KEEP:
        raise SardinoError(f"'{keep}' says not which tiles to keep: use {', '.join(KEEP)}")
    step = size_px * gsd_m
    _, lowest, _, highest = aoi.polygon.bounds
    # A tile may reach into the next zone, so it is held against the area on both sides of the border.
    highest = min(84.0, max(abs(lowest), abs(highest)))
    beyond = min(6.0, 2 * step / (111_320 * np.cos(np.radians(highest))))
    tiles: list[Tile] = []
    for name, zone, area in _areas(aoi, crs, beyond):
        boxes = _lattice(area.bounds, step, zone.equator if zone else 0.0)
        boxes = boxes[_centre_in(boxes, zone)] if zone else boxes
        boxes = boxes[_belongs(area, boxes, keep)]
        boxes = boxes[_stays(boxes, zone, step)] if zone else boxes
        tiles += [_tile(aoi, name, gsd_m, left, top, (size_px, size_px)) for left, _, _, top in boxes.tolist()]
    return _some(tiles, aoi, f"tile of {step / 1000:g} km", keep)


def hexagons(
    aoi: Aoi,
    size_px: int = 448,
    gsd_m: float = 10.0,
    crs: str | None = None,
    keep: Keep = "within",
    fit: Fit = "centred",
) -> tuple[list[Tile], list[Any]]:
    """Tiles on a hexagonal lattice, in which all six neighbours of a tile are equally far.

    Args:
        aoi, size_px, gsd_m, keep: as of `square_grid`.
        crs: one projected CRS in metres instead of UTM zones; cells over the border of a zone are left out.
        fit: "centred": tiles are the largest squares inside the hexagons, and never overlap; "around": the hexagons
            are the largest inside squares of this size, which cover the area whole and overlap.

    Returns:
        (tiles, the hexagon of each in EPSG:4326).
    """
    if size_px < 1 or gsd_m <= 0 or keep not in KEEP or fit not in get_args(Fit):
        raise SardinoError("hexagons need pixels, a pixel size above 0 m, what to keep, and a fit: around or centred")
    edge = size_px * gsd_m
    side = edge / INSCRIBED if fit == "centred" else edge / 2
    turns = np.arange(6) * math.pi / 3
    ring = side * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    tiles: list[Tile] = []
    cells: list[Any] = []
    for name, zone, area in _areas(aoi, crs):
        centres = _hexagonal(area.bounds, side, zone.equator if zone else 0.0)
        corner = np.round((centres - edge / 2) / gsd_m) * gsd_m
        boxes = np.concatenate([corner, corner + edge], axis=1)
        stays = _belongs(area, boxes, keep) & (zone.holds(boxes) if zone else True)
        tiles += [_tile(aoi, name, gsd_m, x, y, (size_px, size_px)) for x, _, _, y in boxes[stays].tolist()]
        cells += list(reproject(shapely.polygons(centres[stays][:, None] + ring), name, "EPSG:4326"))
    return _some(tiles, aoi, f"tile of {edge / 1000:g} km", keep), cells


def random_rectangles(
    aoi: Aoi,
    largest_m: float,
    size_px: int | None = None,
    gsd_m: float = 10.0,
    crs: str | None = None,
    keep: Keep = "within",
    seed: int = 0,
) -> list[Tile]:
    """Rectangles of random size over an area, without overlap.

    The bounding box of the area, in each UTM zone, is cut across its longer side near the middle until no side is
    longer than `largest_m`. Rectangles that reach over the border of their zone are left out.

    Args:
        aoi, gsd_m, keep: as of `square_grid`.
        largest_m: longest side of a rectangle in metres.
        size_px: take from each rectangle a square tile of so many pixels around its centre, as a tile store needs
            tiles of one size; rectangles that are smaller are left out. By default the rectangles themselves.
        crs: one projected CRS in metres instead of UTM zones.
        seed: another seed is another partition.

    Raises:
        SardinoError: no rectangle fits, or the longest side is not even two pixels.
    """
    most_px = int(largest_m // gsd_m) if gsd_m > 0 else 0
    if most_px < 2 or keep not in KEEP or (size_px is not None and not 1 <= size_px <= most_px):
        needs = f"need two pixels of {gsd_m:g} m, tiles inside that size, and one of {', '.join(KEEP)} to keep"
        raise SardinoError(f"rectangles of at most {largest_m:g} m {needs}")
    tiles: list[Tile] = []
    for name, zone, area in _areas(aoi, crs):
        left, bottom = np.floor(np.array(area.bounds[:2]) / gsd_m).astype(np.int64)
        right, top = np.ceil(np.array(area.bounds[2:]) / gsd_m).astype(np.int64)
        if (right - left) * (top - bottom) > MOST_TILES * most_px**2 / 4:
            raise SardinoError(f"the area would take over {MOST_TILES:,} rectangles: ask for larger ones, or cut it")
        rng = np.random.default_rng([seed, *(zone or (0, 0))])
        pixels = _cut(np.array([[left, bottom, right, top]]), most_px, rng)
        if size_px is not None:
            pixels = pixels[np.minimum(*(pixels[:, 2:] - pixels[:, :2]).T) >= size_px]
            corner = (pixels[:, :2] + pixels[:, 2:] - size_px) // 2
            pixels = np.concatenate([corner, corner + size_px], axis=1)
        boxes = pixels.astype(np.float64) * gsd_m
        stays = _belongs(area, boxes, keep) & (zone.holds(boxes) if zone else True)
        for x0, y0, x1, y1 in pixels[stays].tolist():
            tiles.append(_tile(aoi, name, gsd_m, x0 * gsd_m, y1 * gsd_m, (y1 - y0, x1 - x0)))
    return _some(tiles, aoi, f"rectangle of at most {largest_m / 1000:g} km", keep)


def tiles_of_polygons(
    polygons: geopandas.GeoDataFrame, aoi: Aoi, size_px: int | None = None, gsd_m: float = 10.0, crs: str | None = None
) -> tuple[list[Tile], NDArray[np.int64]]:
    """One tile for each polygon that shares ground with an area.

    Args:
        polygons: in EPSG:4326, for example communes, from `read_polygons`.
        size_px: a square tile of so many pixels around the polygon's centre; by default the polygon's bounding
            box, grown to whole pixels. Such tiles may overlap: `sardino tiles split` then keeps splits apart.
        crs: one projected CRS in metres instead of the UTM zone of each polygon's centre.

    Returns:
        (tiles, the polygon's row of each); polygons with one and the same tile give it once.

    Raises:
        SardinoError: no polygon meets the area, or one is too wide for a UTM zone.
    """
    if gsd_m <= 0 or (size_px is not None and size_px < 1):
        raise SardinoError(f"a tile needs at least one pixel of a size above 0 m, not {size_px} px of {gsd_m:g} m")
    name = metric_crs(crs) if crs else None
    shapes = polygons.geometry.to_numpy()
    shapely.prepare(aoi.polygon)
    tiles: dict[Tile, int] = {}
    for row in np.flatnonzero(shapely.intersects(aoi.polygon, shapes) & ~shapely.touches(aoi.polygon, shapes)):
        west, south, east, north = shapes[row].bounds
        if name is None and east - west > _WIDEST_DEG:
            wide = f"polygon {row} is {east - west:.0f} degrees wide, too wide for a UTM zone"
            raise SardinoError(f"{wide}: name one CRS for all tiles, or cut it at the antimeridian")
        own = name or crs_at((west + east) / 2, (south + north) / 2)
        left, bottom, right, top = reproject(shapely.segmentize(shapes[row], _STEP_DEG), "EPSG:4326", own).bounds
        if size_px is None:
            x, y = math.floor(left / gsd_m), math.ceil(top / gsd_m)
            size = max(1, y - math.floor(bottom / gsd_m)), max(1, math.ceil(right / gsd_m) - x)
        else:
            x = round((left + right) / 2 / gsd_m - size_px / 2)
            y = round((bottom + top) / 2 / gsd_m + size_px / 2)
            size = size_px, size_px
        tiles.setdefault(_tile(aoi, own, gsd_m, x * gsd_m, y * gsd_m, size), int(row))
    if not tiles:
        raise SardinoError(f"none of the {len(shapes)} polygons shares ground with the area '{aoi.name}'")
    return list(tiles), np.array(list(tiles.values()), np.int64)


def _tile(aoi: Aoi, crs: str, gsd_m: float, x: float, y: float, shape: tuple[int, int]) -> Tile:
    """The tile with its upper left corner at (x, y)."""
    return Tile(aoi.name, crs, (gsd_m, 0.0, x, 0.0, -gsd_m, y), shape)


def _some(tiles: list[Tile], aoi: Aoi, what: str, keep: Keep) -> list[Tile]:
    """The tiles, refused where there are none."""
    if tiles:
        return tiles
    west, south, east, north = aoi.polygon.bounds
    remedy = "; ask for smaller tiles, or keep those touching it" if keep != "touching" else ""
    where = {"within": "lies inside", "centre": "has its centre inside", "touching": "touches"}[keep]
    bounds = f"{west:.3f},{south:.3f},{east:.3f},{north:.3f}"
    raise SardinoError(f"no {what} {where} the area '{aoi.name}' ({bounds}){remedy}")


def _areas(aoi: Aoi, crs: str | None, beyond: float = 0.0) -> Iterator[tuple[str, Zone | None, Any]]:
    """(CRS, zone, the part of the area in the zone and so many degrees beyond); or all of it in the CRS asked for."""
    for zone in zones_of(aoi.polygon) if crs is None else [None]:
        name, part = zone.crs if zone else metric_crs(str(crs)), aoi.polygon
        if zone:
            west, south, east, north = zone.bounds
            west, east = max(-180.0, west - beyond), min(180.0, east + beyond)
            part = shapely.intersection(part, shapely.box(west, south - beyond, east, north + beyond))
        area = reproject(shapely.segmentize(part, _STEP_DEG), "EPSG:4326", name)
        if area.is_empty:
            continue
        if not np.isfinite(area.bounds).all():
            raise SardinoError(f"{name} cannot show the whole area '{aoi.name}': choose a CRS made for it")
        yield name, zone, shapely.make_valid(area)


def _belongs(area: Any, boxes: NDArray[np.float64], keep: Keep) -> NDArray[np.bool_]:
    """Which boxes, (N, 4) in the area's CRS, belong to it."""
    shapely.prepare(area)
    if keep == "centre":
        return np.asarray(shapely.contains_xy(area, (boxes[:, :2] + boxes[:, 2:]) / 2))
    if keep == "within":
        return np.asarray(shapely.covers(area, shapely.box(*boxes.T)))
    inner = boxes + 1e-3 * np.array([1, 1, -1, -1])  # to share an edge alone is not to share ground
    return np.asarray(shapely.intersects(area, shapely.box(*inner.T)))


def _lattice(bounds: Sequence[float], step: float, y_origin: float) -> NDArray[np.float64]:
    """All cells (N, 4) that meet the bounds, row by row from the north; edges are multiples of the step."""
    left, bottom = np.floor(bounds[0] / step), np.floor((bounds[1] - y_origin) / step)
    right, top = np.ceil(bounds[2] / step), np.ceil((bounds[3] - y_origin) / step)
    if (right - left) * (top - bottom) > MOST_TILES:
        what = f"{MOST_TILES:,} tiles of {step / 1000:g} km"
        raise SardinoError(f"the area would take more than {what}: ask for larger tiles, or cut it")
    row, column = np.meshgrid(np.arange(top - 1, bottom - 1, -1), np.arange(left, right), indexing="ij")
    x, y = column.ravel() * step, row.ravel() * step + y_origin
    return np.stack([x, y, x + step, y + step], axis=1)


def _centre_in(boxes: NDArray[np.float64], zone: Zone) -> NDArray[np.bool_]:
    offset, _ = zone.offset((boxes[:, :2] + boxes[:, 2:]) / 2)
    return (offset >= -3) & (offset < 3) & zone.on_its_side(boxes)


def _stays(boxes: NDArray[np.float64], zone: Zone, step: float) -> NDArray[np.bool_]:
    """Which cells stay where this zone meets its neighbours; a question of nearby places only, not of the area."""
    stays = zone.holds(boxes)
    over = np.flatnonzero(~stays)
    if not len(over):
        return stays
    offset, _ = zone.offset(corners(boxes[over], 4))
    for side, number in ((offset.max(axis=1) > 0, zone.number + 1), (offset.min(axis=1) < 0, zone.number - 1)):
        chosen = over[side]
        if not len(chosen) or not 1 <= number <= 60:  # none reaches over the antimeridian
            continue
        neighbour = Zone(number, zone.north)
        # The nine cells of the neighbour's grid around each of these.
        centres = (boxes[chosen, :2] + boxes[chosen, 2:]) / 2
        x, y = transformer(zone.crs, neighbour.crs).transform(*centres.T)
        column, row = np.floor(np.asarray(x) / step), np.floor((np.asarray(y) - zone.equator) / step)
        shift = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
        left = ((column[:, None] + shift[:, 0]) * step).ravel()
        bottom = ((row[:, None] + shift[:, 1]) * step + zone.equator).ravel()
        theirs = np.stack([left, bottom, left + step, bottom + step], axis=-1)
        inside = neighbour.holds(theirs)
        if number < zone.number:
            # The western zone's tiles over the border come first.
            border = ~inside & _centre_in(theirs, neighbour)
            inside[border] = _stays(theirs[border], neighbour, step)
        outlines = reproject(shapely.polygons(corners(boxes[chosen], 8)), zone.crs, neighbour.crs)
        meets = shapely.intersects(shapely.box(*theirs.T), np.repeat(shapely.buffer(outlines, 1.0), len(shift)))
        stays[chosen] = ~(meets & inside).reshape(len(chosen), len(shift)).any(axis=1)
    return stays


def _hexagonal(bounds: Sequence[float], side: float, y_origin: float) -> NDArray[np.float64]:
    """Centres (N, 2) of hexagons with a corner to the east that meet the bounds; every second column is shifted."""
    high = side * math.sqrt(3.0)
    columns = np.arange(math.floor(bounds[0] / (1.5 * side)) - 1, math.ceil(bounds[2] / (1.5 * side)) + 2)
    rows = np.arange(math.floor((bounds[1] - y_origin) / high) - 1, math.ceil((bounds[3] - y_origin) / high) + 2)
    if len(columns) * len(rows) > MOST_TILES:
        raise SardinoError(f"the area would take more than {MOST_TILES:,} hexagons: ask for larger tiles, or cut it")
    row, column = np.meshgrid(rows[::-1], columns, indexing="ij")
    centres = np.stack([column * 1.5 * side, (row + (column % 2) / 2) * high + y_origin], axis=-1)
    return np.asarray(centres.reshape(-1, 2))


def _cut(boxes: NDArray[np.int64], most_px: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Boxes (N, 4) of pixels cut until none is longer than most_px; the whole generation at once."""
    done = []
    while len(boxes):
        size = boxes[:, 2:] - boxes[:, :2]
        small = size.max(axis=1) <= most_px
        done.append(boxes[small])
        boxes, size = boxes[~small], size[~small]
        rows, axis = np.arange(len(boxes)), size.argmax(axis=1)
        length = size[rows, axis]
        place = np.clip(rng.normal(0.5, _SPREAD, len(boxes)), 0.2, 0.8)
        at = boxes[rows, axis] + np.clip((place * length).astype(np.int64), 1, length - 1)
        lower, upper = boxes.copy(), boxes.copy()
        lower[rows, axis + 2], upper[rows, axis] = at, at
        boxes = np.concatenate([lower, upper])
    found = np.concatenate(done)
    return found[np.lexsort((found[:, 0], -found[:, 3]))]
