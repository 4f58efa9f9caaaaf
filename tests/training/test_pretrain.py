import copy

import pytest
import torch
from torch import nn

from sardino.errors import SardinoError
from sardino.models.dino import Head
from sardino.models.vit import Architecture, build_vit
from sardino.training.loader import shuffled
from sardino.training.optimiser import clip_each, parameter_groups
from sardino.training.pretrain import Network, pretrain, update_teacher
from sardino.training.recipe import SMALL
from sardino.training.source import MemoryTiles

ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
RECIPE = SMALL.changed(hidden=32, bottleneck=16, prototypes=64, local_crops=2)


def unlabelled(tiles):
    return MemoryTiles(tiles, torch.zeros(len(tiles), *tiles.shape[2:], dtype=torch.uint8))


def run(steps=6, seed=0, **changes):
    tiles = torch.randn(12, 2, 32, 32, generator=torch.Generator().manual_seed(9))
    return pretrain(
        shuffled(unlabelled(tiles), 4),
        ARCHITECTURE,
        RECIPE.changed(**changes),
        steps=steps,
        batch=4,
        steps_per_epoch=3,
        seed=seed,
        device=torch.device("cpu"),
        log_every=1,
    )


def test_same_seed_same_weights_other_seed_other_weights():
    first, again, other = run(), run(), run(seed=1)
    assert all(torch.equal(first.teacher[k], again.teacher[k]) for k in first.teacher)
    assert any(not torch.equal(first.teacher[k], other.teacher[k]) for k in first.teacher)


def test_the_teacher_follows_but_is_not_the_student():
    result = run()
    moved = [not torch.equal(result.teacher[k], result.student[k]) for k in result.teacher]
    assert any(moved)
    frozen = run(momentum=1.0)
    torch.manual_seed(0)
    start = build_vit(ARCHITECTURE).state_dict()
    assert all(torch.equal(frozen.teacher[k], start[k]) for k in start)


def test_history_has_the_signs_of_collapse():
    history = run().history
    assert len(history.loss) == 6 and history.distance[0] == 0 < history.distance[-1]
    assert all(0 <= e <= history.ln_k + 1e-4 for e in history.teacher_entropy)
    assert all(kl >= -1e-4 for kl in history.kl)


def test_ema_fixed_point_and_half_way():
    student = nn.Linear(3, 3)
    teacher = copy.deepcopy(student)
    update_teacher(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight, student.weight)
    nn.init.zeros_(teacher.weight)
    update_teacher(teacher, student, 0.5)
    torch.testing.assert_close(teacher.weight, student.weight / 2)


def test_gradients_are_clipped_tensor_by_tensor():
    module = nn.Linear(2, 2)
    module.weight.grad, module.bias.grad = torch.full((2, 2), 50.0), torch.full((2,), 0.1)
    clip_each(module, 3.0)
    assert module.weight.grad.norm() == pytest.approx(3.0, rel=1e-5)
    assert module.bias.grad.norm() == pytest.approx(0.1 * 2**0.5, rel=1e-5)


def test_decay_skips_vectors_but_not_the_class_token_and_positions():
    network = Network(build_vit(ARCHITECTURE), Head(24, 32, 16, 64))
    decayed, bare = parameter_groups(network)
    assert all(p.ndim == 1 for p in bare["params"])
    identities = {id(p) for p in decayed["params"]}
    assert id(network.backbone.cls_token) in identities and id(network.backbone.pos_embed) in identities
    assert len(decayed["params"]) + len(bare["params"]) == len(list(network.parameters()))


def test_prototypes_wait_for_the_first_epoch():
    """With all epochs frozen the loss still falls through the backbone, and no optimiser state touches them."""
    torch.manual_seed(0)
    build_vit(ARCHITECTURE, RECIPE.drop_path)
    start = Head(24, 32, 16, 64).prototypes.weight
    tiles = torch.randn(12, 2, 32, 32)
    seen = {}
    original = torch.optim.AdamW.step

    def watch(self, closure=None):
        weight = next(p for p in self.param_groups[0]["params"] if p.shape == start.shape)
        seen["grad"], result = weight.grad, original(self, closure)
        seen["weight"] = weight.detach().clone()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watch)
        pretrain(
            shuffled(unlabelled(tiles), 4),
            ARCHITECTURE,
            RECIPE.changed(freeze_prototypes_epochs=1),
            steps=3,
            batch=4,
            steps_per_epoch=3,
            seed=0,
            device=torch.device("cpu"),
        )
    assert seen["grad"] is None
    torch.testing.assert_close(seen["weight"], start.detach())


def test_a_loss_that_is_not_finite_stops_the_run():
    tiles = torch.full((4, 2, 32, 32), float("nan"))
    with pytest.raises(SardinoError, match="loss is nan at step 0"):
        pretrain(
            shuffled(unlabelled(tiles), 4),
            ARCHITECTURE,
            RECIPE,
            steps=2,
            batch=4,
            steps_per_epoch=1,
            seed=0,
            device=torch.device("cpu"),
        )
