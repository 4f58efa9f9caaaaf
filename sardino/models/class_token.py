"""A ViT of which only the class token is wanted: its last block computes nothing for the other tokens."""

from typing import cast

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor

from sardino.errors import SardinoError
from sardino.models.stochastic_depth import add_branch


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

    Raises:
        SardinoError: the ViT pools its patches, or its blocks are not timm's plain ones.
    """
    last = vit.blocks[-1]
    if vit.global_pool != "token" or type(last) is not Block or type(last.attn) is not Attention:
        raise SardinoError("only a ViT of plain blocks that ends in its class token can do without the other tokens")
    last.__class__ = ClassBlock
    return vit
