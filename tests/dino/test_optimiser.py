"""Groups, clipping, AdamW and the moving average against formulas in numpy, float64."""

import copy
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sardino.dino.distillation import Network
from sardino.dino.head_and_loss import Head
from sardino.dino.parallel import Parallel
from sardino.dino.recipe import SMALL, Rates
from sardino.dino.step import Learner, clip_each, parameter_groups, update_teacher
from sardino.dino.vit import Architecture, build_vit

Array = NDArray[np.float64]
ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
BETAS, EPSILON = (0.9, 0.999), 1e-8


def network() -> Network:
    torch.manual_seed(0)
    return Network(build_vit(ARCHITECTURE), Head(24, 16, 8, 12))


def small() -> nn.Module:
    """A matrix with a bias, a norm, and a second matrix; float64."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)).double()


def adamw(weight: Array, gradients: list[Array], rates: list[float], decays: list[float]) -> Array:
    """Loshchilov and Hutter 2019, algorithm 2: the decay is taken from the weight, not put into the moments."""
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for n, (gradient, rate, decay) in enumerate(zip(gradients, rates, decays, strict=True), 1):
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        unbiased = (first / (1 - BETAS[0] ** n)) / (np.sqrt(second / (1 - BETAS[1] ** n)) + EPSILON)
        weight = weight - rate * decay * weight - rate * unbiased
    return weight


def test_vectors_and_biases_go_without_decay_and_all_else_with() -> None:
    """The class token (1, 1, D) and the positions (1, N, D) are decayed, as in the reference."""
    made = network()
    decayed, bare = ({id(p) for p in group["params"]} for group in parameter_groups(made))
    names = {name: p for name, p in made.named_parameters()}
    assert len(decayed) + len(bare) == len(names) and not decayed & bare
    for name, p in names.items():
        free = name.endswith(".bias") or "norm" in name
        assert (id(p) in bare) is free, name
    assert {id(names["backbone.cls_token"]), id(names["backbone.pos_embed"])} <= decayed
    assert id(names["head.prototypes.weight"]) in decayed
    assert parameter_groups(made)[1]["weight_decay"] == 0.0


def test_what_is_frozen_is_in_no_group() -> None:
    made = network()
    made.backbone.requires_grad_(False)
    count = sum(len(group["params"]) for group in parameter_groups(made))
    assert count == len(list(made.head.parameters()))


def test_each_tensor_is_clipped_by_its_own_norm() -> None:
    """Not the whole gradient: a small one stays as it is beside a large one."""
    made = small()
    scales = [100.0, 1e-3, 5.0, 0.0, 2.9, 3.1]
    before = []
    for parameter, scale in zip(made.parameters(), scales, strict=True):
        direction = torch.randn_like(parameter)
        parameter.grad = direction / direction.norm() * scale
        before.append(parameter.grad.numpy().copy())
    norm = clip_each(made, 3.0)
    for parameter, gradient, scale in zip(made.parameters(), before, scales, strict=True):
        expected = gradient * min(1.0, 3.0 / (scale + 1e-6))
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-12)
    assert float(norm) == pytest.approx(math.sqrt(sum(s**2 for s in scales)), rel=1e-12)


def test_clipping_passes_over_what_has_no_gradient() -> None:
    made = small()
    first = next(made.parameters())
    first.grad = torch.full_like(first, 7.0)
    clip_each(made, 1.0)
    assert float(first.grad.norm()) == pytest.approx(1, rel=1e-6)
    assert all(p.grad is None for p in list(made.parameters())[1:])


def test_steps_are_adamw_with_decay_for_matrices_alone() -> None:
    """Five steps of changing rate and decay, as the learner sets them."""
    made = small()
    optimiser = torch.optim.AdamW(parameter_groups(made), lr=0.0, weight_decay=0.0, fused=True)
    start = [p.detach().numpy().copy() for p in made.parameters()]
    rates, decays = [1e-3, 3e-3, 2e-3, 1e-3, 5e-4], [0.04, 0.1, 0.2, 0.3, 0.4]
    gradients: list[list[Array]] = []
    for rate, decay in zip(rates, decays, strict=True):
        for parameter in made.parameters():
            parameter.grad = torch.randn_like(parameter)
        gradients.append([p.grad.numpy().copy() for p in made.parameters()])
        for group, value in zip(optimiser.param_groups, (decay, 0.0), strict=True):
            group["lr"], group["weight_decay"] = rate, value
        optimiser.step()
    for n, parameter in enumerate(made.parameters()):
        own = decays if parameter.ndim > 1 else [0.0] * 5
        expected = adamw(start[n], [step[n] for step in gradients], rates, own)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-10, atol=1e-13)


def test_the_moving_average_over_steps() -> None:
    """Parameters after each step, at a momentum of its own; two modules, no alias."""
    student = small()
    teacher = copy.deepcopy(student)
    expected = [p.detach().numpy().copy() for p in teacher.parameters()]
    for momentum in (0.9, 0.99, 1.0):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(torch.randn_like(parameter))
        update_teacher(teacher, student, momentum)
        for n, parameter in enumerate(student.parameters()):
            expected[n] = momentum * expected[n] + (1 - momentum) * parameter.detach().numpy()
    for parameter, value in zip(teacher.parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-12, atol=1e-14)


def learner() -> Learner:
    recipe = SMALL.changed(hidden=16, bottleneck=8, prototypes=12, local_crops=0, clip=1e-3)
    return Learner(ARCHITECTURE, recipe, Parallel(torch.device("cpu")), seed=0)


def step(mine: Learner, rates: Rates, seed: int) -> None:
    """One step on two random views of three tiles."""
    draw = torch.Generator().manual_seed(seed)
    views = torch.randn(2, 3, 2, 32, 32, generator=draw)
    mine.step([(views, torch.empty(0, 3, 2, 16, 16))], 1, rates)


def test_prototypes_rest_in_the_first_epoch_and_start_without_a_past() -> None:
    """No gradient, so neither momentum nor decay: their first step is a first step, whatever came before."""
    mine = learner()
    weight: Tensor = mine.student.head.prototypes.weight
    start = weight.detach().clone()
    for seed in range(2):
        step(mine, Rates(1e-2, 0.5, 0.9, 0.04, True), seed)
        assert weight.grad is None and weight not in mine.optimiser.state
        assert torch.equal(weight, start)
    step(mine, Rates(1e-2, 0.5, 0.9, 0.04, False), 2)
    assert int(mine.optimiser.state[weight]["step"]) == 1
    gradient = weight.grad.double().numpy()
    expected = adamw(start.double().numpy(), [gradient], [1e-2], [0.5])
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_the_optimiser_sees_clipped_gradients_and_the_teacher_stepped_weights() -> None:
    mine = learner()
    before = [p.detach().clone() for p in mine.teacher.parameters()]
    student = [p.detach().clone() for p in mine.student.parameters()]
    step(mine, Rates(1e-2, 0.3, 0.75, 0.04, False), 0)
    assert [(group["lr"], group["weight_decay"]) for group in mine.optimiser.param_groups] == [(1e-2, 0.3), (1e-2, 0.0)]
    for p in mine.student.parameters():
        assert float(p.grad.norm()) <= 1e-3 * (1 + 1e-5)
        # After one step the first moment is a tenth of the gradient that the optimiser saw.
        torch.testing.assert_close(mine.optimiser.state[p]["exp_avg"], p.grad / 10, rtol=1e-4, atol=1e-12)
    moved = [not torch.equal(a, b) for a, b in zip(student, mine.student.parameters(), strict=True)]
    assert any(moved)
    for old, now, teacher in zip(before, mine.student.parameters(), mine.teacher.parameters(), strict=True):
        torch.testing.assert_close(teacher, (0.75 * old + 0.25 * now).detach(), rtol=1e-6, atol=1e-8)
