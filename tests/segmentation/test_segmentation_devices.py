"""Fine-tuning, prediction and kept features on a GPU: no tensor is left on the processor."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_gpu import MIXED, fake_gpu

from sardino.dino.batches import MemoryTiles
from sardino.dino.turns import Turned, turned_ids
from sardino.dino.vit import Architecture, build_vit
from sardino.segmentation.finetune import Settings, finetune, predict, tile_confusions
from sardino.segmentation.kept_features import Features, FeatureTiles
from sardino.segmentation.segmenter import Segmenter, build_segmenter
from sardino.segmentation.settings import EncodingName

SHAPE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
SETTINGS = Settings(steps=2, growth=0, batch=2, looks=5)
IDS = ["a", "b", "c", "d"]


def arm(encoding: EncodingName, frozen: bool) -> Segmenter:
    vit = None if encoding == "unet" else build_vit(SHAPE)
    sizes = {"channels": 2, "classes": 3, "unet_width": 4, "unet_depth": 2, "decoder_width": 16}
    return build_segmenter(encoding, vit, frozen=frozen, **sizes)


def made_tiles() -> MemoryTiles:
    return MemoryTiles(torch.zeros(4, 2, 32, 32), torch.zeros(4, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("encoding", "frozen", "changes"),
    [
        ("unet", False, {"keep": "best"}),
        ("attention", False, {}),
        ("tokens", True, {}),
        ("tokens", False, {"loss": "one-vs-rest", "ema": 0.0, "turns": False}),
        ("unet_attention", False, {}),
        ("hybrid", False, {}),
    ],
)
def test_a_fine_tuning(encoding: EncodingName, frozen: bool, changes: dict[str, Any]) -> None:
    with fake_gpu() as gpu:
        model, tiles, settings = arm(encoding, frozen).to(gpu), made_tiles(), SETTINGS.changed(**changes)
        result = finetune(
            model, tiles, tiles, settings, classes=3, seed=0, device=gpu, pretrained=model.vit is not None
        )
        assert len(result.losses) == 2
        assert {value.device for value in model.state_dict().values()} == {gpu}
        assert predict(model, tiles, gpu).shape == (4, 32, 32)
        assert tile_confusions(model, tiles, 3, gpu).shape == (4, 3, 3)


@pytest.mark.parametrize("encoding", ["attention", "tokens", "unet_attention", "hybrid"])
def test_kept_features(encoding: EncodingName, tmp_path: Path) -> None:
    with fake_gpu() as gpu:
        model, tiles = arm(encoding, frozen=True).to(gpu), made_tiles()
        features = Features.of(model, Turned(tiles), turned_ids(IDS), {}, tmp_path, gpu)
        assert features is not None
        kept = FeatureTiles(features, IDS, *([model.join, tiles] if model.sees_images else []))
        assert len(finetune(model, kept, kept, SETTINGS, classes=3, seed=0, device=gpu).losses) == 2


@pytest.mark.parametrize("part", ["vit", "decoder"])
def test_what_is_left_on_the_processor_is_found(part: str) -> None:
    with fake_gpu() as gpu:
        model, tiles = arm("tokens", frozen=False).to(gpu), made_tiles()
        getattr(model, part).cpu()
        with pytest.raises(RuntimeError, match=MIXED):
            finetune(model, tiles, tiles, SETTINGS, classes=3, seed=0, device=gpu)
