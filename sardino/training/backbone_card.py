"""The card of a pre-trained backbone: its shape, the input it expects, where it comes from, how it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sardino.errors import SardinoError
from sardino.models.vit import Architecture

FORMAT, VERSION = "sardino-backbone", 2
KEYS = ("architecture", "channels", "unit", "normalisation", "trained_on", "recipe")
"""Of a card of any version."""


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
        run: `Run.decides()`: steps, batch, seed; empty where it is not known.
        code_revision: of the code that trained it; "" where it is not known, as in cards of version 1.

    Raises:
        SardinoError: channels, units and architecture do not fit together.
    """

    architecture: Architecture
    channels: tuple[str, ...]
    unit: str
    normalisation: dict[str, Any]
    trained_on: dict[str, Any]
    recipe: dict[str, Any]
    run: dict[str, Any] = field(default_factory=dict)
    code_revision: str = ""

    def __post_init__(self) -> None:
        if len(self.channels) != self.architecture.channels:
            raise SardinoError(
                f"a backbone of {self.architecture.channels} channels cannot take {', '.join(self.channels)}: "
                "name each channel once"
            )
        taken = self.normalisation
        if tuple(taken.get("channels", ())) != self.channels or taken.get("unit") != self.unit:
            raise SardinoError(
                f"the backbone's normalisation is not of its channels {', '.join(self.channels)} in {self.unit}: "
                "take it from the tiles it was trained on"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "architecture": self.architecture.to_dict(),
            "channels": list(self.channels),
            "unit": self.unit,
            "normalisation": self.normalisation,
            "trained_on": self.trained_on,
            "recipe": self.recipe,
            "run": self.run,
            "code_revision": self.code_revision,
        }

    @classmethod
    def from_dict(cls, content: Any, path: Path) -> "Card":
        """Back from `to_dict`, and from version 1, which knew neither run nor revision.

        Args:
            content: JSON values.
            path: named in what is refused.

        Raises:
            SardinoError: no card, a later version, or one that lacks something.
        """
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise SardinoError(f"{path} is no card of a {FORMAT}: run the pre-training again")
        if content.get("version") not in range(1, VERSION + 1):
            raise SardinoError(
                f"{path} is a {FORMAT} of version {content.get('version')}, this code reads 1 to {VERSION}: "
                "update sardino, or run the pre-training again"
            )
        if missing := [name for name in KEYS if name not in content]:
            raise SardinoError(f"{path} lacks {', '.join(missing)}: run the pre-training again")
        try:
            return cls(
                Architecture(**content["architecture"]),
                tuple(content["channels"]),
                content["unit"],
                content["normalisation"],
                content["trained_on"],
                content["recipe"],
                content.get("run", {}),
                content.get("code_revision", ""),
            )
        except (TypeError, AttributeError) as error:
            raise SardinoError(f"{path} is damaged ({error}): run the pre-training again") from None
        except SardinoError as error:
            raise SardinoError(f"{path} is damaged: {error}") from None


def timm_call(architecture: Architecture, weights: str = "") -> str:
    """Python text that builds this ViT with timm alone; its state dictionary has the names of the saved one.

    Any ViT of timm would do as the named one: what differs is said in full.

    Args:
        architecture: shape of the ViT.
        weights: file to load, every weight or none; "" leaves the ViT random.
    """
    said: dict[str, Any] = {
        "img_size": architecture.tile_px,
        "patch_size": architecture.patch,
        "in_chans": architecture.channels,
        "embed_dim": architecture.width,
        "depth": architecture.depth,
        "num_heads": architecture.heads,
        "num_classes": 0,
        "global_pool": "token",
        "dynamic_img_size": True,
    }
    if weights:
        said["checkpoint_path"] = weights
    quoted = {name: f'"{value}"' if isinstance(value, str) else str(value) for name, value in said.items()}
    lines = "".join(f"    {name}={value},\n" for name, value in quoted.items())
    return f'timm.create_model(\n    "vit_tiny_patch16_224",\n{lines})'
