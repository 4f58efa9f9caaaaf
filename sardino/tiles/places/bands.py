"""Bands at a true bearing: parallel strips on the ground, whatever the tiles' coordinate systems."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from sardino.errors import SardinoError
from sardino.tiles.grid import Tile
from sardino.tiles.places.ground import Ground
from sardino.tiles.splits import band_index
from sardino.tiles.tileset import SPLITS

PERCENT = (60, 20, 20)
"""Of train, val and test (paper, section 2)."""


def bands_at_bearing(tiles: Sequence[Tile], bands: int, bearing_deg: float) -> NDArray[np.int64]:
    """The band of each tile: strips that follow each other in a direction on the ground, holding equally many tiles.

    Measured in the azimuthal equal-area projection centred on the tiles, where directions from the centre are true.

    Args:
        tiles: of any CRSs.
        bands: number of strips; 60 in the paper.
        bearing_deg: direction in which the strips follow each other, clockwise from north: 90 stacks them from west
            to east, so that each strip runs north-south.

    Returns:
        (N,) band numbers from 0.

    Raises:
        SardinoError: too few bands or tiles, or a tile states no CRS.
    """
    if not math.isfinite(bearing_deg):
        raise SardinoError(f"a bearing is an angle in degrees clockwise from north, not {bearing_deg}")
    x, y = ground_plane(tiles)
    return band_index(x, y, bands, 90.0 - bearing_deg)


def ground_plane(tiles: Sequence[Tile]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(x, y) in metres east and north of the tiles' common centre, equal-area."""
    ground = Ground(tiles)
    if len(ground.placed) < len(tiles) or not len(tiles):
        raise SardinoError(
            "some tiles state no CRS, so that north is unknown: they cannot be split by bearing or block"
        )
    middle = ground.earth.mean(axis=0)
    if np.linalg.norm(middle) < 1e5:
        raise SardinoError("the tiles surround the earth and have no common centre: split each region by itself")
    to_degrees = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform
    longitude, latitude, _ = to_degrees(*middle)
    plane = f"+proj=laea +lon_0={longitude:.6f} +lat_0={latitude:.6f} +datum=WGS84 +units=m"
    x, y = Transformer.from_crs("EPSG:4326", plane, always_xy=True).transform(*ground.lonlat.T)
    return np.asarray(x), np.asarray(y)


def split_pattern(percent: Sequence[int] = PERCENT) -> list[str]:
    """Splits of successive bands, the shortest list with these shares: 60/20/20 is train x 3, val, test.

    Args:
        percent: whole percentages of train, val and test, together 100; train and test above 0.
    """
    train, val, test = (int(p) for p in percent)
    if [train, val, test] != list(percent) or min(val, train - 1, test - 1) < 0 or train + val + test != 100:
        raise SardinoError(
            f"train, val and test need whole percentages that sum to 100, train and test above 0, not "
            f"{'/'.join(f'{p:g}' for p in percent)}"
        )
    unit = math.gcd(train, val, test)
    return [split for split, share in zip(SPLITS, (train, val, test), strict=True) for _ in range(share // unit)]


def splits_of_bands(band: NDArray[np.int64], percent: Sequence[int] = PERCENT) -> NDArray[np.str_]:
    """(N,) band numbers to "train", "val" or "test"; the pattern repeats from band to band.

    Raises:
        SardinoError: fewer bands than the pattern is long.
    """
    pattern = split_pattern(percent)
    bands = int(band.max()) + 1
    if bands < len(pattern):
        raise SardinoError(
            f"{'/'.join(str(p) for p in percent)} needs at least {len(pattern)} bands, not {bands}: ask for more "
            f"bands, or rounder percentages"
        )
    return np.asarray(pattern)[np.asarray(band) % len(pattern)]
