"""Label efficiency: how many labels a baseline needs for another arm's score, never beyond what was measured.

The baseline's score over the logarithm of its labels is made monotone (isotonic regression: more labels do not hurt)
and joined by straight lines. Where a score lies above or below that curve the number of labels is censored: it is only
known to be more than the most, or fewer than the fewest, that the baseline was given.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """An arm is worth this many times the labels."""

    value: float  # labels the baseline needs over labels the arm had; -inf below, inf above what the curve can tell
    low: float  # of its interval, likewise
    high: float
    least: float  # factor the curve can tell: its fewest labels over those of the arm
    most: float  # and its most

    def told(self, factor: float) -> str:
        """A factor for readers, "< 1" or "> 10" where it is censored."""
        if np.isinf(factor):
            return f"> {self.most:.3g}" if factor > 0 else f"< {self.least:.3g}"
        return f"{factor:.2g}" if factor < 10 else f"{factor:.3g}"

    def __str__(self) -> str:
        return f"{self.told(self.value)} [{self.told(self.low)}, {self.told(self.high)}]"


def monotone(scores: Float) -> Float:
    """Isotonic regression along the last axis, (..., labels): the nearest curves that do not fall."""
    count = scores.shape[-1]
    sums = np.concatenate([np.zeros((*scores.shape[:-1], 1)), scores.cumsum(-1)], axis=-1)

    def mean(first: int, last: int) -> Float:
        return np.asarray((sums[..., last + 1] - sums[..., first]) / (last + 1 - first))

    # Min-max formula: at most a handful of points, hence all means at once and all copies together.
    places = range(count)
    lowest = [[np.min([mean(j, k) for k in places[i:]], axis=0) for j in places[: i + 1]] for i in places]
    return np.stack([np.max(each, axis=0) for each in lowest], axis=-1)


def labels_needed(labels: Float, scores: Float, wanted: Float | float) -> Float:
    """Fewest labels with which a baseline reaches a score; -inf where it is below the curve, inf where above.

    `labels`: (k,) numbers of labels of the baseline, in any order; equal numbers are averaged. `scores`: (..., k) of
    the baseline. `wanted`: (...) scores to reach.
    """
    if not len(labels) or scores.shape[-1] != len(labels) or np.min(labels) <= 0:
        raise SardinoError(f"a curve needs a score for each number of labels, got {scores.shape} for {len(labels)}")
    wanted = np.asarray(wanted, np.float64)
    places, member = np.unique(np.asarray(labels, np.float64), return_inverse=True)
    curve = monotone(np.stack([scores[..., member == i].mean(-1) for i in range(len(places))], axis=-1))
    # Rounding must not move a score that equals a point of the curve.
    above = (curve < wanted[..., None] - 1e-12).sum(-1)
    upper = np.clip(above, 1, max(1, len(places) - 1)) if len(places) > 1 else np.zeros_like(above)
    lower = np.maximum(upper - 1, 0)
    low, high = (np.take_along_axis(curve, i[..., None], -1)[..., 0] for i in (lower, upper))
    share = np.divide(wanted - low, high - low, out=np.zeros_like(high), where=high > low)
    log = np.log(places)
    needed = np.exp(log[lower] + np.clip(share, 0, 1) * (log[upper] - log[lower]))
    needed = np.where(above == len(places), np.inf, needed)
    return np.where(wanted < curve[..., 0] - 1e-12, -np.inf, needed)


def factor(labels: Float, baseline: tuple[Float, Float], own_labels: float, own: tuple[float, Float]) -> Factor:
    """How many times its labels an arm is worth, and the 95 % interval of paired bootstrap copies.

    A bound that falls on a censored copy is censored itself; quantiles are taken outwards, at a copy.

    Args:
        labels: (k,) of the baseline.
        baseline: its scores (k,) and their copies (draws, k).
        own_labels: that the arm was trained with.
        own: its score, and copies (draws,) paired with the baseline's.
    """
    needed = float(labels_needed(labels, baseline[0], own[0]))
    copies = labels_needed(labels, baseline[1], own[1]) / own_labels
    low = float(np.quantile(copies, 0.025, method="lower"))
    high = float(np.quantile(copies, 0.975, method="higher"))
    return Factor(needed / own_labels, low, high, np.min(labels) / own_labels, np.max(labels) / own_labels)
