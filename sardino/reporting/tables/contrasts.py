"""A contrast: a difference between cells that a claim needs, its paired interval, and the rule that judges it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sardino.evaluation.bootstrap import bounds
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import CellKey, paper_cells

Expectation = Literal["more", "no gain", "same"]
Verdict = Literal["supported", "not supported", "undecided"]

MARGIN = 0.02  # mIoU that counts as no difference, twice what the paper's "no longer" and "equally good" leave open
RULE = (
    "A contrast is a difference of mIoU between cells trained with the same seeds and judged on the same test tiles; "
    "its 95 % interval resamples geographic blocks, and mixes seeds where there are several, alike on both sides. "
    '"More" is supported where the interval lies above 0 and not supported where it lies below. '
    f'"No gain" is supported where the interval ends at or below +{MARGIN}, otherwise not supported where it begins '
    "above 0. "
    f'"Same" is supported where the interval lies within +-{MARGIN}, not supported where it excludes 0 otherwise. '
    "Where no cell of a contrast beats the majority-class predictor nothing was learnt, and it is undecided. "
    "All else is undecided. A claim of several parts is supported if all are, not supported if one is not."
)


@dataclass(frozen=True)
class Contrast:
    """One part of a claim."""

    label: str  # what distinguishes it within the claim, for example "0.1 %"
    weights: tuple[tuple[CellKey, float], ...]  # what is added and subtracted: sum of weight x mIoU
    expects: Expectation = "more"  # what the claim says of the sum
    stated: float | None = None  # relative change in percent that the text gives, if it does
    at: float | None = None  # label fraction the text names, where that is not the one its table shows
    headline: bool = True  # counts in the claim's reported difference; the others count in its verdict only
    percent: bool = True  # can be told as a relative change; a difference of gains cannot

    @property
    def keys(self) -> list[CellKey]:
        return [key for key, _ in self.weights]

    def value(self, score: Callable[[CellKey], float]) -> float:
        """The contrast of scores."""
        return sum(weight * score(key) for key, weight in self.weights)

    def relative(self, score: Callable[[CellKey], float]) -> float:
        """Percent by which what is added exceeds what is subtracted."""
        added = sum(weight * score(key) for key, weight in self.weights if weight > 0)
        taken = -sum(weight * score(key) for key, weight in self.weights if weight < 0)
        return 100 * (added / taken - 1) if taken > 0 else float("nan")

    def copies(self, cells: Cells) -> NDArray[np.float64]:
        """(draws,) bootstrap copies, paired between cells."""
        return np.sum([weight * cells.copies(key) for key, weight in self.weights], axis=0)

    def moved(self, arms: Mapping[str, str]) -> "Contrast":
        """The same contrast on other pre-training arms."""
        moved = tuple((replace(k, regions=arms.get(k.regions, k.regions)), w) for k, w in self.weights)
        return replace(self, weights=moved)

    def as_text_has_it(self) -> "Contrast":
        """The same contrast at the label fraction that the text names."""
        if self.at is None:
            return self
        return replace(self, weights=tuple((replace(k, fraction=self.at), w) for k, w in self.weights))

    def learnt(self, cells: Cells) -> bool:
        """Whether any cell beats always predicting the most frequent class; without that, alike means nothing."""
        return max(cells.miou(key) for key in self.keys) > cells.miou_majority

    def verdict(self, cells: Cells) -> Verdict:
        """RULE, for our cells."""
        return judge(self.expects, *bounds(self.copies(cells))) if self.learnt(cells) else "undecided"

    @property
    def paper_value(self) -> float:
        """Of the paper's own tables, mIoU."""
        return self.value(paper_cells().__getitem__)

    @property
    def paper_percent(self) -> float:
        """Of the paper's own tables, relative, percent."""
        return self.relative(paper_cells().__getitem__)

    @property
    def paper_agrees(self) -> bool:
        """Whether the paper's tables give what its text says: direction, and the percentage within half a point."""
        literal = self.as_text_has_it()
        value = literal.paper_value
        if self.stated is not None and abs(literal.paper_percent - self.stated) > 0.5:
            return False
        # Three printed digits: a smaller difference than a unit of the last one is none.
        if self.expects == "more":
            return value > 1e-9
        return value <= MARGIN if self.expects == "no gain" else abs(value) <= MARGIN


def gain(
    label: str,
    better: CellKey | Iterable[CellKey],
    other: CellKey | Iterable[CellKey],
    expects: Expectation = "more",
    stated: float | None = None,
    at: float | None = None,
) -> Contrast:
    """The mean of some cells less the mean of others."""
    plus = [better] if isinstance(better, CellKey) else list(better)
    minus = [other] if isinstance(other, CellKey) else list(other)
    weights = [(key, 1 / len(plus)) for key in plus] + [(key, -1 / len(minus)) for key in minus]
    return Contrast(label, tuple(weights), expects, stated, at)


def judge(expects: Expectation, low: float, high: float) -> Verdict:
    """RULE, for one contrast."""
    if expects == "more":
        return "supported" if low > 0 else "not supported" if high < 0 else "undecided"
    if expects == "no gain":
        return "supported" if high <= MARGIN else "not supported" if low > 0 else "undecided"
    if low >= -MARGIN and high <= MARGIN:
        return "supported"
    return "not supported" if low > 0 or high < 0 else "undecided"


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """RULE, for a claim of several parts."""
    found = set(verdicts)
    return "not supported" if "not supported" in found else "undecided" if "undecided" in found else "supported"
