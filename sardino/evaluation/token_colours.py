"""A map as an object: the main directions in which the tokens of many tiles differ, as three colours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from sardino.errors import SardinoError

COMPONENTS = 3
"""Red, green and blue."""
RANGE = (1.0, 99.0)
"""Percentiles between which a component is stretched: a few odd tokens do not darken all others."""


@dataclass(frozen=True)
class TokenPCA:
    """Principal components of tokens, with one scale for all tiles: equal colours mean equal tokens.

    Args:
        mean: (D,).
        components: (3, D) unit vectors; the largest entry of each is positive.
        explained: (3,) share of the tokens' variance.
        low, high: (3,) scores that are shown as 0 and 1.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    explained: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def scores(self, tokens: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., D) tokens to (..., 3) scores."""
        return np.asarray((np.asarray(tokens, np.float64) - self.mean) @ self.components.T)

    def colours(self, tokens: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., D) tokens to (..., 3) red, green and blue from 0 to 1."""
        return np.clip((self.scores(tokens) - self.low) / (self.high - self.low), 0, 1)


def token_pca(tokens: NDArray[np.floating]) -> TokenPCA:
    """Fit the components to the tokens of many tiles.

    Args:
        tokens: (N, h, w, D) patch tokens.

    Returns:
        Components of a sign that does not hang on the solver.

    Raises:
        SardinoError: tokens that are not finite, too few, or of fewer than three directions.
    """
    flat = np.asarray(tokens, np.float64).reshape(-1, tokens.shape[-1])
    if not np.isfinite(flat).all():
        raise SardinoError("the tokens are not all finite: look for missing pixels or a pre-training that failed")
    if min(flat.shape) <= COMPONENTS:
        raise SardinoError(f"{flat.shape[0]} tokens of {flat.shape[1]} numbers are too few for {COMPONENTS} components")
    nothing = "the tokens do not differ in three directions: look for a pre-training that collapsed"
    if not flat.var(0).any():
        raise SardinoError(nothing)
    found = PCA(COMPONENTS, svd_solver="covariance_eigh").fit(flat)
    explained = np.asarray(found.explained_variance_ratio_)
    if explained[-1] < 1e-9:
        raise SardinoError(nothing)
    components = np.asarray(found.components_)
    largest = np.abs(components).argmax(1)
    components = components * np.sign(components[np.arange(COMPONENTS), largest])[:, None]
    mean = np.asarray(found.mean_)
    low, high = np.percentile((flat - mean) @ components.T, RANGE, axis=0)
    return TokenPCA(mean, components, explained, low, high)
