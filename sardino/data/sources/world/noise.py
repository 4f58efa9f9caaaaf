"""Continuous random fields hashed from absolute map coordinates, so that any window shows the same world."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Axis = NDArray[np.float64]
Float = NDArray[np.float32]
Hash = NDArray[np.uint64]

RIVER_HURST = 1.45  # smooth enough that a zero line winds on instead of closing into rings
STEP_M = 10.0  # over which a field's slope is taken

# Finaliser constants of SplitMix64 (Steele, Lea & Flood 2014).
_GOLDEN, _C1, _C2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# Standard deviation of a cubic B-spline through white noise, per axis 0.69 (0.68 to 0.71 within a cell).
_SPLINE_SD = 0.479


@dataclass(frozen=True)
class Grid:
    """Sample points of a north-up raster: x (W,) and y (H,) in metres of the map."""

    x: Axis
    y: Axis

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y), len(self.x)

    def window(self, x: float, y: float, across: float, along: float) -> tuple[slice, slice]:
        """Rows and columns within `across` metres of a point in x and `along` metres in y."""
        columns = np.flatnonzero(np.abs(self.x - x) <= across)
        rows = np.flatnonzero(np.abs(self.y - y) <= along)
        if not len(columns) or not len(rows):
            return slice(0, 0), slice(0, 0)
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def nearest(self, x: Axis, y: Axis) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of the sample point nearest to each place."""
        row, column = (
            np.clip(np.rint((place - axis[0]) / (axis[1] - axis[0])).astype(np.int64), 0, len(axis) - 1)
            for place, axis in ((y, self.y), (x, self.x))
        )
        return row, column

    def coarse(self, step: float, margin: float) -> "Grid":
        """A grid of absolute multiples of `step` metres that covers this one and a margin."""
        ends = [((a.min() - margin) / step, (a.max() + margin) / step) for a in (self.x, self.y)]
        return Grid(*(np.arange(np.floor(low), np.ceil(high) + 1) * step for low, high in ends))


@dataclass(frozen=True)
class Keys:
    """Names the independent random fields of one region of one world."""

    seed: int
    region: str

    def __call__(self, name: str) -> np.uint64:
        digest = hashlib.sha256(f"{self.seed}:{self.region}:{name}".encode()).digest()
        return np.uint64(int.from_bytes(digest[:8], "little"))


def mix(key: Any, *parts: Any) -> Hash:
    """Hashes integers (arrays that broadcast) to uint64, one SplitMix64 round per part."""
    value = np.atleast_1d(np.asarray(key, np.uint64))
    for part in parts:
        value = value ^ (np.atleast_1d(np.asarray(part)).astype(np.int64).view(np.uint64) * _GOLDEN)
        value = (value ^ (value >> np.uint64(30))) * _C1
        value = (value ^ (value >> np.uint64(27))) * _C2
        value ^= value >> np.uint64(31)
    return value


def uniform(value: Hash) -> Axis:
    """Hashes to uniform numbers strictly inside (0, 1)."""
    return ((value >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normal(value: Hash) -> Float:
    """Hashes to standard normal numbers."""
    return ndtri(uniform(value)).astype(np.float32)


def _taps(coordinate: Axis, cell: float, shift: float) -> tuple[NDArray[np.int64], Float]:
    position = coordinate / cell + shift
    whole = np.floor(position)
    f = position - whole
    weights = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]) / 6
    return whole.astype(np.int64), weights.astype(np.float32)


def smooth_noise(grid: Grid, cell: float, key: np.uint64) -> Float:
    """(H, W) unit-variance Gaussian field: a cubic B-spline over a lattice of hashed normals every `cell` metres."""
    shift_x, shift_y = uniform(mix(key, [1, 2]))
    ix, wx = _taps(grid.x, cell, float(shift_x))
    iy, wy = _taps(grid.y, cell, float(shift_y))
    x0, y0 = ix.min() - 1, iy.min() - 1
    nodes = mix(key, np.arange(y0, iy.max() + 3)[:, None], np.arange(x0, ix.max() + 3)[None, :])
    lattice = normal(nodes) / np.float32(_SPLINE_SD)
    # Elementwise taps rather than a matrix product: their rounding does not depend on the window's size.
    columns = sum(wx[k] * lattice[:, ix - 1 - x0 + k] for k in range(4))
    field = wy[0][:, None] * columns[iy - 1 - y0]
    for k in range(1, 4):
        field += wy[k][:, None] * columns[iy - 1 - y0 + k]
    return field


