"""Attention of any block of any timm ViT is that of the full matrices."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import set_fused_attn
from torch import nn

from sardino.dino.attention import class_attention, layer_inputs, patch_attention, patch_tokens, rollout
from sardino.dino.vit import Architecture, build_vit, encode
from sardino.errors import SardinoError

SHAPES = {
    "plain": ("vit_tiny_patch16_224", {"depth": 3}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"depth": 3}),
    "distilled": ("deit_tiny_distilled_patch16_224", {"depth": 3}),
    "normalised queries": ("vit_medium_patch16_reg4_gap_256", {"depth": 2, "class_token": True, "qk_norm": True}),
    "rotary, queries apart": ("eva02_tiny_patch14_224", {"depth": 2}),
    "rotary, registers": ("vit_small_patch16_dinov3", {"depth": 2}),
    "rotary in the plain family": ("vit_small_patch16_rope_224", {"depth": 2}),
}


def made(kind: str) -> tuple[nn.Module, torch.Tensor]:
    """A small random ViT in float64 and two images that are wider than high."""
    name, changes = SHAPES[kind]
    torch.manual_seed(0)
    side = 14 if "14" in name else 16
    shape = (3 * side, 5 * side)
    vit = timm.create_model(name, in_chans=2, num_classes=0, img_size=shape, **changes).double().eval()
    return vit, torch.randn(2, 2, *shape, dtype=torch.float64)


def full_matrices(vit: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """(B, heads, N, N) of every block as the unfused layer itself computes them: what its dropout is given."""
    seen: list[torch.Tensor] = []
    handles = []
    for block in vit.blocks:
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_hook(lambda _, given, __: seen.append(given[0])))
    with torch.no_grad():
        vit.forward_features(images)
    for handle, block in zip(handles, vit.blocks, strict=True):
        handle.remove()
        block.attn.fused_attn = True
    return seen


@pytest.mark.parametrize("kind", SHAPES)
def test_class_and_patch_attention_and_rollout_are_those_of_the_full_matrices(kind):
    vit, images = made(kind)
    full, prefix = full_matrices(vit, images), vit.num_prefix_tokens
    found = class_attention(vit, images, [0, -1])
    for maps, matrix in zip(found, (full[0], full[-1]), strict=True):
        torch.testing.assert_close(maps.flatten(-2), 15 * matrix[:, :, 0, prefix:], atol=1e-10, rtol=1e-8)
    points = [(0, 0), (2, 3)]
    maps = patch_attention(vit, images, points, block=1)
    for number, (row, column) in enumerate(points):
        expected = 15 * full[1][:, :, prefix + row * 5 + column, prefix:]
        torch.testing.assert_close(maps[:, :, number].flatten(-2), expected, atol=1e-10, rtol=1e-8)
    product = torch.eye(full[0].shape[-1], dtype=torch.float64)
    for matrix in full:
        product = (0.5 * matrix.mean(1) + 0.5 * torch.eye(matrix.shape[-1])) @ product
    expected = 15 * product[:, 0, prefix:]
    torch.testing.assert_close(rollout(vit, images).flatten(-2), expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("kind", SHAPES)
def test_rows_sum_to_one_and_tokens_are_timms_own(kind):
    vit, images = made(kind)
    for layer in layer_inputs(vit, images, [0, 1]):
        rows = layer.rows([0, 7])
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]), atol=1e-12, rtol=0)
    tokens = patch_tokens(vit, images)
    assert tokens.shape[:3] == (2, 3, 5)
    torch.testing.assert_close(tokens.flatten(1, 2), vit.forward_features(images)[:, vit.num_prefix_tokens :])


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_our_own_vit_gives_what_its_encoding_gives(rows, columns):
    torch.manual_seed(0)
    vit = build_vit(Architecture(width=24, depth=3, heads=3, patch=8, channels=5, tile_px=32)).eval()
    images = torch.randn(2, 5, 8 * rows, 8 * columns)
    encoding = encode(vit, images)
    torch.testing.assert_close(class_attention(vit, images)[0], encoding.attention)
    torch.testing.assert_close(patch_tokens(vit, images), encoding.tokens)


def test_a_long_rollout_goes_through_the_matrices_in_pieces(monkeypatch):
    vit, images = made("registers")
    whole = rollout(vit, images)
    monkeypatch.setattr("sardino.dino.attention.ROWS", 3)
    torch.testing.assert_close(rollout(vit, images), whole, atol=1e-12, rtol=1e-10)


def test_later_blocks_are_not_computed_and_nothing_is_left_behind():
    vit, images = made("plain")
    vit.blocks[2].forward = None  # calling it would fail
    class_attention(vit, images, [0, 1])
    assert not any(block.attn._forward_pre_hooks for block in vit.blocks)


def test_fused_attention_stays_as_it_was_set():
    set_fused_attn(True)
    vit, images = made("plain")
    class_attention(vit, images)
    assert all(block.attn.fused_attn for block in vit.blocks)


def test_what_cannot_be_read_is_refused():
    vit, images = made("plain")
    with pytest.raises(SardinoError, match="no block 3: this ViT has 3"):
        class_attention(vit, images, [3])
    with pytest.raises(SardinoError, match=r"outside the grid of 3 x 5"):
        patch_attention(vit, images, [(3, 0)])
    with pytest.raises(SardinoError, match="do not divide into patches"):
        class_attention(vit, images[..., :50])
    without = timm.create_model("vit_base_patch16_siglip_224", depth=1, num_classes=0)
    with pytest.raises(SardinoError, match="no class token"):
        class_attention(without, torch.zeros(1, 3, 224, 224))
    assert patch_attention(without, torch.zeros(1, 3, 224, 224), [(0, 0)]).shape == (1, 12, 1, 14, 14)
    other = timm.create_model("beit_base_patch16_224", depth=1, num_classes=0)
    with pytest.raises(SardinoError, match="no attention that can be read"):
        class_attention(other, torch.zeros(1, 3, 224, 224))
