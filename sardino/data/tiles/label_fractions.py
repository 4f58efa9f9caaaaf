"""Who learns and who judges: geographic bands, and nested label fractions."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError

PATTERN = ("train", "train", "train", "val", "test")
"""Cyclic use of the bands: 60 / 20 / 20 (paper, section 2 and Figure 3)."""


def band_index(x: NDArray[np.floating], y: NDArray[np.floating], bands: int, angle_deg: float) -> NDArray[np.int64]:
    """The band of each tile centre: parallel strips holding equally many tiles.

    Strips of equal tile count, not of equal width, so that 60/20/20 holds for tiles
    whatever the region's shape.

    Args:
        x, y: (N,) centres in map units.
        bands: number of strips; 60 in the paper.
        angle_deg: direction in which the strips follow each other, counter-clockwise from east.

    Returns:
        (N,) band numbers from 0.
    """
    if bands < len(PATTERN):
        raise SardinoError(f"a split needs at least {len(PATTERN)} bands for train, val and test, not {bands}")
    if len(x) < bands:
        raise SardinoError(f"{len(x)} tiles cannot fill {bands} bands: ask for fewer bands or more tiles")
    angle = math.radians(angle_deg)
    distance = np.asarray(x) * math.cos(angle) + np.asarray(y) * math.sin(angle)
    # A millimetre grid makes ties of rounding errors, and a stable sort keeps them in one order.
    rank = np.empty(len(distance), np.int64)
    rank[np.argsort(np.round(distance, 3), kind="stable")] = np.arange(len(distance))
    return rank * bands // len(distance)


def split_of_band(band: NDArray[np.int64]) -> NDArray[np.str_]:
    """(N,) band numbers to "train", "val" or "test"."""
    return np.asarray(PATTERN)[np.asarray(band) % len(PATTERN)]


def label_order(ids: Sequence[str], draw: int = 0) -> list[str]:
    """Tile ids in the order in which labels are granted: by hash of id and draw, so no position matters."""
    return sorted(ids, key=lambda tile: hashlib.sha256(f"{draw}:{tile}".encode()).hexdigest())


def label_fraction(ids: Sequence[str], percent: float, draw: int = 0) -> list[str]:
    """The labelled subset of training tiles; a smaller fraction lies inside a larger one of the same draw.

    Args:
        ids: ids of all training tiles.
        percent: 0.1, 1, 10 or 100 in the paper's tables; at least one tile is granted.
        draw: number of the random draw; arms that are compared use the same one.
    """
    if not ids or not 0 < percent <= 100:
        raise SardinoError(f"a label fraction needs training tiles and a percentage in (0, 100], not {percent}")
    return label_order(ids, draw)[: max(1, round(len(ids) * percent / 100))]
