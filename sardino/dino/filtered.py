"""Objective "filtered": hidden patches are told as means and deviations of boxes, and hidden seasons along with them.

Raw pixels of SAR are mostly speckle, which nobody can tell: filtered ones are the better target (Wang et al. 2023,
arXiv 2310.18653; Li et al. 2024, arXiv 2311.15153).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.recipe import Physics, Recipe
from sardino.dino.visible import Hiding, MaskedModelling
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError

BOX_PX = 4
LEAST = 0.01  # standard deviation, the channel's being 1: added before the logarithm


class Filtered(MaskedModelling):
    """Two numbers a box and channel, each to unit variance over some of the training tiles; smooth L1."""

    def __init__(self, architecture: Architecture, recipe: Recipe, device: torch.device) -> None:
        super().__init__(architecture, recipe, device)
        if architecture.patch % BOX_PX:
            raise SardinoError(
                f"boxes of {BOX_PX} px do not divide a patch of {architecture.patch} px: give it 8 or 16"
            )
        self.boxes = architecture.patch // BOX_PX  # along a side of a patch
        self.mean, self.std = torch.zeros(1, device=device), torch.ones(1, device=device)

    @property
    def outputs(self) -> int:
        return self.architecture.channels * 2 * self.boxes**2

    def views(self, normalisation: Normalisation, physics: Physics, first: Callable[[], Tensor]) -> Hiding:
        hiding = self.hiding(normalisation, physics)
        seen = self.filtered(hiding.normal(first())).movedim(0, 2).flatten(2)  # (C, 2, places of all tiles)
        mean = seen.nanmean(2, keepdim=True)
        std = (seen - mean).square().nanmean(2, keepdim=True).sqrt()
        # A channel that is missing from these tiles is told as it is.
        self.mean = mean.nan_to_num(0.0)[..., None].to(self.device)  # (C, 2, 1, 1)
        self.std = std.nan_to_num(1.0).clamp_min(LEAST)[..., None].to(self.device)
        return hiding

    def targets(self, images: Tensor) -> Tensor:
        """(B, N, C, T / C) of (B, C, H, W): means, then log deviations, of a patch's boxes, row by row."""
        told = (self.filtered(images) - self.mean) / self.std  # (B, C, 2, h, w)
        by_patch = told.unflatten(4, (-1, self.boxes)).unflatten(3, (-1, self.boxes))
        return by_patch.permute(0, 3, 5, 1, 2, 4, 6).flatten(1, 2).flatten(3)

    def filtered(self, images: Tensor) -> Tensor:
        """(B, C, 2, h, w): mean and log standard deviation of each box of (B, C, H, W); NaN where one is missing."""
        boxes = images.unflatten(3, (-1, BOX_PX)).unflatten(2, (-1, BOX_PX))  # (B, C, h, 4, w, 4)
        return torch.stack([boxes.mean((3, 5)), (boxes.std((3, 5), correction=0) + LEAST).log()], 2)

    def error(self, told: Tensor, targets: Tensor) -> Tensor:
        return F.smooth_l1_loss(told, targets, reduction="none")
