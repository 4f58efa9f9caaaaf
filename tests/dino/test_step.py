import copy

import pytest
import torch
from torch import Tensor, nn

from sardino.dino.distillation import Network
from sardino.dino.head_and_loss import Head
from sardino.dino.parallel import Parallel, weights_of
from sardino.dino.recipe import SMALL, Rates
from sardino.dino.step import Learner, NotFinite, update_teacher
from sardino.dino.vit import Architecture, build_vit

ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
RECIPE = SMALL.changed(hidden=32, bottleneck=16, prototypes=64, local_crops=2)
RATES = Rates(1e-3, 0.1, 0.9, 0.04, False)


def learner(**changes: object) -> Learner:
    """In float32, which formulas can be compared with; what a machine takes by default differs."""
    cpu = Parallel(torch.device("cpu"))
    return Learner(ARCHITECTURE, RECIPE.changed(**changes), cpu, seed=0, precision="float32")


def views(batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    large = torch.randn(2, batch, 2, 32, 32, generator=draw)
    return large, torch.randn(2, batch, 2, 16, 16, generator=draw)


def test_a_step_is_the_textbook_one() -> None:
    """Backward, clip each tensor, AdamW, then the moving average; the centre used first and moved after."""
    mine = learner()
    mine.student.double()
    mine.teacher.double()
    mine.objective.centre = mine.objective.centre.double()
    torch.manual_seed(0)
    student = Network(build_vit(ARCHITECTURE), Head(24, 32, 16, 64)).double()
    teacher = copy.deepcopy(student)
    bare = [p for p in student.parameters() if p.ndim == 1]
    rest = [p for p in student.parameters() if p.ndim != 1]
    optimiser = torch.optim.AdamW([{"params": rest}, {"params": bare, "weight_decay": 0.0}], 1e-3, weight_decay=0.1)
    centre = torch.zeros(1, 64, dtype=torch.float64)
    for seed in range(3):
        batch = tuple(kind.double() for kind in views(4, seed))
        mine.step([batch], 1, RATES)
        with torch.no_grad():
            targets = [teacher(view[None])[0] for view in batch[0]]
        answers = [student(view[None])[0] for view in [*batch[0], *batch[1]]]
        logs = [(answer / RECIPE.student_temperature).log_softmax(-1) for answer in answers]
        pairs = [
            -(((target - centre) / 0.04).softmax(-1) * logs[j]).sum(-1).mean()
            for i, target in enumerate(targets)
            for j in range(4)
            if i != j
        ]
        optimiser.zero_grad()
        (sum(pairs) / len(pairs)).backward()
        for p in student.parameters():
            p.grad *= min(1.0, 3.0 / (float(p.grad.norm()) + 1e-6))
        optimiser.step()
        centre = 0.9 * centre + 0.1 * torch.cat(targets).mean(0, keepdim=True)
        with torch.no_grad():
            for t, s in zip(teacher.parameters(), student.parameters(), strict=True):
                t.mul_(0.9).add_(s, alpha=0.1)
    torch.testing.assert_close(mine.objective.centre, centre)
    for ours, theirs in ((mine.student, student), (mine.teacher, teacher)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_accumulation_changes_nothing_but_rounding() -> None:
    """Parts of a batch see one centre, which moves once: as if they were one batch."""
    together, apart = learner(), learner()
    for seed in range(2):
        whole = views(4, seed)
        parts = [tuple(kind[:, i : i + 2] for kind in whole) for i in (0, 2)]
        one = together.step([whole], 1, RATES)
        two = apart.step(parts, 2, RATES)
        torch.testing.assert_close(one.loss, two.loss)
        torch.testing.assert_close(one.gradient_norm, two.gradient_norm, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(together.objective.centre, apart.objective.centre)
    for a, b in zip(together.student.parameters(), apart.student.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_frozen_prototypes_get_neither_gradient_nor_decay() -> None:
    mine = learner()
    start = mine.student.head.prototypes.weight.detach().clone()
    mine.step([views(4)], 1, Rates(1e-2, 0.5, 0.9, 0.04, True))
    assert torch.equal(mine.student.head.prototypes.weight, start)
    assert mine.student.head.prototypes.weight not in mine.optimiser.state
    mine.step([views(4)], 1, Rates(1e-2, 0.5, 0.9, 0.04, False))
    assert not torch.equal(mine.student.head.prototypes.weight, start)


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    mine = learner()
    before = weights_of(mine.student) | {name: value.clone() for name, value in mine.objective.moving.items()}
    bad = views(4)
    bad[0][0, 0, 0, 0, 0] = float("inf")
    with pytest.raises(NotFinite):
        mine.step([bad], 1, RATES)
    after = weights_of(mine.student) | {name: value.clone() for name, value in mine.objective.moving.items()}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_teacher_is_no_alias_of_the_student_and_has_no_gradient() -> None:
    mine = learner()
    seen = {p.data_ptr() for p in mine.student.parameters()}
    assert not any(p.data_ptr() in seen or p.requires_grad for p in mine.teacher.parameters())
    before = weights_of(mine.teacher)
    mine.step([views(4)], 1, RATES)
    after, student = weights_of(mine.teacher), weights_of(mine.student)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(student[name], after[name]) for name in before)


def test_bfloat16_and_checkpointing_are_near_float32() -> None:
    plain = learner().step([views(4)], 1, RATES)
    cpu = Parallel(torch.device("cpu"))
    again = Learner(ARCHITECTURE, RECIPE, cpu, seed=0, precision="float32", checkpointing=True)
    kept = again.step([views(4)], 1, RATES)
    torch.testing.assert_close(plain.loss, kept.loss)
    torch.testing.assert_close(plain.gradient_norm, kept.gradient_norm)
    half = Learner(ARCHITECTURE, RECIPE, cpu, seed=0, precision="bfloat16").step([views(4)], 1, RATES)
    assert half.answers[0][0].dtype == torch.float32  # the head's cosines stay exact
    torch.testing.assert_close(plain.loss, half.loss, rtol=2e-2, atol=0)
    assert not torch.equal(plain.loss, half.loss)


def test_ema_fixed_point_and_half_way() -> None:
    student = nn.Linear(3, 3)
    teacher = copy.deepcopy(student)
    update_teacher(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight, student.weight)
    nn.init.zeros_(teacher.weight)
    update_teacher(teacher, student, 0.5)
    torch.testing.assert_close(teacher.weight, student.weight / 2)
