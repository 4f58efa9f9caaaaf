"""The weights that come with the package: small, whole, honest about what they saw, and of use on land they did not."""

import numpy as np
import pytest
import torch

from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.attention import class_attention
from sardino.evaluation.scores import confusion, majority, miou
from sardino.mapping.model import PRETRAINED, default_model, load_landcover, load_vit


def test_they_are_small_and_their_pages_say_what_they_saw_and_how_well_they_do():
    files = [path for path in PRETRAINED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15_000_000
    assert not [path for path in files if path.suffix not in (".safetensors", ".json", ".md")]
    backbone, segmenter = (default_model(kind) / "README.md" for kind in ("backbone", "segmenter"))
    assert "synthetic" in backbone.read_text() and "linear probe on frozen tokens" in backbone.read_text()
    assert "synthetic world" in segmenter.read_text() and "mIoU on the test tiles" in segmenter.read_text()


@pytest.mark.parametrize(
    ("kind", "load"), [("backbone", load_vit), ("segmenter", load_landcover), ("segmenter", load_vit)]
)
def test_they_load_and_know_their_input(kind, load):
    model = load(default_model(kind))
    assert (model.card.channels, model.card.unit, model.gsd_m) == (CHANNELS, "dB", 10)
    assert model.card.trained_on["synthetic"] is True


def test_on_land_of_another_world_they_tell_more_than_nothing():
    """Attention differs from patch to patch, and land cover is mapped better than by its most frequent class."""
    world = World(seed=1)
    chips = [world.chip(tile) for tile in world.tiles("europe", 96, 3, 3)]
    vit, model = load_vit(default_model("backbone")), load_landcover(default_model("segmenter"))
    images = np.stack([chip.backscatter_db for chip in chips])
    (attention,) = class_attention(vit.network, torch.from_numpy(vit.normalisation.apply(images)))
    assert attention.shape == (9, 3, 12, 12) and float(attention.std((-2, -1)).max()) > 0.1
    with torch.inference_mode():
        logits = model.network(torch.from_numpy(model.normalisation.apply(images)))
    mapped, truth = logits.argmax(1).numpy().astype(np.uint8), np.stack([chip.label for chip in chips])
    matrix = confusion(mapped, truth, 11)
    assert miou(matrix) > miou(majority(matrix))
