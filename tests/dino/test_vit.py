import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sardino.dino.recipe import ViTSize, size_of
from sardino.dino.vit import Architecture, build_vit, encode, freeze, parameter_count
from sardino.errors import SardinoError

SMALL = Architecture(width=24, depth=2, heads=3, patch=8, channels=5, tile_px=32)


@pytest.mark.parametrize(("width", "heads", "count"), [(192, 3, 6_079_680), (768, 12, 88_019_712)])
def test_sizes_of_the_paper(width, heads, count):
    with torch.device("meta"):
        vit = build_vit(Architecture(width, 12, heads, 16, 12, 448))
    assert parameter_count(vit) == count


def test_tokens_are_timms_own_without_the_class_token():
    torch.manual_seed(0)
    vit = build_vit(SMALL).eval()
    images = torch.randn(2, 5, 32, 32)
    torch.testing.assert_close(encode(vit, images).tokens.flatten(1, 2), vit.forward_features(images)[:, 1:])


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_any_size_that_divides_into_patches(rows, columns):
    encoding = encode(build_vit(SMALL).eval(), torch.randn(1, 5, rows * 8, columns * 8))
    assert encoding.tokens.shape == (1, rows, columns, 24)
    assert encoding.attention.shape == (1, 3, rows, columns)
    assert 0 < encoding.attention.mean() < 1  # the class token keeps a share for itself


def test_what_is_not_asked_for_is_not_computed():
    vit, ran = build_vit(SMALL).eval(), []
    vit.blocks[-1].mlp.register_forward_hook(lambda *_: ran.append("mlp"))
    encoding = encode(vit, torch.randn(1, 5, 32, 32))
    encoding.attention.sum().backward()
    assert not ran and vit.blocks[0].mlp.fc1.weight.grad is not None
    assert encoding.tokens.shape == (1, 4, 4, 24) and ran


def test_frozen_weights_get_no_gradient():
    vit = freeze(build_vit(SMALL))
    assert not any(p.requires_grad for p in vit.parameters()) and not vit.training


def test_sizes_have_names():
    assert size_of("tiny", 16) == ViTSize(192, 12, 3, 16) and size_of("96x6x3", 8) == ViTSize(96, 6, 3, 8)
    with pytest.raises(SardinoError, match="WIDTHxBLOCKSxHEADS"):
        size_of("96x6", 8)


def test_bad_shapes_are_refused():
    with pytest.raises(SardinoError, match="heads do not divide"):
        Architecture(25, 2, 3, 8, 5, 32)
    with pytest.raises(SardinoError, match="does not divide a tile"):
        Architecture(24, 2, 3, 8, 5, 30)
    with pytest.raises(SardinoError, match="do not divide into"):
        encode(build_vit(SMALL), torch.zeros(1, 5, 32, 36))
