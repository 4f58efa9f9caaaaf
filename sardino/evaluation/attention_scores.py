"""What each head sees: scores of attention maps against reference layers, beside maps that cannot have seen it.

A head's score for a class or an amount is the mean over tiles of its score within each tile. Three nulls are scored on
the same tiles:

    random    heads of an untrained ViT of the same shape; of these the one that comes closest in the head's direction
    shift     the reference moved round the tile by random steps: its own texture at another place
    position  the head's mean map over tiles of other bands: a map that never looks at the tile

Learned positions imprint a pattern on attention that is the same in every tile. A head that is all pattern can still
agree with a land-cover map, where tiles are alike in layout; the variance that its mean map explains says how much of
the head is pattern.

A head is credited for what it avoids as for what it attends to: where a score has a middle (AUC 0.5, rank correlation
0) differences are taken in the direction in which the head's score lies. What it has beyond all nulls is the smallest
of the three differences, and its interval runs from the lowest to the highest end of theirs: it lies above 0 only if
each of them does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import Blocks, band_means, band_ratios
from sardino.evaluation.map_scores import AMOUNT_MEASURES, CLASS_MEASURES, Float, amount_scores, class_scores

Maps = NDArray[np.floating]  # (N, heads, h, w) attention
NULLS = ("random", "shift", "position")
# What a measure can be, other than 0 to 1: where bands are two, Student's tails go far beyond.
LIMITS = {"spearman": (-1.0, 1.0), "mutual_information": (0.0, np.inf)}
MIDDLE = {**CLASS_MEASURES, **AMOUNT_MEASURES}
POSITION = "position_share"
SHIFTS = 20  # random steps per tile
SCORED = ["value", *NULLS, *(f"over_{null}" for null in NULLS)]
COLUMNS = ["head", "layer", "class", "measure", "value", "low", "high", "direction"]
COLUMNS += [f"{name}{end}" for name in SCORED[1:] for end in ("", "_low", "_high")]
COLUMNS += ["best_null", "beyond", "beyond_low", "beyond_high", "tiles", "bands", "positives"]


@dataclass(frozen=True)
class Reference:
    """One layer that attention is compared with, patch by patch."""

    layer: str
    values: NDArray[np.generic]  # (N, h, w) uint8 class index, IGNORE where there is none; or an amount or NaN
    classes: Sequence[str] = ()  # names by index; none for an amount


def attention_scores(
    attention: Maps, untrained: Maps, references: list[Reference], blocks: Blocks, seed: int = 0, shifts: int = SHIFTS
) -> pd.DataFrame:
    """Score every head against every class and amount, and against the nulls (see the module).

    Args:
        attention, untrained: of the ViT, and of untrained ones of the same architecture.
        references: layers of the same tiles and patches.
        blocks: (N,) geographic band of each tile; at least two differ.
        seed: of the shifts and the resampled bands.
        shifts: random steps per tile.

    Returns COLUMNS, one row a head, class (or amount) and measure, heads counted from 1. "direction" is -1 where the
    head avoids; "over_*" and "beyond*" are differences in that direction. "tiles" and "bands" hold what is scored, that
    is both patches of the class and others, and "positives" is the class's mean share of their patches. Intervals are
    NaN where only one band has such tiles. The last rows are each head's POSITION share.
    """
    rng = np.random.default_rng(seed)
    position = others_mean(attention, blocks)
    rows: list[dict[str, object]] = []
    for reference in references:
        name, shape = reference.layer, reference.values.shape
        if shape != (len(attention), *attention.shape[2:]):
            raise SardinoError(f"layer '{name}' of {shape} and attention of {attention.shape} are not the same patches")
        found = [
            _tile(everyone, values, len(reference.classes), rng, shifts)
            for *everyone, values in zip(attention, position, untrained, reference.values, strict=True)
        ]
        for number, name in enumerate(reference.classes or ("",)):
            share = np.array([shares[number] for _, shares in found])
            for measure in CLASS_MEASURES if reference.classes else AMOUNT_MEASURES:
                tiles = np.stack([scores[measure][..., number] for scores, _ in found], axis=-1)  # (rows, N)
                told = {"layer": reference.layer, "class": name, "measure": measure}
                rows += [told | row for row in _judged(tiles, attention.shape[1], share, measure, blocks, rng)]
    # Each head's share of position, and beside it the largest of the untrained heads.
    random = position_share(untrained, blocks, rng)
    largest = random[np.argmax(np.nan_to_num(random[:, 0], nan=-np.inf))]
    for head, share in enumerate(position_share(attention, blocks, rng)):
        row = {"head": head + 1, "layer": "position", "class": "", "measure": POSITION, "direction": 1}
        row |= _ends("value", share) | _ends("random", largest)
        rows.append(row | {"tiles": len(attention), "bands": len(np.unique(blocks))})
    return pd.DataFrame(rows, columns=COLUMNS)


def _tile(
    everyone: Sequence[Maps], values: NDArray[Any], classes: int, rng: np.random.Generator, shifts: int
) -> tuple[dict[str, Float], Float]:
    """Scores by measure and shares of the classes in one tile, from the maps of heads, of position and of untrained.

    Scores are rows (true, shifted, by position, of the untrained; each heads first) by classes.
    """
    moved = np.stack([values, *moved_round(values, rng, shifts)]).reshape(1 + shifts, -1)
    flat = [each.reshape(len(each), -1) for each in everyone]
    own, maps = flat[0], np.concatenate(flat)
    if not classes:
        amounts = np.asarray(moved, np.float64)
        true, away = amount_scores(maps, amounts[:1]), amount_scores(own, amounts[1:])
        return {name: _stacked(true[name], away[name], len(own)) for name in true}, np.array([np.nan])
    share = np.array([(values == index).sum() for index in range(classes)]) / max(1, (values != IGNORE).sum())
    # Most classes of a legend are not in a tile: they are not scored, and NaN.
    mixed = (share > 0) & (share < 1)
    present = np.flatnonzero(mixed)
    positive = moved[:, None] == present[:, None]  # (1 + shifts, classes present, patches)
    counted = np.repeat(moved[:, None] != IGNORE, len(present), 1)
    true = class_scores(maps, positive[0], counted[0])
    away = class_scores(own, *(each[1:].reshape(-1, moved.shape[1]) for each in (positive, counted)))
    scores = {name: np.full((len(maps) + len(own), classes), np.nan) for name in true}
    for name, each in scores.items():
        each[:, present] = _stacked(true[name], away[name], len(own))
    return scores, np.where(mixed, share, np.nan)


def _stacked(true: Float, away: Float, heads: int) -> Float:
    """Scores of the ViT's heads, the mean of their scores for (shifts x classes) moved references, all other scores."""
    mean = away.reshape(heads, -1, true.shape[1]).mean(1) if true.shape[1] else away[:, :0]
    return np.concatenate([true[:heads], mean, true[heads:]])


