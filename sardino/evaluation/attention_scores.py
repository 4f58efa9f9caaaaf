"""What each head sees: scores of attention maps against reference layers, beside maps that cannot have seen it.

A head's score for a class or an amount is the mean over tiles of its score within each tile. Three nulls are scored on
the same tiles:

    random    heads of an untrained ViT of the same shape; of these the one that comes closest in the head's direction
    shift     the reference moved round the tile by random steps: its own texture at another place
    position  the head's mean map over tiles of other bands: a map that never looks at the tile

A head is credited for what it avoids as for what it attends to: where a score has a middle (AUC 0.5, rank correlation
0) differences are taken in the direction in which the head's score lies. What it has beyond all nulls is the smallest
of the three differences, and its interval runs from the lowest to the highest end of theirs: it lies above 0 only if
each of them does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import entr
from scipy.stats import rankdata

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.attention_nulls import Blocks, band_means, others_mean, position_share

# How well attention maps find a class or follow an amount: scores of many maps against many references of one tile.
# Rows of maps and of references are compared all with all, because nulls need the same scores for many moved
# references. The definitions are those of scikit-learn and SciPy (the tests compare); here they are taken from one
# sorting per map.

MASS = 0.6
"""Share of its attention that a head's mask keeps (Caron et al. 2021)."""
BINS = 4
"""Of equal counts, for mutual information: with a gross of patches, more bins would count noise."""
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

    Args:
        maps: (M, P) attention of P patches, not negative.
        positive: (R, P) patches of the class.
        counted: (R, P) patches with any label; the others are left out.

    Returns:
        CLASS_MEASURES, each (M, R); NaN where a reference counts no patch of the class, or no other.

    Raises:
        SardinoError: shapes disagree.
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
    below_hits, below = (_running(mask[:, order]) for mask in (positive, negative))
    less = np.take_along_axis(below, first[None], 2)
    equal = np.take_along_axis(below, last[None], 2) - less
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = ((less + equal / 2) * hits).sum(2) / (ones * zeros)
        found = ones[..., None] - np.take_along_axis(below_hits, first[None], 2)
        precision = found / (found + zeros[..., None] - less)
        average = np.where(hits, precision, 0).sum(2) / ones
        mask = held(maps)[None] & counted[:, None]
        both = (mask & positive[:, None]).sum(2)
        jaccard = both / (mask.sum(2) + ones - both)
    valid = (ones > 0) & (zeros > 0)
    scores = {"auc": auc, "separation": abs(2 * auc - 1), "average_precision": average, "jaccard": jaccard}
    return {name: np.where(valid, each, np.nan).T for name, each in scores.items()}


def amount_scores(maps: NDArray[np.floating], amounts: NDArray[np.floating]) -> dict[str, Float]:
    """Spearman's rank correlation, separation and mutual information of a map with an amount.

    Args:
        maps: (M, P).
        amounts: (R, P); patches that are NaN are left out.

    Returns:
        AMOUNT_MEASURES, each (M, R); mutual information in nats, over BINS bins of equal counts. NaN where a map or an
        amount is the same everywhere.
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
    rows, columns = (_bins(each, number[..., None]) for each in (ranks, others))  # (BINS, R, M or 1, P)
    joint = np.stack([[(a & b).sum(2) for b in columns] for a in rows]) / np.maximum(number, 1)  # (BINS, BINS, R, M)
    information = entr(joint.sum(0)).sum(0) + entr(joint.sum(1)).sum(0) - entr(joint).sum((0, 1))
    scores = {"spearman": spearman, "separation": abs(spearman), "mutual_information": information}
    return {name: np.where(varied, each, np.nan).T for name, each in scores.items()}


def held(maps: NDArray[np.floating], mass: float = MASS) -> Mask:
    """The fewest patches that hold a share of a map's attention.

    Args:
        maps: (..., P), not negative.
        mass: the share.

    Returns:
        (..., P)
    """
    order = np.argsort(-maps, axis=-1, kind="stable")
    sums = np.cumsum(np.take_along_axis(maps, order, -1), axis=-1, dtype=np.float64)
    sums /= np.where(sums[..., -1:] > 0, sums[..., -1:], 1)
    before = np.concatenate([np.zeros_like(sums[..., :1]), sums[..., :-1]], axis=-1)
    kept = np.zeros(maps.shape, np.bool_)
    np.put_along_axis(kept, order, before < mass - 1e-6, -1)
    return kept


def _running(mask: Mask) -> NDArray[np.int64]:
    """Counts before each place of the last axis, and of all of it at the end."""
    return np.concatenate([np.zeros((*mask.shape[:-1], 1), np.int64), mask.cumsum(-1)], axis=-1)


def _bins(ranks: Float, number: NDArray[np.integer]) -> list[Mask]:
    """Membership of each of BINS bins of equal counts; equal values share a bin, NaN has none."""
    place = np.floor((ranks - 0.5) * BINS / np.maximum(number, 1))
    return [place == bin_ for bin_ in range(BINS)]


def _require(maps: NDArray[np.floating], reference: NDArray[np.generic]) -> None:
    if maps.ndim != 2 or reference.ndim != 2 or maps.shape[1] != reference.shape[1]:
        raise SardinoError(f"maps {maps.shape} and references {reference.shape} are not of the same patches")


NULLS = ("random", "shift", "position")
LIMITS = {"spearman": (-1.0, 1.0), "mutual_information": (0.0, np.inf)}
"""What a measure can be, other than 0 to 1: where bands are two, Student's tails go far beyond."""
MIDDLE = {**CLASS_MEASURES, **AMOUNT_MEASURES}
POSITION = "position_share"
SHIFTS = 20
"""Random steps per tile."""
COLUMNS = ["head", "layer", "class", "measure", "value", "low", "high", "direction"]
COLUMNS += [f"{null}{end}" for null in NULLS for end in ("", "_low", "_high")]
COLUMNS += [f"over_{null}{end}" for null in NULLS for end in ("", "_low", "_high")]
COLUMNS += ["best_null", "beyond", "beyond_low", "beyond_high", "tiles", "bands", "positives"]


