"""Weights on disk: safetensors, a page for people, and the card that they must be used with; whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.dino.recipe import Network
from sardino.dino.vit import build_vit
from sardino.errors import SardinoError
from sardino.files import sha256_of, whole, write_text
from sardino.segmentation.segmenter import Segmenter
from sardino.weights.card import Card, SavedCard, SegmenterCard
from sardino.weights.page import model_card, segmenter_page, timm_call

BACKBONE_CARD, SEGMENTER_CARD, SEGMENTER_WEIGHTS = "card.json", "segmenter.json", "segmenter.safetensors"
AnyCard = TypeVar("AnyCard", bound=SavedCard)


def save_backbone(
    folder: Path,
    weights: Mapping[str, dict[str, Tensor]],
    card: Card,
    *,
    measured: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, str]:
    """Write each network's weights, a page for people (README.md) and then the card.

    Args:
        weights: "teacher" and "student" state dictionaries.
        measured: name and value of what the end of the run was judged by, for the page.
        warnings: what was wrong with the run, for the page.

    Returns:
        sha256 of each weights file.
    """
    (folder / BACKBONE_CARD).unlink(missing_ok=True)
    digests = {}
    for name, state in weights.items():
        digests[name] = _write_weights(state, folder / f"{name}.safetensors", _header(card, name))
    write_text(model_card(card, digests, measured or {}, warnings), folder / "README.md")
    _write_card(card, digests, folder / BACKBONE_CARD)
    return digests


def save_segmenter(folder: Path, model: Segmenter, card: SegmenterCard) -> str:
    """Write the weights, a page for people and then the card.

    Returns:
        sha256 of the weights' file.

    Raises:
        SardinoError: the disk is full.
    """
    state = {name: weights.detach().cpu().contiguous() for name, weights in model.state_dict().items()}
    try:
        (folder / SEGMENTER_CARD).unlink(missing_ok=True)
        digest = _write_weights(state, folder / SEGMENTER_WEIGHTS, {"format": card.format()})
        write_text(segmenter_page(card, digest), folder / "README.md")
        _write_card(card, digest, folder / SEGMENTER_CARD)
    except (OSError, SafetensorError) as error:
        raise SardinoError(f"a segmenter cannot be written to {folder} ({error}): free some disk") from error
    return digest


def load_backbone(
    folder: Path, channels: tuple[str, ...], unit: str, network: Network = "teacher"
) -> tuple[VisionTransformer, Card]:
    """Read a backbone back, every weight or none, from this version or an earlier one.

    Args:
        channels, unit: of the data it is about to see; a mismatch is refused by name.

    Raises:
        SardinoError: nothing there, half-written, damaged, or trained on other channels or units.
    """
    card, digests = _read_card(folder / BACKBONE_CARD, Card, "finished pre-training")
    if card.channels != tuple(channels):
        raise SardinoError(
            f"the backbone in {folder} was trained on channels {', '.join(card.channels)}, "
            f"the data has {', '.join(channels)}: use a backbone trained on these"
        )
    if card.unit != unit:
        raise SardinoError(f"the backbone in {folder} was trained on {card.unit}, the data is in {unit}: convert it")
    vit = build_vit(card.architecture)
    digest = digests.get(network) if isinstance(digests, Mapping) else None
    _read_weights(vit, folder / f"{network}.safetensors", digest, BACKBONE_CARD, card.REMEDY)
    return vit, card


def load_segmenter(folder: Path) -> tuple[Segmenter, SegmenterCard]:
    """Read a segmenter back, every weight or none, in evaluation mode on the CPU.

    Raises:
        SardinoError: nothing there, half-written or damaged.
    """
    card, digest = _read_card(folder / SEGMENTER_CARD, SegmenterCard, "trained segmenter")
    model = card.build()
    _read_weights(model, folder / SEGMENTER_WEIGHTS, digest, SEGMENTER_CARD, card.REMEDY)
    return model.eval(), card


def _header(card: Card, network: str) -> dict[str, str]:
    """What a weights file tells of itself where its card is lost: JSON under one key.

    One key because the library writes several in any order, and equal weights are to be equal files. The revision of
    the code is left to the card for the same reason.
    """
    said = {
        "version": card.VERSION,
        "network": network,
        "channels": list(card.channels),
        "unit": card.unit,
        "normalisation": card.normalisation,
        "trained_on": card.trained_on,
        "timm": timm_call(card.architecture, f"{network}.safetensors"),
    }
    return {card.format(): json.dumps(said)}


def _write_weights(state: dict[str, Tensor], path: Path, header: dict[str, str]) -> str:
    with whole(path) as partial:
        save_file(state, partial, header)
    return sha256_of(path)


def _write_card(card: SavedCard, sha256: object, path: Path) -> None:
    """The card comes last: a folder without one is half-written and refused."""
    write_text(json.dumps({**card.to_dict(), "sha256": sha256}, indent=1), path)


def _read_card(path: Path, kind: type[AnyCard], what: str) -> tuple[AnyCard, object]:
    """The card, and the digests that were written with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise SardinoError(f"{path.parent} holds no {what} ({path.name} is missing): {kind.REMEDY}") from None
    except ValueError as error:
        raise SardinoError(f"{path} is not JSON ({error}): {kind.REMEDY}") from None
    return kind.from_dict(content, path), content.get("sha256")


def _read_weights(model: nn.Module, path: Path, digest: object, card: str, remedy: str) -> None:
    """Every weight or none."""
    if not path.is_file() or sha256_of(path) != digest:
        raise SardinoError(f"{path} is missing or damaged (its hash differs from {card}): {remedy}")
    try:
        model.load_state_dict(load_file(path), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise SardinoError(f"{path} does not fit the architecture in {card} ({error}): {remedy}") from None