def _judged(
    tiles: Float, heads: int, share: Float, measure: str, blocks: Blocks, rng: np.random.Generator
) -> Iterator[dict[str, object]]:
    """A row for each head from the scores (rows of `_tile`, N) of all tiles."""
    own, shift, position, untrained = np.split(tiles, [heads, 2 * heads, 3 * heads])
    means, level = (np.array([_mean(row) for row in rows]) for rows in (own, untrained))
    middle, (least, most) = MIDDLE[measure], LIMITS.get(measure, (0.0, 1.0))
    direction = np.ones(heads) if middle is None else np.where(means < middle, -1.0, 1.0)
    strongest = [int(np.argmax(np.nan_to_num(sign * level, nan=-np.inf))) for sign in direction]
    nulls = [untrained[strongest], shift, position]
    kinds = [own, *nulls, *(direction[:, None] * (own - null) for null in nulls)]
    judged = band_means(np.concatenate(kinds), blocks, rng).reshape(len(kinds), heads, 3)
    judged[: 1 + len(NULLS)] = np.clip(judged[: 1 + len(NULLS)], least, most)
    judged[1 + len(NULLS) :] = np.clip(judged[1 + len(NULLS) :], least - most, most - least)
    for head in range(heads):
        scored = np.isfinite(own[head])
        row: dict[str, object] = {"head": head + 1, "direction": int(direction[head])}
        for name, ends in zip(SCORED, judged[:, head], strict=True):
            row |= _ends(name, ends)
        if scored.any():
            over = judged[-len(NULLS) :, head]
            closest = int(np.argmin(over[:, 0]))
            row |= {"best_null": NULLS[closest], "beyond": over[closest, 0]}
            row |= {"beyond_low": over[:, 1].min(), "beyond_high": over[:, 2].max()}
        row |= {"tiles": int(scored.sum()), "bands": len(np.unique(np.asarray(blocks)[scored]))}
        yield row | {"positives": _mean(share[scored])}


def _ends(name: str, values: Float) -> dict[str, object]:
    """A score and its interval by the names of their columns."""
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return dict(zip((name, low, high), values, strict=True))


