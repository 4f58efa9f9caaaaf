"""What a ViT attends to: of any block of any timm ViT, at any size, in one pass that ends where it has seen enough."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention, AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention
from torch import Tensor, nn

from sardino.errors import SardinoError

# timm's layers whose weights are softmax(q k^T / sqrt(d)): of plain ViTs, and of those with rotary positions.
SelfAttention = Attention | AttentionRope | EvaAttention
ROWS = 256  # of a matrix that are held at once in a rollout


@dataclass(frozen=True)
class LayerInput:
    """What a block's attention layer is given.

    Fused attention never writes the weights down. Here they are computed again, for the rows that matter alone.
    """

    attention: SelfAttention
    x: Tensor  # (B, N, D), the block's normalised input
    rope: Tensor | None = None  # rotary positions, if the ViT has them

    def rows(self, tokens: Sequence[int] | slice) -> Tensor:
        """softmax(q k^T / sqrt(d)) of some tokens' queries against all keys; `slice(1)` is the class token's.

        (B, heads, tokens, N) float32 at least; each row sums to 1.
        """
        query, key = self.queries_and_keys(tokens)
        return softmax_rows(query * self.attention.scale, key)

    def queries_and_keys(self, tokens: Sequence[int] | slice) -> tuple[Tensor, Tensor]:
        """Queries of some tokens (B, heads, tokens, d) and keys of all (B, heads, N, d), as the layer makes them."""
        attention = self.attention
        asked = self.x[:, tokens] if self.rope is None else self.x  # a query's rotation follows from its place
        query, key = attention.q_norm(self._projected(asked, 0)), attention.k_norm(self._projected(self.x, 1))
        if self.rope is not None:
            query, key = self._rotated(query, self.rope)[:, :, tokens], self._rotated(key, self.rope)
        groups = query.shape[1] // key.shape[1]
        return query, key.repeat_interleave(groups, 1) if groups > 1 else key

    def _projected(self, x: Tensor, part: int) -> Tensor:
        """Queries (part 0) or keys (part 1): (B, heads, tokens, d)."""
        attention = self.attention
        if attention.qkv is None:
            projected = (attention.q_proj, attention.k_proj)[part](x)
        else:
            bias = None if attention.qkv.bias is None else attention.qkv.bias.chunk(3)[part]
            if bias is None and getattr(attention, "q_bias", None) is not None:
                bias = (attention.q_bias, attention.k_bias)[part]
            projected = F.linear(x, attention.qkv.weight.chunk(3)[part], bias)
        return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    def _rotated(self, x: Tensor, rope: Tensor) -> Tensor:
        """Patches rotated by their place; the class token and registers have none."""
        prefix = self.attention.num_prefix_tokens
        turned = apply_rot_embed_cat(x[:, :, prefix:], rope, half=getattr(self.attention, "rotate_half", False))
        return torch.cat([x[:, :, :prefix], turned], 2).type_as(x)


@torch.no_grad()
def class_attention(vit: nn.Module, images: Tensor, blocks: Sequence[int] = (-1,)) -> list[Tensor]:
    """Attention that the class token pays to each patch; every block's own attention stays fused.

    Args:
        vit: timm's, with a class token; registers may follow it and are left out.
        images: (B, C, H, W) float, normalised; H and W divide into patches.
        blocks: which, from the front or, negative, from the end.

    Returns per block (B, heads, h, w), times the number of patches, so that an even spread is about 1: exactly 1 where
    the class token keeps nothing for itself. Raises SardinoError: no class token, no such block, a size that is not
    whole patches, a layer of another kind.
    """
    _require_class_token(vit)
    grid = patch_grid(vit, images)
    return [patch_maps(vit, layer.rows(slice(1)), grid).squeeze(2) for layer in layer_inputs(vit, images, blocks)]


@torch.no_grad()
def class_query_and_keys(vit: nn.Module, images: Tensor, block: int = -1) -> Tensor:
    """What `class_attention` is made of, so that the query of other images can be put to the keys of these.

    Returns:
        (B, heads, 1 + N, d) float32 at least: the class token's query, over the root of d, and the keys of all tokens.
    """
    _require_class_token(vit)
    patch_grid(vit, images)
    (layer,) = layer_inputs(vit, images, [block])
    query, key = layer.queries_and_keys(slice(1))
    both = torch.cat([query * layer.attention.scale, key], 2)
    return both.to(torch.promote_types(both.dtype, torch.float32))


def softmax_rows(query: Tensor, key: Tensor) -> Tensor:
    """Weights (..., tokens, N) float32 at least of scaled queries (..., tokens, d) against keys (..., N, d)."""
    scores = query @ key.transpose(-2, -1)
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1)


@torch.no_grad()
def patch_attention(vit: nn.Module, images: Tensor, points: Sequence[tuple[int, int]], block: int = -1) -> Tensor:
    """Attention that chosen patches pay to each patch, as `class_attention`; no class token is needed.

    `points`: (row, column) of the patches in the grid; one outside it is refused. Returns (B, heads, points, h, w),
    times the number of patches.
    """
    height, width = patch_grid(vit, images)
    for row, column in points:
        if not (0 <= row < height and 0 <= column < width):
            raise SardinoError(f"patch ({row}, {column}) is outside the grid of {height} x {width} patches")
    tokens = [_prefix_tokens(vit) + row * width + column for row, column in points]
    return patch_maps(vit, layer_inputs(vit, images, [block])[0].rows(tokens), (height, width))


@torch.no_grad()
def rollout(vit: nn.Module, images: Tensor) -> Tensor:
    """Attention rollout from the class token to the patches (Abnar and Zuidema 2020).

    The matrices of all blocks, averaged over heads and half and half with the identity for the residual connection, are
    multiplied; here a single row runs through them from the last to the first, a few rows of a matrix at a time.
    Returns (B, h, w), times the number of patches.
    """
    _require_class_token(vit)
    grid = patch_grid(vit, images)
    layers = layer_inputs(vit, images, range(block_count(vit)))
    batch, count, _ = layers[0].x.shape
    reached = layers[0].x.new_zeros(batch, count)
    reached[:, 0] = 1
    for layer in reversed(layers):
        query, key = layer.queries_and_keys(slice(None))
        passed = torch.zeros_like(reached)
        for start in range(0, count, ROWS):
            scores = (query[:, :, start : start + ROWS] * layer.attention.scale) @ key.transpose(-2, -1)
            weights = scores.softmax(-1).mean(1)  # (B, rows, N)
            passed += (reached[:, None, start : start + ROWS] @ weights).squeeze(1)
        reached = (reached + passed) / 2
    return patch_maps(vit, reached, grid)


@torch.no_grad()
def patch_tokens(vit: nn.Module, images: Tensor) -> Tensor:
    """(B, h, w, D) normalised tokens of the last block; the class token and registers are left out."""
    tokens: Tensor = cast(Any, vit).forward_features(images)
    return tokens[:, _prefix_tokens(vit) :].unflatten(1, patch_grid(vit, images))


def layer_inputs(vit: nn.Module, images: Tensor, blocks: Sequence[int]) -> list[LayerInput]:
    """What the attention layers of some blocks are given, in the order asked; later blocks are not computed.

    Raises SardinoError: no such block, or one without a single attention layer.
    """
    layers = list(getattr(vit, "blocks", ()))
    wanted: list[SelfAttention] = []
    for block in blocks:
        if not -len(layers) <= block < len(layers):
            raise SardinoError(f"there is no block {block}: this ViT has {len(layers)}, from 0 to {len(layers) - 1}")
        attention = getattr(layers[block], "attn", None)
        if not isinstance(attention, SelfAttention):
            raise SardinoError(
                f"block {block} of this {type(vit).__name__} has no attention that can be read: "
                "a ViT with timm's Attention, AttentionRope or EvaAttention in each block can be"
            )
        wanted.append(attention)
    found: dict[nn.Module, LayerInput] = {}

    def see(attention: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if named.get("attn_mask") is not None or named.get("is_causal"):
            raise SardinoError("attention under a mask cannot be read")
        rope = given[1] if len(given) > 1 else named.get("rope")
        found[attention] = LayerInput(cast(SelfAttention, attention), given[0], rope)
        if len(found) == len(set(wanted)):
            raise _SeenEnough

    with ExitStack() as stack:
        for attention in set(wanted):
            stack.callback(attention.register_forward_pre_hook(see, with_kwargs=True).remove)
        stack.enter_context(suppress(_SeenEnough))
        cast(Any, vit).forward_features(images)
    return [found[attention] for attention in wanted]


class _SeenEnough(Exception):
    """Ends a pass through a ViT whose later blocks nobody asked for."""


def patch_grid(vit: nn.Module, images: Tensor) -> tuple[int, int]:
    """(rows, columns) of patches of these images."""
    height, width = cast(Any, vit).patch_embed.patch_size
    if images.ndim != 4 or images.shape[-2] % height or images.shape[-1] % width:
        raise SardinoError(f"images of {tuple(images.shape)} do not divide into patches of {height} x {width} px")
    return images.shape[-2] // height, images.shape[-1] // width


def patch_maps(vit: nn.Module, rows: Tensor, grid: tuple[int, int]) -> Tensor:
    """(..., N) rows of attention as maps (..., h, w) over patches, relative to an even spread."""
    return rows[..., _prefix_tokens(vit) :].unflatten(-1, grid) * (grid[0] * grid[1])


def block_count(vit: nn.Module) -> int:
    return len(cast(Any, vit).blocks)


def _prefix_tokens(vit: nn.Module) -> int:
    """Class token and registers, which come before the patches."""
    return int(cast(Any, vit).num_prefix_tokens)


def _require_class_token(vit: nn.Module) -> None:
    if getattr(vit, "cls_token", None) is None:
        raise SardinoError(f"this {type(vit).__name__} has no class token: ask for the attention of patches")
