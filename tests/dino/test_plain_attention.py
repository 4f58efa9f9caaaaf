import copy
from unittest import mock

import pytest
import torch
from timm.layers.attention import Attention

from sardino.dino import plain_attention
from sardino.dino.plain_attention import PlainAttention, products_are_faster
from sardino.dino.vit import Architecture, build_vit

ALWAYS = mock.patch.object(plain_attention, "products_are_faster", lambda *_: True)


def pair() -> tuple[Attention, PlainAttention, torch.Tensor]:
    """timm's layer, the same one that chooses, and tokens whose attention is far from even."""
    torch.manual_seed(0)
    plain = build_vit(Architecture(width=48, depth=1, heads=3, patch=8, channels=2, tile_px=32)).blocks[0].attn
    torch.nn.init.normal_(plain.qkv.weight, std=0.2)
    fused = copy.deepcopy(plain)
    fused.__class__ = Attention
    return fused, plain, torch.randn(5, 37, 48)


def passed(layer: Attention, x: torch.Tensor) -> list[torch.Tensor]:
    """What a layer makes of tokens, and the gradients of tokens and weights."""
    x = x.clone().requires_grad_()
    output = layer(x)
    output.square().sum().backward()
    return [output.detach(), x.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("cached", [1, 1000, 3 * 37**2 - 1, 2 * 3 * 37**2, 1 << 21])
def test_value_and_gradients_are_timms_in_any_pieces(cached: int) -> None:
    fused, plain, x = pair()
    with ALWAYS, mock.patch.object(plain_attention, "CACHED_SCORES", cached):
        mine = passed(plain.double(), x.double())
    for expected, found in zip(passed(fused.double(), x.double()), mine, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_in_float32_nothing_changes_by_a_bit() -> None:
    fused, plain, x = pair()
    assert all(map(torch.equal, passed(fused, x), passed(plain, x)))


def test_bfloat16_rounds_as_the_fused_kernel_does() -> None:
    """Against float32, values and gradients of a whole layer under autocast are within twice the fused one's error."""
    fused, plain, x = pair()
    truth = passed(copy.deepcopy(fused), x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, mine = passed(fused, x), passed(plain, x)
    assert not torch.equal(rounded[0], mine[0])  # the two ways were taken
    for exact, theirs, ours in zip(truth, rounded, mine, strict=True):
        error, other = ((values.float() - exact).norm() / exact.norm() for values in (ours, theirs))
        assert error < min(2 * other, 0.05)


@pytest.mark.parametrize(
    ("device", "dtype", "chosen"),
    [("cpu", torch.bfloat16, True), ("cpu", torch.float32, False), ("cuda", torch.bfloat16, False)],
)
def test_products_are_chosen_in_bfloat16_on_a_cpu(device: str, dtype: torch.dtype, chosen: bool) -> None:
    assert products_are_faster(device, dtype) is chosen


def test_masks_and_checkpointing_go_on_working() -> None:
    """A mask goes to timm's own way; activation checkpointing gives the same gradients."""
    _, plain, x = pair()
    with torch.autocast("cpu", torch.bfloat16):
        expected = passed(plain, x)
        plain.zero_grad()
        again = passed(_Checkpointed(plain), x)
        assert torch.isfinite(plain(x, attn_mask=torch.zeros(37, 37))).all()
    assert all(map(torch.equal, expected, again))


class _Checkpointed(torch.nn.Module):
    def __init__(self, layer: Attention) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.utils.checkpoint.checkpoint(self.layer, x, use_reentrant=False)
