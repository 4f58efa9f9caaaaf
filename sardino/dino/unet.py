"""The paper's simple U-Net (section 6.1), on attention maps, backscatter or both."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sardino.dino.batch_norm import BatchNorm


def convolution(channels: int, width: int) -> list[nn.Module]:
    """Conv 3x3, batch norm, ReLU."""
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), BatchNorm(width), nn.ReLU(inplace=True)]


class DoubleConvolution(nn.Sequential):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__(*convolution(channels, width), *convolution(width, width))


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) maps to another (H, W), bilinear."""
    maps = F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
    if maps.requires_grad:  # as part of a concatenation's its gradient lies in pieces, which CPUs read slowly
        maps.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return maps


class UNet(nn.Module):
    """Encoder and decoder with skip connections.

    The text counts 3 down and 4 up blocks, which do not pair; here the first double convolution works at full size,
    `depth` blocks go down by max pooling and as many come up by bilinear upsampling.

    There are 11 classes in the paper; `width` channels at full size double at each level down. Beyond the paper, the
    lowest level can also see a ViT's tokens, of `tokens` numbers each: with 8 px patches and a depth of 3 they fit it.
    """

    def __init__(self, channels: int, classes: int, width: int, depth: int = 3, tokens: int = 0) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.stem = DoubleConvolution(channels, width)
        self.down = nn.ModuleList(DoubleConvolution(a + tokens * (b == widths[-1]), b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            DoubleConvolution(low + high, high) for low, high in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.classify = nn.Conv2d(width, classes, 1)
        self.to(memory_format=torch.channels_last)  # channels lie together: CPUs convolve faster so

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and tokens (B, D, h, w) to logits (B, classes, H, W), any H and W of at least 2**depth."""
        skips = [self.stem(x.contiguous(memory_format=torch.channels_last))]
        for level, block in enumerate(self.down, 1):
            x = F.max_pool2d(skips[-1], 2)
            if tokens is not None and level == len(self.down):
                x = torch.cat([x, resize(tokens, x.shape[-2:])], 1)
            skips.append(block(x))
        x = skips.pop()
        for block in self.up:
            skip = skips.pop()
            x = block(torch.cat([skip, resize(x, skip.shape[-2:])], dim=1))
        return self.classify(x).contiguous()
