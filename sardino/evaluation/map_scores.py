"""How well attention maps find a class or follow an amount: scores of many maps against many references of one tile.

Rows of maps and of references are compared all with all, because nulls need the same scores for many moved references.
The definitions are those of scikit-learn and SciPy (the tests compare); here they are taken from one sorting per map.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from scipy.stats import rankdata

from sardino.errors import SardinoError

MASS = 0.6  # share of its attention that a head's mask keeps (Caron et al. 2021)
BINS = 4  # of equal counts, for mutual information: with a gross of patches, more bins would count noise
CLASS_MEASURES = {"auc": 0.5, "separation": None, "average_precision": None, "jaccard": None}
AMOUNT_MEASURES = {"spearman": 0.0, "separation": None, "mutual_information": None}
"""Measures, and the value that stands for no relation where a map may also avoid what it is compared with.

"separation" is the size of the rank correlation in a tile, |2 AUC - 1| or |Spearman's|, whichever way: a head that
attends to a class in one tile and avoids it in the next separates it in both, though its mean AUC is that of chance.
"""

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]


def class_scores(maps: NDArray[np.floating], positive: Mask, counted: Mask) -> dict[str, Float]:
    """AUC, separation and average precision of a map's values for a class; Jaccard index of its mask with the class.

    `maps`: (M, P) attention of P patches, not negative. `positive`: (R, P) patches of the class. `counted`: (R, P)
    patches with any label; the others are left out. Returns CLASS_MEASURES, each (M, R); NaN where a reference counts
    no patch of the class, or no other.
    """
    _require(maps, positive)
    _require(maps, counted)
    positive = positive & counted
    negative = counted & ~positive
    ones, zeros = positive.sum(1)[:, None], negative.sum(1)[:, None]  # (R, 1)
    order = np.argsort(maps, axis=1)
    # Where each patch's group of equal values begins and ends in the order, so that ties count by half.
    first, last = (
        np.take_along_axis(rankdata(maps, how, axis=1).astype(np.int64), order, 1) + step
        for how, step in (("min", -1), ("max", 0))
    )
    hits = positive[:, order]  # (R, M, P)
    # Counts before each place of the order, and of all of it at the end.
    before = ((0, 0), (0, 0), (1, 0))
    below_hits, below = (np.pad(mask[:, order].cumsum(-1), before) for mask in (positive, negative))
    less = np.take_along_axis(below, first[None], 2)
    equal = np.take_along_axis(below, last[None], 2) - less
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = ((less + equal / 2) * hits).sum(2) / (ones * zeros)
        found = ones[..., None] - np.take_along_axis(below_hits, first[None], 2)
        precision = found / (found + zeros[..., None] - less)
        average = np.where(hits, precision, 0).sum(2) / ones
        mask = attention_mask(maps)[None] & counted[:, None]
        both = (mask & positive[:, None]).sum(2)
        jaccard = both / (mask.sum(2) + ones - both)
    valid = (ones > 0) & (zeros > 0)
    scores = {"auc": auc, "separation": abs(2 * auc - 1), "average_precision": average, "jaccard": jaccard}
    return {name: np.where(valid, each, np.nan).T for name, each in scores.items()}


def amount_scores(maps: NDArray[np.floating], amounts: NDArray[np.floating]) -> dict[str, Float]:
    """Spearman's rank correlation, separation and mutual information of a map with an amount.

    `maps`: (M, P). `amounts`: (R, P); patches that are NaN are left out. Returns AMOUNT_MEASURES, each (M, R); mutual
    information in nats, over BINS bins of equal counts. NaN where a map or an amount is the same everywhere.
    """
    _require(maps, amounts)
    counted = np.isfinite(amounts)
    # One ranking serves all references where none lacks a patch, as nearly always.
    shared = counted[:1] if counted.all() else counted
    ranks = rankdata(np.where(shared[:, None], maps[None], np.nan), axis=2, nan_policy="omit")  # (1 or R, M, P)
    others = rankdata(amounts, axis=1, nan_policy="omit")[:, None]  # (R, 1, P)
    number = counted.sum(1)[:, None]
    x, y = (np.nan_to_num(each - (number[..., None] + 1) / 2) for each in (ranks, others))
    spread = np.sqrt((x**2).sum(2) * (y**2).sum(2))
    varied = spread > 0
    spearman = (x * y).sum(2) / np.where(varied, spread, 1)
    # Bins of equal counts, (R, M or 1, P); equal values share a bin, NaN has none.
    rows, columns = (np.floor((each - 0.5) * BINS / np.maximum(number[..., None], 1)) for each in (ranks, others))
    joint = np.stack([[((rows == a) & (columns == b)).sum(2) for b in range(BINS)] for a in range(BINS)])
    joint = joint / np.maximum(number, 1)  # (BINS, BINS, R, M)
    information = entr(joint.sum(0)).sum(0) + entr(joint.sum(1)).sum(0) - entr(joint).sum((0, 1))
    scores = {"spearman": spearman, "separation": abs(spearman), "mutual_information": information}
    return {name: np.where(varied, each, np.nan).T for name, each in scores.items()}


def attention_mask(maps: NDArray[np.floating]) -> Mask:
    """The fewest patches that hold a share (MASS) of a map's attention: (..., P), not negative, to (..., P)."""
    order = np.argsort(-maps, axis=-1, kind="stable")
    sums = np.cumsum(np.take_along_axis(maps, order, -1), axis=-1, dtype=np.float64)
    sums /= np.where(sums[..., -1:] > 0, sums[..., -1:], 1)
    before = np.concatenate([np.zeros_like(sums[..., :1]), sums[..., :-1]], axis=-1)
    kept = np.zeros(maps.shape, np.bool_)
    np.put_along_axis(kept, order, before < MASS - 1e-6, -1)
    return kept


def _require(maps: NDArray[np.floating], reference: NDArray[np.generic]) -> None:
    if maps.ndim != 2 or reference.ndim != 2 or maps.shape[1] != reference.shape[1]:
        raise SardinoError(f"maps {maps.shape} and references {reference.shape} are not of the same patches")
