"""How far attention follows land cover, against nulls: the labels moved round the tile, and a map of position alone.

Learned positions imprint a pattern on attention that is the same in every tile. A head that is all pattern can still
agree with a land-cover map, where tiles are alike in layout; so its mean map over other tiles is a null for its scores,
and the variance that this map explains says how much of the head is pattern.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import Blocks, band_means, band_ratios

Float = NDArray[np.float64]


def explained(attention: NDArray[np.floating], label: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each map's variance over patches that the patches' classes explain (eta squared).

    Args:
        attention: (heads, h, w) of one tile.
        label: (h, w) class index per patch; IGNORE patches are left out.

    Returns:
        (heads,), from 0 to 1; NaN where all counted patches are of one class or a map is flat.
    """
    counted = label.ravel() != IGNORE
    maps = np.asarray(attention, np.float64).reshape(len(attention), -1)[:, counted]
    index = label.ravel()[counted]
    groups = np.unique(index)
    total = ((maps - maps.mean(1, keepdims=True)) ** 2).sum(1) if counted.any() else np.zeros(len(attention))
    if len(groups) < 2:
        return np.full(len(attention), np.nan)
    between = sum((index == g).sum() * (maps[:, index == g].mean(1) - maps.mean(1)) ** 2 for g in groups)
    return np.where(total > 0, between / np.where(total > 0, total, 1), np.nan)


def alignment(
    attention: NDArray[np.floating], label: NDArray[np.uint8], rng: np.random.Generator, shifts: int = 20
) -> NDArray[np.float64]:
    """Explained share beyond chance, per tile and averaged over heads.

    Chance is the same label map moved round the tile by a random step (`shifts` of them per tile): it keeps the size
    and number of its patches and loses only its place.

    Args:
        attention: (N, heads, h, w).
        label: (N, h, w) class index per patch.

    Returns:
        (N,); NaN for tiles of one class.
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


def block_mean(
    values: NDArray[np.float64], blocks: NDArray[np.integer], rng: np.random.Generator
) -> tuple[float, float, float]:
    """Mean of per-tile values and its 95 % interval (mean, low, high) over geographic blocks: see `band_means`.

    NaN tiles are left out. One block says nothing of other places: the interval is then the mean alone.
    """
    valid = np.isfinite(values)
    if not valid.any():
        raise SardinoError("no test tile holds two classes: nothing to compare attention with")
    ((mean, low, high),) = band_means(values[None], blocks, rng)
    return (float(mean), float(low), float(high)) if np.isfinite(low) else (float(mean),) * 3


def others_mean(attention: NDArray[np.floating], blocks: Blocks) -> Float:
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


def position_share(attention: NDArray[np.floating], blocks: Blocks, rng: np.random.Generator) -> Float:
    """Share of each head's variance over tiles and patches that the patch's position explains.

    Each tile is predicted by the mean map of other bands, and the error compared with that of those bands' one mean
    value. Cross-validated like this, few tiles do not raise the share: a head without a pattern scores about 0, a
    little less rather than more.

    Args:
        attention: (N, heads, h, w).
        blocks: (N,) geographic band of each tile, resampled by `rng`.

    Returns:
        (heads, 3) share and its 95 % interval; NaN for a flat head.
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
