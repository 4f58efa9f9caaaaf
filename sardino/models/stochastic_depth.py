"""Stochastic depth that does not compute what it drops (Huang et al. 2016)."""

from collections.abc import Callable
from typing import cast

from timm.layers.drop import DropPath
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn


class SkippingBlock(Block):
    """timm's block; a sample whose branch is dropped does not pass the branch: same values, draws and gradients."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        x = add_branch(x, x, self.drop_path1, lambda kept: self.ls1(self.attn(self.norm1(kept))))
        return add_branch(x, x, self.drop_path2, lambda kept: self.ls2(self.mlp(self.norm2(kept))))


def skip_dropped(vit: VisionTransformer) -> VisionTransformer:
    """Let a ViT's plain blocks skip what stochastic depth drops, in place; names and weights stay as they are."""
    for block in vit.blocks:
        if type(block) is Block and drop_probability(block.drop_path1) > 0:
            block.__class__ = SkippingBlock
    return vit


def drop_probability(drop: nn.Module) -> float:
    """Share of samples that a block's DropPath drops in training; 0 where the block has none."""
    return float(drop.drop_prob or 0.0) if isinstance(drop, DropPath) else 0.0


def add_branch(base: Tensor, x: Tensor, drop: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
    """base + drop(branch(x)), computed for the samples that are kept.

    On a GPU everything is computed: to know how many samples are left the processor would have to wait.

    Args:
        base: (B, ...) what the branch is added to.
        x: (B, N, D) what the branch sees.
        drop: DropPath or nothing.
        branch: from samples to what is added to them.
    """
    probability = drop_probability(drop)
    if not drop.training or probability == 0 or x.device.type != "cpu":
        return base + cast(Tensor, drop(branch(x)))
    keep = 1 - probability
    kept = x.new_empty(len(x)).bernoulli_(keep).nonzero()[:, 0]
    if len(kept) == 0:  # the branch's weights are to have a gradient all the same, of zero
        return base + 0 * branch(x)
    if len(kept) == len(x):
        return base + branch(x) / keep
    return base.index_add(0, kept, branch(x[kept]).to(base.dtype), alpha=1 / keep)
