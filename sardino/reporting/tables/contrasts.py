"""The paper's claims as contrasts: differences between cells, their paired intervals, and the rule that judges them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sardino.evaluation.bootstrap import bounds
from sardino.reporting.rows import ENCODINGS, INITIALISATIONS
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import CellKey, paper, paper_cells

Expectation = Literal["more", "no gain", "same"]
Verdict = Literal["supported", "not supported", "undecided"]

MARGIN = 0.02  # mIoU that counts as no difference, twice what the paper's "no longer" and "equally good" leave open
RULE = (
    "A contrast is a difference of mIoU between cells that share draws of labels, seeds and test tiles. Its 95 % "
    "interval resamples geographic blocks, and mixes repetitions where there are several, alike on both sides. "
    '"More" is supported where the interval lies above 0 and not supported where it lies below. '
    f'"No gain" is supported where the interval ends at or below +{MARGIN}, otherwise not supported where it begins '
    "above 0. "
    f'"Same" is supported where the interval lies within +-{MARGIN}, not supported where it excludes 0 otherwise. '
    "Where no cell of a contrast beats the majority-class predictor nothing was learnt, and it is undecided. "
    "All else is undecided. A claim of several parts is supported if all are, not supported if one is not."
)
FRACTIONS = (0.1, 1.0, 10.0)
ARMS = ("europe", "all")
_vit = partial(CellKey, 1)
_unet = partial(CellKey, 2, "")


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


@dataclass(frozen=True)
class Claim:
    """One claim."""

    id: str
    section: str  # of the paper
    claim: str  # the statement, paraphrased
    says: str  # the value the text gives, as it gives it
    contrasts: tuple[Contrast, ...] = ()  # the parts that must all hold
    partial: bool = False  # parts on an arm that was not run may be left out; otherwise the claim is then undecided
    measured: bool = False  # it rests on another notebook's (value, low, high), handed in under the claim's id


def _vits(arm: str, starts: Sequence[str], fractions: Sequence[float] = FRACTIONS) -> list[CellKey]:
    """An arm's cells of both encodings."""
    return [_vit(*key) for key in product([arm], ENCODINGS, starts, fractions)]


def _pretraining(
    arm: str, encoding: str, fraction: float, stated: float | None = None, at: float | None = None
) -> Contrast:
    """Pre-trained and not frozen, against from scratch."""
    better, other = (_vit(arm, encoding, start, fraction) for start in ("unfrozen", "scratch"))
    return gain(f"{encoding} at {fraction:g} %", better, other, stated=stated, at=at)


def _no_gain(encoding: str) -> tuple[Contrast, ...]:
    """European pre-training at the most labels."""
    return (replace(_pretraining("europe", encoding, 10.0), expects="no gain"),)


def _frozen_is_worst(arm: str) -> tuple[Contrast, ...]:
    return tuple(
        gain(f"{e} {start} over frozen at {f:g} %", _vit(arm, e, start, f), _vit(arm, e, "frozen", f))
        for e, f, start in product(ENCODINGS, FRACTIONS, ("scratch", "unfrozen"))
    )


def _more_labels(arm: str, less: float, more: float) -> Contrast:
    """A step to more labels, averaged over an arm's rows and encodings."""
    better, other = (_vits(arm, INITIALISATIONS, [fraction]) for fraction in (more, less))
    return gain(f"{arm}, {more:g} % over {less:g} %", better, other)


def _small_gain() -> tuple[Contrast, ...]:
    """Above zero, and below a tenth of what training from scratch reaches; averaged over an arm's cells."""
    parts = []
    for arm in ARMS:
        above = gain(f"{arm}, gain above 0", _vits(arm, ["unfrozen"]), _vits(arm, ["scratch"]))
        below = tuple((key, -weight * (1.0 if weight > 0 else 1.1)) for key, weight in above.weights)
        parts += [above, Contrast(f"{arm}, gain below 10 %", below, headline=False)]
    return tuple(parts)


def _tokens_over_attention(arm: str) -> Contrast:
    """Mean over an arm's rows and label fractions."""
    attention, tokens = ([_vit(arm, e, *row) for row in product(INITIALISATIONS, FRACTIONS)] for e in ENCODINGS)
    return gain(arm, tokens, attention)


