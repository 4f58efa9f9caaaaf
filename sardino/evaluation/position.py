"""What the place of a patch in its tile tells of its attention: the score of a map that never looks at the tile.

Learned positions imprint a pattern on attention that is the same in every tile. A head that is all pattern can still
agree with a land-cover map, where tiles are alike in layout; so its mean map over other tiles is a null for its scores,
and the variance that this map explains says how much of the head is pattern.
"""

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.band_means import Blocks, Float, band_ratios


def others_mean(attention: NDArray[np.floating], blocks: Blocks) -> Float:
    """For each tile, each head's mean map over the tiles of all other bands: neighbours may be alike.

    Args:
        attention: (N, heads, h, w).
        blocks: (N,) geographic band of each tile.

    Returns:
        (N, heads, h, w) float64.

    Raises:
        SardinoError: all tiles are of one band.
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
        blocks: (N,) geographic band of each tile.
        rng: of the resampled bands.

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
