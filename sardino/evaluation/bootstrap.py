"""Intervals of scores: geographic blocks resampled, as neighbouring tiles are alike, and repetitions with Student's t.

A score averaged over repetitions is uncertain for two reasons: other places, and other repetitions, each of which draws
the labelled tiles, seeds the training, or both. A percentile bootstrap of both reasons is too narrow where either is
few (of 500 intervals over 3 repetitions and 4 blocks, about 410 held the truth, not 475). Here a copy of the score is

    mean + block part + repetition part,

where the block part is the deviation of the score on resampled blocks, widened to the spread of independent blocks and
divided by the root of a chi-square over its degrees of freedom (blocks - 1), and the repetition part is a normal mix of
the repetitions' deviations, divided likewise (repetitions - 1). Each part is then Student's t, and their sum is Behrens
and Fisher's answer for two variances that are both estimated. All chance is shared between cells (where their numbers
of repetitions differ, that of blocks and the normals of the repetitions that both have), so copies of differences are
differences of copies. Coverage is tested (tests/evaluation/test_coverage.py) for 3 and 5 independent repetitions on 4
and 12 blocks. What repetitions do differently from block to block counts in both parts: where little else varies,
intervals are too wide.

One repetition says nothing of others, one block nothing of other places: that part is then absent, and the interval too
narrow for a statement about the method. So it is for other labels where all repetitions have one draw, for other
trainings where they have one seed, and somewhat where draws or seeds recur, since repetitions are then not independent.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.scores import Confusion, miou

Statistic = Callable[[Confusion], NDArray[np.float64]]
Float = NDArray[np.float64]
Blocks = NDArray[np.integer]

DRAWS = 4000  # copies behind an interval: Student's tails over few repetitions need more than a normal's


def resampled(confusions: Confusion, blocks: Blocks, draws: int, rng: np.random.Generator) -> Confusion:
    """Confusions summed over blocks drawn with replacement, the same for every repetition: (draws, repetitions, n, n).

    Args:
        confusions: (repetitions, tiles, n, n) pixel counts.
        blocks: (tiles,) geographic block (band) of each tile; the unit that is resampled.
        rng: two arms given generators of one state are resampled alike, hence paired.
    """
    if confusions.ndim != 4 or len(blocks) != confusions.shape[1] or confusions.shape[1] == 0:
        raise SardinoError(f"confusions {confusions.shape} need (repetitions, tiles, n, n) and a block per tile")
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
    """(draws,) copies of a score averaged over repetitions, spread as it is uncertain (see the module).

    `confusions`, `blocks`: as for `resampled`. `statistic`: (..., n, n) to (...). `seed`: of the draws; arms with the
    same seed and blocks are paired.
    """
    rng = np.random.default_rng(seed)
    repetitions, places = len(confusions), len(np.unique(blocks))
    scores = statistic(confusions.astype(np.int64).sum(1))
    drawn = statistic(resampled(confusions, blocks, draws, rng)).mean(1)
    result = np.full(draws, scores.mean())
    if places > 1:
        result += widened(drawn, places, rng)
    if repetitions > 1:
        # A row of normals each, so that the first repetitions have the same ones whatever their number.
        mixed = (scores - scores.mean()) @ rng.standard_normal((repetitions, draws))
        result += t_scale(repetitions - 1, draws, rng) * mixed / np.sqrt(repetitions * (repetitions - 1))
    return result


def interval(copies: Float) -> tuple[float, float]:
    """95 % interval of a score from its copies, within 0 to 1."""
    low, high = bounds(copies)
    return max(0.0, low), min(1.0, high)


def band_means(values: Float, blocks: Blocks, rng: np.random.Generator) -> Float:
    """Mean over tiles of each row of (K, T) values, and its 95 % interval: (K, 3), as `band_ratios`."""
    return band_ratios(values, np.where(np.isfinite(values), 1.0, np.nan), blocks, rng)


def band_ratios(numerator: Float, denominator: Float, blocks: Blocks, rng: np.random.Generator) -> Float:
    """Sum over tiles of each row over the sum of another, and its 95 % interval.

    `numerator`, `denominator`: (K, T); a tile that is NaN in either is left out of the row. `blocks`: (T,) geographic
    band of each tile, the unit that is resampled. Returns (K, 3) ratio, low, high. All NaN where a row has no tile; low
    and high are NaN where its tiles are of one band, which says nothing of other places.
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
