"""Splits kept apart: no ground in two of them, and a buffer between them where asked."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.grid import Tile
from sardino.tiles.places.ground import Ground
from sardino.tiles.tileset import SPLITS

UNUSED = "none"
"""Split of a tile that is dropped."""


def separate(tiles: Sequence[Tile], splits: Sequence[str], buffer_m: float = 0.0) -> NDArray[np.str_]:
    """Splits in which no two tiles of different splits share ground or lie nearer than the buffer.

    Of two such tiles the one used for learning is dropped: test keeps its tiles, validation loses those too near
    to test, then training those too near to what remains of both.

    Args:
        tiles: of any CRSs.
        splits: "train", "val", "test" or "none" per tile.
        buffer_m: metres on the ground, outline to outline.

    Returns:
        (N,) splits, "none" where a tile was dropped.

    Raises:
        SardinoError: an unknown split, a negative buffer, or a buffer that leaves a split without tiles.
    """
    if len(tiles) != len(splits):
        raise SardinoError(f"{len(tiles)} tiles and {len(splits)} splits do not match")
    result = np.array([str(split) for split in splits], dtype="U8")
    unknown = sorted(set(result) - {*SPLITS, UNUSED})
    if unknown:
        raise SardinoError(f"unknown split {', '.join(unknown)}: use {', '.join(SPLITS)}, or {UNUSED} for no split")
    if not buffer_m >= 0:
        raise SardinoError(f"a buffer is a distance in metres from 0, not {buffer_m}")
    before = {split: int((result == split).sum()) for split in SPLITS}
    ground = Ground(tiles)
    if buffer_m and len(ground.placed) < len(tiles):
        raise SardinoError("some tiles state no CRS: without a place there is no distance, so no buffer")
    overlaps = ground.overlaps()
    for learner, judges in (("val", ("test",)), ("train", ("val", "test"))):
        for one, other in (overlaps.T, overlaps.T[::-1]):
            result[one[(result[one] == learner) & np.isin(result[other], judges)]] = UNUSED
        ones, others = np.flatnonzero(result == learner), np.flatnonzero(np.isin(result, judges))
        result[ground.nearer_than(ones, others, buffer_m)] = UNUSED
    for split, tiles_before in before.items():
        if tiles_before and not (result == split).any():
            raise SardinoError(
                f"nothing of '{split}' remains: all its {tiles_before} tiles overlap another split or lie nearer to "
                f"one than {buffer_m:g} m; use wider bands or blocks, or a smaller buffer"
            )
    return result