@dataclass(frozen=True)
class Reference:
    """One layer that attention is compared with, patch by patch.

    Args:
        layer: its name.
        values: (N, h, w); class indices as uint8, IGNORE where there is none, or an amount, NaN where there is none.
        classes: names of the classes by index; none for an amount.
    """

    layer: str
    values: NDArray[np.generic]
    classes: Sequence[str] = ()


def attention_scores(
    attention: NDArray[np.floating],
    untrained: NDArray[np.floating],
    references: Sequence[Reference],
    blocks: Blocks,
    seed: int = 0,
    shifts: int = SHIFTS,
) -> pd.DataFrame:
    """Score every head against every class and amount, and against the nulls (see the module).

    Args:
        attention, untrained: (N, heads, h, w) of the ViT, and of untrained ones of the same architecture.
        references: layers of the same tiles and patches.
        blocks: (N,) geographic band of each tile; at least two differ.
        seed: of the shifts and the resampled bands.
        shifts: random steps per tile.

    Returns:
        COLUMNS, one row a head, class (or amount) and measure, heads counted from 1. "direction" is -1 where the head
        avoids; "over_*" and "beyond*" are differences in that direction. "tiles" and "bands" hold what is scored, that
        is both patches of the class and others, and "positives" is the class's mean share of their patches. Intervals
        are NaN where only one band has such tiles. The last rows are each head's POSITION share.

    Raises:
        SardinoError: shapes disagree, or all tiles are of one band.
    """
    rng = np.random.default_rng(seed)
    position = others_mean(attention, blocks)
    rows: list[dict[str, object]] = []
    for reference in references:
        if reference.values.shape != (len(attention), *attention.shape[2:]):
            raise SardinoError(
                f"the layer '{reference.layer}' of {reference.values.shape} and attention of {attention.shape} are not "
                "of the same patches"
            )
        found = [
            _tile(maps, others, random, reference, tile, rng, shifts)
            for tile, (maps, others, random) in enumerate(zip(attention, position, untrained, strict=True))
        ]
        for number, name in enumerate(reference.classes or ("",)):
            share = np.array([shares[number] for _, shares in found])
            for measure in CLASS_MEASURES if reference.classes else AMOUNT_MEASURES:
                tiles = np.stack([scores[measure][..., number] for scores, _ in found], axis=-1)  # (rows, N)
                head = {"layer": reference.layer, "class": name, "measure": measure}
                rows += [head | row for row in _judged(tiles, attention.shape[1], share, measure, blocks, rng)]
    rows += _position_rows(attention, untrained, blocks, rng)
    return pd.DataFrame(rows, columns=COLUMNS)


