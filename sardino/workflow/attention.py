"""What an arm's pre-trained backbone makes of tiles: attention maps, rollout, tokens, and how they are spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.evaluation.map_scores import held
from sardino.models.extraction import class_attention, patch_tokens, rollout
from sardino.models.vit import build_vit
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.tileset import TileStore
from sardino.training.checkpoint import Card, load_backbone
from sardino.workflow.workspace import Workspace

BATCH = 64
SEED = 0
"""Of the untrained ViT that an arm is compared with."""


@dataclass(frozen=True)
class Seen:
    """What a ViT makes of tiles; relative weights, 1 is an even spread.

    Args:
        attention: (N, heads, h, w) of the last block's class token.
        rollout: (N, h, w) attention rolled out from the class token through all blocks.
        tokens: (N, h, w, D) patch tokens of the last block.
    """

    attention: NDArray[np.float32]
    rollout: NDArray[np.float32]
    tokens: NDArray[np.float32]


def see(space: Workspace, arm: str, store: TileStore, backscatter: NDArray[np.float32]) -> Seen:
    """What the network that an arm uses afterwards makes of tiles.

    Args:
        backscatter: (N, C, H, W) in the store's unit, NaN where missing.
    """
    vit, card = backbone(space, arm, store)
    images = _normalised(card, backscatter)
    parts = [(class_attention(vit, i)[0], rollout(vit, i), patch_tokens(vit, i)) for i in images.split(BATCH)]
    return Seen(*(torch.cat(each).float().numpy() for each in zip(*parts, strict=True)))


def attention_maps(
    space: Workspace, arm: str, store: TileStore, ids: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Class attention of many tiles, by the arm's ViT and by an untrained one of the same architecture.

    Returns:
        (N, heads, h, w) of each.
    """
    vit, card = backbone(space, arm, store)
    torch.manual_seed(SEED)
    untrained = build_vit(card.architecture).eval()
    maps: tuple[list[Tensor], list[Tensor]] = ([], [])
    for start in range(0, len(ids), BATCH):
        images = _normalised(card, store.read(ids[start : start + BATCH])[0])
        for found, network in zip(maps, (vit, untrained), strict=True):
            found.append(class_attention(network, images)[0])
    trained, random = (torch.cat(each).float().numpy() for each in maps)
    return trained, random


def head_summary(attention: NDArray[np.float32]) -> list[dict[str, float]]:
    """How concentrated each head is, averaged over tiles.

    Args:
        attention: (N, heads, h, w).

    Returns:
        per head: "mass_share", the smallest share of patches that holds 60 % of the attention
        (0.6 for an even spread), and "peak", the largest weight relative to an even spread.
    """
    flat = attention.reshape(*attention.shape[:2], -1)
    share = held(flat).mean(-1)
    peak = flat.max(-1) / flat.mean(-1)
    return [{"mass_share": float(s), "peak": float(p)} for s, p in zip(share.mean(0), peak.mean(0), strict=True)]


def backbone(space: Workspace, arm: str, store: TileStore) -> tuple[VisionTransformer, Card]:
    """An arm's ViT in evaluation mode, and its card."""
    network = space.profile.arm(arm).network
    vit, card = load_backbone(space.pretrain(arm), tuple(store.channels), store.unit, network)
    return vit.eval(), card


def _normalised(card: Card, backscatter: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(Normalisation.from_dict(card.normalisation).apply(backscatter))
