"""Intervals of scores: geographic blocks resampled, because neighbouring tiles are alike, and seeds with Student's t.

A score averaged over seeds is uncertain for two reasons: other places, and other trainings. A percentile bootstrap of
both is too narrow where either is few (of 500 intervals over 3 seeds and 4 blocks, about 410 held the truth, not 475).
Here a copy of the score is

    mean + block part + seed part,

where the block part is the deviation of the score on resampled blocks, widened to the spread of independent blocks and
divided by the root of a chi-square over its degrees of freedom (blocks - 1), and the seed part is a normal mix of the
seeds' deviations, divided likewise (seeds - 1). Each part is then Student's t, and their sum is Behrens and Fisher's
answer for two variances that are both estimated. All draws are shared between arms, so copies of differences are
differences of copies. Coverage is tested (tests/evaluation/test_coverage.py) for 3 and 5 seeds on 4 and 12 blocks. What
seeds do differently from block to block counts in both parts: where little else varies, intervals are too wide.

One seed says nothing of other trainings, one block nothing of other places: that part is then absent, and the interval
too narrow for a statement about the method.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.scores import Confusion, miou

Statistic = Callable[[Confusion], NDArray[np.float64]]
Float = NDArray[np.float64]
Blocks = NDArray[np.integer]

DRAWS = 4000  # copies behind an interval: Student's tails over few seeds need more than a normal's


def resampled(confusions: Confusion, blocks: Blocks, draws: int, rng: np.random.Generator) -> Confusion:
    """Confusion matrices summed over blocks drawn with replacement, the same for every seed: (draws, seeds, n, n).

    Args:
        confusions: (seeds, tiles, n, n) pixel counts.
        blocks: (tiles,) geographic block (band) of each tile; the unit that is resampled.
        rng: two arms given generators of one state are resampled alike, hence paired.
    """
    if confusions.ndim != 4 or len(blocks) != confusions.shape[1] or confusions.shape[1] == 0:
        raise SardinoError(f"confusions {confusions.shape} need (seeds, tiles, n, n) and a block per tile")
    names, member = np.unique(np.asarray(blocks), return_inverse=True)
    per_block = np.zeros((len(names), len(confusions), *confusions.shape[2:]), np.float64)
    np.add.at(per_block, member, confusions.swapaxes(0, 1))
    weight = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    # Counts are exact in float64 up to 9e15, and the product of floats is the fast one.
    summed = weight.astype(np.float64) @ per_block.reshape(len(names), -1)
    return summed.reshape(draws, *per_block.shape[1:]).astype(np.int64)


def copies(
    confusions: Confusion, blocks: Blocks, statistic: Statistic = miou, draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """(draws,) copies of a score averaged over seeds, spread as it is uncertain (see the module).

    Args:
        confusions, blocks: as for `resampled`.
        statistic: (..., n, n) to (...).
        seed: of the draws; arms with the same seed, blocks and number of seeds are paired.
    """
    rng = np.random.default_rng(seed)
    trainings, places = len(confusions), len(np.unique(blocks))
    scores = statistic(confusions.astype(np.int64).sum(1))
    drawn = statistic(resampled(confusions, blocks, draws, rng)).mean(1)
    result = np.full(draws, scores.mean())
    if places > 1:
        result += widened(drawn, places, rng)
    if trainings > 1:
        mixed = rng.standard_normal((draws, trainings)) @ (scores - scores.mean())
        result += t_scale(trainings - 1, draws, rng) * mixed / np.sqrt(trainings * (trainings - 1))
    return result


def interval(
    confusions: Confusion, blocks: Blocks, statistic: Statistic = miou, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of a score averaged over seeds, within 0 to 1 (arguments as `copies`)."""
    low, high = bounds(copies(confusions, blocks, statistic, draws, seed))
    return max(0.0, low), min(1.0, high)


def band_means(values: Float, blocks: Blocks, rng: np.random.Generator) -> Float:
    """Mean over tiles of each row of (K, T) values, and its 95 % interval: (K, 3), as `band_ratios`."""
    return band_ratios(values, np.where(np.isfinite(values), 1.0, np.nan), blocks, rng)


def band_ratios(numerator: Float, denominator: Float, blocks: Blocks, rng: np.random.Generator) -> Float:
    """Sum over tiles of each row over the sum of another, and its 95 % interval.

    Args:
        numerator, denominator: (K, T); a tile that is NaN in either is left out of the row.
        blocks: (T,) geographic band of each tile, the unit that is resampled.

    Returns:
        (K, 3) ratio, low, high. All NaN where a row has no tile; low and high are NaN where its tiles are of one band,
        which says nothing of other places.
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


def bounds(copies: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The central part of copies."""
    low, high = np.quantile(copies, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def widened(copies: NDArray[np.float64], blocks: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Deviations of copies, (draws, ...), as Student's t over so many independent blocks has them."""
    scale = np.sqrt(blocks / (blocks - 1)) * t_scale(blocks - 1, len(copies), rng)
    return (scale * (copies - copies.mean(0)).T).T


def t_scale(freedom: int, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(draws,) factors that make a normal deviate Student's t."""
    return np.sqrt(freedom / rng.chisquare(freedom, draws))
