"""Where tiles lie on the ground: overlaps and distances between tiles of any coordinate systems."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Proj
from scipy.spatial import cKDTree

from sardino.data.places.utm import corners, crs_at, transformer, zone_of
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

_MANY = 400_000  # pairs measured at once


class Ground:
    """Tiles of any CRSs on the ground; those without a CRS have no place, only overlaps within their region."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self.tiles = list(tiles)
        self.crs = np.array([tile.crs for tile in self.tiles], object)
        self.bounds = np.array([tile.bounds for tile in self.tiles], float).reshape(-1, 4)
        self.pixel = np.array([tile.transform[0] for tile in self.tiles], float)
        self.placed = np.flatnonzero(self.crs != "")

    @cached_property
    def lonlat(self) -> NDArray[np.float64]:
        """(N, 2) centres in degrees; NaN without a CRS."""
        centres = (self.bounds[:, :2] + self.bounds[:, 2:]) / 2
        found = np.full((len(self.tiles), 2), np.nan)
        for crs in dict.fromkeys(self.crs[self.placed]):
            rows = self.crs == crs
            found[rows] = np.stack(transformer(crs, "EPSG:4326").transform(*centres[rows].T), axis=-1)
        for row in self.placed[~np.isfinite(found[self.placed]).all(axis=1)]:
            raise SardinoError(f"tile {self.tiles[row].id} lies outside what its CRS {self.crs[row]} can show")
        return found

    @cached_property
    def earth(self) -> NDArray[np.float64]:
        """(N, 3) centres in metres from the centre of the earth."""
        return _on_earth(*self.lonlat.T)

    @cached_property
    def radius(self) -> NDArray[np.float64]:
        """(N,) metres from a tile's centre to its farthest corner."""
        found = np.zeros(len(self.tiles))
        for crs in dict.fromkeys(self.crs[self.placed]):
            rows = np.flatnonzero(self.crs == crs)
            points = corners(self.bounds[rows])
            place = _on_earth(*transformer(crs, "EPSG:4326").transform(points[..., 0], points[..., 1]))
            found[rows] = np.linalg.norm(place - self.earth[rows, None], axis=-1).max(axis=1)
        return found

    @cached_property
    def metric(self) -> NDArray[np.object_]:
        """(N,) the CRS in which a tile's distances are measured: its own UTM zone, or that of its centre."""
        chosen = np.full(len(self.tiles), "", object)
        for row in self.placed:
            own = str(self.crs[row])
            longitude, latitude = self.lonlat[row]
            chosen[row] = own if zone_of(own) else crs_at(longitude, min(max(latitude, -80.0), 84.0))
        return chosen

    def overlaps(self) -> NDArray[np.int64]:
        """(M, 2) pairs of tiles that share ground, the smaller number first; touching is not sharing.

        A hundredth of a pixel less on each side keeps neighbours apart that only touch.
        """
        pairs = [np.empty((0, 2), np.int64)]
        shrunk = self.bounds + (self.pixel / 100)[:, None] * np.array([1, 1, -1, -1])
        regions = np.array([tile.region if not tile.crs else "" for tile in self.tiles], object)
        for crs, region in dict.fromkeys(zip(self.crs, regions, strict=True)):
            rows = np.flatnonzero((self.crs == crs) & (regions == region))
            boxes = shapely.box(*shrunk[rows].T)
            first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
            pairs.append(rows[np.stack([first, second], axis=1)[first < second]])
        if len(set(self.crs[self.placed])) > 1:
            near = self._near(self.placed, self.placed, 0.0)
            across = near[(near[:, 0] < near[:, 1]) & (self.crs[near[:, 0]] != self.crs[near[:, 1]])]
            pairs.append(across[self.distances(across, shrunk) <= 0])
        found = np.concatenate(pairs)
        return found[np.lexsort((found[:, 1], found[:, 0]))]

    def distances(self, pairs: NDArray[np.int64], bounds: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(M,) metres on the ground between the outlines, or other bounds (N, 4), of pairs (M, 2); 0 if they meet."""
        if len(pairs) > _MANY:
            parts = np.array_split(pairs, len(pairs) // _MANY + 1)
            return np.concatenate([self.distances(part, bounds) for part in parts])
        bounds = self.bounds if bounds is None else bounds
        found = np.empty(len(pairs))
        groups = np.stack([self.metric[pairs[:, 0]], self.crs[pairs[:, 0]], self.crs[pairs[:, 1]]], axis=1)
        for metric, *crs in dict.fromkeys(map(tuple, groups)):
            rows = np.flatnonzero((groups == np.array([metric, *crs], object)).all(axis=1))
            shapes = []
            for side in (0, 1):
                # Straight in its own CRS, an edge is curved in another: points on it follow the curve.
                points = corners(bounds[pairs[rows, side]], 1 if crs[side] == metric else 8)
                if crs[side] != metric:
                    x, y = transformer(crs[side], metric).transform(points[..., 0], points[..., 1])
                    points = np.stack([x, y], axis=-1)
                shapes.append(shapely.polygons(points))
            scale = Proj(metric).get_factors(*self.lonlat[pairs[rows, 0]].T).meridional_scale
            found[rows] = shapely.distance(*shapes) / scale
        return found

    def nearer_than(self, ones: NDArray[np.int64], others: NDArray[np.int64], metres: float) -> NDArray[np.int64]:
        """Which of some tiles lie nearer than so many metres, outline to outline, to any of the others."""
        ones, others = (rows[self.crs[rows] != ""] for rows in (ones, others))
        if not len(ones) or not len(others) or metres <= 0:
            return np.empty(0, np.int64)
        # Most are decided by the nearest centre alone.
        nearest, _ = cKDTree(self.earth[others]).query(self.earth[ones])
        widest = self.radius[others].max()
        near = nearest < metres
        pairs = self._near(ones[~near & (nearest < metres + self.radius[ones] + widest)], others, metres)
        return np.union1d(ones[near], pairs[self.distances(pairs) < metres, 0])

    def smallest_distance(self, ones: NDArray[np.int64], others: NDArray[np.int64]) -> float | None:
        """Metres between the nearest pair of two groups of tiles; None if one has no place."""
        ones, others = (rows[self.crs[rows] != ""] for rows in (ones, others))
        if not len(ones) or not len(others):
            return None
        nearest, place = cKDTree(self.earth[others]).query(self.earth[ones])
        first = np.argsort(nearest, kind="stable")[:200]
        best = self.distances(np.stack([ones[first], others[place[first]]], axis=1)).min()
        reach = best + self.radius[ones] + self.radius[others].max()
        candidates = self._near(ones[nearest <= reach], others, best)
        return float(self.distances(candidates).min(initial=best))

    def _near(self, ones: NDArray[np.int64], others: NDArray[np.int64], metres: float) -> NDArray[np.int64]:
        """Pairs whose circles come so near to each other; a chord through the earth is shorter than its arc."""
        if not len(ones) or not len(others):
            return np.empty((0, 2), np.int64)
        reach = metres + self.radius[ones] + self.radius[others].max() + 1.0
        lists = cKDTree(self.earth[others]).query_ball_point(self.earth[ones], reach)
        first = np.repeat(ones, [len(found) for found in lists])
        second = others[np.concatenate([np.asarray(found, np.int64) for found in lists])] if len(first) else first
        apart = np.linalg.norm(self.earth[first] - self.earth[second], axis=1)
        keep = (apart <= metres + self.radius[first] + self.radius[second] + 1.0) & (first != second)
        return np.stack([first, second], axis=1)[keep]


def _on_earth(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.float64]:
    convert = transformer("EPSG:4979", "EPSG:4978").transform
    return np.stack(convert(longitude, latitude, np.zeros_like(longitude)), axis=-1)
