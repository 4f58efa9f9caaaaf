"""The paper's claims as contrasts: differences between cells, their paired intervals, and the rule that judges them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sardino.evaluation.bootstrap import bounds
from sardino.evaluation.floors import MODELS
from sardino.files import read_toml
from sardino.reporting.rows import ENCODINGS
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import CellKey, paper, paper_cells
from sardino.reporting.tables.render import NOTES

Expectation = Literal["more", "no gain", "same"]
Verdict = Literal["supported", "not supported", "undecided"]

MARGIN = 0.02  # mIoU that counts as no difference, twice what the paper's "no longer" and "equally good" leave open
RULE = NOTES["claims"].format(margin=MARGIN)
PLACE = ("arm", "encoding", "start", "fraction", "times")  # of a term of a contrast
OPTIONS = ("expects", "stated", "at", "headline", "percent")  # of a contrast


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


def gain(label: str, better: CellKey, other: CellKey) -> Contrast:
    """One cell less another."""
    return Contrast(label, ((better, 1.0), (other, -1.0)))


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


@dataclass(frozen=True)
class Claim:
    """One claim."""

    id: str
    section: str  # of the paper; or "ours"
    claim: str  # the statement, paraphrased
    says: str = ""  # the value the text gives, as it gives it; "" of a claim of ours
    contrasts: tuple[Contrast, ...] = ()  # the parts that must all hold
    partial: bool = False  # parts on an arm that was not run may be left out; otherwise the claim is then undecided
    measured: bool = False  # it rests on another notebook's (value, low, high), handed in under the claim's id


def _weighted(arm: Any, encoding: Any, start: Any, fraction: Any, times: float) -> list[tuple[CellKey, float]]:
    """Cells that are averaged over, with their weights; a list is a choice of several."""
    lists = ([value] if isinstance(value, str | float) else value for value in (arm, encoding, start, fraction))
    tables = {**dict.fromkeys(ENCODINGS, 1), **dict.fromkeys(MODELS, 0)}  # and 2 of all others
    places = [(tables.get(each[1], 2), each) for each in product(*lists)]
    keys = [CellKey(table, each[0] if table == 1 else "", *each[1:]) for table, each in places]
    return [(key, times * (1 / len(keys))) for key in keys]


def _contrasts(told: Mapping[str, Any]) -> Iterator[Contrast]:
    """The parts of a claim as paper.toml tells them."""
    for part in told.get("parts", [{}]):
        shared = {"arm": "", "times": 1, "each": {}, **told, **part}
        for values in product(*shared["each"].values()):
            one = {**shared, **dict(zip(shared["each"], values, strict=True))}
            cells = [{**one, **cell} for cell in one["cells"]]
            weights = [pair for cell in cells for pair in _weighted(*(cell[name] for name in PLACE))]
            options = {name: one[name] for name in OPTIONS if name in one}
            yield Contrast(one["label"].format_map(one), tuple(weights), **options)


def _claim(told: Mapping[str, Any]) -> Claim:
    known = {name: told[name] for name in ("id", "section", "claim", "says", "partial", "measured") if name in told}
    return Claim(**known, contrasts=() if known.get("measured") else tuple(_contrasts(told)))


CLAIMS = tuple(map(_claim, paper()["claims"]))
"""In the paper's order."""
OURS = tuple(map(_claim, read_toml(Path(__file__).with_name("ours.toml"))["claims"]))
"""What the paper leaves open."""
