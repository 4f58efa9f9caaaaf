"""Patches: what their pixels amount to (a class, a mean), and how their tokens differ, as colours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError

COMPONENTS = 3  # red, green and blue
RANGE = (1.0, 99.0)  # percentiles between which a component is stretched: a few odd tokens do not darken all others
Float = NDArray[np.float64]


def patch_blocks(pixels: NDArray[Any], patch: int) -> NDArray[Any]:
    """(..., H, W) to (..., H / patch, patch, W / patch, patch); refused where a side is not whole patches."""
    height, width = pixels.shape[-2:]
    if height % patch or width % patch:
        raise SardinoError(f"{height} x {width} pixels do not divide into patches of {patch} px")
    return pixels.reshape(*pixels.shape[:-2], height // patch, patch, width // patch, patch)


def patch_classes(labels: NDArray[np.uint8], patch: int, classes: int, known: float = 0.0) -> NDArray[np.uint8]:
    """Most frequent class of each patch's labelled pixels, the lower index where two are level.

    `labels`: (N, H, W) class index. `known`: share of a patch's pixels that must be labelled; one pixel must in any
    case. Returns (N, H / patch, W / patch); IGNORE where fewer are.
    """
    blocks = patch_blocks(labels, patch)
    counts = np.stack([(blocks == c).sum((2, 4)) for c in range(classes)], axis=-1)
    return np.where(counts.sum(-1) >= max(1, known * patch**2), counts.argmax(-1), IGNORE).astype(np.uint8)


def patch_means(amount: NDArray[np.floating], patch: int) -> Float:
    """Mean of each patch's known pixels, (N, H, W) to (N, H / patch, W / patch); NaN where more than half are NaN."""
    blocks = patch_blocks(amount, patch).astype(np.float64)
    means = np.ma.masked_invalid(blocks).mean((2, 4)).filled(np.nan)
    return np.where(2 * np.isfinite(blocks).sum((2, 4)) >= patch**2, means, np.nan)


@dataclass(frozen=True)
class TokenPCA:
    """Principal components of tokens, with one scale for all tiles: equal colours mean equal tokens."""

    mean: Float  # (D,)
    components: Float  # (3, D) unit vectors; the largest entry of each is positive
    explained: Float  # (3,) share of the tokens' variance
    low: Float  # (3,) scores that are shown as 0
    high: Float  # (3,) and as 1

    def colours(self, tokens: NDArray[np.floating]) -> Float:
        """(..., D) tokens to (..., 3) red, green and blue from 0 to 1."""
        scores = (np.asarray(tokens, np.float64) - self.mean) @ self.components.T
        return np.clip((scores - self.low) / (self.high - self.low), 0, 1)


def token_pca(tokens: NDArray[np.floating]) -> TokenPCA:
    """The main directions in which the tokens (N, h, w, D) of many tiles differ, of a sign that no solver decides.

    Refused where tokens are not finite, too few, or of fewer than three directions.
    """
    from sklearn.decomposition import PCA  # slow to import, and needed here alone

    flat = np.asarray(tokens, np.float64).reshape(-1, tokens.shape[-1])
    if not np.isfinite(flat).all():
        raise SardinoError("the tokens are not all finite: look for missing pixels or a pre-training that failed")
    if min(flat.shape) <= COMPONENTS:
        raise SardinoError(f"{flat.shape[0]} tokens of {flat.shape[1]} numbers are too few for {COMPONENTS} components")
    found = PCA(COMPONENTS, svd_solver="covariance_eigh").fit(flat) if flat.var(0).any() else None
    if found is None or found.explained_variance_ratio_[-1] < 1e-9:
        raise SardinoError("the tokens do not differ in three directions: look for a pre-training that collapsed")
    components, mean = np.asarray(found.components_), np.asarray(found.mean_)
    largest = np.abs(components).argmax(1)
    components = components * np.sign(components[np.arange(COMPONENTS), largest])[:, None]
    low, high = np.percentile((flat - mean) @ components.T, RANGE, axis=0)
    return TokenPCA(mean, components, np.asarray(found.explained_variance_ratio_), low, high)
