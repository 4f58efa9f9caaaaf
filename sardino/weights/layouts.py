"""Others' Vision Transformers as this package's own: what their weights are called and how they lie, made alike.

The repositories of DINO, DINOv2 and MAE name weights as timm does. What differs is where in the file they lie, what
lies beside them, and a few tensors, all of which a ViT of ours can take without a change of what it computes.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError

PATCHES = "patch_embed.proj.weight"
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Heads of the usual widths, ViT-Tiny to ViT-Huge; no weight shows them."""
BESIDE = re.compile(r"(head|fc|mask_token|decoder_\w+|decoder|projector|predictor)(\.|$)")
"""What a backbone is trained with and does without."""


def find_backbone(tensors: dict[str, Tensor], take: str, path: Path) -> tuple[str, dict[str, Tensor]]:
    """The ViT in a file: the name of its place, "" where it is the whole file, and its weights without that name.

    `take`: a part of the place's name, where a file holds several; by default the teacher. Raises SardinoError: none,
    or several.
    """
    places = [name.removesuffix(PATCHES) for name in tensors if f".{name}".endswith(f".{PATCHES}")]
    if not places:
        first = f"{len(tensors)} tensors, the first {next(iter(tensors))}" if tensors else "no tensor"
        raise SardinoError(
            f"{path} holds no Vision Transformer that names its weights as timm does ({PATCHES} is missing among "
            f"{first}): a CNN, or a ViT with other names, cannot be adopted"
        )
    wanted = take or ("teacher" if len(places) > 1 else "")
    chosen = [place for place in places if wanted in place]
    if len(chosen) != 1:
        listed = ", ".join(place.rstrip(".") or "(without a name)" for place in places)
        raise SardinoError(f"{path} holds the ViTs {listed}: say which with --take and a part of its name alone")
    place = chosen[0]
    inside = {name.removeprefix(place): tensor for name, tensor in tensors.items() if name.startswith(place)}
    return place.rstrip("."), {name: tensor for name, tensor in inside.items() if not BESIDE.match(name)}


def as_own(
    found: dict[str, Tensor], path: Path, heads: int | None = None, tile_px: int | None = None
) -> tuple[Architecture, dict[str, Tensor]]:
    """A ViT of others as one of ours that computes the same: its architecture and state dictionary, float32.

    Scales of layers (DINOv2) are multiplied into the weights that they scale; a bias that is missing is 0, as are
    positions that the class token or registers lack.

    Args:
        found: weights by timm's names, or those of the repositories of DINO, DINOv2 or MAE.
        path: of the file, for sentences.
        heads: by default those of ViTs of this width.
        tile_px: side of the images, whose positions are interpolated (bicubic); by default as trained.

    Raises SardinoError: a ViT that ours is not, by the names of its weights; heads that are not known.
    """
    # DINOv2 trains its blocks in chunks, within which their numbers go on: blocks.1.7 is block 7.
    state = {re.sub(r"^blocks\.\d+\.(?=\d+\.)", "blocks.", name): tensor for name, tensor in found.items()}
    state = {name: tensor.to(torch.float32, copy=True) for name, tensor in state.items()}
    if bad := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise SardinoError(f"{path} holds weights that are no numbers, in {_some(bad)}: adopt an earlier state")
    for name, why in (
        ("cls_token", "attention maps are those of a class token"),
        ("pos_embed", "positions are to be tensors of their own, added once"),
    ):
        if name not in state:
            raise SardinoError(f"the ViT in {path} has no {name}, and {why}: this one cannot be adopted")
    if "register_tokens" in state:
        state["reg_token"] = state.pop("register_tokens")
    if state[PATCHES].ndim != 4 or state["pos_embed"].ndim != 3:
        raise SardinoError(f"patches or positions of the ViT in {path} are not of images: this one cannot be adopted")
    width, channels, patch = state[PATCHES].shape[:3]
    if heads is None and (heads := HEADS.get(width)) is None:
        raise SardinoError(f"weights do not show how many heads a ViT of width {width} has: say it with --heads")
    numbers = [int(name.split(".")[1]) for name in state if re.match(r"blocks\.\d+\.", name)]
    depth, registers = 1 + max(numbers, default=-1), state["reg_token"].shape[1] if "reg_token" in state else 0
    for block in (f"blocks.{number}" for number in range(depth)):
        for scale, layer in (("ls1.gamma", "attn.proj"), ("ls2.gamma", "mlp.fc2")):
            if (gamma := state.pop(f"{block}.{scale}", None)) is not None:
                for name in {f"{block}.{layer}.weight", f"{block}.{layer}.bias"} & state.keys():
                    state[name] = (gamma * state[name].mT).mT if state[name].ndim == 2 else gamma * state[name]
        state.setdefault(f"{block}.attn.qkv.bias", torch.zeros(3 * width))
    state.setdefault("patch_embed.proj.bias", torch.zeros(width))
    positions = _positions(state["pos_embed"], registers, path)
    side = math.isqrt(positions.shape[1] - 1 - registers)
    architecture = Architecture(
        width, depth, heads, patch, channels=channels, tile_px=tile_px or side * patch, registers=registers
    )
    grid = [architecture.grid, architecture.grid]
    state["pos_embed"] = resample_abs_pos_embed(positions, grid, None, 1 + registers, antialias=False)
    with torch.device("meta"):  # names and shapes alone
        own = build_vit(architecture).state_dict()
    faults = {
        "has": state.keys() - own.keys(),
        "lacks": own.keys() - state.keys(),
        "has in another shape": {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape},
    }
    if any(faults.values()):
        told = " and ".join(f"{how} {_some(names)}" for how, names in faults.items() if names)
        raise SardinoError(f"the ViT in {path} computes something else than the one here, it {told}: not adopted")
    return architecture, {name: state[name].contiguous() for name in own}


def _positions(positions: Tensor, registers: int, path: Path) -> Tensor:
    """(1, 1 + registers + patches, D) of positions that may lack the class token's and the registers'."""
    count = positions.shape[1]
    # A square plus 1 is no square; n x (n + 2) patches, which nobody publishes, plus 1 are one and would be mistaken.
    for own in (1, 1 + registers, 0):
        if count > own and math.isqrt(count - own) ** 2 == count - own:
            without = positions.new_zeros(1, 1 + registers - own, positions.shape[2])
            return torch.cat([positions[:, :own], without, positions[:, own:]], 1)
    raise SardinoError(f"the {count} positions in {path} are of no square of patches: this ViT cannot be adopted")


def _some(names: Iterable[str]) -> str:
    first, *more = sorted(names)
    return f"{first} and {len(more)} more" if more else first
