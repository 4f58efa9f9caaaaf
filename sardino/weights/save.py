"""A pre-trained backbone on disk: weights as safetensors, and beside them what they must be used with."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.dino.vit import build_vit
from sardino.errors import SardinoError
from sardino.segmentation.segmenter import Segmenter
from sardino.weights.card import (
    FORMAT,
    REMEDY,
    SEGMENTER_FORMAT,
    VERSION,
    Card,
    SegmenterCard,
    segmenter_page,
    timm_call,
)
from sardino.weights.page import model_card


def save_backbone(
    folder: Path,
    weights: Mapping[str, dict[str, Tensor]],
    card: Card,
    *,
    measured: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, str]:
    """Write each network's weights, a page for people (README.md) and then the card, whole or not at all.

    Args:
        folder: is made if missing.
        weights: "teacher" and "student" state dictionaries.
        card: what they are.
        measured: name and value of what the end of the run was judged by, for the page.
        warnings: what was wrong with the run, for the page.

    Returns:
        sha256 of each weights file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    digests = {}
    for name, state in weights.items():
        target = folder / f"{name}.safetensors"
        save_file(state, target.with_suffix(".partial"), header(card, name))
        os.replace(target.with_suffix(".partial"), target)
        digests[name] = digest_of(target)
    write_card(folder / "README.md", model_card(card, digests, measured or {}, warnings))
    # The card comes last: a folder without one is half-written and refused.
    write_card(folder / "card.json", json.dumps({**card.to_dict(), "sha256": digests}, indent=1))
    return digests


def header(card: Card, network: str) -> dict[str, str]:
    """What a weights file tells of itself where its card is lost: JSON under one key.

    One key because the library writes several in any order, and equal weights are to be equal files. The revision of
    the code is left to the card for the same reason.
    """
    said = {
        "version": VERSION,
        "network": network,
        "channels": list(card.channels),
        "unit": card.unit,
        "normalisation": card.normalisation,
        "trained_on": card.trained_on,
        "timm": timm_call(card.architecture, f"{network}.safetensors"),
    }
    return {FORMAT: json.dumps(said)}


def load_backbone(
    folder: Path, channels: tuple[str, ...], unit: str, network: Literal["teacher", "student"] = "teacher"
) -> tuple[VisionTransformer, Card]:
    """Read a backbone back, every weight or none.

    Args:
        folder: as `save_backbone` wrote it, in this version or an earlier one.
        channels, unit: of the data it is about to see; a mismatch is refused by name.
        network: which of the two.

    Raises:
        SardinoError: nothing there, half-written, damaged, or trained on other channels or units.
    """
    path = folder / "card.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SardinoError(
            f"{folder} holds no finished pre-training (card.json is missing): run the pre-training"
        ) from None
    except ValueError as error:
        raise SardinoError(f"{path} is not JSON ({error}): run the pre-training again") from None
    card = Card.from_dict(content, path)
    if card.channels != tuple(channels):
        raise SardinoError(
            f"the backbone in {folder} was trained on channels {', '.join(card.channels)}, "
            f"the data has {', '.join(channels)}: use a backbone trained on these"
        )
    if card.unit != unit:
        raise SardinoError(f"the backbone in {folder} was trained on {card.unit}, the data is in {unit}: convert it")
    path = folder / f"{network}.safetensors"
    if not path.is_file() or digest_of(path) != content.get("sha256", {}).get(network):
        raise SardinoError(
            f"{path} is missing or damaged (its hash differs from card.json): run the pre-training again"
        )
    vit = build_vit(card.architecture)
    try:
        vit.load_state_dict(load_file(path), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise SardinoError(
            f"{path} does not fit the architecture in card.json ({error}): run the pre-training again"
        ) from None
    return vit, card


def digest_of(path: Path) -> str:
    """sha256 of a file of weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_card(target: Path, text: str) -> None:
    """A text beside weights, whole or not at all."""
    partial = target.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, target)


# A trained segmenter on disk: its weights as safetensors, and beside them the card that they must be used with.

WEIGHTS, CARD, PAGE = "segmenter.safetensors", "segmenter.json", "README.md"


def save_segmenter(folder: Path, model: Segmenter, card: SegmenterCard) -> str:
    """Write the weights, a page for people and then the card, whole or not at all.

    Returns:
        sha256 of the weights' file.

    Raises:
        SardinoError: the disk is full.
    """
    state = {name: weights.detach().cpu().contiguous() for name, weights in model.state_dict().items()}
    partial = folder / f"{WEIGHTS}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)
        save_file(state, partial, {"format": SEGMENTER_FORMAT})
        os.replace(partial, folder / WEIGHTS)
        digest = digest_of(folder / WEIGHTS)
        write_card(folder / PAGE, segmenter_page(card, digest))
        # The card comes last: a folder without one is half-written and refused.
        write_card(folder / CARD, json.dumps({**card.to_dict(), "sha256": digest}, indent=1))
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise SardinoError(f"a segmenter cannot be written to {folder} ({error}): free some disk") from error
    return digest


def load_segmenter(folder: Path) -> tuple[Segmenter, SegmenterCard]:
    """Read a segmenter back, every weight or none, in evaluation mode on the CPU.

    Raises:
        SardinoError: nothing there, half-written or damaged.
    """
    path = folder / CARD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise SardinoError(f"{folder} holds no trained segmenter ({CARD} is missing): {REMEDY}") from None
    except ValueError as error:
        raise SardinoError(f"{path} is not JSON ({error}): {REMEDY}") from None
    card = SegmenterCard.from_dict(content, path)
    weights = folder / WEIGHTS
    if not weights.is_file() or digest_of(weights) != content.get("sha256"):
        raise SardinoError(f"{weights} is missing or damaged (its hash differs from {CARD}): {REMEDY}")
    model = card.build()
    try:
        model.load_state_dict(load_file(weights), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise SardinoError(f"{weights} does not fit its card ({error}): {REMEDY}") from None
    return model.eval(), card
