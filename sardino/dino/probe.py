"""Probes: what the frozen tokens of a backbone know of land cover, judged by classifiers and without training it.

A linear probe asks whether classes lie apart in the tokens, nearest neighbours whether like lies near like (Caron et
al. 2021, section 4.1). Both judge patches, not pixels: a token stands for one patch. The line to beat are features that
nothing learnt; tokens are worth their training where they beat it, or add to it where they stand beside it.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

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
from sardino.dino.texture import surroundings
from sardino.dino.vit import encode, patch_px
from sardino.errors import SardinoError
from sardino.evaluation.patches import patch_blocks, patch_classes
from sardino.evaluation.scores import Confusion, confusion, miou

Tokens = NDArray[np.float32]  # (N, h, w, D): one token a patch
Labels = NDArray[np.uint8]  # (N, h, w) class index, IGNORE where there is none: such patches take no part
Side = tuple[Tokens, Labels]  # what a probe learns from, or is judged on

NEIGHBOURS = 20
TEMPERATURE = 0.07  # of the neighbours' votes, exp(similarity / temperature), as in DINO's own evaluation
TOKENS = 10_000  # training tokens that a probe draws at most: seconds, not minutes
ITERATIONS = 500
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4)  # on the squared weights of a linear probe, of which validation may choose
PERCENT = 10  # of the training tiles, whose labels the probe of a pre-training learns from
TILES = 64  # on either side: a probe is to take seconds


@dataclass(frozen=True)
class Probed:
    """What a probe found."""

    confusions: Confusion  # (N, n, n) patch counts of each tile; rows are the reference
    tokens: int  # training tokens drawn
    iterations: int = 0  # of the solver; 0 where nothing was solved
    converged: bool = True  # whether the solver stopped by itself

    @property
    def confusion(self) -> Confusion:
        """(n, n) of all tiles."""
        return np.asarray(self.confusions.sum(0))

    @property
    def miou(self) -> float:
        """Mean over the classes present in the reference, 0 to 1."""
        return float(miou(self.confusion))


@torch.no_grad()
def tokens_of(vit: VisionTransformer, images: Tensor | Iterable[Tensor], batch: int = 64) -> Tokens:
    """The patch tokens (N, h, w, D) of a backbone's last block; the backbone stays as it is.

    Args:
        images: (N, C, H, W) float32, normalised, whole or in parts.
        batch: images that pass the ViT together.
    """
    parts = [images] if isinstance(images, Tensor) else images
    device, training = next(vit.parameters()).device, vit.training
    try:
        chunks = (chunk for part in parts for chunk in part.split(batch))
        vit.eval()
        found = [encode(vit, chunk.to(device)).tokens.float().cpu() for chunk in chunks]
    finally:
        vit.train(training)
    if not found:
        raise SardinoError("there is no image to take tokens from")
    return np.asarray(torch.cat(found).numpy())


def raw_tokens(images: NDArray[np.floating] | Tensor, patch: int) -> Tokens:
    """Mean of each channel in each patch: (N, C, H, W) normalised to (N, H / patch, W / patch, C)."""
    blocks = patch_blocks(np.asarray(images, np.float32), patch)
    return np.ascontiguousarray(np.moveaxis(blocks.mean((3, 5)), 1, -1))


def handmade_tokens(images: NDArray[np.floating] | Tensor, patch: int) -> Tokens:
    """What nothing learnt: `raw_tokens`, and the `surroundings` that a ViT may see too, (N, h, w, (1 + FEATURES) C)."""
    around = surroundings(torch.as_tensor(images), patch).movedim(1, -1).numpy()
    return np.concatenate([raw_tokens(images, patch), around], -1)


def linear_probe(
    train: Side, test: Side, classes: int, seed: int = 0, most: int = TOKENS, penalty: float = PENALTIES[0]
) -> Probed:
    """Multinomial logistic regression on standardised tokens; the seed decides which, `most` how many are drawn."""
    tokens, labels = _drawn(train, seed, most)
    counted, _ = _labelled(test)
    if len(np.unique(labels)) == 1:  # nothing to tell apart
        return Probed(_confusions(np.full(len(counted), labels[0]), test[1], classes), len(labels))
    scaler = StandardScaler().fit(tokens)
    solver = LogisticRegression(C=1 / penalty, max_iter=ITERATIONS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told in the result
        solver.fit(scaler.transform(tokens), labels)
    iterations = int(np.max(solver.n_iter_))
    found = solver.predict(scaler.transform(counted)) if len(counted) else labels[:0]
    return Probed(_confusions(found, test[1], classes), len(labels), iterations, iterations < ITERATIONS)


def tuned_probe(train: Side, validation: Side, test: Side, classes: int, seed: int = 0, most: int = TOKENS) -> Probed:
    """The linear probe of the test tiles by that one of PENALTIES which does best on the validation tiles."""
    train, first = _drawn(train, seed, most), len(validation[1])
    both = np.concatenate([validation[0], test[0]]), np.concatenate([validation[1], test[1]])
    found = [linear_probe(train, both, classes, seed, most, penalty) for penalty in PENALTIES]
    best = max(found, key=lambda each: float(miou(each.confusions[:first].sum(0))))
    return replace(best, confusions=best.confusions[first:])


def knn_probe(train: Side, test: Side, classes: int, seed: int = 0, most: int = TOKENS) -> Probed:
    """The nearest training tokens vote, the nearer the more; arguments as in `linear_probe`."""
    tokens, labels = _drawn(train, seed, most)
    counted, _ = _labelled(test)

    def votes(distance: NDArray[np.floating]) -> NDArray[np.floating]:
        # The same for all neighbours of a token: divided by exp(1 / temperature), so that nothing overflows.
        return np.exp(-(np.asarray(distance, np.float64) ** 2) / 2 / TEMPERATURE)

    # On the unit sphere the Euclidean distance orders neighbours as the cosine does, and is faster to search.
    neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(labels)), weights=votes).fit(_unit(tokens), labels)
    found = neighbours.predict(_unit(counted)) if len(counted) else labels[:0]
    return Probed(_confusions(found, test[1], classes), len(labels))


JUDGES = {"knn": knn_probe, "linear": linear_probe}


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
        most: int = TILES,
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
        """Patch means of the channels themselves, judged as tokens are."""
        train, test = self._sides(self._made(raw_tokens, patch), patch)
        return {name: judge(train, test, self.classes).miou for name, judge in JUDGES.items()}

    def __call__(self, vit: VisionTransformer, patch: int | None = None) -> dict[str, float]:
        """mIoU of nearest neighbours and of a linear classifier on the backbone's frozen tokens.

        Also "line", of a linear classifier on `handmade_tokens`, and "beside", of one on both together. Of patches of
        its own, or of smaller ones that divide them, to compare backbones by: each takes its token.
        """
        own, images = patch_px(vit), [(part for part, _ in in_batches(side, 32)) for side in self.sides]
        patch = patch or own
        tokens = [tokens_of(vit, side).repeat(own // patch, 1).repeat(own // patch, 2) for side in images]
        line = self._made(handmade_tokens, patch)
        both = [np.concatenate(pair, -1) for pair in zip(tokens, line, strict=True)]
        train, test = self._sides(tokens, patch)
        found = {name: judge(train, test, self.classes).miou for name, judge in JUDGES.items()}
        for name, features in (("line", line), ("beside", both)):
            found[name] = linear_probe(*self._sides(features, patch), self.classes).miou
        return found

    def _made(self, make: Callable[[Tensor, int], Tokens], patch: int) -> list[Tokens]:
        return [np.concatenate([make(part, patch) for part, _ in in_batches(side, 32)]) for side in self.sides]

    def _sides(self, tokens: list[Tokens], patch: int) -> tuple[Side, Side]:
        labels = [patch_classes(self._labels(side), patch, self.classes, known=0.5) for side in self.sides]
        train, test = zip(tokens, labels, strict=True)
        return train, test

    def _labels(self, side: StoreTiles) -> NDArray[np.uint8]:
        none = np.zeros((0, side.store.tile_px, side.store.tile_px), np.uint8)
        return np.concatenate([none, *(labels.numpy() for _, labels in in_batches(side, 32))])


def _unit(tokens: Tokens) -> Tokens:
    length = np.linalg.norm(tokens, axis=-1, keepdims=True)
    return np.asarray(tokens / np.maximum(length, 1e-12), np.float32)


def _confusions(found: NDArray[np.integer], labels: Labels, classes: int) -> Confusion:
    """(N, n, n) patch counts, of what was found where there is a label."""
    maps = np.zeros_like(labels)
    maps[labels != IGNORE] = found
    counts = [confusion(each, reference, classes) for each, reference in zip(maps, labels, strict=True)]
    return np.array(counts, np.int64).reshape(-1, classes, classes)


def _labelled(side: Side) -> Side:
    """Tokens (M, D) and labels (M,) of the patches that have one."""
    tokens, labels = side
    if tokens.shape[:-1] != labels.shape:
        raise SardinoError(f"tokens of {tokens.shape} and labels of {labels.shape} are not of the same patches")
    if not np.isfinite(tokens).all():
        raise SardinoError("the tokens are not all finite: look for missing pixels or a pre-training that failed")
    counted = labels != IGNORE
    return tokens[counted], labels[counted]


def _drawn(side: Side, seed: int, most: int) -> Side:
    """Labelled training tokens, at most so many, in an order of their own: the tiles' order changes nothing."""
    chosen, classes = _labelled(side)
    if not len(classes):
        raise SardinoError("no training patch has a label: nothing to probe with")
    rows = np.ascontiguousarray(np.column_stack([chosen, classes.astype(np.float32)]), np.float32)
    order = np.argsort(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel(), kind="stable")
    if len(order) > most:
        order = order[np.sort(np.random.default_rng(seed).choice(len(order), most, replace=False))]
    return chosen[order], classes[order]
