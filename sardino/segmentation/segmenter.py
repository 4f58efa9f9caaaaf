"""The arms of the comparison: what is encoded, and how it becomes a land-cover map (paper, Tables 1, 2)."""

from typing import Literal

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.dino.unet import UNet, resize
from sardino.dino.vit import encode, freeze, head_count, patch_px
from sardino.errors import SardinoError
from sardino.segmentation.settings import EncodingName
from sardino.segmentation.token_decoder import TokenDecoder


class Segmenter(nn.Module):
    """A backbone that may be absent, frozen or trained, and a decoder: a TokenDecoder for "tokens", else a UNet.

    A frozen backbone's output can be made once (`encode`) and decoded many times (`join`, `decode`); `forward` is
    one after the other.
    """

    def __init__(
        self, encoding: EncodingName, vit: VisionTransformer | None, decoder: nn.Module, frozen: bool = False
    ) -> None:
        super().__init__()
        self.encoding = encoding
        self.frozen = frozen and vit is not None
        self.vit = freeze(vit) if self.frozen and vit is not None else vit
        self.decoder = decoder

    def train(self, mode: bool = True) -> "Segmenter":
        """As usual, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen and self.vit is not None:
            self.vit.eval()
        return self

    def encode(self, images: Tensor) -> Tensor:
        """What the ViT says of (B, C, H, W) images: (B, h, w, D) tokens or (B, heads, h, w) attention maps."""
        if self.vit is None:
            raise SardinoError(f"the '{self.encoding}' arm has no backbone whose features could be made")
        if not self.frozen:
            return self._said(self.vit, images)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            # In float32, also where the decoder's training is not: kept features are those of each step.
            return self._said(self.vit, images.float())

    def _said(self, vit: VisionTransformer, images: Tensor) -> Tensor:
        encoding = encode(vit, images)
        return encoding.tokens if self.sees == "tokens" else encoding.attention

    @property
    def sees(self) -> Literal["tokens", "attention maps"]:
        """What of the ViT's output the decoder sees."""
        return "tokens" if self.encoding in ("tokens", "hybrid") else "attention maps"

    @property
    def sees_images(self) -> bool:
        """Whether the decoder sees the images beside the ViT's output."""
        return self.encoding in ("unet_attention", "hybrid")

    def join(self, images: Tensor, encoded: Tensor) -> Tensor:
        """What the decoder takes: the backbone's output, with the images before it where it sees them."""
        if self.encoding == "hybrid":  # one tensor: of each patch its pixels, then its token
            assert self.vit is not None
            return torch.cat([F.pixel_unshuffle(images, patch_px(self.vit)), encoded.movedim(-1, 1)], 1)
        return torch.cat([images, resize(encoded, images.shape[-2:])], 1) if self.sees_images else encoded

    def decode(self, features: Tensor, size: int) -> Tensor:
        """What `join` gives to logits (B, classes, size, size)."""
        if self.encoding == "hybrid":
            assert self.vit is not None
            pixels, tokens = features.tensor_split([-self.vit.embed_dim], 1)
            return self.decoder(F.pixel_shuffle(pixels, patch_px(self.vit)), tokens)
        return self.decoder(resize(features, (size, size)) if self.encoding == "attention" else features)

    def forward(self, images: Tensor) -> Tensor:
        features = images if self.vit is None else self.join(images, self.encode(images))
        return self.decode(features, images.shape[-1])


def build_segmenter(
    encoding: EncodingName,
    vit: VisionTransformer | None,
    *,
    channels: int,
    classes: int,
    unet_width: int,
    unet_depth: int,
    decoder_width: int,
    frozen: bool = False,
) -> Segmenter:
    """A segmenter with a fresh decoder that fits the encoding; "unet_attention" takes channels + heads channels."""
    if encoding == "unet":
        return Segmenter(encoding, None, UNet(channels, classes, unet_width, unet_depth))
    if vit is None:
        raise SardinoError(f"the '{encoding}' arm needs a backbone: build a ViT, or load one")
    heads = head_count(vit)
    if encoding == "tokens":
        decoder: nn.Module = TokenDecoder(vit.embed_dim, classes, patch_px(vit), decoder_width)
    elif encoding == "hybrid":
        decoder = UNet(channels, classes, unet_width, unet_depth, tokens=vit.embed_dim)
    else:
        decoder = UNet(heads if encoding == "attention" else channels + heads, classes, unet_width, unet_depth)
    return Segmenter(encoding, vit, decoder, frozen)
