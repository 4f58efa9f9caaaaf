"""Intervals by bootstrap: seeds are resampled, then geographic blocks, because neighbouring tiles are alike."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.confusion import miou

Statistic = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def resampled(
    confusions: NDArray[np.integer], blocks: NDArray[np.integer], draws: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Bootstrap copies of the summed confusion matrix, one per drawn seed.

    Args:
        confusions: (seeds, tiles, n, n) pixel counts.
        blocks: (tiles,) geographic block (band) of each tile; the unit that is resampled.
        draws: number of bootstrap copies.
        rng: two arms given generators of one state are resampled alike, hence paired.

    Returns:
        (draws, seeds, n, n): each copy's matrices, by drawn seed.

    Raises:
        SardinoError: shapes disagree.
    """
    if confusions.ndim != 4 or len(blocks) != confusions.shape[1] or confusions.shape[1] == 0:
        raise SardinoError(f"confusions {confusions.shape} need (seeds, tiles, n, n) and a block per tile")
    names, member = np.unique(np.asarray(blocks), return_inverse=True)
    per_block = np.zeros((confusions.shape[0], len(names), *confusions.shape[2:]), np.int64)
    for seed, matrices in enumerate(confusions):
        np.add.at(per_block[seed], member, matrices.astype(np.int64))
    seeds = rng.integers(len(per_block), size=(draws, len(per_block)))
    weight = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)  # (draws, blocks)
    summed = np.einsum("db,sbij->dsij", weight, per_block, optimize=True)
    return np.take_along_axis(summed, seeds[:, :, None, None], axis=1)


def interval(
    confusions: NDArray[np.integer],
    blocks: NDArray[np.integer],
    statistic: Statistic = miou,
    draws: int = 1000,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a score averaged over seeds (arguments as `resampled`).

    With one seed it holds the spread over places alone, not the spread over trainings.
    """
    copies = resampled(confusions, blocks, draws, rng or np.random.default_rng(0))
    return _percentiles(statistic(copies).mean(1), level)


def paired_interval(
    ours: NDArray[np.integer],
    theirs: NDArray[np.integer],
    blocks: NDArray[np.integer],
    statistic: Statistic = miou,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Difference of two arms' scores (ours - theirs) on the same tiles and seeds, and its interval.

    Returns:
        (difference, low, high)
    """
    if ours.shape != theirs.shape:
        raise SardinoError(f"paired arms need the same seeds and tiles, got {ours.shape} and {theirs.shape}")
    point = statistic(ours.astype(np.int64).sum(1)).mean() - statistic(theirs.astype(np.int64).sum(1)).mean()
    copies = [resampled(arm, blocks, draws, np.random.default_rng(seed)) for arm in (ours, theirs)]
    low, high = _percentiles(statistic(copies[0]).mean(1) - statistic(copies[1]).mean(1), level)
    return float(point), low, high


def _percentiles(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
