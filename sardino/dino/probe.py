"""Probes: what the frozen tokens of a backbone know of land cover, judged by classifiers and without training it.

A linear probe asks whether classes lie apart in the tokens, nearest neighbours whether like lies near like (Caron et
al. 2021, section 4.1). Both judge patches, not pixels: a token stands for one patch. Means of the raw channels are
tokens too, the line that every backbone must beat.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.data.tiles.landcover import IGNORE, label_fraction, label_order
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.dino.batches import StoreTiles, in_batches
from sardino.dino.vit import encode_all, patch_px
from sardino.errors import SardinoError
from sardino.evaluation.patches import patch_blocks, patch_classes
from sardino.evaluation.scores import Confusion, confusion, miou

Tokens = NDArray[np.float32]
"""(N, h, w, D): one token a patch."""
Labels = NDArray[np.uint8]
"""(N, h, w) class index, IGNORE where there is none."""

NEIGHBOURS = 20
TEMPERATURE = 0.07
"""Of the neighbours' votes, exp(similarity / temperature), as in DINO's own evaluation."""
TOKENS = 10_000
"""Training tokens that a probe draws at most: seconds, not minutes."""
ITERATIONS = 500
PERCENT = 10
"""Of the training tiles, whose labels the probe of a pre-training learns from."""
MOST_TILES = 64
"""Tiles on either side at most: a probe is to take seconds."""


@dataclass(frozen=True)
class Probed:
    """What a probe found.

    Args:
        confusion: (n, n) patch counts; rows are the reference.
        miou: mean over the classes present in the reference, 0 to 1.
        tokens: training tokens drawn.
        iterations: of the solver; 0 where nothing was solved.
        converged: whether the solver stopped by itself.
    """

    confusion: Confusion
    miou: float
    tokens: int
    iterations: int = 0
    converged: bool = True


def tokens_of(vit: VisionTransformer, images: Tensor | Iterable[Tensor], batch: int = 64) -> Tokens:
    """The patch tokens of a backbone, which stays as it is.

    Args:
        images: (N, C, H, W) float32, normalised, whole or in parts.
        batch: images that pass the ViT together.

    Returns:
        (N, h, w, D) float32 tokens of the last block.
    """
    parts = [images] if isinstance(images, Tensor) else images
    device, training = next(vit.parameters()).device, vit.training
    try:
        found = [
            encode_all(vit, chunk.to(device), batch).tokens.float().cpu()
            for part in parts
            for chunk in part.split(batch)
        ]
    finally:
        vit.train(training)
    if not found:
        raise SardinoError("there is no image to take tokens from")
    return np.asarray(torch.cat(found).numpy())


def raw_tokens(images: NDArray[np.floating] | Tensor, patch: int) -> Tokens:
    """Mean of each channel in each patch: (N, C, H, W) normalised to (N, H / patch, W / patch, C)."""
    blocks = patch_blocks(np.asarray(images, np.float32), patch)
    return np.ascontiguousarray(np.moveaxis(blocks.mean((3, 5)), 1, -1))


def linear_probe(
    train_tokens: Tokens,
    train_labels: Labels,
    test_tokens: Tokens,
    test_labels: Labels,
    classes: int,
    seed: int = 0,
    most: int = TOKENS,
) -> Probed:
    """Multinomial logistic regression on standardised tokens.

    Args:
        train_tokens, test_tokens: (N, h, w, D).
        train_labels, test_labels: (N, h, w); patches without a label take no part.
        classes: of the legend.
        seed: decides which training tokens are drawn.
        most: training tokens drawn at most.
    """
    tokens, labels = _drawn(train_tokens, train_labels, seed, most)
    counted, reference = _labelled(test_tokens, test_labels)
    if len(np.unique(labels)) == 1:  # nothing to tell apart
        return _judged(np.full_like(reference, labels[0]), reference, classes, len(labels))
    scaler = StandardScaler().fit(tokens)
    solver = LogisticRegression(max_iter=ITERATIONS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told in the result
        solver.fit(scaler.transform(tokens), labels)
    iterations = int(np.max(solver.n_iter_))
    found = solver.predict(scaler.transform(counted)) if len(counted) else reference
    return _judged(found, reference, classes, len(labels), iterations, iterations < ITERATIONS)


def knn_probe(
    train_tokens: Tokens,
    train_labels: Labels,
    test_tokens: Tokens,
    test_labels: Labels,
    classes: int,
    seed: int = 0,
    most: int = TOKENS,
) -> Probed:
    """The nearest training tokens vote, the nearer the more; arguments as in `linear_probe`."""
    tokens, labels = _drawn(train_tokens, train_labels, seed, most)
    counted, reference = _labelled(test_tokens, test_labels)
    # On the unit sphere the Euclidean distance orders neighbours as the cosine does, and is faster to search.
    neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(labels)), weights=_votes).fit(_unit(tokens), labels)
    found = neighbours.predict(_unit(counted)) if len(counted) else reference
    return _judged(found, reference, classes, len(labels))


class ProbeTiles:
    """Labelled tiles to probe backbones with: a tenth of the training tiles, and tiles of another split to judge on.

    Args:
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
        labels = [patch_classes(self._labels(side), patch, self.classes, known=0.5) for side in self.sides]
        arguments = (tokens[0], labels[0], tokens[1], labels[1], self.classes)
        return {"knn": knn_probe(*arguments).miou, "linear": linear_probe(*arguments).miou}

    def _labels(self, side: StoreTiles) -> NDArray[np.uint8]:
        return np.concatenate(
            [np.zeros((0, side.store.tile_px, side.store.tile_px), np.uint8)]
            + [labels.numpy() for _, labels in in_batches(side, 32)]
        )


def _votes(distance: NDArray[np.floating]) -> NDArray[np.floating]:
    # The same for all neighbours of a token: divided by exp(1 / temperature), so that nothing overflows.
    return np.exp(-(np.asarray(distance, np.float64) ** 2) / 2 / TEMPERATURE)


def _unit(tokens: Tokens) -> Tokens:
    length = np.linalg.norm(tokens, axis=-1, keepdims=True)
    return np.asarray(tokens / np.maximum(length, 1e-12), np.float32)


def _labelled(tokens: Tokens, labels: Labels) -> tuple[Tokens, Labels]:
    """Tokens (M, D) and labels (M,) of the patches that have one."""
    if tokens.shape[:-1] != labels.shape:
        raise SardinoError(f"tokens of {tokens.shape} and labels of {labels.shape} are not of the same patches")
    if not np.isfinite(tokens).all():
        raise SardinoError("the tokens are not all finite: look for missing pixels or a pre-training that failed")
    counted = labels != IGNORE
    return tokens[counted], labels[counted]


def _drawn(tokens: Tokens, labels: Labels, seed: int, most: int) -> tuple[Tokens, Labels]:
    """Labelled training tokens, at most so many, in an order of their own: the tiles' order changes nothing."""
    chosen, classes = _labelled(tokens, labels)
    if not len(classes):
        raise SardinoError("no training patch has a label: nothing to probe with")
    rows = np.ascontiguousarray(np.column_stack([chosen, classes.astype(np.float32)]), np.float32)
    order = np.argsort(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel(), kind="stable")
    if len(order) > most:
        order = order[np.sort(np.random.default_rng(seed).choice(len(order), most, replace=False))]
    return chosen[order], classes[order]


def _judged(
    found: Labels, reference: Labels, classes: int, tokens: int, iterations: int = 0, converged: bool = True
) -> Probed:
    matrix = confusion(found.astype(np.uint8), reference, classes)
    return Probed(matrix, float(miou(matrix)), tokens, iterations, converged)
