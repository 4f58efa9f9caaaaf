"""Attention of overlapping windows on one scale: each has a softmax of its own."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, eye_array
from scipy.sparse.csgraph import laplacian
from scipy.sparse.linalg import splu

from sardino.mapping.windows import Layout

NEIGHBOURS = (0, 1), (1, -1), (1, 0), (1, 1)  # rows and columns of windows to those that a window is compared with
RIDGE = 1e-9  # of the mean weight: what overlaps nothing stays as it is
Floats = NDArray[np.float64]


def align_windows(
    layout: Layout, maps: NDArray[np.float32], valid: NDArray[np.bool_], cells: int = 1
) -> NDArray[np.float32]:
    """Factors with which windows agree where they overlap.

    The logarithms of what one query pays to the same patches differ from window to window by an offset, for each
    softmax has its own sum, and by what each knows of its own surroundings. Offsets solve by least squares what
    neighbours show where they overlap, the difference of the means, each patch weighted as the blending weighs it in
    both; they are such that the blended map keeps the mean that it has without them: 1, less what the class token
    keeps for itself.

    Args:
        maps: (windows, heads, h, w) attention to patches, 1 is an even spread.
        valid: (rows, columns) whether a cell has a valid pixel; a patch without one counts nowhere.
        cells: along the side of a patch.

    Returns (windows, heads); 1 for windows of which nothing is valid.
    """
    (count, _, height, width), across = maps.shape, len(layout.columns.starts)
    starts = [(top // cells, left // cells) for top in layout.rows.starts for left in layout.columns.starts]
    rows, columns = ((axis.profile[cells // 2 :: cells], axis.total[cells // 2 :: cells]) for axis in layout.axes)
    profile = np.outer(rows[0], columns[0]).astype(np.float64)

    @lru_cache(across + 2)  # a window's neighbours come before the next row ends
    def weight_of(number: int) -> Floats:
        top, left = (cells * start for start in starts[number])
        seen = valid[top : top + cells * height, left : left + cells * width]
        weight: Floats = profile * seen.reshape(height, cells, width, cells).any((1, 3))
        return weight

    def share_of(number: int) -> Floats:
        top, left = starts[number]
        share: Floats = weight_of(number) / np.outer(rows[1][top : top + height], columns[1][left : left + width])
        return share

    pairs, weights, differences = [], [], []
    for number, other in _neighbours(count, across):
        shared = zip(starts[number], starts[other], (height, width), strict=True)
        ours, theirs = zip(*(_shared(*each) for each in shared), strict=True)
        two = np.stack([maps[number][:, *ours], maps[other][:, *theirs]]).astype(np.float64)
        both = weight_of(number)[ours] * weight_of(other)[theirs] * (two > 0).all((0, 1))
        if both.any():
            log, amount = np.log(two, where=both > 0, out=np.zeros_like(two)), both.sum()
            pairs.append((number, other))
            weights.append(amount)
            differences.append(((log[1] - log[0]) * both).sum((1, 2)) / amount)
    factors = np.ones(maps.shape[:2])
    if pairs:
        factors = np.exp(_solved(count, np.array(pairs), np.array(weights), np.array(differences)))
    sums = np.array([(maps[number] * share_of(number)).sum((1, 2)) for number in range(count)])
    factors = factors * sums.sum(0) / np.maximum((factors * sums).sum(0), np.finfo(np.float64).tiny)
    return np.where(sums.any(1, keepdims=True), factors, 1).astype(np.float32)


def _neighbours(count: int, across: int) -> Iterator[tuple[int, int]]:
    """Pairs of windows that are compared, each once, of so many in rows of `across`."""
    for number, (down, right) in product(range(count), NEIGHBOURS):
        other = number + down * across + right
        if other < count and 0 <= number % across + right < across:
            yield number, other


def _solved(count: int, pairs: NDArray[np.int64], weights: Floats, differences: Floats) -> Floats:
    """Values of windows whose differences, of the first less the second of each pair, are nearest to those given."""
    ones, others = pairs.T
    graph = coo_array((weights, (ones, others)), (count, count))
    normal = splu(csc_array(laplacian(graph + graph.T) + RIDGE * weights.mean() * eye_array(count)))
    pulls, weighted = np.zeros((count, differences.shape[1])), weights[:, None] * differences
    np.add.at(pulls, ones, weighted)
    np.subtract.at(pulls, others, weighted)
    solved: Floats = normal.solve(pulls)
    return solved


def _shared(first: int, second: int, size: int) -> tuple[slice, slice]:
    """What windows that begin at two places share, in the cells of either."""
    begin = max(first, second)
    end = max(min(first, second) + size, begin)
    return slice(begin - first, end - first), slice(begin - second, end - second)
