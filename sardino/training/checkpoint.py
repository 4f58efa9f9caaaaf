"""A pre-trained backbone on disk: weights as safetensors, and beside them what they must be used with."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.errors import SardinoError
from sardino.models.vit import Architecture, build_vit

FORMAT, VERSION = "sardino-backbone", 1


@dataclass(frozen=True)
class Card:
    """What a backbone is: its shape, the input it expects, and where it comes from.

    Args:
        architecture: shape of the ViT.
        channels: names of the input channels, in order.
        unit: of the input before normalisation.
        normalisation: `Normalisation.to_dict()` of the pre-training tiles.
        trained_on: regions, number of tiles, data fingerprint, whether synthetic.
        recipe: `Recipe.to_dict()`.
    """

    architecture: Architecture
    channels: tuple[str, ...]
    unit: str
    normalisation: dict[str, Any]
    trained_on: dict[str, Any]
    recipe: dict[str, Any]


def save_backbone(folder: Path, weights: dict[str, dict[str, Tensor]], card: Card) -> dict[str, str]:
    """Write each network's weights and then the card, whole or not at all.

    Args:
        folder: is made if missing.
        weights: "teacher" and "student" state dictionaries.

    Returns:
        sha256 of each weights file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    digests = {}
    for name, state in weights.items():
        target = folder / f"{name}.safetensors"
        save_file(state, target.with_suffix(".partial"))
        os.replace(target.with_suffix(".partial"), target)
        digests[name] = hashlib.sha256(target.read_bytes()).hexdigest()
    content = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": card.architecture.to_dict(),
        "channels": list(card.channels),
        "unit": card.unit,
        "normalisation": card.normalisation,
        "trained_on": card.trained_on,
        "recipe": card.recipe,
        "sha256": digests,
    }
    # The card comes last: a folder without one is half-written and refused.
    (folder / "card.partial").write_text(json.dumps(content, indent=1))
    os.replace(folder / "card.partial", folder / "card.json")
    return digests


def load_backbone(
    folder: Path, channels: tuple[str, ...], unit: str, network: Literal["teacher", "student"] = "teacher"
) -> tuple[VisionTransformer, Card]:
    """Read a backbone back, every weight or none.

    Args:
        channels, unit: of the data it is about to see; a mismatch is refused by name.

    Raises:
        SardinoError: nothing there, half-written, damaged, or trained on other channels or units.
    """
    try:
        content = json.loads((folder / "card.json").read_text())
    except FileNotFoundError:
        raise SardinoError(
            f"{folder} holds no finished pre-training (card.json is missing): run the pre-training"
        ) from None
    except ValueError as error:
        raise SardinoError(f"{folder / 'card.json'} is not JSON ({error}): run the pre-training again") from None
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise SardinoError(f"{folder / 'card.json'} is not a {FORMAT} of version {VERSION}: run the pre-training again")
    if tuple(content["channels"]) != tuple(channels):
        raise SardinoError(
            f"the backbone in {folder} was trained on channels {', '.join(content['channels'])}, "
            f"the data has {', '.join(channels)}: use a backbone trained on these"
        )
    if content["unit"] != unit:
        raise SardinoError(
            f"the backbone in {folder} was trained on {content['unit']}, the data is in {unit}: convert it"
        )
    path = folder / f"{network}.safetensors"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != content["sha256"].get(network):
        raise SardinoError(
            f"{path} is missing or damaged (its hash differs from card.json): run the pre-training again"
        )
    architecture = Architecture(**content["architecture"])
    vit = build_vit(architecture)
    try:
        vit.load_state_dict(load_file(path), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise SardinoError(f"{path} does not fit the architecture in card.json ({error})") from None
    card = Card(
        architecture,
        tuple(content["channels"]),
        content["unit"],
        content["normalisation"],
        content["trained_on"],
        content["recipe"],
    )
    return vit, card
