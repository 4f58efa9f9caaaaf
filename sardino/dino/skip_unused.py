"""A ViT of which only the class token is wanted: its last block computes nothing for the other tokens."""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.layers.drop import DropPath
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from sardino.dino.plain_attention import PlainAttention
from sardino.errors import SardinoError


class SkippingBlock(Block):
    """timm's block under stochastic depth that does not compute what it drops (Huang et al. 2016).

    A sample whose branch is dropped does not pass the branch: same values, draws and gradients.
    """

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


class ClassBlock(Block):
    """A block that turns all tokens (B, N, D) into the class token alone (B, 1, D).

    DINO's head reads nothing else. All tokens give keys and values; the query, the projection and the MLP of the
    patches, nine tenths of a last block, would be computed only to be dropped. Value and gradients are the block's.
    """

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, D) to (B, 1, D)."""
        token = add_branch(x[:, :1], x, self.drop_path1, lambda kept: self.ls1(self._class_output(self.norm1(kept))))
        return add_branch(token, token, self.drop_path2, lambda kept: self.ls2(self.mlp(self.norm2(kept))))

    def _class_output(self, x: Tensor) -> Tensor:
        """What the attention gives the class token: one query against all keys."""
        attention = cast(Attention, self.attn)
        batch, count, _ = x.shape
        weight, bias = attention.qkv.weight, attention.qkv.bias
        inner = attention.attn_dim
        query = F.linear(x[:, :1], weight[:inner], None if bias is None else bias[:inner])
        query = query.view(batch, 1, attention.num_heads, -1).transpose(1, 2)
        both = F.linear(x, weight[inner:], None if bias is None else bias[inner:])
        key, value = both.view(batch, count, 2, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = attention.q_norm(query) * attention.scale @ attention.k_norm(key).transpose(-2, -1)
        output = (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(batch, 1, inner)
        return cast(Tensor, attention.proj_drop(attention.proj(attention.norm(output))))


def class_token_only(vit: VisionTransformer) -> VisionTransformer:
    """Let a ViT's last block compute its class token alone, in place; names and weights stay as they are.

    Refused where the ViT pools its patches, or its blocks are not timm's plain ones.
    """
    last = vit.blocks[-1]
    if vit.global_pool != "token" or type(last) is not Block or not isinstance(last.attn, PlainAttention):
        raise SardinoError("only a ViT of plain blocks that ends in its class token can do without the other tokens")
    last.__class__ = ClassBlock
    return vit