def fbm(grid: Grid, cell: float, octaves: int, key: np.uint64, hurst: float = 0.8) -> Float:
    """(H, W) unit-variance fractional Brownian field: octaves of `smooth_noise`, the largest of `cell` metres."""
    amplitude = 2.0 ** (-hurst * np.arange(octaves))
    amplitude /= np.sqrt((amplitude**2).sum())
    field = np.float32(amplitude[0]) * smooth_noise(grid, cell, key)
    for octave in range(1, octaves):
        field += np.float32(amplitude[octave]) * smooth_noise(grid, cell / 2.0**octave, mix(key, octave)[0])
    return field


def crossing_distance(grid: Grid, cell: float, octaves: int, key: np.uint64) -> Float:
    """(H, W) approximate metres to the zero line of an fbm field: its value over its slope."""
    here, slope = _with_slope(lambda x, y: fbm(Grid(x, y), cell, octaves, key, RIVER_HURST), grid)
    return (np.abs(here) / np.maximum(slope, 0.15 / cell)).astype(np.float32, copy=False)


def _with_slope(field: Callable[[Axis, Axis], NDArray[Any]], grid: Grid) -> tuple[NDArray[Any], NDArray[Any]]:
    """A field of x and y, and how steep it is per metre."""
    here = field(grid.x, grid.y)
    east, north = field(grid.x + STEP_M, grid.y) - here, field(grid.x, grid.y + STEP_M) - here
    return here, np.sqrt(east**2 + north**2) / STEP_M


def meander_distance(grid: Grid, spacing: float, key: np.uint64) -> Float:
    """(H, W) approximate metres to the nearest of many lines that wind side by side and never close to rings.

    A line is where a coordinate across the flow, bent by a smooth field, is a whole number. The bend's slope is
    mostly below that of the coordinate, so that each line goes on from one end of the world to the other.
    `spacing` is metres between lines, about; they wind by a fifth of it. The key names them and their direction.
    """
    angle = np.pi * float(uniform(mix(key, 11))[0])
    cosine, sine = np.cos(angle) / spacing, np.sin(angle) / spacing

    def bent(x: Axis, y: Axis) -> Axis:
        wind = 0.24 * fbm(Grid(x, y), 0.85 * spacing, 5, key, RIVER_HURST)
        return cosine * x[None, :] + sine * y[:, None] + wind

    here, slope = _with_slope(bent, grid)
    return (np.abs(here - np.round(here)) / np.maximum(slope, 0.15 / spacing)).astype(np.float32)


def sites_in(grid: Grid, spacing: float, margin: float, key: np.uint64) -> tuple[Axis, Axis, Hash]:
    """Points of a jittered lattice, one per cell, as (N,) x, y and hash; cells within `margin` metres of the grid."""
    ends = [((a.min() - margin) / spacing, (a.max() + margin) / spacing) for a in (grid.x, grid.y)]
    columns, rows = (np.arange(np.floor(low), np.floor(high) + 1) for low, high in ends)
    value = mix(key, rows[:, None], columns[None, :])
    x = (columns[None, :] + 0.15 + 0.7 * uniform(mix(value, 1))) * spacing
    y = (rows[:, None] + 0.15 + 0.7 * uniform(mix(value, 2))) * spacing
    return x.ravel(), y.ravel(), value.ravel()


def sites(grid: Grid, spacing: float, margin: float, key: np.uint64) -> Iterator[tuple[float, float, np.uint64]]:
    """The points of `sites_in`, one by one."""
    x, y, value = sites_in(grid, spacing, margin, key)
    return zip(x.tolist(), y.tolist(), value, strict=True)
