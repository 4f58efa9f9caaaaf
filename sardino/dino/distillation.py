"""Objective "dino": student and teacher agree over views of a tile (paper, section 2 and Figure 1; Caron et al. 2021).

Symbols: B tiles, 2 global and L local views of each, d the width of the ViT, K prototypes, C the centre.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.head_and_loss import Head, cross_entropy_of_other_views, update_centre
from sardino.dino.objective import Maker, Part, Trainee
from sardino.dino.recipe import Physics, Rates, Recipe
from sardino.dino.skip_unused import class_token_only, skip_dropped
from sardino.dino.views import Views
from sardino.dino.vit import Architecture, build_vit


class Network(Trainee):
    """A backbone and its head; crops of one size pass the backbone together, all crops pass the head together."""

    def __init__(self, backbone: VisionTransformer, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, *groups: Tensor) -> tuple[Tensor, ...]:
        """Views (V, B, channels, h, w) of each size to logits (V B, K) of all, and the first size's class tokens."""
        tokens = [self.backbone(group.flatten(0, 1)) for group in groups if len(group)]  # (V B, d) each
        return self.head(torch.cat(tokens)), tokens[0].clone()  # no view: FSDP hangs its hooks on what is returned


class Distillation:
    """The student is to say of each view what its teacher says of another; head, softmax and centre are float32."""

    def __init__(self, architecture: Architecture, recipe: Recipe, device: torch.device) -> None:
        self.architecture, self.recipe = architecture, recipe
        self.ln_k = math.log(recipe.prototypes)
        self.centre = torch.zeros(1, recipe.prototypes, device=device)

    @property
    def moving(self) -> dict[str, Tensor]:
        return {"centre": self.centre}

    def network(self) -> Network:
        recipe = self.recipe
        backbone = skip_dropped(class_token_only(build_vit(self.architecture, recipe.drop_path)))
        return Network(backbone, Head(self.architecture.width, recipe.hidden, recipe.bottleneck, recipe.prototypes))

    def views(self, normalisation: Normalisation, physics: Physics, first: Callable[[], Tensor]) -> Maker:
        return Views(self.architecture, self.recipe, normalisation, physics)

    def learn(self, student: nn.Module, teacher: Trainee, given: Any, rates: Rates) -> Part:
        """The centre stands still while a batch is seen, and moves once after it, by the mean of all teacher logits."""
        global_views, local_views = given  # (2, B, channels, H, W), (L, B, channels, h, w)
        with torch.no_grad():
            taught, _ = teacher(global_views)  # (2 B, K)
        said, features = student(global_views, local_views)  # ((2 + L) B, K), (2 B, d)
        size = global_views.shape[1]
        views, targets = said.split(size), taught.split(size)  # 2 + L times and 2 times (B, K)
        temperatures = rates.teacher_temperature, self.recipe.student_temperature
        loss = cross_entropy_of_other_views(views, targets, self.centre, *temperatures)
        means = {"centre": taught.to(self.centre.dtype).mean(0, keepdim=True)}  # (1, K)
        return Part(loss, features.detach(), means, ((taught, self.centre),))

    def settle(self, student: Trainee, means: dict[str, Tensor], rates: Rates) -> None:
        assert isinstance(student, Network)
        self.centre = self.centre.clone()  # the answers are judged by the one before
        update_centre(self.centre, means["centre"], self.recipe.centre_momentum)
        if rates.prototypes_frozen:
            student.head.prototypes.weight.grad = None
