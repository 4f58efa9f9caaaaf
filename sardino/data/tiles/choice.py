"""Which tiles of a region get pixels: labelled ones, a pool for pre-training, validation, whole bands of test."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.tiles.landcover import label_order


def choose_tiles(
    region: pd.DataFrame,
    labelled: Collection[str] = (),
    pool: int | None = None,
    validation: int | None = None,
    test: int | None = None,
) -> set[str]:
    """Ids of the tiles of one region that get pixels; None takes all of a kind.

    Args:
        region: columns id, split, band and labelled_share, a row a tile.
        labelled: training tiles that must be among them.
        pool: so many training tiles besides those, the first by hash, with labels or without.
        validation: so many with labels, the first by hash.
        test: at least so many with labels, as whole bands spread evenly over the region's test bands.
    """
    known = region["labelled_share"] > 0
    train = region[(region["split"] == "train") & ~region["id"].isin(labelled)]
    judged = region[(region["split"] == "val") & (known | (validation is None))]
    tested = region[(region["split"] == "test") & (known | (test is None))]
    in_bands = tested.loc[whole_bands(tested["band"].to_numpy(), test), "id"]
    return {*labelled, *label_order(train["id"])[:pool], *label_order(judged["id"])[:validation], *in_bands}


def whole_bands(band: NDArray[np.integer], least: int | None) -> NDArray[np.bool_]:
    """Whether each tile, of band (N,), lies in one of the fewest bands, evenly spaced, that hold at least so many."""
    numbers, sizes = np.unique(band, return_counts=True)
    for count in range(len(numbers)):
        chosen = (2 * np.arange(count) + 1) * len(numbers) // max(1, 2 * count)
        if least is not None and sizes[chosen].sum() >= least:
            return np.isin(band, numbers[chosen])
    return np.ones(len(band), bool)
