"""How far attention follows land cover, against a null that keeps both maps' own texture."""

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.band_means import band_means
from sardino.tiles.landcover import IGNORE


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

    Chance is the same label map moved round the tile by a random step: it keeps the size and
    number of its patches and loses only its place.

    Args:
        attention: (N, heads, h, w).
        label: (N, h, w) class index per patch.
        shifts: random steps per tile.

    Returns:
        (N,); NaN for tiles of one class.
    """
    if attention.shape[0] != label.shape[0] or attention.shape[2:] != label.shape[1:]:
        raise SardinoError(f"attention {attention.shape} and labels {label.shape} are not of the same patches")
    height, width = label.shape[1:]
    beyond = []
    for maps, classes in zip(attention, label, strict=True):
        steps = [divmod(int(s), width) for s in rng.integers(1, height * width, size=shifts)]
        null = [explained(maps, np.roll(classes, step, axis=(0, 1))) for step in steps]
        beyond.append(float((explained(maps, classes) - np.mean(null, axis=0)).mean()))
    return np.array(beyond)


def block_mean(
    values: NDArray[np.float64], blocks: NDArray[np.integer], rng: np.random.Generator
) -> tuple[float, float, float]:
    """Mean of per-tile values and its 95 % interval over geographic blocks (sardino.evaluation.bootstrap).

    NaN tiles are left out. One block says nothing of other places: the interval is then the mean alone.

    Returns:
        (mean, low, high)
    """
    valid = np.isfinite(values)
    if not valid.any():
        raise SardinoError("no test tile holds two classes: nothing to compare attention with")
    ((mean, low, high),) = band_means(values[None], blocks, rng)
    return (float(mean), float(low), float(high)) if np.isfinite(low) else (float(mean),) * 3
