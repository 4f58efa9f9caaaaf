"""What the paper claims in sections 3 and 4 (paper.toml), each claim tied to the cells that can settle it."""

from dataclasses import dataclass, replace
from itertools import pairwise

from sardino.reporting.rows import ENCODINGS, INITIALISATIONS
from sardino.reporting.tables.contrasts import Contrast, gain
from sardino.reporting.tables.paper import CellKey, paper

FRACTIONS = (0.1, 1.0, 10.0)
ARMS = ("europe", "all")


@dataclass(frozen=True)
class Claim:
    """One claim.

    Args:
        id: stable name.
        section: of the paper.
        claim: the statement, paraphrased.
        says: the value the text gives, as it gives it.
        contrasts: the parts that must all hold.
        partial: parts on an arm that was not run may be left out; otherwise the claim is then undecided.
        measured: it rests on another notebook's (value, low, high), handed in under the claim's id.
    """

    id: str
    section: str
    claim: str
    says: str
    contrasts: tuple[Contrast, ...] = ()
    partial: bool = False
    measured: bool = False


def _vit(regions: str, encoding: str, initialisation: str, fraction: float) -> CellKey:
    return CellKey(1, regions, encoding, initialisation, fraction)


def _unet(encoding: str, initialisation: str, fraction: float) -> CellKey:
    return CellKey(2, "", encoding, initialisation, fraction)


def _vits(arm: str, starts: tuple[str, ...], fractions: tuple[float, ...] = FRACTIONS) -> list[CellKey]:
    """An arm's cells of both encodings."""
    return [
        _vit(arm, encoding, start, fraction) for encoding in ENCODINGS for start in starts for fraction in fractions
    ]


def _pretraining(
    regions: str, encoding: str, fraction: float, stated: float | None = None, at: float | None = None
) -> Contrast:
    """Pre-trained and not frozen, against from scratch."""
    better, other = (_vit(regions, encoding, row, fraction) for row in ("unfrozen", "scratch"))
    return gain(f"{encoding} at {fraction:g} %", better, other, stated=stated, at=at)


def _no_gain(encoding: str) -> tuple[Contrast, ...]:
    """European pre-training at the most labels."""
    return (replace(_pretraining("europe", encoding, 10.0), expects="no gain"),)


def _frozen_is_worst(regions: str) -> tuple[Contrast, ...]:
    return tuple(
        gain(
            f"{encoding} {row} over frozen at {fraction:g} %",
            _vit(regions, encoding, row, fraction),
            _vit(regions, encoding, "frozen", fraction),
        )
        for encoding in ENCODINGS
        for fraction in FRACTIONS
        for row in ("scratch", "unfrozen")
    )


def _more_labels() -> tuple[Contrast, ...]:
    """Each step to more labels, averaged over an arm's rows and encodings."""
    return tuple(
        gain(
            f"{arm}, {more:g} % over {less:g} %",
            _vits(arm, INITIALISATIONS, (more,)),
            _vits(arm, INITIALISATIONS, (less,)),
        )
        for arm in ARMS
        for less, more in pairwise(FRACTIONS)
    )


def _small_gain() -> tuple[Contrast, ...]:
    """Above zero, and below a tenth of what training from scratch reaches; averaged over an arm's cells."""
    parts = []
    for arm in ARMS:
        above = gain(f"{arm}, gain above 0", _vits(arm, ("unfrozen",)), _vits(arm, ("scratch",)))
        below = tuple((key, -weight * (1.0 if weight > 0 else 1.1)) for key, weight in above.weights)
        parts += [above, Contrast(f"{arm}, gain below 10 %", below, headline=False)]
    return tuple(parts)


def _tokens_over_attention(arm: str) -> Contrast:
    """Mean over an arm's rows and label fractions."""
    tokens, attention = (
        [_vit(arm, encoding, row, f) for row in INITIALISATIONS for f in FRACTIONS]
        for encoding in ("tokens", "attention")
    )
    return gain(arm, tokens, attention)


def _growing_gain() -> Contrast:
    """The gain at 10 % of labels less the gain at 0.1 %, mean of both encodings."""
    signs = (("unfrozen", 10.0, 1), ("scratch", 10.0, -1), ("unfrozen", 0.1, -1), ("scratch", 0.1, 1))
    weights = [
        (_vit("all", encoding, row, fraction), sign / len(ENCODINGS))
        for encoding in ENCODINGS
        for row, fraction, sign in signs
    ]
    return Contrast("gain at 10 % less gain at 0.1 %", tuple(weights), percent=False)


def _best_overall() -> tuple[Contrast, ...]:
    """The paper's best row (U-Net with attention maps of a ViT trained from scratch) against the others' best rows."""
    best = _unet("unet+attention", "scratch", 10.0)
    rivals = [("U-Net", _unet("unet", "scratch", 10.0))]
    rivals += [(f"{arm} {e}", _vit(arm, e, "unfrozen", 10.0)) for arm in ARMS for e in ENCODINGS]
    return tuple(gain(f"over {name}", best, rival) for name, rival in rivals)


PARTS: dict[str, tuple[Contrast, ...]] = {
    "attention-gain-few-labels": (
        _pretraining("europe", "attention", 0.1, 4),
        _pretraining("europe", "attention", 1.0, 3.5),
    ),
    "attention-no-gain-10": _no_gain("attention"),
    "tokens-gain-few-labels": (_pretraining("europe", "tokens", 0.1, 9), _pretraining("europe", "tokens", 1.0, 9.5)),
    "tokens-no-gain-10": _no_gain("tokens"),
    "frozen-worst-europe": _frozen_is_worst("europe"),
    "more-labels-better": _more_labels(),
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
        for arm in ARMS
        for e in ENCODINGS
        for f in FRACTIONS[:2]
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
        gain(f"over {arm}", [_unet("unet", "scratch", f) for f in FRACTIONS], _vits(arm, ("unfrozen",))) for arm in ARMS
    ),
}
"""Contrasts by the claim's id; a measured claim has none."""
CLAIMS = tuple(Claim(**told, contrasts=PARTS.get(told["id"], ())) for told in paper()["claims"])
"""In the paper's order."""
