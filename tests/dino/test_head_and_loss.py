"""The head and the loss against formulas written anew in numpy, float64, value and gradient."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor

from sardino.dino.head_and_loss import Head, cross_entropy_of_other_views, teacher_probabilities, update_centre
from sardino.dino.vit import Architecture, build_vit

Array = NDArray[np.float64]
WIDTH, HIDDEN, BOTTLENECK, K = 6, 10, 5, 7
NO_CENTRE = torch.zeros(1, K, dtype=torch.float64)


def softmax(x: Array) -> Array:
    power = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(power / power.sum(-1, keepdims=True))


def expected_loss(
    student: Array, teacher: Array, centre: Array, teacher_temperature: float, student_temperature: float
) -> tuple[float, Array, int]:
    """Mean over pairs of different views, its gradient with respect to (V, B, K) student logits, number of pairs."""
    batch = student.shape[1]
    terms, gradient = [], np.zeros_like(student)
    for t in range(len(teacher)):
        target = softmax((teacher[t] - centre) / teacher_temperature)
        for s in range(len(student)):
            if s != t:
                probability = softmax(student[s] / student_temperature)
                terms.append(-(target * np.log(probability)).sum() / batch)
                gradient[s] += (probability - target) / student_temperature / batch
    return float(np.mean(terms)), gradient / len(terms), len(terms)


def logits(views: int, batch: int, seed: int) -> Tensor:
    """(V, B, K) cosines."""
    return torch.rand(views, batch, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("views", [2, 6])
@pytest.mark.parametrize(("teacher_temperature", "student_temperature"), [(0.04, 0.1), (0.01, 0.03), (0.001, 0.03)])
def test_loss_and_gradient(views: int, teacher_temperature: float, student_temperature: float) -> None:
    """2 + L views give 2 (L + 1) terms; also at the paper's temperatures."""
    student, teacher = logits(views, 4, 0).requires_grad_(), logits(2, 4, 1)
    centre = torch.rand(1, K, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 10
    value = cross_entropy_of_other_views(list(student), list(teacher), centre, teacher_temperature, student_temperature)
    value.backward()
    expected, gradient, pairs = expected_loss(
        student.detach().numpy(), teacher.numpy(), centre.numpy(), teacher_temperature, student_temperature
    )
    assert pairs == 2 * (views - 2 + 1)
    assert value.dtype == torch.float64
    np.testing.assert_allclose(value.item(), expected, rtol=1e-12)
    np.testing.assert_allclose(student.grad.numpy(), gradient, rtol=1e-10, atol=1e-14)


def test_a_view_is_not_compared_with_itself() -> None:
    """With two views, the first student answers to the second teacher alone."""
    student = logits(2, 3, 0)
    teacher = logits(2, 3, 1)
    other = teacher.clone()
    other[0] = logits(1, 3, 5)[0]
    gradients = []
    for seen in (teacher, other):
        leaf = student.clone().requires_grad_()
        cross_entropy_of_other_views(list(leaf), list(seen), NO_CENTRE, 0.04, 0.1).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=0, atol=1e-12)  # subtracted, to rounding
    assert (gradients[0][1] - gradients[1][1]).abs().max() > 1e-3


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = logits(3, 2, 0).requires_grad_(), logits(2, 2, 1).requires_grad_()
    cross_entropy_of_other_views(list(student), list(teacher), NO_CENTRE, 0.04, 0.1).backward()
    assert teacher.grad is None and student.grad is not None


def test_the_centre_moves_by_raw_logits() -> None:
    """Towards the mean of the batch, without temperature; that the loss uses it first is a test of the step."""
    centre, expected = torch.zeros(1, K), np.zeros((1, K))
    for seed in range(3):
        teacher = logits(2, 5, 10 + seed)
        update_centre(centre, teacher.flatten(0, 1).mean(0, keepdim=True), 0.9)
        expected = 0.9 * expected + 0.1 * teacher.numpy().reshape(-1, K).mean(0, keepdims=True)
        np.testing.assert_allclose(centre.numpy(), expected, rtol=1e-5, atol=1e-7)
    assert centre.dtype == torch.float32


def test_uniform_student_costs_ln_k() -> None:
    student, teacher = [torch.zeros(1, 3)] * 2, [torch.tensor([[1.0, 0.0, 0.0]])] * 2
    value = cross_entropy_of_other_views(student, teacher, torch.zeros(1, 3), 1.0, 0.1)
    assert math.isclose(float(value), math.log(3), rel_tol=1e-6)


def test_half_precision_is_raised_to_float32() -> None:
    """bfloat16 logits in, float32 softmax inside: equal to the same numbers handed over in float32."""
    student, teacher = logits(3, 4, 0).bfloat16(), logits(2, 4, 1).bfloat16()
    value, exact = (
        cross_entropy_of_other_views(list(s), list(t), torch.zeros(1, K), 0.001, 0.03)
        for s, t in ((student, teacher), (student.float(), teacher.float()))
    )
    torch.testing.assert_close(value, exact)
    assert value.dtype == torch.float32


