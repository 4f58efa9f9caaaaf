"""Attention of a ViT in training on CPUs: plain matrix products where torch's fused kernel has a slow way back."""

import torch
from timm.layers.attention import Attention
from torch import Tensor

CACHED_SCORES = 1 << 21  # of images that pass together: 4 MB in bfloat16, which stay in a processor's cache
LARGEST_IMAGE = 1 << 22  # scores of one image; beyond, their way to memory and back costs more than the fused kernel


class PlainAttention(Attention):
    """timm's attention, without norms and gate of its own, that chooses how to compute: same weights and names."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        scores = self.num_heads * x.shape[1] ** 2
        masked = attn_mask is not None or is_causal
        if masked or not products_are_faster(x.device.type, dtype, scores, torch.is_grad_enabled()):
            whole: Tensor = super().forward(x, attn_mask, is_causal)
            return whole
        parts = self.qkv(x).split(max(1, CACHED_SCORES // scores))
        output: Tensor = self.proj(torch.cat([self._mixed(part) for part in parts]))
        return output

    def _mixed(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values (B, N, 3 heads d) to the values as attention mixes them, (B, N, heads d)."""
        split = qkv.unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = split.permute(2, 0, 3, 1, 4).contiguous().unbind(0)  # (B, heads, N, d)
        weights = ((query * self.scale) @ key.transpose(-2, -1)).softmax(-1)
        return (weights @ value).transpose(1, 2).flatten(2)


def products_are_faster(device: str, dtype: torch.dtype, scores: int, training: bool) -> bool:
    """Whether attention as plain matrix products beats torch's fused kernel.

    On a CPU the fused kernel's backward pass multiplies small blocks, for bfloat16 far below the processor's rate,
    while its forward pass is as fast as products are, and faster for many tokens.

    Args:
        dtype: of the products; under autocast, autocast's.
        scores: heads times tokens squared, of one image.
        training: whether a gradient is to flow back.
    """
    return device == "cpu" and dtype == torch.bfloat16 and training and scores <= LARGEST_IMAGE
