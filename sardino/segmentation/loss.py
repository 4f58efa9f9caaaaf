"""What a segmenter learns by (paper, section 3: "binary cross-entropy"), and how much a pixel of each class weighs."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sardino.data.tiles.landcover import IGNORE, class_weights
from sardino.dino.batches import TileSource, in_batches
from sardino.segmentation.settings import Loss

BATCH = 16  # tiles that are read at once


def balanced(tiles: TileSource, classes: int, balance: float) -> Tensor:
    """Weight of a pixel of each class, (classes,) float32, by how many pixels of it these labelled tiles hold."""
    pixels = np.zeros(classes, np.int64)
    for _, label in in_batches(tiles, BATCH):
        pixels += np.bincount(label[label != IGNORE].numpy(), minlength=classes)
    return torch.from_numpy(class_weights(pixels, balance))


def segmentation_loss(logits: Tensor, label: Tensor, weights: Tensor, kind: Loss) -> Tensor:
    """Cross-entropy over classes, or the mean of each class's binary one against the rest: mean of weighted pixels.

    Of (B, classes, H, W) logits, (B, H, W) uint8 class indices, and (classes,) weights of their pixels; IGNORE pixels
    do not count.
    """
    if kind == "cross-entropy":
        return F.cross_entropy(logits, label.long(), weights, ignore_index=IGNORE)
    counted = label != IGNORE
    known = label.long().where(counted, 0)
    target = F.one_hot(known, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
    weight = weights[known] * counted
    return (weight * each).sum() / weight.sum()
