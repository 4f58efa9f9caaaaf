"""Random partition: an area cut again and again at random places, into rectangles of whole pixels."""

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.grid import Tile
from sardino.tiles.places.aoi import Aoi
from sardino.tiles.places.partition import KEEP, MOST_TILES, Keep, area_in, belongs, nothing_fits
from sardino.tiles.places.zones import metric_crs, within_zone, zone_bounds, zone_crs, zones_of

_SPREAD = 0.1
"""Standard deviation of the place of a cut, in lengths of the side that is cut; its mean is the middle."""


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
        aoi: the area.
        largest_m: longest side of a rectangle in metres.
        size_px: take from each rectangle a square tile of so many pixels around its centre, as a tile store needs
            tiles of one size; rectangles that are smaller are left out. By default the rectangles themselves.
        gsd_m: pixel size in metres.
        crs: one projected CRS in metres instead of UTM zones.
        keep: which tiles belong to the area.
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
    zones: list[tuple[int, bool] | None] = [None] if crs else list(zones_of(aoi.polygon))
    tiles: list[Tile] = []
    for zone in zones:
        name = zone_crs(*zone) if zone else metric_crs(crs or "")
        area = area_in(aoi, name, zone_bounds(*zone) if zone else None)
        if area.is_empty:
            continue
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
        boxes = pixels.astype(np.float64) * gsd_m
        stays = belongs(area, boxes, keep) & (within_zone(boxes, *zone) if zone else True)
        tiles += [
            Tile(aoi.name, name, (gsd_m, 0.0, x0 * gsd_m, 0.0, -gsd_m, y1 * gsd_m), (y1 - y0, x1 - x0))
            for x0, y0, x1, y1 in pixels[stays].tolist()
        ]
    if not tiles:
        raise nothing_fits(aoi, f"rectangle of at most {largest_m / 1000:g} km", keep)
    return tiles


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
