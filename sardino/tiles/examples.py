"""The tiles that figures show, by a rule instead of by eye."""

from collections.abc import Sequence

from sardino.tiles.splits import label_order
from sardino.tiles.tileset import TileStore


def example_tiles(store: TileStore, test_ids: Sequence[str], count: int) -> list[str]:
    """The test tiles that figures show: the first by hash among those with at least three classes of 5 % each.

    The rule reads labels, never a prediction, and is fixed before any result is seen.
    """
    shares = store.index.set_index("id")[[f"share_{code}" for code in store.legend.codes]]
    varied = [i for i in label_order(test_ids) if int((shares.loc[i] > 0.05).sum()) >= 3]
    return (varied + [i for i in label_order(test_ids) if i not in varied])[:count]
