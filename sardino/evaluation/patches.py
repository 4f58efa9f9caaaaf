"""What the pixels of a patch amount to: their most frequent class, their mean."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError


def patch_blocks(pixels: NDArray[Any], patch: int) -> NDArray[Any]:
    """(..., H, W) to (..., H / patch, patch, W / patch, patch); refused where a side is not whole patches."""
    height, width = pixels.shape[-2:]
    if height % patch or width % patch:
        raise SardinoError(f"{height} x {width} pixels do not divide into patches of {patch} px")
    return pixels.reshape(*pixels.shape[:-2], height // patch, patch, width // patch, patch)


def patch_classes(labels: NDArray[np.uint8], patch: int, classes: int, known: float = 0.0) -> NDArray[np.uint8]:
    """Most frequent class of each patch's labelled pixels, the lower index where two are level.

    Args:
        labels: (N, H, W) class index.
        known: share of a patch's pixels that must be labelled; one pixel must in any case.

    Returns:
        (N, H / patch, W / patch); IGNORE where fewer are.
    """
    blocks = patch_blocks(labels, patch)
    counts = np.stack([(blocks == c).sum((2, 4)) for c in range(classes)], axis=-1)
    return np.where(counts.sum(-1) >= max(1, known * patch**2), counts.argmax(-1), IGNORE).astype(np.uint8)


def patch_means(amount: NDArray[np.floating], patch: int) -> NDArray[np.float64]:
    """Mean of each patch's known pixels, (N, H, W) to (N, H / patch, W / patch); NaN where more than half are NaN."""
    blocks = patch_blocks(amount, patch).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a patch without a known pixel is NaN, as it should be
        means = np.nanmean(blocks, axis=(2, 4))
    return np.where(2 * np.isfinite(blocks).sum((2, 4)) >= patch**2, means, np.nan)
