"""The weights that come with the package: small, whole, honest about what they saw, and of use on land they did not."""

import numpy as np
import pytest
import torch
from made import read

from sardino.data.sources.world.synthetic import World, write_scene
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.attention import class_attention
from sardino.evaluation.scores import confusion, majority, miou
from sardino.mapping.job import Job
from sardino.mapping.model import PRETRAINED, default_model, load_landcover, load_vit
from sardino.mapping.scene_map import make_map
from sardino.weights.components import FILE, Components


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
    assert (model.card.channels, model.card.unit, model.card.gsd_m) == (CHANNELS, "dB", 10)
    assert model.card.trained_on["synthetic"] is True


@pytest.mark.parametrize(("kind", "load"), [("backbone", load_vit), ("segmenter", load_landcover)])
def test_those_for_one_image_take_vv_and_vh_and_say_that_they_saw_no_real_land(kind, load):
    model = load(default_model(kind, ("VH", "vv")))
    assert (model.card.channels, model.card.unit, model.card.gsd_m) == (("vv", "vh"), "dB", 10)
    assert model.card.trained_on["synthetic"] is True and "synthetic" in (model.folder / "README.md").read_text()


def test_the_backbone_comes_with_the_components_of_the_tiles_that_it_learnt_on():
    model = load_vit(default_model("backbone"))
    kept, learnt = Components.read(model.folder / FILE, model.sha256), model.card.trained_on
    assert (kept.about["fingerprint"], kept.about["tiles"]) == (learnt["fingerprint"], learnt["tiles"])
    torch.testing.assert_close(kept.axes @ kept.axes.T, torch.eye(96), atol=1e-4, rtol=0)


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


def test_attention_in_windows_is_that_of_one_window(tmp_path):
    """Of land that the backbone has not seen: one query asks all windows, so that they show one thing."""
    scene = tmp_path / "scene.tif"
    write_scene(World(seed=1), "europe", scene, (224, 224))
    job = Job(scene=scene, out=tmp_path / "one.tif", kind="attention", model=default_model("backbone"), device="cpu",
              precision="float32", window_px=224)  # fmt: skip
    maps = []
    for each in (job, job.changed(window_px=96, out=tmp_path / "windows.tif")):
        make_map(each)
        maps.append(read(each.out))
    for one, windows in zip(*maps, strict=True):
        assert np.corrcoef(one.ravel(), windows.ravel())[0, 1] > 0.95
