"""Rows of an attention matrix, from the queries and keys of the tokens asked for, without the matrix."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention, AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention
from torch import Tensor

from sardino.errors import SardinoError

SelfAttention = Attention | AttentionRope | EvaAttention
"""timm's layers whose weights are softmax(q k^T / sqrt(d)): of plain ViTs, and of those with rotary positions."""


def attention_rows(
    attention: SelfAttention, x: Tensor, tokens: Sequence[int] | slice, rope: Tensor | None = None
) -> Tensor:
    """softmax(q k^T / sqrt(d)) of some tokens' queries against all keys, per head; each row sums to 1.

    Fused attention never writes the weights down. Here they are computed again, for the rows that matter alone.

    Args:
        attention: timm's layer of one block.
        x: (B, N, D) what the layer is given: the block's normalised input.
        tokens: which rows; `slice(1)` is the class token's.
        rope: rotary positions that the layer is given beside x, if any.

    Returns:
        (B, heads, tokens, N) float32 at least.
    """
    query, key = queries_and_keys(attention, x, tokens, rope)
    scores = (query * attention.scale) @ key.transpose(-2, -1)  # (B, heads, tokens, N)
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1)


def queries_and_keys(
    attention: SelfAttention, x: Tensor, tokens: Sequence[int] | slice, rope: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Queries of some tokens (B, heads, tokens, d) and keys of all (B, heads, N, d), as the layer makes them.

    Raises:
        SardinoError: a layer whose weights are made another way.
    """
    if not isinstance(attention, SelfAttention):
        raise SardinoError(
            f"attention of a {type(attention).__name__} cannot be read: "
            "a ViT with timm's Attention, AttentionRope or EvaAttention can be"
        )
    rows = x[:, tokens] if rope is None else x  # a query's rotation follows from its place among all
    query, key = _projected(attention, rows, 0), _projected(attention, x, 1)
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rope is not None:
        query, key = (_rotated(attention, each, rope) for each in (query, key))
        query = query[:, :, tokens]
    groups = query.shape[1] // key.shape[1]
    return query, key.repeat_interleave(groups, 1) if groups > 1 else key


def _projected(attention: SelfAttention, x: Tensor, part: int) -> Tensor:
    """Queries (part 0) or keys (part 1): (B, heads, tokens, d)."""
    if attention.qkv is None:
        projected = (attention.q_proj, attention.k_proj)[part](x)
    else:
        weight = attention.qkv.weight.chunk(3)[part]
        bias = None if attention.qkv.bias is None else attention.qkv.bias.chunk(3)[part]
        if bias is None and getattr(attention, "q_bias", None) is not None:
            bias = (attention.q_bias, attention.k_bias)[part]
        projected = F.linear(x, weight, bias)
    return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def _rotated(attention: SelfAttention, x: Tensor, rope: Tensor) -> Tensor:
    """Patches rotated by their place; the class token and registers have none."""
    prefix = attention.num_prefix_tokens
    turned = apply_rot_embed_cat(x[:, :, prefix:], rope, half=getattr(attention, "rotate_half", False))
    return torch.cat([x[:, :, :prefix], turned], 2).type_as(x)
