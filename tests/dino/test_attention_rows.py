"""Rows of attention are those of the full matrix."""

import torch

from sardino.dino.attention import LayerInput
from sardino.dino.vit import Architecture, build_vit

SMALL = Architecture(width=24, depth=2, heads=3, patch=8, channels=5, tile_px=32)


def test_rows_equal_a_full_recomputation_and_sum_to_one():
    torch.manual_seed(0)
    attention = build_vit(SMALL).double().blocks[-1].attn
    x = torch.randn(3, 17, 24, dtype=torch.float64)
    query, key, _ = attention.qkv(x).reshape(3, 17, 3, 3, 8).permute(2, 0, 3, 1, 4)
    full = (query @ key.transpose(-2, -1) * 8**-0.5).softmax(-1)
    for tokens in (slice(1), [0, 5, 16], slice(None)):
        rows = LayerInput(attention, x).rows(tokens)
        assert rows.dtype == torch.float64
        torch.testing.assert_close(rows, full[:, :, tokens], atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))


def test_half_precision_is_summed_in_single():
    attention = build_vit(SMALL).bfloat16().blocks[0].attn
    assert LayerInput(attention, torch.randn(1, 17, 24).bfloat16()).rows(slice(1)).dtype == torch.float32
