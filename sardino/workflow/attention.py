"""Attention maps of an arm's pre-trained backbone."""

import numpy as np
import torch
from numpy.typing import NDArray

from sardino.models.vit import encode_all
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.store import TileStore
from sardino.training.checkpoint import load_backbone
from sardino.workflow.workspace import Workspace

MASS = 0.6
"""Share of the attention that a head's mask keeps (Caron et al. 2021)."""


def attention_of(
    space: Workspace, arm: str, store: TileStore, backscatter: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Class-token attention of the last block, by the arm's teacher.

    Args:
        backscatter: (N, C, H, W) in the store's unit, NaN where missing.

    Returns:
        (N, heads, h, w); 1 is an even spread.
    """
    vit, card = load_backbone(space.pretrain(arm), tuple(store.channels), store.unit)
    normalisation = Normalisation.from_dict(card.normalisation)
    images = torch.from_numpy(normalisation.apply(backscatter))
    return encode_all(vit, images).attention.float().numpy()


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
