"""Means over tiles with their intervals over geographic bands, for many scores at once.

The intervals are those of sardino.evaluation.bootstrap: bands are resampled whole, because neighbouring tiles are
alike, and the spread is widened to Student's t, because bands are few.
"""

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import DRAWS, widened

Float = NDArray[np.float64]
Blocks = NDArray[np.integer]


def band_means(values: Float, blocks: Blocks, rng: np.random.Generator) -> Float:
    """Mean over tiles of each row, and its 95 % interval; tiles that are NaN are left out.

    Args:
        values: (K, T).
        blocks, rng: as for `band_ratios`.

    Returns:
        (K, 3) mean, low, high.
    """
    return band_ratios(values, np.where(np.isfinite(values), 1.0, np.nan), blocks, rng)


def band_ratios(numerator: Float, denominator: Float, blocks: Blocks, rng: np.random.Generator) -> Float:
    """Sum over tiles of each row over the sum of another, and its 95 % interval.

    Args:
        numerator, denominator: (K, T); a tile that is NaN in either is left out of the row.
        blocks: (T,) geographic band of each tile, the unit that is resampled.
        rng: of the draws.

    Returns:
        (K, 3) ratio, low, high. All NaN where a row has no tile; low and high are NaN where its tiles are of one band,
        which says nothing of other places.

    Raises:
        SardinoError: shapes disagree.
    """
    if numerator.shape != denominator.shape or numerator.ndim != 2 or numerator.shape[1] != len(blocks):
        raise SardinoError(f"scores {numerator.shape} and {denominator.shape} need a band per tile, got {len(blocks)}")
    result = np.full((len(numerator), 3), np.nan)
    valid = np.isfinite(numerator) & np.isfinite(denominator)
    patterns, row_pattern = np.unique(valid, axis=0, return_inverse=True)
    for number, tiles in enumerate(patterns):
        rows = np.flatnonzero(row_pattern.ravel() == number)
        if not tiles.any():
            continue
        names, member = np.unique(np.asarray(blocks)[tiles], return_inverse=True)
        belongs = (member == np.arange(len(names))[:, None]).astype(np.float64)  # (bands, tiles)
        above, below = (belongs @ each[np.ix_(rows, tiles)].T for each in (numerator, denominator))  # (bands, rows)
        result[rows, 0] = above.sum(0) / below.sum(0)
        if len(names) > 1:
            weight = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
            drawn = (weight @ above) / (weight @ below)
            copies = result[rows, 0] + widened(drawn, len(names), rng)
            result[rows, 1:] = np.quantile(copies, [0.025, 0.975], axis=0).T
    return result
