"""What a ViT attends to: of any block of any timm ViT, at any size, in one pass that ends where it has seen enough."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention, AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention
from torch import Tensor, nn

from sardino.errors import SardinoError

SelfAttention = Attention | AttentionRope | EvaAttention
"""timm's layers whose weights are softmax(q k^T / sqrt(d)): of plain ViTs, and of those with rotary positions."""
ROWS = 256
"""Of a matrix that are held at once in a rollout."""


def attention_rows(
    attention: SelfAttention, x: Tensor, tokens: Sequence[int] | slice, rope: Tensor | None = None
) -> Tensor:
    """softmax(q k^T / sqrt(d)) of some tokens' queries against all keys, per head; each row sums to 1.

    Fused attention never writes the weights down. Here they are computed again, for the rows that matter alone.

    Args:
        x: (B, N, D) what the layer is given: the block's normalised input.
        tokens: which rows; `slice(1)` is the class token's.
        rope: rotary positions that the layer is given beside x, if any.

    Returns:
        (B, heads, tokens, N) float32 at least.
    """
    query, key = queries_and_keys(attention, x, tokens, rope)
    scores = (query * attention.scale) @ key.transpose(-2, -1)  # (B, heads, tokens, N)
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1)


def queries_and_keys(
    attention: SelfAttention, x: Tensor, tokens: Sequence[int] | slice, rope: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Queries of some tokens (B, heads, tokens, d) and keys of all (B, heads, N, d), as the layer makes them.

    Raises:
        SardinoError: a layer whose weights are made another way.
    """
    if not isinstance(attention, SelfAttention):
        raise SardinoError(
            f"attention of a {type(attention).__name__} cannot be read: "
            "a ViT with timm's Attention, AttentionRope or EvaAttention can be"
        )
    rows = x[:, tokens] if rope is None else x  # a query's rotation follows from its place among all
    query, key = _projected(attention, rows, 0), _projected(attention, x, 1)
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rope is not None:
        query, key = (_rotated(attention, each, rope) for each in (query, key))
        query = query[:, :, tokens]
    groups = query.shape[1] // key.shape[1]
    return query, key.repeat_interleave(groups, 1) if groups > 1 else key


def _projected(attention: SelfAttention, x: Tensor, part: int) -> Tensor:
    """Queries (part 0) or keys (part 1): (B, heads, tokens, d)."""
    if attention.qkv is None:
        projected = (attention.q_proj, attention.k_proj)[part](x)
    else:
        weight = attention.qkv.weight.chunk(3)[part]
        bias = None if attention.qkv.bias is None else attention.qkv.bias.chunk(3)[part]
        if bias is None and getattr(attention, "q_bias", None) is not None:
            bias = (attention.q_bias, attention.k_bias)[part]
        projected = F.linear(x, weight, bias)
    return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def _rotated(attention: SelfAttention, x: Tensor, rope: Tensor) -> Tensor:
    """Patches rotated by their place; the class token and registers have none."""
    prefix = attention.num_prefix_tokens
    turned = apply_rot_embed_cat(x[:, :, prefix:], rope, half=getattr(attention, "rotate_half", False))
    return torch.cat([x[:, :, :prefix], turned], 2).type_as(x)


@dataclass(frozen=True)
class LayerInput:
    """What a block's attention layer is given: (B, N, D), and rotary positions if the ViT has them."""

    attention: SelfAttention
    x: Tensor
    rope: Tensor | None

    def rows(self, tokens: Sequence[int] | slice) -> Tensor:
        """(B, heads, tokens, N); each row sums to 1."""
        return attention_rows(self.attention, self.x, tokens, self.rope)


@torch.no_grad()
def class_attention(vit: nn.Module, images: Tensor, blocks: Sequence[int] = (-1,)) -> list[Tensor]:
    """Attention that the class token pays to each patch.

    Every block's own attention stays fused; the class token's row is computed from its query and all keys.

    Args:
        vit: timm's, with a class token; registers may follow it and are left out.
        images: (B, C, H, W) float, normalised; H and W divide into patches.
        blocks: which, from the front or, negative, from the end.

    Returns:
        per block (B, heads, h, w), times the number of patches, so that an even spread is about 1: exactly 1 where the
        class token keeps nothing for itself.

    Raises:
        SardinoError: no class token, no such block, a size that is not whole patches, a layer of another kind.
    """
    if getattr(vit, "cls_token", None) is None:
        raise SardinoError(f"this {type(vit).__name__} has no class token: ask for the attention of patches")
    grid = patch_grid(vit, images)
    return [_maps(vit, layer.rows(slice(1)), grid).squeeze(2) for layer in layer_inputs(vit, images, blocks)]


@torch.no_grad()
def patch_attention(vit: nn.Module, images: Tensor, points: Sequence[tuple[int, int]], block: int = -1) -> Tensor:
    """Attention that chosen patches pay to each patch.

    Args:
        vit, images: as for `class_attention`; no class token is needed.
        points: (row, column) of the patches in the grid.
        block: which.

    Returns:
        (B, heads, points, h, w), times the number of patches.

    Raises:
        SardinoError: as for `class_attention`; a point outside the grid.
    """
    height, width = patch_grid(vit, images)
    for row, column in points:
        if not (0 <= row < height and 0 <= column < width):
            raise SardinoError(f"patch ({row}, {column}) is outside the grid of {height} x {width} patches")
    tokens = [prefix_tokens(vit) + row * width + column for row, column in points]
    (layer,) = layer_inputs(vit, images, [block])
    return _maps(vit, layer.rows(tokens), (height, width))


@torch.no_grad()
def rollout(vit: nn.Module, images: Tensor, residual: float = 0.5) -> Tensor:
    """Attention rollout from the class token to the patches (Abnar and Zuidema 2020).

    The matrices of all blocks, averaged over heads and mixed with the identity for the residual connection, are
    multiplied; here a single row runs through them from the last to the first, a few rows of a matrix at a time.

    Args:
        residual: share of the identity.

    Returns:
        (B, h, w), times the number of patches.
    """
    if getattr(vit, "cls_token", None) is None:
        raise SardinoError(f"this {type(vit).__name__} has no class token to roll attention out from")
    grid = patch_grid(vit, images)
    layers = layer_inputs(vit, images, range(block_count(vit)))
    batch, count, _ = layers[0].x.shape
    reached = layers[0].x.new_zeros(batch, count)
    reached[:, 0] = 1
    for layer in reversed(layers):
        query, key = queries_and_keys(layer.attention, layer.x, slice(None), layer.rope)
        passed = torch.zeros_like(reached)
        for start in range(0, count, ROWS):
            scores = (query[:, :, start : start + ROWS] * layer.attention.scale) @ key.transpose(-2, -1)
            weights = scores.softmax(-1).mean(1)  # (B, rows, N)
            passed += (reached[:, None, start : start + ROWS] @ weights).squeeze(1)
        reached = residual * reached + (1 - residual) * passed
    patches = reached[:, prefix_tokens(vit) :].unflatten(-1, grid)
    return patches * (grid[0] * grid[1])


@torch.no_grad()
def patch_tokens(vit: nn.Module, images: Tensor) -> Tensor:
    """(B, h, w, D) normalised tokens of the last block; the class token and registers are left out."""
    grid = patch_grid(vit, images)
    tokens: Tensor = vit.forward_features(images)  # type: ignore[operator]
    return tokens[:, prefix_tokens(vit) :].unflatten(1, grid)


def layer_inputs(vit: nn.Module, images: Tensor, blocks: Sequence[int]) -> list[LayerInput]:
    """What the attention layers of some blocks are given, in the order asked; later blocks are not computed.

    Raises:
        SardinoError: no such block, or one without a single attention layer.
    """
    layers = list(getattr(vit, "blocks", ()))
    wanted = [_index(block, len(layers)) for block in blocks]
    found: dict[int, LayerInput] = {}
    last = max(wanted)
    with ExitStack() as stack:
        for number in set(wanted):
            attention = getattr(layers[number], "attn", None)
            if not isinstance(attention, SelfAttention):
                raise SardinoError(
                    f"block {number} of this {type(vit).__name__} has no attention that can be read: "
                    "a ViT with timm's Attention, AttentionRope or EvaAttention in each block can be"
                )
            stack.enter_context(_watched(attention, number, found, ends=number == last))
        stack.enter_context(suppress(_SeenEnough))
        vit.forward_features(images)  # type: ignore[operator]
    return [found[number] for number in wanted]


def patch_grid(vit: nn.Module, images: Tensor) -> tuple[int, int]:
    """(rows, columns) of patches of these images."""
    height, width = cast(Any, vit).patch_embed.patch_size
    if images.ndim != 4 or images.shape[-2] % height or images.shape[-1] % width:
        raise SardinoError(f"images of {tuple(images.shape)} do not divide into patches of {height} x {width} px")
    return images.shape[-2] // height, images.shape[-1] // width


def prefix_tokens(vit: nn.Module) -> int:
    """Class token and registers, which come before the patches."""
    return int(cast(Any, vit).num_prefix_tokens)


def block_count(vit: nn.Module) -> int:
    return len(cast(Any, vit).blocks)


class _SeenEnough(Exception):
    """Ends a pass through a ViT whose later blocks nobody asked for."""


@contextmanager
def _watched(attention: SelfAttention, number: int, found: dict[int, LayerInput], ends: bool) -> Iterator[None]:
    def see(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if named.get("attn_mask") is not None or named.get("is_causal"):
            raise SardinoError("attention under a mask cannot be read")
        rope = given[1] if len(given) > 1 else named.get("rope")
        found[number] = LayerInput(attention, given[0], rope)
        if ends:
            raise _SeenEnough

    handle = attention.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _index(block: int, count: int) -> int:
    if not -count <= block < count:
        raise SardinoError(f"there is no block {block}: this ViT has {count}, from 0 to {count - 1}")
    return block % count


def _maps(vit: nn.Module, rows: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, heads, tokens, N) rows as maps over patches, relative to an even spread."""
    return rows[..., prefix_tokens(vit) :].unflatten(-1, grid) * (grid[0] * grid[1])
