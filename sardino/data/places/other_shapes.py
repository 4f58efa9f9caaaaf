"""Tiles from cells that are no squares side by side: polygons of the user, hexagons, and random rectangles."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray

from sardino.data.places.area import Aoi
from sardino.data.places.square_grid import KEEP, MOST_TILES, Keep, area_in, belongs, nothing_fits
from sardino.data.places.utm import crs_at, equator, metric_crs, reproject, within_zone, zone_bounds, zone_crs, zones_of
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

Fit = Literal["around", "centred"]
INSCRIBED = 3.0 - math.sqrt(3.0)
"""Side of the largest upright square in a hexagon with a corner to the east, in lengths of the hexagon's side."""
_WIDEST_DEG = 12.0
_SPREAD = 0.1
"""Standard deviation of the place of a random cut, in lengths of the side that is cut; its mean is the middle."""
_Zone = tuple[int, bool]


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
    tiles: dict[str, Tile] = {}
    rows: list[int] = []
    for row in np.flatnonzero(shapely.intersects(aoi.polygon, shapes) & ~shapely.touches(aoi.polygon, shapes)):
        west, south, east, north = shapes[row].bounds
        if name is None and east - west > _WIDEST_DEG:
            raise SardinoError(
                f"polygon {row} is {east - west:.0f} degrees wide, too wide for a UTM zone: name one CRS for all "
                f"tiles, or cut the polygon at the antimeridian"
            )
        own = name or crs_at((west + east) / 2, (south + north) / 2)
        shape = reproject(shapely.segmentize(shapes[row], 0.05), "EPSG:4326", own)
        tile = _pixel_box(aoi.name, own, shape.bounds, gsd_m, size_px)
        if tile.id not in tiles:
            tiles[tile.id] = tile
            rows.append(int(row))
    if not tiles:
        raise SardinoError(f"none of the {len(shapes)} polygons shares ground with the area '{aoi.name}'")
    return list(tiles.values()), np.array(rows, np.int64)


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
    if size_px < 1 or gsd_m <= 0 or keep not in KEEP or fit not in ("around", "centred"):
        raise SardinoError("hexagons need pixels, a pixel size above 0 m, what to keep, and a fit: around or centred")
    edge = size_px * gsd_m
    side = edge / INSCRIBED if fit == "centred" else edge / 2
    turns = np.arange(6) * math.pi / 3
    ring = side * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    tiles: list[Tile] = []
    cells: list[Any] = []
    for name, zone, area in _areas(aoi, crs):
        centres = _hexagonal(area.bounds, side, equator(zone is None or zone[1]))
        corner = np.round((centres - edge / 2) / gsd_m) * gsd_m
        boxes = np.concatenate([corner, corner + edge], axis=1)
        stays = _stays(boxes, zone, area, keep)
        tiles += [
            Tile(aoi.name, name, (gsd_m, 0.0, float(x), 0.0, -gsd_m, float(y)), (size_px, size_px))
            for x, _, _, y in boxes[stays]
        ]
        cells += list(reproject(shapely.polygons(centres[stays][:, None] + ring), name, "EPSG:4326"))
    if not tiles:
        raise nothing_fits(aoi, f"tile of {edge / 1000:g} km", keep)
    return tiles, cells


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
        raise SardinoError(
            f"rectangles of at most {largest_m:g} m need two pixels of {gsd_m:g} m, tiles inside that size, and one of "
            f"{', '.join(KEEP)} for what to keep"
        )
    tiles: list[Tile] = []
    for name, zone, area in _areas(aoi, crs):
        left, bottom = np.floor(np.array(area.bounds[:2]) / gsd_m).astype(np.int64)
        right, top = np.ceil(np.array(area.bounds[2:]) / gsd_m).astype(np.int64)
        if (right - left) * (top - bottom) > MOST_TILES * most_px**2 / 4:
            raise SardinoError(
                f"the area would take more than {MOST_TILES:,} rectangles: ask for larger ones, or cut it"
            )
        rng = np.random.default_rng([seed, *(zone or (0, 0))])
        pixels = _cut(np.array([[left, bottom, right, top]]), most_px, rng)
        if size_px is not None:
            pixels = pixels[np.minimum(*(pixels[:, 2:] - pixels[:, :2]).T) >= size_px]
            corner = (pixels[:, :2] + pixels[:, 2:] - size_px) // 2
            pixels = np.concatenate([corner, corner + size_px], axis=1)
        stays = _stays(pixels.astype(np.float64) * gsd_m, zone, area, keep)
        tiles += [
            Tile(aoi.name, name, (gsd_m, 0.0, x0 * gsd_m, 0.0, -gsd_m, y1 * gsd_m), (y1 - y0, x1 - x0))
            for x0, y0, x1, y1 in pixels[stays].tolist()
        ]
    if not tiles:
        raise nothing_fits(aoi, f"rectangle of at most {largest_m / 1000:g} km", keep)
    return tiles


def _areas(aoi: Aoi, crs: str | None) -> Iterator[tuple[str, _Zone | None, Any]]:
    """(CRS, zone, the part of the area that lies in it): each UTM zone, or the one CRS that was asked for."""
    for zone in zones_of(aoi.polygon) if crs is None else [None]:
        name = zone_crs(*zone) if zone else metric_crs(str(crs))
        area = area_in(aoi, name, zone_bounds(*zone) if zone else None)
        if not area.is_empty:
            yield name, zone, area


def _stays(boxes: NDArray[np.float64], zone: _Zone | None, area: Any, keep: Keep) -> NDArray[np.bool_]:
    return belongs(area, boxes, keep) & (within_zone(boxes, *zone) if zone else True)


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


def _pixel_box(region: str, crs: str, bounds: Sequence[float], gsd_m: float, size_px: int | None) -> Tile:
    left, bottom, right, top = bounds
    if size_px is None:
        x, y = math.floor(left / gsd_m), math.ceil(top / gsd_m)
        columns, rows = max(1, math.ceil(right / gsd_m) - x), max(1, y - math.floor(bottom / gsd_m))
    else:
        x = round((left + right) / 2 / gsd_m - size_px / 2)
        y = round((bottom + top) / 2 / gsd_m + size_px / 2)
        columns = rows = size_px
    return Tile(region, crs, (gsd_m, 0.0, x * gsd_m, 0.0, -gsd_m, y * gsd_m), (rows, columns))


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
