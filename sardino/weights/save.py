"""Weights on disk: safetensors, a page for people, and the card that they must be used with; whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.dino.recipe import Network
from sardino.dino.unet import UNet
from sardino.dino.vit import build_vit
from sardino.errors import SardinoError
from sardino.files import sha256_of, whole, write_text
from sardino.segmentation.segmenter import Segmenter
from sardino.weights.card import Card, SavedCard, SegmenterCard, model_card, segmenter_page, timm_call

SEGMENTER_WEIGHTS = "segmenter.safetensors"


def save_backbone(
    folder: Path,
    weights: Mapping[str, dict[str, Tensor]],
    card: Card,
    *,
    measured: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, str]:
    """Write each network's weights, a page (README.md) and then the card, and return the sha256 of each weights file.

    `weights`: "teacher" and "student" state dictionaries, of a hybrid "teacher-unet" and "student-unet". `measured`,
    `warnings`: for the page, as `model_card` takes them.
    """
    (folder / card.FILE).unlink(missing_ok=True)
    digests, content = {}, card.to_dict()
    for name, state in weights.items():
        # What a weights file tells of itself where its card is lost. JSON under one key, because the library writes
        # several in any order, and equal weights are to be equal files; so the code's revision is left to the card.
        file = f"{name}.safetensors"
        said = {"version": card.VERSION, "network": name}
        said |= {part: content[part] for part in ("channels", "unit", "normalisation", "trained_on")}
        if name in get_args(Network) and not card.architecture.texture:
            said["timm"] = timm_call(card.architecture, file)
        digests[name] = _write_weights(state, folder / file, {card.FORMAT: json.dumps(said)})
    _write_card(card, digests, folder, model_card(card, digests, measured or {}, warnings))
    return digests


def save_segmenter(folder: Path, model: Segmenter, card: SegmenterCard) -> str:
    """Write the weights, a page and then the card, and return the weights' sha256."""
    state = {name: weights.detach().cpu().contiguous() for name, weights in model.state_dict().items()}
    (folder / card.FILE).unlink(missing_ok=True)
    digest = _write_weights(state, folder / SEGMENTER_WEIGHTS, {"format": card.FORMAT})
    _write_card(card, digest, folder, segmenter_page(card, digest))
    return digest


def load_backbone(
    folder: Path, channels: Sequence[str], unit: str, network: Network = "teacher", tile_px: int | None = None
) -> tuple[VisionTransformer, Card]:
    """Read a backbone back, every weight or none, from this version or an earlier one.

    `channels`, `unit`, `tile_px`: of the data it is about to see; a mismatch is refused by name. Raises SardinoError:
    nothing there, half-written, damaged, or trained on other data than these.
    """
    card, digests = Card.read(folder, "finished pre-training")
    card.require_fit(folder, "the data", channels, unit, tile_px=tile_px)
    vit, known = build_vit(card.architecture), digests if isinstance(digests, Mapping) else {}
    if card.adopted and network not in known:
        raise SardinoError(f"the weights in {folder} were adopted, as {', '.join(known)}: ask for that, not {network}")
    _read_weights(vit, folder / f"{network}.safetensors", known.get(network), card)
    return vit, card


def load_unet(folder: Path, model: Segmenter, network: Network = "teacher") -> None:
    """Give a hybrid the U-Net that was pre-trained with its backbone, but for the last layer; nothing where none was.

    Raises SardinoError: damaged, or of another size than the hybrid's.
    """
    card, digests = Card.read(folder)
    name = f"{network}-unet"
    if model.encoding != "hybrid" or not isinstance(digests, Mapping) or name not in digests:
        return
    sizes = {size: card.recipe[size] for size in ("unet_width", "unet_depth")}
    vit, outputs = card.architecture, 2 * card.architecture.channels
    learnt = UNet(vit.channels, outputs, sizes["unet_width"], sizes["unet_depth"], tokens=vit.width)
    _read_weights(learnt, folder / f"{name}.safetensors", digests[name], card)
    learnt.classify = cast(nn.Conv2d, model.decoder.classify)
    try:
        model.decoder.load_state_dict(learnt.state_dict())
    except RuntimeError:
        told = " and ".join(f"{size} = {value}" for size, value in sizes.items())
        raise SardinoError(
            f"the backbone in {folder} was pre-trained with a U-Net of {told}: fine-tune one like it"
        ) from None


def load_segmenter(folder: Path) -> tuple[Segmenter, SegmenterCard]:
    """Read a segmenter back as `load_backbone` does, in evaluation mode on the CPU."""
    card, digest = SegmenterCard.read(folder, "trained segmenter")
    model = card.build()
    _read_weights(model, folder / SEGMENTER_WEIGHTS, digest, card)
    return model.eval(), card


def _write_weights(state: dict[str, Tensor], path: Path, header: dict[str, str]) -> str:
    with whole(path) as partial:
        save_file(state, partial, header)
    return sha256_of(path)


def _write_card(card: SavedCard, sha256: object, folder: Path, page: str) -> None:
    """The card comes last: a folder without one is half-written and refused."""
    write_text(page, folder / "README.md")
    write_text(json.dumps({**card.to_dict(), "sha256": sha256}, indent=1), folder / card.FILE)


def _read_weights(model: nn.Module, path: Path, digest: object, card: SavedCard) -> None:
    """Every weight or none."""
    if not path.is_file() or sha256_of(path) != digest:
        raise SardinoError(f"{path} is missing or damaged (its hash differs from {card.FILE}): {card.REMEDY}")
    try:
        model.load_state_dict(load_file(path), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise SardinoError(f"{path} does not fit the architecture in {card.FILE} ({error}): {card.REMEDY}") from None
