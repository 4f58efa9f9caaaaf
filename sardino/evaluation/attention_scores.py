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

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.attention_nulls import moved_round, others_mean, position_share
from sardino.evaluation.bootstrap import Blocks, band_means
from sardino.evaluation.map_scores import AMOUNT_MEASURES, CLASS_MEASURES, Float, amount_scores, class_scores

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
    moved = np.stack([values, *moved_round(values, rng, shifts)]).reshape(1 + shifts, -1)
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
