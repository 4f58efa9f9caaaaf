"""The hybrid's own pre-training: what is hidden, what is told, and that its U-Net is the one that is fine-tuned."""

from pathlib import Path

import pytest
import torch

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.dense import BOX_PX, DEVIATION_PX, LEAST, MEAN_PX, Dense, Hybrid, around
from sardino.dino.parallel import weights_of
from sardino.dino.recipe import Physics, Recipe, find_recipe
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.segmentation.segmenter import Segmenter, build_segmenter
from sardino.weights.card import Card
from sardino.weights.save import load_unet, save_backbone

SHAPE = Architecture(width=24, depth=1, heads=3, patch=8, channels=2, tile_px=32)
RECIPE = find_recipe("dense", unet_width=4, unet_depth=2)
CHANNELS = ("winter_vv", "summer_vv")
NORMALISATION = Normalisation(CHANNELS, (0.0, 0.0), (1.0, 1.0))
CPU = torch.device("cpu")
IMAGES = torch.randn(6, 2, 32, 32, generator=torch.Generator().manual_seed(0))


def begun(recipe: Recipe = RECIPE) -> tuple[Dense, object]:
    objective = Dense(SHAPE, recipe, CPU)
    return objective, objective.views(NORMALISATION, Physics(), lambda: IMAGES)


def test_a_target_is_the_mean_and_the_deviation_around_its_pixel() -> None:
    objective, _ = begun()
    told = objective.filtered(IMAGES)
    for y, x in ((10, 17), (25, 4)):
        near, wide = (
            IMAGES[1, 0, y - s // 2 : y + s // 2 + 1, x - s // 2 : x + s // 2 + 1] for s in (MEAN_PX, DEVIATION_PX)
        )
        torch.testing.assert_close(told[1, 0, 0, y, x], near.mean())
        torch.testing.assert_close(told[1, 0, 1, y, x], (wide.std(correction=0) + LEAST).log(), rtol=1e-4, atol=1e-4)
    holed = IMAGES.clone()
    holed[0, 0, 16, 16] = torch.nan
    gone = objective.filtered(holed)[0, 0].isnan()
    assert gone[0].sum() == MEAN_PX**2 and gone[1].sum() == DEVIATION_PX**2


def test_told_numbers_lie_as_their_targets_do() -> None:
    objective, _ = begun()
    network = objective.network()
    assert isinstance(network, Hybrid)
    network.decoder.forward = lambda images, tokens: objective.filtered(images).flatten(1, 2)  # type: ignore[method-assign]
    told, tokens = network(IMAGES, torch.zeros(6, 0))
    targets = objective.targets(IMAGES)
    count = (32 // BOX_PX) ** 2
    assert targets.shape == (6, count, 2, 2 * BOX_PX**2) and tokens.shape == (6, 16, 24)
    scaled = targets.unflatten(3, (2, -1)) * objective.std[..., 0] + objective.mean[..., 0]
    torch.testing.assert_close(told.view_as(targets), scaled.flatten(3))


def test_tiles_lose_boxes_of_their_own_number_and_whole_seasons() -> None:
    _, views = begun(RECIPE.changed(masked=0.8))
    draws = views.draw(400, torch.Generator().manual_seed(1))
    shares = draws.patches.float().mean(1)
    assert shares.min() < 0.1 and 0.6 < shares.max() < 1.0 and abs(shares.mean() - 0.4) < 0.05
    given = views(IMAGES, draws.part(0, 6))
    hidden = given.shown == 0
    boxes = hidden.unflatten(3, (-1, BOX_PX)).unflatten(2, (-1, BOX_PX))
    torch.testing.assert_close(boxes.all(5).all(3), boxes.any(5).any(3))
    asked = given.asked.mT.unflatten(2, (32 // BOX_PX, -1))
    torch.testing.assert_close(boxes.all(5).all(3), asked)


def kept(folder: Path) -> Hybrid:
    network = Dense(SHAPE, RECIPE, CPU).network()
    weights = {"teacher": weights_of(network.backbone), "teacher-unet": weights_of(network.decoder)}
    facts = {"regions": ["europe"], "tiles": 4, "fingerprint": "", "synthetic": True, "product": "", "gsd_m": 40.0}
    save_backbone(folder, weights, Card(SHAPE, CHANNELS, "dB", NORMALISATION.to_dict(), facts, RECIPE.to_dict()))
    return network


def hybrid(width: int = 4, encoding: str = "hybrid") -> Segmenter:
    sizes = {"channels": 2, "classes": 5, "unet_width": width, "unet_depth": 2, "decoder_width": 8}
    return build_segmenter(encoding, build_vit(SHAPE), **sizes)  # type: ignore[arg-type]


def test_a_fine_tuned_hybrid_starts_with_the_unet_but_for_its_last_layer(tmp_path: Path) -> None:
    network, model = kept(tmp_path), hybrid()
    last = model.decoder.classify.weight.clone()
    load_unet(tmp_path, model)
    assert torch.equal(model.decoder.classify.weight, last)
    for name, weights in network.decoder.state_dict().items():
        assert name.startswith("classify") or torch.equal(model.decoder.state_dict()[name], weights)


def test_a_unet_of_another_size_or_damaged_is_refused(tmp_path: Path) -> None:
    kept(tmp_path)
    with pytest.raises(SardinoError, match="pre-trained with a U-Net of unet_width = 4 and unet_depth = 2"):
        load_unet(tmp_path, hybrid(8))
    (tmp_path / "teacher-unet.safetensors").write_bytes(b"torn")
    with pytest.raises(SardinoError, match=r"teacher-unet\.safetensors is missing or damaged"):
        load_unet(tmp_path, hybrid())


def test_who_has_none_is_left_alone(tmp_path: Path) -> None:
    kept(tmp_path)
    tokens = hybrid(encoding="tokens")
    before = {name: value.clone() for name, value in tokens.state_dict().items()}
    load_unet(tmp_path, tokens)
    assert all(torch.equal(value, before[name]) for name, value in tokens.state_dict().items())


def test_around_is_the_mean_of_a_window() -> None:
    torch.testing.assert_close(around(IMAGES, 3)[0, 0, 5, 5], IMAGES[0, 0, 4:7, 4:7].mean())
