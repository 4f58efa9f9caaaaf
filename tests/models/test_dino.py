import math

import torch

from sardino.models.dino import Head, Loss


def test_loss_equals_an_independent_formula_in_value_and_gradient():
    """Float64, term by term in numpy-like loops: mean over pairs of different views of the cross-entropy."""
    generator = torch.Generator().manual_seed(0)
    student = [torch.randn(4, 7, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(5)]
    teacher = [torch.randn(4, 7, generator=generator, dtype=torch.float64) for _ in range(2)]
    loss = Loss(7, student_temperature=0.1, centre_momentum=0.9)
    loss.centre = torch.randn(1, 7, generator=generator)
    centre = loss.centre.double().clone()
    value = loss(student, teacher, 0.04)
    gradient = torch.autograd.grad(value, student[0])[0]

    terms, expected_gradient = [], torch.zeros(4, 7, dtype=torch.float64)
    for t in range(2):
        target = torch.exp((teacher[t] - centre) / 0.04)
        target = target / target.sum(1, keepdim=True)
        for s in range(5):
            if s == t:
                continue
            power = torch.exp(student[s].detach() / 0.1)
            probability = power / power.sum(1, keepdim=True)
            terms.append(sum(-(target[b] * probability[b].log()).sum() for b in range(4)) / 4)
            if s == 0:
                expected_gradient += (probability - target) / 0.1 / 4
    assert len(terms) == 8
    torch.testing.assert_close(value.double(), torch.stack(terms).mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient / 8, rtol=1e-4, atol=1e-6)


def test_centre_is_used_before_it_is_updated():
    loss = Loss(3, 0.1, centre_momentum=0.9)
    teacher = [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[3.0, 0.0, 0.0]])]
    student = [torch.zeros(1, 3), torch.zeros(1, 3)]
    assert math.isclose(float(loss(student, teacher, 1.0)), math.log(3), rel_tol=1e-6)
    torch.testing.assert_close(loss.centre, torch.tensor([[0.2, 0.0, 0.0]]))


def test_targets_stay_finite_at_the_papers_temperature():
    loss = Loss(5, 0.03, 0.99)
    targets = loss.targets(torch.tensor([[1.0, 0.999, -1.0, 0.0, 0.5]]), 0.001)
    assert torch.isfinite(targets).all() and targets.sum() == 1 and targets[0, 0] > 0.7


def test_head_gives_cosines_whatever_the_scale():
    torch.manual_seed(0)
    head = Head(6, 16, 8, 11)
    logits = head(torch.randn(9, 6) * 100)
    assert logits.abs().max() <= 1 + 1e-6
    torch.manual_seed(1)
    x = torch.randn(4, 6)
    before = head(x)
    with torch.no_grad():
        head.prototypes.weight.mul_(3)
    torch.testing.assert_close(head(x), before)
