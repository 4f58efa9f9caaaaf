"""The Vision Transformer: timm's, with any channel count, patch and size, read for tokens and attention."""

from dataclasses import dataclass, field
from typing import TypeVar, cast

from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from sardino.dino.attention import LayerInput, patch_grid, patch_maps
from sardino.dino.plain_attention import PlainAttention
from sardino.dino.recipe import ViTSize
from sardino.dino.texture import add_texture
from sardino.errors import SardinoError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Architecture(ViTSize):
    """A ViT for tiles of one kind: its size, and what it is given."""

    channels: int  # 12 in the paper
    tile_px: int  # side of a tile in pixels, 448 in the paper
    registers: int = field(default=0, kw_only=True)  # tokens behind the class token, of weights adopted from DINOv2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tile_px % self.patch:
            raise SardinoError(f"a patch of {self.patch} px does not divide a tile of {self.tile_px} px")

    @classmethod
    def of(cls, size: ViTSize, channels: int, tile_px: int) -> "Architecture":
        """A ViT of this size for these tiles."""
        return cls(**size.to_dict(), channels=channels, tile_px=tile_px)

    @property
    def grid(self) -> int:
        """Patches along a side of the tile: 28 in the paper."""
        return self.tile_px // self.patch


def build_vit(architecture: Architecture, drop_path: float = 0.0) -> VisionTransformer:
    """A randomly initialised ViT that also takes smaller crops (positions interpolated to their size)."""
    vit = VisionTransformer(
        img_size=architecture.tile_px,
        patch_size=architecture.patch,
        in_chans=architecture.channels,
        num_classes=0,
        global_pool="token",
        embed_dim=architecture.width,
        depth=architecture.depth,
        num_heads=architecture.heads,
        reg_tokens=architecture.registers,
        drop_path_rate=drop_path,
        dynamic_img_size=True,
    )
    for block in vit.blocks:
        cast(Block, block).attn.__class__ = PlainAttention
    if architecture.texture:
        add_texture(vit)
    return vit


def patch_px(vit: VisionTransformer) -> int:
    """Side of a patch in pixels."""
    return int(vit.patch_embed.patch_size[0])


def head_count(vit: VisionTransformer) -> int:
    """Attention heads of a block."""
    return int(cast(Attention, cast(Block, vit.blocks[-1]).attn).num_heads)


def parameter_count(module: nn.Module) -> int:
    """Number of trainable and frozen parameters."""
    return sum(p.numel() for p in module.parameters())


@dataclass(frozen=True)
class Encoding:
    """What a ViT says of images, differentiable; of its last block only what is asked for is computed, at each asking.

    The class token is left out of the tokens (paper, section 2).
    """

    vit: VisionTransformer
    x: Tensor  # (B, 1 + registers + N, D) that the last block is given
    grid: tuple[int, int]

    @property
    def tokens(self) -> Tensor:
        """(B, h, w, D) normalised patch tokens of the last block."""
        tokens: Tensor = self.vit.norm(self.vit.blocks[-1](self.x))
        return tokens[:, self.vit.num_prefix_tokens :].unflatten(1, self.grid)

    @property
    def attention(self) -> Tensor:
        """(B, heads, h, w) that the class token pays in the last block; an even spread is 1 everywhere."""
        last = cast(Block, self.vit.blocks[-1])
        assert isinstance(last.attn, Attention)
        return patch_maps(self.vit, LayerInput(last.attn, last.norm1(self.x)).rows(slice(1)).squeeze(2), self.grid)


def embed(vit: VisionTransformer, images: Tensor) -> Tensor:
    """What the blocks are given of images (B, C, H, W): (B, 1 + registers + N, D), each token with its place."""
    return vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))  # timm's own steps


def encode(vit: VisionTransformer, images: Tensor) -> Encoding:
    """Pass (B, C, H, W) normalised images through all blocks but the last."""
    grid = patch_grid(vit, images)
    x = embed(vit, images)
    for block in vit.blocks[:-1]:
        x = block(x)
    return Encoding(vit, x, grid)


def freeze(module: Network) -> Network:
    """Stop all gradients of a module and put it in evaluation mode: the paper's frozen backbone, whole."""
    return module.requires_grad_(False).eval()
