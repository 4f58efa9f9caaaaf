"""The probe of a pre-training: labels of a tenth of the training tiles, judged on validation tiles, never on test."""

import numpy as np
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer

from sardino.evaluation.probe import knn_probe, linear_probe, patch_labels, raw_tokens, tokens_of
from sardino.models.vit import patch_px
from sardino.tiles.landcover import IGNORE
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.splits import label_fraction, label_order
from sardino.tiles.tileset import TileStore
from sardino.training.source import in_batches
from sardino.training.store_tiles import StoreTiles

PERCENT = 10
"""Of the training tiles, whose labels the probe learns from."""
MOST_TILES = 64
"""Tiles on either side at most: a probe is to take seconds."""


class ProbeTiles:
    """Labelled tiles to probe backbones with.

    Args:
        store, regions: where tiles come from.
        normalisation: of the pre-training.
        split: "val" while choosing, "test" once at the end.
        most: tiles on either side at most.
    """

    def __init__(
        self,
        store: TileStore,
        regions: list[str],
        normalisation: Normalisation,
        split: str = "val",
        most: int | None = MOST_TILES,
    ) -> None:
        self.classes = len(store.legend)
        learned = label_fraction(store.ids("train", regions), PERCENT)[:most]
        judged = label_order(store.ids(split, regions))[:most]
        self.sides = [StoreTiles(store, ids, normalisation) for ids in (learned, judged)]

    @property
    def labelled(self) -> bool:
        """Whether both sides have labels at all: a store may hold images alone."""
        return all((self._labels(side) != IGNORE).any() for side in self.sides)

    def raw(self, patch: int) -> dict[str, float]:
        """The line to beat: patch means of the channels themselves."""
        images = [side.read(range(len(side)))[0] for side in self.sides]
        return self._judge([raw_tokens(side, patch) for side in images], patch)

    def __call__(self, vit: VisionTransformer) -> dict[str, float]:
        """mIoU of nearest neighbours and of a linear classifier on the backbone's frozen tokens."""
        images = [(part for part, _ in in_batches(side, 32)) for side in self.sides]
        return self._judge([tokens_of(vit, side) for side in images], patch_px(vit))

    def _judge(self, tokens: list[NDArray[np.float32]], patch: int) -> dict[str, float]:
        labels = [patch_labels(self._labels(side), patch) for side in self.sides]
        arguments = (tokens[0], labels[0], tokens[1], labels[1], self.classes)
        return {"knn": knn_probe(*arguments).miou, "linear": linear_probe(*arguments).miou}

    def _labels(self, side: StoreTiles) -> NDArray[np.uint8]:
        return np.concatenate(
            [np.zeros((0, side.store.tile_px, side.store.tile_px), np.uint8)]
            + [labels.numpy() for _, labels in in_batches(side, 32)]
        )
