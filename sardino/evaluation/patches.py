"""What the pixels of a patch amount to: their most frequent class, their mean."""

import warnings

import numpy as np
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE


def patch_classes(label: NDArray[np.uint8], patch: int, classes: int) -> NDArray[np.uint8]:
    """Most frequent class of each patch, (N, H, W) to (N, H / patch, W / patch); IGNORE where no pixel is labelled."""
    tiles, height, width = label.shape
    blocks = label.reshape(tiles, height // patch, patch, width // patch, patch)
    counts = np.stack([(blocks == c).sum((2, 4)) for c in range(classes)], axis=-1)
    return np.where(counts.sum(-1) > 0, counts.argmax(-1), IGNORE).astype(np.uint8)


def patch_means(amount: NDArray[np.floating], patch: int) -> NDArray[np.float64]:
    """Mean of each patch's known pixels, (N, H, W) to (N, H / patch, W / patch); NaN where more than half are NaN."""
    tiles, height, width = amount.shape
    blocks = amount.reshape(tiles, height // patch, patch, width // patch, patch).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a patch without a known pixel is NaN, as it should be
        means = np.nanmean(blocks, axis=(2, 4))
    return np.where(2 * np.isfinite(blocks).sum((2, 4)) >= patch**2, means, np.nan)
