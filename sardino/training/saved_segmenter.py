"""A trained segmenter on disk: its weights as safetensors, and beside them the card that they must be used with."""

import hashlib
import json
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sardino.errors import SardinoError
from sardino.models.segmenter import Segmenter
from sardino.training.segmenter_card import FORMAT, REMEDY, SegmenterCard, segmenter_page

WEIGHTS, CARD, PAGE = "segmenter.safetensors", "segmenter.json", "README.md"


def save_segmenter(folder: Path, model: Segmenter, card: SegmenterCard) -> str:
    """Write the weights, a page for people and then the card, whole or not at all.

    Returns:
        sha256 of the weights' file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    state = {name: weights.detach().cpu().contiguous() for name, weights in model.state_dict().items()}
    partial = folder / f"{WEIGHTS}.partial"
    save_file(state, partial, {"format": FORMAT})
    os.replace(partial, folder / WEIGHTS)
    digest = _sha256(folder / WEIGHTS)
    _write(folder / PAGE, segmenter_page(card, digest))
    # The card comes last: a folder without one is half-written and refused.
    _write(folder / CARD, json.dumps({**card.to_dict(), "sha256": digest}, indent=1))
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
    if not weights.is_file() or _sha256(weights) != content.get("sha256"):
        raise SardinoError(f"{weights} is missing or damaged (its hash differs from {CARD}): {REMEDY}")
    model = card.build()
    try:
        model.load_state_dict(load_file(weights), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise SardinoError(f"{weights} does not fit its card ({error}): {REMEDY}") from None
    return model.eval(), card


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(target: Path, text: str) -> None:
    partial = target.with_name(f"{target.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, target)
