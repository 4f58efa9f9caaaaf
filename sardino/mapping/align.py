"""Attention of overlapping windows on one scale: each has a softmax, and a class token's query, of its own."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, eye_array
from scipy.sparse.csgraph import laplacian
from scipy.sparse.linalg import splu

from sardino.mapping.windows import Layout

NEIGHBOURS = (0, 1), (1, -1), (1, 0), (1, 1)  # rows and columns of windows to those that a window is compared with
RIDGE = 1e-9  # of the mean weight: what overlaps nothing stays as it is
LEAST = 1e-6  # spread of logarithms below which nothing is told about their scale
Floats = NDArray[np.float64]


def align_windows(
    layout: Layout, maps: NDArray[np.float32], valid: NDArray[np.bool_], cells: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Exponents and factors, with which windows agree where they overlap: factor * attention ** exponent.

    Of two windows the logarithms of a head's attention to the same patches differ by an offset, for each softmax has
    its own sum; by a scale, for the class token's query is longer in one than in the other; and by what each knows of
    its own surroundings. Scales first, then offsets solve by least squares what neighbours show where they overlap:
    the ratio of the spreads of their logarithms, and the difference of the means, each patch weighted as the blending
    weighs it in both. The mean scale is 1, and offsets are such that the blended map keeps the mean that it has
    without them: 1, less what the class token keeps for itself.

    Args:
        maps: (windows, heads, h, w) attention to patches, 1 is an even spread.
        valid: (rows, columns) whether a cell has a valid pixel; a patch without one counts nowhere.
        cells: along the side of a patch.

    Returns:
        (windows, heads) each; 1 for windows of which nothing is valid.
    """
    (count, _, height, width), across = maps.shape, len(layout.columns.starts)
    starts = [(top // cells, left // cells) for top in layout.rows.starts for left in layout.columns.starts]
    rows, columns = ((axis.profile[cells // 2 :: cells], axis.total[cells // 2 :: cells]) for axis in layout.axes)
    profile = np.outer(rows[0], columns[0]).astype(np.float64)

    def weight_of(number: int) -> Floats:
        top, left = (cells * start for start in starts[number])
        seen = valid[top : top + cells * height, left : left + cells * width]
        weight: Floats = profile * seen.reshape(height, cells, width, cells).any((1, 3))
        return weight

    def share_of(number: int) -> Floats:
        top, left = starts[number]
        share: Floats = weight_of(number) / np.outer(rows[1][top : top + height], columns[1][left : left + width])
        return share

    pairs, weights, spreads, means = [], [], [], []
    for number, (top, left) in enumerate(starts):
        weight = weight_of(number)
        for down, right in NEIGHBOURS:
            other = number + down * across + right
            if other >= count or not 0 <= number % across + right < across:
                continue
            (y, theirs_y), (x, theirs_x) = (
                _shared(top, starts[other][0], height),
                _shared(left, starts[other][1], width),
            )
            two = np.stack([maps[number][:, y, x], maps[other][:, theirs_y, theirs_x]]).astype(np.float64)
            both = weight[y, x] * weight_of(other)[theirs_y, theirs_x] * (two > 0).all((0, 1))
            if both.any():
                log, both = np.log(two, where=both > 0, out=np.zeros_like(two)), both / (amount := both.sum())
                mean = (log * both).sum((2, 3))
                spread = np.sqrt((((log - mean[:, :, None, None]) ** 2) * both).sum((2, 3)))
                pairs.append((number, other))
                weights.append(amount)
                means.append(mean)
                spreads.append(np.where((spread > LEAST).all(0), spread, 1))
    exponents = factors = np.ones(maps.shape[:2])
    if pairs:
        (ones, others), mean = np.array(pairs).T, np.array(means)
        solve = _Solver(count, ones, others, np.array(weights))
        exponents = np.exp(solve(np.diff(np.log(spreads), axis=1)[:, 0]))
        factors = np.exp(solve(exponents[others] * mean[:, 1] - exponents[ones] * mean[:, 0]))
    before, after = np.zeros(maps.shape[:2]), np.zeros(maps.shape[:2])
    for number in range(count):
        share = share_of(number)
        before[number] = (maps[number] * share).sum((1, 2))
        after[number] = (maps[number] ** exponents[number][:, None, None] * share).sum((1, 2))
    factors = factors * before.sum(0) / np.maximum((factors * after).sum(0), np.finfo(np.float64).tiny)
    seen = before.any(1, keepdims=True)
    return np.where(seen, exponents, 1).astype(np.float32), np.where(seen, factors, 1).astype(np.float32)


class _Solver:
    """Values of windows whose differences, of the first less the second of each pair, are nearest to those given."""

    def __init__(self, count: int, ones: NDArray[np.int64], others: NDArray[np.int64], weights: Floats) -> None:
        self.count, self.ones, self.others, self.weights = count, ones, others, weights
        graph = coo_array((weights, (ones, others)), (count, count))
        self.normal = splu(csc_array(laplacian(graph + graph.T) + RIDGE * weights.mean() * eye_array(count)))

    def __call__(self, differences: Floats) -> Floats:
        pulls, weighted = np.zeros((self.count, differences.shape[1])), self.weights[:, None] * differences
        np.add.at(pulls, self.ones, weighted)
        np.subtract.at(pulls, self.others, weighted)
        solved: Floats = self.normal.solve(pulls)
        return solved


def _shared(first: int, second: int, size: int) -> tuple[slice, slice]:
    """What windows that begin at two places share, in the cells of either."""
    begin = max(first, second)
    end = max(min(first, second) + size, begin)
    return slice(begin - first, end - first), slice(begin - second, end - second)
