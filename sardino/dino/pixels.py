"""Objective "pixels": the pixels of hidden patches are told, from those that are visible (He et al. 2022)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.recipe import Physics
from sardino.dino.visible import Hiding, MaskedModelling


class Pixels(MaskedModelling):
    """Each pixel of each channel, normalised as the input is; squared error."""

    @property
    def outputs(self) -> int:
        return self.architecture.channels * self.architecture.patch**2

    def views(self, normalisation: Normalisation, physics: Physics, first: Callable[[], Tensor]) -> Hiding:
        return self.hiding(normalisation, physics)

    def targets(self, images: Tensor) -> Tensor:
        """(B, N, C, T / C) of (B, C, H, W): a patch's pixels, row by row."""
        patch = self.architecture.patch
        by_patch = images.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # (B, C, rows, patch, columns, patch)
        return by_patch.permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(3)

    def error(self, told: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(told, targets, reduction="none")
