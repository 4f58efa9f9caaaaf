"""A trained segmenter on disk: its weights as safetensors, and beside them the card that they must be used with."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sardino.errors import SardinoError
from sardino.models.segmenter import Segmenter
from sardino.training.checkpoint import digest_of, write_card
from sardino.training.segmenter_card import FORMAT, REMEDY, SegmenterCard, segmenter_page

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
        save_file(state, partial, {"format": FORMAT})
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
