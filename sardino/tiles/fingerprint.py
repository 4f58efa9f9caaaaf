"""Fingerprints: a digest of each tile's pixels, and one of the whole store made from them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.tiles.landcover import Legend


def head_of(channels: Sequence[str], unit: str, legend: Legend, tile_px: int) -> dict[str, Any]:
    """What gives the pixels of a store their meaning."""
    return {"channels": list(channels), "unit": unit, "legend": legend.to_dict(), "tile_px": tile_px}


def tile_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of a tile's packed arrays, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def store_fingerprint(head: Mapping[str, Any], tiles: Iterable[tuple[str, str, int, str]]) -> str:
    """SHA-256 over the head and, per tile in store order, its id, split, band and digest."""
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for tile_id, split, band, pixels in tiles:
        digest.update(f"{tile_id},{split},{band},{pixels};".encode())
    return digest.hexdigest()
