"""Block splits: squares of ground go whole to one split, drawn by seed and balanced by tile count."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.grid import Tile
from sardino.tiles.places.bands import PERCENT, ground_plane, split_pattern
from sardino.tiles.tileset import SPLITS


def blocks_of(tiles: Sequence[Tile], block_km: float) -> NDArray[np.int64]:
    """The block of each tile: square blocks on the ground, numbered from 0, north row first.

    Args:
        tiles: of any CRSs; a tile belongs to the block of its centre.
        block_km: edge of a block.
    """
    if not 0 < block_km < 20_000:
        raise SardinoError(f"a block needs an edge in kilometres above 0, not {block_km}")
    x, y = ground_plane(tiles)
    column = np.floor((x - x.min()) / (block_km * 1000)).astype(np.int64)
    row = np.floor((y.max() - y) / (block_km * 1000)).astype(np.int64)
    _, number = np.unique(row * (column.max() + 1) + column, return_inverse=True)
    return number.astype(np.int64)


def splits_of_blocks(block: NDArray[np.int64], percent: Sequence[int] = PERCENT, seed: int = 0) -> NDArray[np.str_]:
    """(N,) block numbers to splits; a block goes, largest first among equals at random, where tiles lack most.

    Args:
        block: (N,) from `blocks_of`, or any other grouping.
        percent: of train, val and test.
        seed: another seed is another draw.

    Raises:
        SardinoError: fewer blocks than splits.
    """
    split_pattern(percent)  # refuses impossible percentages
    wanted = {split: share / 100 for split, share in zip(SPLITS, percent, strict=True) if share}
    sizes = np.bincount(block)
    if (sizes > 0).sum() < len(wanted):
        raise SardinoError(
            f"{(sizes > 0).sum()} blocks cannot fill {', '.join(wanted)}: ask for smaller blocks or more tiles"
        )
    draw = np.random.default_rng(seed).permutation(len(sizes))
    order = draw[np.argsort(-sizes[draw], kind="stable")]
    held = dict.fromkeys(wanted, 0)
    chosen = np.full(len(sizes), "", dtype="U8")
    for number in order:
        if sizes[number]:
            # The split that lacks the largest part of its due takes it.
            split = min(wanted, key=lambda name: held[name] / wanted[name])
            chosen[number] = split
            held[split] += int(sizes[number])
    return chosen[block]