def _mean(values: Float) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def explained(attention: Maps, label: NDArray[np.uint8]) -> Float:
    """Share of each map's variance over patches that the patches' classes explain (eta squared).

    `attention`: (heads, h, w) of one tile. `label`: (h, w) class index per patch; IGNORE patches are left out. Returns
    (heads,), from 0 to 1; NaN where all counted patches are of one class or a map is flat.
    """
    counted = label.ravel() != IGNORE
    maps = np.asarray(attention, np.float64).reshape(len(attention), -1)[:, counted]
    index = label.ravel()[counted]
    groups = np.unique(index)
    if len(groups) < 2:
        return np.full(len(attention), np.nan)
    total = ((maps - maps.mean(1, keepdims=True)) ** 2).sum(1)
    between = sum((index == g).sum() * (maps[:, index == g].mean(1) - maps.mean(1)) ** 2 for g in groups)
    return np.where(total > 0, between / np.where(total > 0, total, 1), np.nan)


def alignment(attention: Maps, label: NDArray[np.uint8], rng: np.random.Generator, shifts: int = SHIFTS) -> Float:
    """Explained share beyond chance, per tile and averaged over heads; NaN for tiles of one class.

    Chance is the same label map (N, h, w) moved round the tile by a random step (`shifts` of them per tile): it keeps
    the size and number of its patches and loses only its place.
    """
    if attention.shape[0] != label.shape[0] or attention.shape[2:] != label.shape[1:]:
        raise SardinoError(f"attention {attention.shape} and labels {label.shape} are not of the same patches")
    beyond = []
    for maps, classes in zip(attention, label, strict=True):
        null = [explained(maps, moved) for moved in moved_round(classes, rng, shifts)]
        beyond.append(float((explained(maps, classes) - np.mean(null, axis=0)).mean()))
    return np.array(beyond)


def moved_round(values: NDArray[Any], rng: np.random.Generator, shifts: int) -> list[NDArray[Any]]:
    """(h, w) of one tile moved round it by random steps: its own texture at another place."""
    height, width = values.shape
    steps = [divmod(int(step), width) for step in rng.integers(1, max(2, height * width), size=shifts)]
    return [np.roll(values, step, axis=(0, 1)) for step in steps]


def block_mean(values: Float, blocks: Blocks, rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean of per-tile values and its 95 % interval (mean, low, high) over geographic blocks: see `band_means`.

    NaN tiles are left out. One block says nothing of other places: the interval is then the mean alone.
    """
    if not np.isfinite(values).any():
        raise SardinoError("no test tile holds two classes: nothing to compare attention with")
    ((mean, low, high),) = band_means(values[None], blocks, rng)
    return (float(mean), float(low), float(high)) if np.isfinite(low) else (float(mean),) * 3


def others_mean(attention: Maps, blocks: Blocks) -> Float:
    """For each tile, each head's mean map over the tiles of all other bands: neighbours may be alike.

    (N, heads, h, w) and (N,) bands to (N, heads, h, w) float64; refused where all tiles are of one band.
    """
    names, member = np.unique(np.asarray(blocks), return_inverse=True)
    if len(names) < 2 or len(member) != len(attention):
        raise SardinoError(f"{len(attention)} maps of {len(names)} bands: a mean over other tiles needs two bands")
    belongs = (member == np.arange(len(names))[:, None]).astype(np.float64)
    sums = np.tensordot(belongs, np.asarray(attention, np.float64), 1)  # (bands, heads, h, w)
    others = len(member) - belongs.sum(1)
    return ((sums.sum(0) - sums) / others[:, None, None, None])[member]


def position_share(attention: Maps, blocks: Blocks, rng: np.random.Generator) -> Float:
    """Share of each head's variance over tiles and patches that the patch's position explains.

    Each tile is predicted by the mean map of other bands, and the error compared with that of those bands' one mean
    value. Cross-validated like this, few tiles do not raise the share: a head without a pattern scores about 0, a
    little less rather than more. Returns (heads, 3) share and its 95 % interval; NaN for a flat head.
    """
    attention = np.asarray(attention, np.float64)
    mean = others_mean(attention, blocks)
    error = ((attention - mean) ** 2).sum((2, 3))
    spread = ((attention - mean.mean((2, 3), keepdims=True)) ** 2).sum((2, 3))
    flat = ~(spread > 1e-12 * (attention**2).sum((2, 3))).any(0)
    error[:, flat] = np.nan
    left, low, high = band_ratios(error.T, spread.T, blocks, rng).T
    # An error below 0 does not exist; it is Student's tails of a few bands.
    return 1 - np.stack([left, high, np.maximum(low, 0)], axis=1)
