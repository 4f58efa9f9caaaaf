"""Masked patches of DINO: what the student does not see, and a loss against one written out."""

import torch
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.masked import MaskedCrops, MaskedDistillation
from sardino.dino.recipe import DINO_MASKED, Physics, Rates
from sardino.dino.vit import Architecture

SHAPE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
RECIPE = DINO_MASKED.changed(hidden=32, bottleneck=16, prototypes=64, local_crops=2, masked=0.5)
NORMALISATION = Normalisation(("winter_vv", "winter_vh"), (0.0, 0.0), (1.0, 1.0))
RATES = Rates(1e-3, 0.1, 0.9, 0.04, False)


def begun() -> tuple[MaskedDistillation, MaskedCrops]:
    torch.manual_seed(0)
    objective = MaskedDistillation(SHAPE, RECIPE, torch.device("cpu"))
    objective.patch_centre = 0.1 * torch.randn(1, 64)
    views = objective.views(NORMALISATION, Physics(), lambda: torch.empty(0))
    return objective, views(torch.randn(3, 2, 32, 32), views.draw(3, torch.Generator().manual_seed(1)))


def test_a_hidden_patch_is_missing_from_the_students_large_views_alone() -> None:
    _, given = begun()
    assert given.hidden.shape == (6, 8) and given.local.shape == (2, 3, 2, 16, 16)
    gone = torch.zeros(6, 16, dtype=torch.bool).scatter(1, given.hidden, True).view(2, 3, 1, 4, 4)
    gone = gone.repeat_interleave(8, 3).repeat_interleave(8, 4).expand_as(given.seen)
    assert (given.seen[gone] == 0).all() and torch.equal(given.seen[~gone], given.whole[~gone])
    assert (given.whole[gone] != 0).any()


def test_the_loss_is_the_mean_of_both() -> None:
    objective, given = begun()
    student, teacher = objective.network(), objective.network()
    part = objective.learn(student, teacher, given, RATES)

    def logits(network: torch.nn.Module, views: Tensor) -> tuple[Tensor, Tensor]:
        """Of class tokens (B, K) and of all patches (B, N, K) of one view."""
        tokens = network.backbone.forward_features(views)
        said = network.head(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return said[:, 0], said[:, 1:]

    taught = [logits(teacher, view) for view in given.whole]
    said = [logits(student, view) for view in [*given.seen, *given.local]]
    views, patches = [], []
    for i, (target, target_patches) in enumerate(taught):
        p = ((target - objective.centre) / 0.04).softmax(-1)
        views += [-(p * (s / 0.1).log_softmax(-1)).sum(-1).mean() for j, (s, _) in enumerate(said) if j != i]
        q = ((target_patches - objective.patch_centre) / 0.04).softmax(-1)
        each = -(q * (said[i][1] / 0.1).log_softmax(-1)).sum(-1)  # (B, N)
        patches.append(each.gather(1, given.hidden.view(2, 3, 8)[i]).mean())
    expected = (sum(views) / len(views) + sum(patches) / 2) / 2
    torch.testing.assert_close(part.loss, expected)


def test_both_centres_move_by_their_own_mean() -> None:
    objective, given = begun()
    student, before = objective.network(), objective.moving
    part = objective.learn(student, student, given, RATES)
    objective.settle(student, part.means, RATES)
    for (name, now), (answers, centre) in zip(objective.moving.items(), part.answers, strict=True):
        assert centre is before[name]
        torch.testing.assert_close(now, 0.9 * before[name] + 0.1 * answers.mean(0))
