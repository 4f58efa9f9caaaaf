"""Rows of an attention matrix, from the queries and keys of the tokens asked for, without the matrix."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from torch import Tensor


def attention_rows(attention: Attention, x: Tensor, tokens: Sequence[int] | slice) -> Tensor:
    """softmax(q k^T / sqrt(d)) of some tokens' queries against all keys, per head; each row sums to 1.

    Fused attention never writes the weights down. Here they are computed again, for the rows that matter alone.

    Args:
        attention: timm's Attention of one block.
        x: (B, N, D) the block's normalised input.
        tokens: which rows; `slice(1)` is the class token's.

    Returns:
        (B, heads, tokens, N) float32 at least.
    """
    batch, count, _ = x.shape
    heads, inner = attention.num_heads, attention.attn_dim
    weight, bias = attention.qkv.weight, attention.qkv.bias
    query = F.linear(x[:, tokens], weight[:inner], None if bias is None else bias[:inner])
    key = F.linear(x, weight[inner : 2 * inner], None if bias is None else bias[inner : 2 * inner])
    query = attention.q_norm(query.view(batch, -1, heads, attention.head_dim).transpose(1, 2))
    key = attention.k_norm(key.view(batch, count, heads, attention.head_dim).transpose(1, 2))
    scores = (query * attention.scale) @ key.transpose(-2, -1)  # (B, heads, tokens, N)
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1)
