"""Attention of a ViT in bfloat16 on CPUs: matrix products on pieces that stay in the processor's cache."""

import torch
from timm.layers.attention import Attention
from torch import Tensor

CACHED_SCORES = 1 << 21  # of a piece: 4 MB in bfloat16


class PlainAttention(Attention):
    """timm's attention, without norms and gate of its own, that chooses how to compute: same weights and names."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        if attn_mask is not None or is_causal or not products_are_faster(x.device.type, dtype):
            whole: Tensor = super().forward(x, attn_mask, is_causal)
            return whole
        images = max(1, CACHED_SCORES // (self.num_heads * x.shape[1] ** 2))
        output: Tensor = self.proj(torch.cat([self._mixed(part) for part in self.qkv(x).split(images)]))
        return output

    def _mixed(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values (B, N, 3 heads d) to the values as attention mixes them, (B, N, heads d)."""
        split = qkv.unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = split.permute(2, 0, 3, 1, 4).contiguous().unbind(0)  # (B, heads, N, d)
        pieces = -(-len(qkv) * self.num_heads * qkv.shape[1] ** 2 // CACHED_SCORES)  # of the queries of a large image
        mixed = [(some @ key.transpose(-2, -1)).softmax(-1) @ value for some in (query * self.scale).chunk(pieces, 2)]
        return torch.cat(mixed, 2).transpose(1, 2).flatten(2)


def products_are_faster(device: str, dtype: torch.dtype) -> bool:
    """Whether attention as plain matrix products beats torch's fused kernel.

    On a CPU the fused kernel multiplies small blocks, for bfloat16 far below the processor's rate, forward and, above
    all, backward. `dtype` is that of the products; under autocast, autocast's.
    """
    return device == "cpu" and dtype == torch.bfloat16
