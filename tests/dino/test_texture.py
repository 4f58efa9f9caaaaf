import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.patch_embed import PatchEmbed

from sardino.dino.attention import class_attention
from sardino.dino.recipe import SMALL, ViTSize
from sardino.dino.texture import FEATURES, LEAST, USUAL, surroundings
from sardino.dino.vit import Architecture, build_vit, encode
from sardino.errors import SardinoError
from sardino.study.forecast import pretraining_tile

PLAIN = Architecture(width=24, depth=2, heads=3, patch=8, channels=3, tile_px=32)
TEXTURED = Architecture(**PLAIN.to_dict(), texture=True)


def as_written_down(plane, patch):
    """Features (8, h, w) of one channel (H, W), window by window; 0 is missing."""
    plane = np.where(plane == 0, np.nan, plane.astype(np.float64))
    rows, columns = (side // patch for side in plane.shape)

    def known(top, left, side):
        window = plane[max(0, top) : top + side, max(0, left) : left + side]
        return window[np.isfinite(window)]

    def spread(window):
        return np.log((window.var() + LEAST) / USUAL) / 2 if len(window) else 0.0

    def mean(window):
        return window.mean() if len(window) else 0.0

    found = np.zeros((FEATURES, rows, columns))
    for row, column in np.ndindex(rows, columns):
        top, left, half = row * patch, column * patch, patch // 2
        quadrants = [known(top + down, left + right, half) for down in (0, half) for right in (0, half)]
        near = known(top - patch, left - patch, 3 * patch)
        spreads = [*quadrants, known(top, left, patch), near]
        means = [near, known(top - 2 * patch, left - 2 * patch, 5 * patch)]
        found[:, row, column] = [*map(spread, spreads), *map(mean, means)]
    return found


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 6), columns=st.integers(1, 6), patch=st.sampled_from([2, 4]), missing=st.sampled_from([0, 0.5])
)
def test_statistics_are_of_known_pixels_inside_the_image(rows, columns, patch, missing):
    rng = np.random.default_rng(rows + 10 * columns)
    plane = rng.normal(0, 2, (rows * patch, columns * patch)).astype(np.float32)
    plane[rng.random(plane.shape) < missing] = 0
    plane[: 2 * patch] *= rng.random() < 0.5  # whole patches without a pixel
    found = surroundings(torch.from_numpy(plane)[None, None], patch)
    np.testing.assert_allclose(found[0].numpy(), as_written_down(plane, patch), atol=2e-3)


def test_each_channel_is_told_as_if_it_were_alone():
    images = torch.randn(2, 3, 16, 24)
    whole = surroundings(images, 8)
    parts = torch.stack([surroundings(images[:, c : c + 1], 8) for c in range(3)], 1)  # (2, 3, FEATURES, 2, 3)
    quadrants, others = whole[:, :12].unflatten(1, (3, 4)), whole[:, 12:].unflatten(1, (-1, 3))
    torch.testing.assert_close(torch.cat([quadrants, others.transpose(1, 2)], 2), parts)


def test_hidden_patches_say_nothing_to_their_neighbours():
    images, hidden = torch.randn(1, 2, 40, 40), torch.rand(1, 1, 5, 5) < 0.5
    mask = hidden.repeat_interleave(8, 2).repeat_interleave(8, 3)
    other = torch.where(mask, torch.randn(1, 2, 40, 40), images)
    assert not torch.equal(surroundings(images, 8), surroundings(other, 8))
    seen = [surroundings(each.masked_fill(mask, 0), 8) for each in (images, other)]
    torch.testing.assert_close(*seen, rtol=0, atol=0)


def test_a_vit_without_texture_is_timms_and_one_with_it_has_the_same_other_weights():
    torch.manual_seed(0)
    plain = build_vit(PLAIN)
    torch.manual_seed(0)
    textured = build_vit(TEXTURED).state_dict()
    assert type(plain.patch_embed) is PatchEmbed and set(textured) - set(plain.state_dict()) == {
        "patch_embed.texture.weight"
    }
    for name, weights in plain.state_dict().items():
        torch.testing.assert_close(textured[name], weights, rtol=0, atol=0)


def test_tokens_see_a_change_of_texture_that_pixels_cannot_show():
    torch.manual_seed(0)
    vit = build_vit(TEXTURED).eval()
    torch.nn.init.zeros_(vit.patch_embed.proj.weight)
    calm, rough = (scale * torch.randn(1, 3, 32, 32) for scale in (0.1, 1))
    assert not torch.allclose(encode(vit, calm).tokens, encode(vit, rough).tokens, atol=1e-3)
    encode(vit, calm).tokens.square().sum().backward()
    assert vit.patch_embed.texture.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("side", [16, 32, 56])
def test_any_size_is_read_for_tokens_and_attention(side):
    vit = build_vit(TEXTURED).eval()
    assert encode(vit, torch.randn(1, 3, side, side)).tokens.shape == (1, side // 8, side // 8, 24)
    assert class_attention(vit, torch.randn(1, 3, side, side))[0].shape == (1, 3, side // 8, side // 8)


def test_a_forecast_counts_work_with_texture():
    plain, textured = (pretraining_tile(shape, SMALL) for shape in (PLAIN, TEXTURED))
    assert textured.convolution > plain.convolution and textured.matrix == plain.matrix


def test_bfloat16_takes_the_same_statistics():
    vit, seen = build_vit(TEXTURED), []
    vit.patch_embed.texture.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        vit.patch_embed(images)
    torch.testing.assert_close(seen[0], surroundings(images, 8), rtol=0, atol=0)
    assert vit.bfloat16().patch_embed(images.bfloat16()).dtype == torch.bfloat16


def test_an_architecture_without_texture_is_told_as_before():
    assert "texture" not in PLAIN.to_dict() and Architecture(**TEXTURED.to_dict()) == TEXTURED
    with pytest.raises(SardinoError, match="even patch"):
        ViTSize(24, 2, 3, 7, texture=True)
