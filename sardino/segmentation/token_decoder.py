"""The paper's decoder for tokens (section 6.1)."""

import torch
from torch import Tensor, nn

from sardino.dino.unet import convolution


class TokenDecoder(nn.Module):
    """Convolutional upsampling of ViT tokens to a map (paper, section 6.1); the logits have no ReLU.

    Args:
        embedding: width of a token.
        patch: side of a patch, a power of two: 16 takes 4 blocks of Conv 3x3, batch norm, ReLU, bilinear x2.
        width: channels of the first block; halved block by block, at least 16.
    """

    def __init__(self, embedding: int, classes: int, patch: int, width: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = embedding
        for level in range(patch.bit_length() - 1):
            out = max(16, width // 2**level)
            blocks += [*convolution(channels, out), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)]
            channels = out
        self.blocks = nn.Sequential(*blocks)
        self.classify = nn.Conv2d(channels, classes, 1)
        self.to(memory_format=torch.channels_last)  # as tokens lie already

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, D) tokens to logits (B, classes, h * patch, w * patch)."""
        return self.classify(self.blocks(tokens.permute(0, 3, 1, 2))).contiguous()
