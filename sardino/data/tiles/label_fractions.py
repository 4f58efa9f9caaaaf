"""Nested label fractions: which training tiles have labels."""

import hashlib
from collections.abc import Sequence

from sardino.errors import SardinoError


def label_order(ids: Sequence[str], draw: int = 0) -> list[str]:
    """Tile ids in the order in which labels are granted: by hash of id and draw, so no position matters."""
    return sorted(ids, key=lambda tile: hashlib.sha256(f"{draw}:{tile}".encode()).hexdigest())


def label_fraction(ids: Sequence[str], percent: float, draw: int = 0) -> list[str]:
    """The labelled subset of training tiles; a smaller fraction lies inside a larger one of the same draw.

    Args:
        percent: 0.1, 1, 10 or 100 in the paper's tables; at least one tile is granted.
        draw: number of the random draw; arms that are compared use the same one.
    """
    if not ids or not 0 < percent <= 100:
        raise SardinoError(f"a label fraction needs training tiles and a percentage in (0, 100], not {percent}")
    return label_order(ids, draw)[: max(1, round(len(ids) * percent / 100))]
