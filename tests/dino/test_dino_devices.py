"""Pre-training and extraction on a GPU: no tensor is left on the processor."""

import pytest
import torch
from fake_gpu import MIXED, fake_gpu
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.attention import class_attention, patch_attention, patch_tokens, rollout
from sardino.dino.batches import MemoryTiles, chance
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import pretrain
from sardino.dino.probe import tokens_of
from sardino.dino.recipe import SMALL, Physics, Rates, Run
from sardino.dino.step import Learner
from sardino.dino.views import Views
from sardino.dino.vit import Architecture, build_vit, encode

SHAPE = Architecture(width=24, depth=2, heads=3, patch=8, channels=12, tile_px=32)
RECIPE = SMALL.changed(hidden=32, bottleneck=16, prototypes=64, local_crops=2, drop_path=0.1)
NORMALISATION = Normalisation(tuple(CHANNELS), (-12.0,) * 12, (4.0,) * 12)
PHYSICS = [Physics(looks=4.0, gain_db=1.0, ramp_db=1.0, drop_season=0.5), Physics(seasons_as_views=True)]
RATES = Rates(1e-4, 0.04, 0.996, 0.04, True)


def test_a_pretraining_with_accumulation_watched_and_probed() -> None:
    with fake_gpu() as gpu:
        tiles = MemoryTiles(torch.zeros(4, 12, 32, 32), torch.zeros(4, 32, 32, dtype=torch.uint8))
        judged: list[torch.device] = []

        def probe(vit: VisionTransformer) -> dict[str, float]:
            judged.extend({p.device for p in vit.parameters()})
            assert tokens_of(vit, tiles.inputs).shape == (4, 4, 4, 24)
            return dict.fromkeys(("knn", "linear", "line", "beside"), 0.5)

        run = Run(steps=1, batch=4, accumulate=2, physics=PHYSICS[0])
        made = pretrain(tiles, list("abcd"), NORMALISATION, SHAPE, RECIPE, run, Parallel(gpu), probe=probe)
        assert judged == [gpu] and len(made.history.loss) == 1
        assert {value.device.type for value in [*made.teacher.values(), *made.student.values()]} == {"cpu"}


@pytest.mark.parametrize("physics", [Physics(), *PHYSICS], ids=["crops", "a look", "a season"])
def test_views_of_tiles_that_miss_pixels(physics: Physics) -> None:
    """Each sum that is asked whether it is finite says that one plane is not: gaps are mended too."""
    with fake_gpu() as gpu:
        views = Views(SHAPE, RECIPE, NORMALISATION, physics)
        tiles, draws = torch.zeros(3, 12, 32, 32, device=gpu), views.draw(3, chance(0, 1))
        made = views(tiles, draws, chance(0, 2, device=gpu))
        assert [view.device for view in made] == [gpu, gpu]


def test_the_step_is_in_bfloat16_and_all_of_it_on_the_gpu() -> None:
    with fake_gpu() as gpu:
        learner = Learner(SHAPE, RECIPE, Parallel(gpu), seed=0)
        crops = torch.zeros(2, 3, 12, 32, 32, device=gpu), torch.zeros(2, 3, 12, 16, 16, device=gpu)
        products: list[Tensor] = []
        attention = learner.student.backbone.blocks[0].attn
        attention.qkv.register_forward_hook(lambda layer, given, made: products.append(made))
        seen = learner.step([crops, crops], 2, RATES)
        told = [seen.loss, seen.features, seen.gradient_norm, *(value for pair in seen.answers for value in pair)]
        assert {value.device for value in told} == {gpu}
        assert {(made.device, made.dtype) for made in products} == {(gpu, torch.bfloat16)}
        assert all(moment.device == gpu for state in learner.optimiser.state.values() for moment in state.values())


@pytest.mark.parametrize("forgotten", ["centre", "teacher", "views"])
def test_what_is_left_on_the_processor_is_found(forgotten: str) -> None:
    with fake_gpu() as gpu:
        learner = Learner(SHAPE, RECIPE, Parallel(gpu), seed=0)
        crops = [torch.zeros(2, 3, 12, 32, 32, device=gpu), torch.zeros(2, 3, 12, 16, 16, device=gpu)]
        if forgotten == "centre":
            learner.objective.centre = learner.objective.centre.cpu()
        elif forgotten == "teacher":
            learner.teacher.cpu()
        else:
            crops[1] = crops[1].cpu()
        with pytest.raises(RuntimeError, match=MIXED):
            learner.step([(crops[0], crops[1])], 1, RATES)


def test_extraction() -> None:
    with fake_gpu() as gpu:
        vit, images = build_vit(SHAPE).to(gpu).eval(), torch.zeros(2, 12, 48, 32, device=gpu)
        found = [
            *class_attention(vit, images, (0, -1)),
            patch_attention(vit, images, [(0, 0), (5, 3)]),
            rollout(vit, images),
            patch_tokens(vit, images),
            encode(vit, images).attention,
        ]
        assert {each.device for each in found} == {gpu}
        with pytest.raises(RuntimeError, match=MIXED):
            class_attention(vit, images.cpu())
