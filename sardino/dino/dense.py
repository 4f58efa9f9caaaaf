"""Objective "dense": the hybrid is pre-trained whole, its U-Net with the ViT whose tokens it sees.

An encoder's pre-training leaves all that draws a map to a few labels. Here what is fine-tuned is what is pre-trained
(Brempong et al. 2022, arXiv 2205.11423): boxes of pixels are hidden, more or fewer of each tile, and in some tiles
whole seasons; at each pixel the mean and the deviation around it are to be told.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.filtered import BOX_PX, LEAST, Filtered
from sardino.dino.objective import Trainee
from sardino.dino.recipe import Recipe
from sardino.dino.skip_unused import skip_dropped
from sardino.dino.unet import UNet
from sardino.dino.visible import Draws, Hiding
from sardino.dino.vit import Architecture, build_vit, encode

MEAN_PX, DEVIATION_PX = 3, 7  # windows around a pixel


class Hybrid(Trainee):
    """A U-Net on the images that sees a ViT's tokens at its lowest level; it tells two numbers a pixel and channel."""

    def __init__(self, architecture: Architecture, recipe: Recipe) -> None:
        super().__init__()
        self.backbone = skip_dropped(build_vit(architecture, recipe.drop_path))
        channels, width = architecture.channels, architecture.width
        self.decoder = UNet(channels, 2 * channels, recipe.unet_width, recipe.unet_depth, tokens=width)

    @property
    def kept(self) -> dict[str, nn.Module]:
        return {"unet": self.decoder}

    def forward(self, shown: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) to what is told of each box, (B, N, 2 C BOX_PX^2), and the tokens (B, n, d)."""
        tokens = encode(self.backbone, shown).tokens
        told = self.decoder(shown, tokens.movedim(-1, 1))
        return F.pixel_unshuffle(told, BOX_PX).flatten(2).mT, tokens.flatten(1, 2).clone()


class Boxes(Hiding):
    """Boxes of BOX_PX are hidden in place of patches, each with a chance that is drawn of each tile."""

    def __init__(self, architecture: Architecture, recipe: Recipe, normalisation: Normalisation) -> None:
        super().__init__(replace(architecture, patch=BOX_PX), recipe, normalisation)

    def draw(self, batch: int, generator: torch.Generator) -> Draws:
        draws = super().draw(batch, generator)
        share = self.recipe.masked * torch.rand(batch, 1, generator=generator)
        return draws._replace(patches=torch.rand(draws.patches.shape, generator=generator) < share)


class Dense(Filtered):
    """As "filtered", at each pixel; numbers of a box lie together."""

    hides = Boxes

    def __init__(self, architecture: Architecture, recipe: Recipe, device: torch.device) -> None:
        super().__init__(architecture, recipe, device)
        self.boxes = BOX_PX  # along a side of what is hidden: its pixels

    def network(self) -> Hybrid:
        return Hybrid(self.architecture, self.recipe)

    def filtered(self, images: Tensor) -> Tensor:
        """(B, C, 2, H, W): mean and log standard deviation around each pixel; NaN where one of them is missing."""
        mean, wide = around(images, MEAN_PX), around(images, DEVIATION_PX)
        variance = around(images.square(), DEVIATION_PX) - wide.square()
        return torch.stack([mean, (variance.clamp_min(0.0).sqrt() + LEAST).log()], 2)


def around(images: Tensor, side: int) -> Tensor:
    """Mean of the `side` x `side` pixels around each of (B, C, H, W), mirrored at the edges."""
    return F.avg_pool2d(F.pad(images, [side // 2] * 4, mode="reflect"), side, stride=1)