def _tile(
    maps: NDArray[np.floating],
    position: Float,
    untrained: NDArray[np.floating],
    reference: Reference,
    tile: int,
    rng: np.random.Generator,
    shifts: int,
) -> tuple[dict[str, Float], Float]:
    """Scores by measure (true, shifted, by position, of the untrained; each heads first, then classes), and shares."""
    values = reference.values[tile]
    height, width = values.shape
    steps = [divmod(int(s), width) for s in rng.integers(1, max(2, height * width), size=shifts)]
    moved = np.stack([values, *(np.roll(values, step, axis=(0, 1)) for step in steps)]).reshape(1 + shifts, -1)
    own, *others = (each.reshape(len(each), -1) for each in (maps, position, untrained))
    everyone = np.concatenate([own, *others])
    if not reference.classes:
        amounts = np.asarray(moved, np.float64)
        true, away = amount_scores(everyone, amounts[:1]), amount_scores(own, amounts[1:])
        return {name: _stacked(true[name], away[name], len(own)) for name in true}, np.array([np.nan])
    share = np.array([(values == index).sum() for index in range(len(reference.classes))]) / max(
        1, (values != IGNORE).sum()
    )
    # Most classes of a legend are not in a tile: they are not scored, and NaN.
    present = np.flatnonzero((share > 0) & (share < 1))
    positive, counted = (
        each.reshape(1 + shifts, -1, moved.shape[1])
        for each in (moved[:, None] == present[:, None], np.repeat(moved[:, None] != IGNORE, len(present), 1))
    )
    true = class_scores(everyone, positive[0], counted[0])
    away = class_scores(own, *(each[1:].reshape(-1, moved.shape[1]) for each in (positive, counted)))
    scores = {name: np.full((len(everyone) + len(own), len(share)), np.nan) for name in true}
    for name, each in scores.items():
        each[:, present] = _stacked(true[name], away[name], len(own))
    return scores, np.where((share > 0) & (share < 1), share, np.nan)


def _stacked(true: Float, away: Float, heads: int) -> Float:
    """Scores of the ViT's heads, the mean of their scores for (shifts x classes) moved references, all other scores."""
    mean = away.reshape(heads, -1, true.shape[1]).mean(1) if true.shape[1] else away[:, :0]
    return np.concatenate([true[:heads], mean, true[heads:]])


def _judged(
    tiles: Float, heads: int, share: Float, measure: str, blocks: Blocks, rng: np.random.Generator
) -> Iterator[dict[str, object]]:
    """A row for each head from the scores (rows of `_tile`, N) of all tiles."""
    own, shift, position, untrained = np.split(tiles, [heads, 2 * heads, 3 * heads])
    middle = MIDDLE[measure]
    means = np.array([_mean(row) for row in own])
    direction = np.ones(heads) if middle is None else np.where(means < middle, -1.0, 1.0)
    level = np.array([_mean(row) for row in untrained])
    strongest = [int(np.argmax(np.nan_to_num(sign * level, nan=-np.inf))) for sign in direction]
    nulls = {"random": untrained[strongest], "shift": shift, "position": position}
    kinds = [own, *nulls.values(), *(direction[:, None] * (own - null) for null in nulls.values())]
    judged = band_means(np.concatenate(kinds), blocks, rng).reshape(len(kinds), heads, 3)
    least, most = LIMITS.get(measure, (0.0, 1.0))
    judged[: 1 + len(NULLS)] = np.clip(judged[: 1 + len(NULLS)], least, most)
    judged[1 + len(NULLS) :] = np.clip(judged[1 + len(NULLS) :], least - most, most - least)
    for head in range(heads):
        scored = np.isfinite(own[head])
        row: dict[str, object] = {"head": head + 1, "direction": int(direction[head])}
        names = ["value", *NULLS, *(f"over_{null}" for null in NULLS)]
        for name, (value, low, high) in zip(names, judged[:, head], strict=True):
            ends = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
            row |= {name: value, ends[0]: low, ends[1]: high}
        over = judged[-len(NULLS) :, head]
        if scored.any():
            closest = int(np.argmin(over[:, 0]))
            row |= {"best_null": NULLS[closest], "beyond": over[closest, 0]}
            row |= {"beyond_low": over[:, 1].min(), "beyond_high": over[:, 2].max()}
        row |= {"tiles": int(scored.sum()), "bands": len(np.unique(np.asarray(blocks)[scored]))}
        yield row | {"positives": _mean(share[scored])}


def _position_rows(
    attention: NDArray[np.floating], untrained: NDArray[np.floating], blocks: Blocks, rng: np.random.Generator
) -> Iterator[dict[str, object]]:
    """Each head's share, and beside it the largest of the untrained heads."""
    random = position_share(untrained, blocks, rng)
    largest = random[np.argmax(np.nan_to_num(random[:, 0], nan=-np.inf))]
    for head, (value, low, high) in enumerate(position_share(attention, blocks, rng)):
        row = {"head": head + 1, "layer": "position", "class": "", "measure": POSITION, "direction": 1}
        row |= {"value": value, "low": low, "high": high}
        row |= dict(zip(("random", "random_low", "random_high"), largest, strict=True))
        yield row | {"tiles": len(attention), "bands": len(np.unique(blocks))}


def _mean(values: Float) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
