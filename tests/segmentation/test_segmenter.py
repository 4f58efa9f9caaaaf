import pytest
import torch

from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.segmentation.segmenter import build_segmenter

ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=4, tile_px=32)
SIZES = dict(channels=4, classes=5, unet_width=4, unet_depth=2, decoder_width=16)


def segmenter(encoding, frozen=False):
    torch.manual_seed(0)
    return build_segmenter(encoding, build_vit(ARCHITECTURE), frozen=frozen, **SIZES)


@pytest.mark.parametrize("encoding", ["attention", "tokens", "unet", "unet_attention", "hybrid"])
def test_every_arm_maps_a_tile_and_trains_what_it_should(encoding):
    model = segmenter(encoding)
    logits = model(torch.randn(2, 4, 32, 32))
    assert logits.shape == (2, 5, 32, 32)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in model.decoder.parameters())
    if model.vit is not None:
        assert model.vit.patch_embed.proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("encoding", ["attention", "tokens", "unet_attention", "hybrid"])
def test_a_frozen_backbone_never_changes(encoding):
    model = segmenter(encoding, frozen=True).train()
    assert not model.vit.training and model.decoder.training
    before = [p.clone() for p in model.vit.parameters()]
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.5)
    model(torch.randn(2, 4, 32, 32)).square().mean().backward()
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.vit.parameters(), strict=True))
    assert all(p.grad is None for p in model.vit.parameters())


@pytest.mark.parametrize("encoding", ["attention", "tokens", "unet_attention", "hybrid"])
def test_features_made_once_decode_to_the_same_map(encoding):
    model = segmenter(encoding, frozen=True).eval()
    images = torch.randn(3, 4, 32, 32)
    torch.testing.assert_close(model.decode(model.join(images, model.encode(images)), 32), model(images))


def test_a_frozen_backbone_computes_in_float32_where_the_training_does_not():
    model, images = segmenter("tokens", frozen=True), torch.randn(2, 4, 32, 32)
    alone = model.encode(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.encode(images), alone) and model(images).dtype == torch.bfloat16


def test_an_arm_without_what_it_needs_is_refused():
    with pytest.raises(SardinoError, match="'tokens' arm needs a backbone"):
        build_segmenter("tokens", None, **SIZES)
    with pytest.raises(SardinoError, match="'unet' arm has no backbone"):
        segmenter("unet").encode(torch.randn(1, 4, 32, 32))


def test_input_channels_of_the_u_net_are_backscatter_plus_heads():
    assert segmenter("unet_attention").decoder.stem[0].in_channels == 4 + 3
    assert segmenter("attention").decoder.stem[0].in_channels == 3
    assert segmenter("unet").decoder.stem[0].in_channels == 4