def test_targets_stay_finite_at_the_papers_temperature() -> None:
    targets = teacher_probabilities(torch.tensor([[1.0, 0.999, -1.0, 0.0, 0.5]]), torch.zeros(1, 5), 0.001)
    expected = softmax(np.array([[1.0, 0.999, -1.0, 0.0, 0.5]]) / 0.001)
    np.testing.assert_allclose(targets.numpy(), expected, atol=1e-4)


def expected_head(head: Head, x: Array) -> Array:
    """Linear, exact GELU, twice; Linear; unit length; cosine to unit prototypes."""
    one, two, three = (head.mlp[i] for i in (0, 2, 4))
    for layer in (one, two):
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        x = x * (1 + erf(x / math.sqrt(2))) / 2
    x = x @ three.weight.detach().numpy().T + three.bias.detach().numpy()
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    weight = head.prototypes.weight.detach().numpy()
    return np.asarray(x @ (weight / np.linalg.norm(weight, axis=-1, keepdims=True)).T)


@pytest.fixture
def head() -> Head:
    """Float64, its biases not zero."""
    torch.manual_seed(0)
    made = Head(WIDTH, HIDDEN, BOTTLENECK, K).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return made


def test_head_value(head: Head) -> None:
    x = torch.randn(9, WIDTH, dtype=torch.float64)
    found = head(x)
    assert found.dtype == torch.float64 and found.abs().max() <= 1 + 1e-12
    np.testing.assert_allclose(found.detach().numpy(), expected_head(head, x.numpy()), rtol=1e-10, atol=1e-12)


def test_head_gradient(head: Head) -> None:
    """Central differences of the numpy formula, for the input and for one entry of each parameter."""
    x = torch.randn(4, WIDTH, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, K, dtype=torch.float64)
    (head(x) * weight).sum().backward()
    step = 1e-6

    def value(at: Array) -> float:
        return float((expected_head(head, at) * weight.numpy()).sum())

    for row, column in np.ndindex(4, WIDTH):
        shift = np.zeros((4, WIDTH))
        shift[row, column] = step
        slope = (value(x.detach().numpy() + shift) - value(x.detach().numpy() - shift)) / (2 * step)
        assert x.grad[row, column].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)
    for name, parameter in head.named_parameters():
        place = parameter.numel() // 2
        found = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.view(-1)[place] += sign * step
                found.append(value(x.detach().numpy()))
                parameter.view(-1)[place] -= sign * step
        slope = (found[0] - found[1]) / (2 * step)
        assert parameter.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-7), name


def test_prototypes_have_no_gain(head: Head) -> None:
    """Weight normalisation with its gain fixed at 1: length changes neither value nor, sideways, the direction."""
    x = torch.randn(4, WIDTH, dtype=torch.float64)
    before = head(x)
    head(x).square().sum().backward()
    weight = head.prototypes.weight
    assert (weight.grad * weight).sum(-1).abs().max() < 1e-12  # no pull along the length
    with torch.no_grad():
        weight.mul_(3)
    torch.testing.assert_close(head(x), before)


def test_head_starts_as_in_the_reference() -> None:
    """Truncated normal of 0.02, no bias; the prototypes at the framework's own start."""
    torch.manual_seed(0)
    made = Head(64, 128, 32, 256)
    assert made.prototypes.bias is None
    for i in (0, 2, 4):
        assert not made.mlp[i].bias.any()
        assert float(made.mlp[i].weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    bound = 1 / math.sqrt(32)
    assert float(made.prototypes.weight.detach().abs().max()) == pytest.approx(bound, rel=0.02)
    assert float(made.prototypes.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_head_is_exact_under_autocast() -> None:
    """Cosines of unit vectors in float32, though the layers before ran in bfloat16."""
    torch.manual_seed(0)
    made = Head(WIDTH, HIDDEN, BOTTLENECK, K)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(torch.randn(3, WIDTH))
        bottleneck = made.mlp(torch.randn(3, WIDTH))
    assert bottleneck.dtype == torch.bfloat16 and found.dtype == torch.float32


def test_paths_are_dropped_the_more_the_deeper() -> None:
    """0 at the first block to the full rate at the last, evenly; none for the teacher."""

    def rates(drop_path: float) -> list[float]:
        vit = build_vit(Architecture(width=24, depth=5, heads=3, patch=8, channels=2, tile_px=32), drop_path)
        paths = [path for block in vit.blocks for path in (block.drop_path1, block.drop_path2)]
        return [getattr(path, "drop_prob", 0.0) for path in paths]

    np.testing.assert_allclose(rates(0.1), np.repeat(np.linspace(0, 0.1, 5), 2), rtol=1e-6)
    assert rates(0.0) == [0.0] * 10
