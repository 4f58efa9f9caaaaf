"""Attention maps of an arm's pre-trained backbone."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer

from sardino.evaluation.alignment import alignment, block_mean, patch_classes
from sardino.models.vit import build_vit, encode_all
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.tileset import TileStore
from sardino.training.checkpoint import Card, load_backbone
from sardino.workflow.workspace import Workspace

BATCH = 64
MASS = 0.6
"""Share of the attention that a head's mask keeps (Caron et al. 2021)."""


def attention_of(space: Workspace, arm: str, store: TileStore, backscatter: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class-token attention of the last block, by the network that the arm uses afterwards.

    Args:
        backscatter: (N, C, H, W) in the store's unit, NaN where missing.

    Returns:
        (N, heads, h, w); 1 is an even spread.
    """
    vit, card = _backbone(space, arm, store)
    normalisation = Normalisation.from_dict(card.normalisation)
    images = torch.from_numpy(normalisation.apply(backscatter))
    return encode_all(vit, images).attention.float().numpy()


def attention_scores(space: Workspace, arm: str, store: TileStore, ids: Sequence[str]) -> dict[str, float]:
    """How far the arm's attention follows the labels beyond chance, and the same for random weights.

    Returns:
        "value", "low", "high" (see `alignment`; bands resampled) and "random_value", ... of an untrained ViT.
    """
    vit, card = _backbone(space, arm, store)
    patch = card.architecture.patch
    bands = np.array([int(store.index["band"].iloc[store.row(i)]) for i in ids])
    torch.manual_seed(0)
    untrained = build_vit(card.architecture)
    normalisation = Normalisation.from_dict(card.normalisation)
    maps: dict[str, list[NDArray[np.float32]]] = {"": [], "random_": []}
    classes = []
    for start in range(0, len(ids), BATCH):
        backscatter, label = store.read(ids[start : start + BATCH])
        images = torch.from_numpy(normalisation.apply(backscatter))
        classes.append(patch_classes(label, patch, len(store.legend)))
        for name, network in (("", vit), ("random_", untrained)):
            maps[name].append(encode_all(network, images).attention.float().numpy())
    result: dict[str, float] = {}
    for name, parts in maps.items():
        beyond = alignment(np.concatenate(parts), np.concatenate(classes), np.random.default_rng(0))
        values = block_mean(beyond, bands, np.random.default_rng(0))
        result |= {f"{name}{key}": value for key, value in zip(("value", "low", "high"), values, strict=True)}
    return result


def head_summary(attention: NDArray[np.float32]) -> list[dict[str, float]]:
    """How concentrated each head is, averaged over tiles.

    Args:
        attention: (N, heads, h, w).

    Returns:
        per head: "mass_share", the smallest share of patches that holds 60 % of the attention
        (0.6 for an even spread), and "peak", the largest weight relative to an even spread.
    """
    flat = attention.reshape(*attention.shape[:2], -1)
    mass = flat / flat.sum(-1, keepdims=True)
    held = np.cumsum(-np.sort(-mass, axis=-1), axis=-1)
    share = ((held < MASS - 1e-6).sum(-1) + 1) / flat.shape[-1]
    peak = mass.max(-1) * flat.shape[-1]
    return [{"mass_share": float(s), "peak": float(p)} for s, p in zip(share.mean(0), peak.mean(0), strict=True)]


def _backbone(space: Workspace, arm: str, store: TileStore) -> tuple[VisionTransformer, Card]:
    network = space.profile.pretraining[arm].network
    return load_backbone(space.pretrain(arm), tuple(store.channels), store.unit, network)
