"""Texture: what a linear patch embedding cannot see, local deviations and the means of a patch's surroundings.

Statistics without weights, of normalised channels in which a missing pixel is exactly 0. Such pixels take no part, so
that whoever sets pixels to 0 hides them from every patch: masked modelling needs no other mask.
"""

import torch
import torch.nn.functional as F
from timm.layers.format import nchw_to
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

AROUND = (3, 5)  # sides, in patches, of the boxes about a patch
FEATURES = 4 + 1 + 1 + len(AROUND)  # of a channel: deviations in quadrants, patch and nearest box; means of the boxes
LEAST, USUAL = 1e-3, 0.2  # variances, the channel's being 1: added before the logarithm, and told as 0


def surroundings(images: Tensor, patch: int) -> Tensor:
    """Deviations in and means about each patch: (B, C, H, W) normalised to (B, FEATURES C, h, w) float32.

    Of the pixels that are not 0, and at an image's edge of those inside: log deviations in the four quadrants of a
    patch, in the patch and in 3 x 3 patches, then the means of 3 x 3 and of 5 x 5 patches; 0 where no pixel is known.

    Args:
        patch: side in pixels; even.
    """
    images = images.float()
    known = (images != 0).float()
    quadrants = torch.cat([F.avg_pool2d(part, patch // 2) for part in (known, images, images.square())], 1)
    whole = F.avg_pool2d(quadrants, 2)
    near, far = (F.avg_pool2d(whole, side, 1, side // 2) for side in AROUND)
    spreads = F.pixel_unshuffle(_spread(quadrants), 2), _spread(whole), _spread(near)
    return torch.cat([*spreads, _moments(near)[0], _moments(far)[0]], 1)


def _moments(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of the known pixels, and whether there is one, from their count, sum and sum of squares."""
    count, first, second = sums.chunk(3, 1)
    known = count.clamp(min=1e-9)  # nothing known has a sum of 0
    mean = first / known
    return mean, (second / known - mean.square()).clamp(min=0), count > 0


def _spread(sums: Tensor) -> Tensor:
    _, variance, known = _moments(sums)
    return torch.where(known, torch.log((variance + LEAST) / USUAL) / 2, 0.0)


class TexturedEmbed(PatchEmbed):
    """timm's patch embedding of pixels, to which a linear embedding of their `surroundings` is added."""

    texture: nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) normalised to (B, h, w, D)."""
        around = surroundings(x, self.patch_size[0]).to(self.texture.weight.dtype)
        pixels: Tensor = super().forward(x)
        return pixels + nchw_to(self.texture(around), self.output_fmt)


def add_texture(vit: VisionTransformer) -> None:
    """Let a ViT's patch embedding see texture, in place; all other weights stay as they are."""
    embed = vit.patch_embed
    embed.__class__ = TexturedEmbed
    embed.texture = nn.Conv2d(FEATURES * embed.proj.in_channels, embed.proj.out_channels, 1, bias=False)
