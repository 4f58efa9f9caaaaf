"""Objective "dino-masked": DINO, and the same for hidden patches of the global views (Zhou et al. 2022, iBOT).

Symbols as in `distillation`, and M patches hidden of each global view. Class tokens and patches share one head; each
has a centre. The student sees a hidden patch as it sees missing pixels, as 0; the teacher sees all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.distillation import Distillation, Network
from sardino.dino.head_and_loss import Head, cross_entropy_of_other_views, teacher_probabilities, update_centre
from sardino.dino.objective import Maker, Part, Trainee
from sardino.dino.recipe import Physics, Rates, Recipe
from sardino.dino.skip_unused import skip_dropped
from sardino.dino.visible import as_pixels, draw_hidden, numbers_of, visible_patches
from sardino.dino.vit import Architecture, build_vit


class MaskedCrops(NamedTuple):
    """What a step is given."""

    seen: Tensor  # (2, B, C, H, W) global views of the student, hidden patches 0
    whole: Tensor  # (2, B, C, H, W) of the teacher
    local: Tensor  # (L, B, C, h, w)
    hidden: Tensor  # (2 B, M) numbers of the hidden patches


class PatchNetwork(Network):
    """DINO's network, which also says what hidden patches are."""

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Large views, small ones and numbers of hidden patches to logits and class tokens.

        Logits ((2 + L) B, K) of all views and (2 B M, K) of hidden patches, class tokens (2 B, d) of large views.
        """
        large, small, hidden = given
        tokens = self.backbone.forward_features(large.flatten(0, 1))  # (2 B, 1 + N, d)
        classes = [tokens[:, 0], *([self.backbone(small.flatten(0, 1))] if len(small) else [])]
        patches = tokens.gather(1, 1 + hidden[..., None].expand(-1, -1, tokens.shape[2])).flatten(0, 1)
        count = len(hidden) * (len(large) + len(small)) // len(large)
        logits = self.head(torch.cat([*classes, patches]))
        return logits[:count].clone(), logits[count:].clone(), tokens[:, 0].clone()


class Draws(NamedTuple):
    """What is drawn of the crops and, (V, B, N) bool, of the patches hidden in large ones."""

    crops: Any
    patches: Tensor

    def part(self, start: int, stop: int) -> "Draws":
        """The draws of tiles `start` to `stop`."""
        return Draws(self.crops.part(start, stop), self.patches[:, start:stop])


class MaskedViews:
    """DINO's views, of which the large ones lose blocks of patches."""

    def __init__(self, architecture: Architecture, recipe: Recipe, crops: Maker) -> None:
        self.architecture, self.recipe, self.crops = architecture, recipe, crops
        self.hidden = architecture.grid**2 - visible_patches(architecture, recipe)

    def draw(self, batch: int, generator: torch.Generator) -> Draws:
        crops, count = self.crops.draw(batch, generator), self.recipe.global_crops
        hidden = draw_hidden(count * batch, self.architecture, self.recipe, generator)
        return Draws(crops, hidden.unflatten(0, (count, batch)))

    def __call__(self, tiles_db: Tensor, draws: Draws, noise: torch.Generator | None = None) -> MaskedCrops:
        large, small = self.crops(tiles_db, draws.crops, noise)
        patches = draws.patches.flatten(0, 1)
        gone = as_pixels(patches, self.architecture).to(large.device).unflatten(0, large.shape[:2])
        hidden = numbers_of(patches, self.hidden).to(large.device)
        return MaskedCrops(large.masked_fill(gone, 0.0), large, small, hidden)


class MaskedDistillation(Distillation):
    """The mean of DINO's loss, the student's large views having gaps, and of the same cross-entropy in the gaps."""

    def __init__(self, architecture: Architecture, recipe: Recipe, device: torch.device) -> None:
        super().__init__(architecture, recipe, device)
        self.patch_centre = torch.zeros_like(self.centre)

    @property
    def moving(self) -> dict[str, Tensor]:
        return {"centre": self.centre, "patch_centre": self.patch_centre}

    def network(self) -> PatchNetwork:
        recipe = self.recipe
        backbone = skip_dropped(build_vit(self.architecture, recipe.drop_path))
        head = Head(self.architecture.width, recipe.hidden, recipe.bottleneck, recipe.prototypes)
        return PatchNetwork(backbone, head)

    def views(self, normalisation: Normalisation, physics: Physics, first: Callable[[], Tensor]) -> MaskedViews:
        return MaskedViews(self.architecture, self.recipe, super().views(normalisation, physics, first))

    def learn(self, student: nn.Module, teacher: Trainee, given: Any, rates: Rates) -> Part:
        with torch.no_grad():
            taught, taught_patches, _ = teacher(given.whole, given.local[:0], given.hidden)
        said, said_patches, features = student(given.seen, given.local, given.hidden)
        size, temperature = given.whole.shape[1], self.recipe.student_temperature
        answers = (taught, self.centre), (taught_patches, self.patch_centre)
        of_views = cross_entropy_of_other_views(
            said.split(size), taught.split(size), self.centre, rates.teacher_temperature, temperature
        )
        p_t = teacher_probabilities(taught_patches, self.patch_centre, rates.teacher_temperature)  # (2 B M, K)
        of_patches = -(p_t * (said_patches / temperature).log_softmax(-1)).sum(-1).mean()
        means = {
            name: logits.to(centre.dtype).mean(0, keepdim=True)
            for name, (logits, centre) in zip(self.moving, answers, strict=True)
        }
        return Part((of_views + of_patches) / 2, features.detach(), means, answers)

    def settle(self, student: Trainee, means: dict[str, Tensor], rates: Rates) -> None:
        super().settle(student, means, rates)
        self.patch_centre = self.patch_centre.clone()
        update_centre(self.patch_centre, means["patch_centre"], self.recipe.centre_momentum)