def _growing_gain() -> Contrast:
    """The gain at 10 % of labels less the gain at 0.1 %, mean of both encodings."""
    signs = (("unfrozen", 10.0, 1), ("scratch", 10.0, -1), ("unfrozen", 0.1, -1), ("scratch", 0.1, 1))
    weights = [(_vit("all", e, start, f), sign / len(ENCODINGS)) for e in ENCODINGS for start, f, sign in signs]
    return Contrast("gain at 10 % less gain at 0.1 %", tuple(weights), percent=False)


def _best_overall() -> tuple[Contrast, ...]:
    """The paper's best row (U-Net with attention maps of a ViT trained from scratch) against the others' best rows."""
    rivals = {"U-Net": _unet("unet", "scratch", 10.0)}
    rivals |= {f"{arm} {e}": _vit(arm, e, "unfrozen", 10.0) for arm in ARMS for e in ENCODINGS}
    best = _unet("unet+attention", "scratch", 10.0)
    return tuple(gain(f"over {name}", best, rival) for name, rival in rivals.items())


PARTS: dict[str, tuple[Contrast, ...]] = {
    "attention-gain-few-labels": (
        _pretraining("europe", "attention", 0.1, 4),
        _pretraining("europe", "attention", 1.0, 3.5),
    ),
    "attention-no-gain-10": _no_gain("attention"),
    "tokens-gain-few-labels": (_pretraining("europe", "tokens", 0.1, 9), _pretraining("europe", "tokens", 1.0, 9.5)),
    "tokens-no-gain-10": _no_gain("tokens"),
    "frozen-worst-europe": _frozen_is_worst("europe"),
    "more-labels-better": tuple(_more_labels(arm, *step) for arm in ARMS for step in pairwise(FRACTIONS)),
    "tokens-over-attention": tuple(_tokens_over_attention(arm) for arm in ARMS),
    "scratch-wins-large-vit-0.1": tuple(
        gain(f"{e} at 0.1 %", _vit("all", e, "scratch", 0.1), _vit("all", e, "unfrozen", 0.1)) for e in ENCODINGS
    ),
    "large-vit-attention-gain": (
        _pretraining("all", "attention", 1.0, 4, at=0.1),
        _pretraining("all", "attention", 10.0, 2),
    ),
    "large-vit-tokens-gain": (_pretraining("all", "tokens", 1.0, 14), _pretraining("all", "tokens", 10.0, 10)),
    "frozen-worst-all": _frozen_is_worst("all"),
    "large-vit-needs-labels": (_growing_gain(),),
    "unet-wins-few-labels": tuple(
        gain(f"over {arm} {e} at {f:g} %", _unet("unet", "scratch", f), _vit(arm, e, "unfrozen", f))
        for arm, e, f in product(ARMS, ENCODINGS, FRACTIONS[:2])
    ),
    "unet-equals-large-vit-10": (
        gain("10 %", _unet("unet", "scratch", 10.0), _vit("all", "tokens", "unfrozen", 10.0), "same"),
    ),
    "attention-maps-help-unet": tuple(
        gain(f"{f:g} %", [_unet("unet+attention", row, f) for row in INITIALISATIONS], _unet("unet", "scratch", f))
        for f in FRACTIONS
    ),
    "unet-with-attention-best": _best_overall(),
    "sar-adds-to-attention": (
        gain("10 %", _unet("unet+attention", "unfrozen", 10.0), _vit("europe", "attention", "unfrozen", 10.0)),
    ),
    "small-gain-overall": _small_gain(),
    "unet-generally-wins": tuple(
        gain(f"over {arm}", [_unet("unet", "scratch", f) for f in FRACTIONS], _vits(arm, ["unfrozen"])) for arm in ARMS
    ),
}
"""Contrasts by the claim's id; a measured claim has none."""
CLAIMS = tuple(Claim(**told, contrasts=PARTS.get(told["id"], ())) for told in paper()["claims"])
"""In the paper's order."""
