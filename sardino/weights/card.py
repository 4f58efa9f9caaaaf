"""The card of a pre-trained backbone: its shape, the input it expects, where it comes from, how it is loaded."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from sardino.data.tiles.landcover import Legend
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.segmentation.segmenter import EncodingName, Segmenter, build_segmenter

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


# The card of a trained segmenter: the network, the input it expects, the classes it tells, how well it did.

SEGMENTER_FORMAT, SEGMENTER_VERSION = "sardino-segmenter", 1
REMEDY = "run the fine-tuning again"


@dataclass(frozen=True)
class SegmenterCard:
    """What a segmenter is, and what it must be used with.

    Args:
        encoding: "attention", "tokens", "unet" or "unet_attention".
        architecture: shape of the ViT and of the tiles; "unet" has no ViT and takes the size of its tiles from here.
        decoder: "unet_width", "unet_depth" and "decoder_width".
        channels: names of the input channels, in order.
        unit: of the input before normalisation.
        normalisation: `Normalisation.to_dict()` of the tiles it saw.
        legend: `Legend.to_dict()` of the classes.
        trained_on: regions, tiles with labels, pixel spacing, product, whether synthetic.
        training: initialisation, seed, steps, learning rates.
        measured: name and value of what it was judged by.
        code_revision: of the code that trained it.

    Raises:
        SardinoError: its parts do not fit together.
    """

    encoding: EncodingName
    architecture: Architecture
    decoder: dict[str, int]
    channels: tuple[str, ...]
    unit: str
    normalisation: dict[str, Any]
    legend: dict[str, Any]
    trained_on: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    code_revision: str = ""

    def __post_init__(self) -> None:
        if self.encoding not in get_args(EncodingName):
            raise SardinoError(f"no encoding is named '{self.encoding}': there are {', '.join(get_args(EncodingName))}")
        if len(self.channels) != self.architecture.channels:
            raise SardinoError(
                f"a segmenter of {self.architecture.channels} channels cannot take {', '.join(self.channels)}"
            )
        if tuple(self.normalisation.get("channels", ())) != self.channels or self.normalisation["unit"] != self.unit:
            raise SardinoError(f"the normalisation is not of {', '.join(self.channels)} in {self.unit}")

    @property
    def classes(self) -> Legend:
        return Legend.from_dict(self.legend)

    def build(self) -> Segmenter:
        """The network with random weights."""
        return build_segmenter(
            self.encoding,
            None if self.encoding == "unet" else build_vit(self.architecture),
            channels=len(self.channels),
            classes=len(self.legend["classes"]),
            unet_width=self.decoder["unet_width"],
            unet_depth=self.decoder["unet_depth"],
            decoder_width=self.decoder["decoder_width"],
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": SEGMENTER_FORMAT,
            "version": SEGMENTER_VERSION,
            **asdict(self),
            "channels": list(self.channels),
        }

    @classmethod
    def from_dict(cls, content: Any, path: Path) -> "SegmenterCard":
        """Back from `to_dict`.

        Args:
            content: JSON values.
            path: named in what is refused.

        Raises:
            SardinoError: no card, another version, or one that lacks something.
        """
        if not isinstance(content, Mapping) or content.get("format") != SEGMENTER_FORMAT:
            raise SardinoError(f"{path} is no card of a {FORMAT}: {REMEDY}")
        if content.get("version") != SEGMENTER_VERSION:
            raise SardinoError(
                f"{path} is a {FORMAT} of version {content.get('version')}, this code reads {VERSION}: {REMEDY}"
            )
        values = {name: value for name, value in content.items() if name in cls.__dataclass_fields__}
        try:
            architecture = Architecture(**values.pop("architecture"))
            return cls(architecture=architecture, channels=tuple(values.pop("channels")), **values)
        except (TypeError, KeyError, AttributeError) as error:
            raise SardinoError(f"{path} is damaged ({error}): {REMEDY}") from None
        except SardinoError as error:
            raise SardinoError(f"{path} is damaged: {error}") from None


def segmenter_page(card: SegmenterCard, digest: str) -> str:
    """README.md beside the weights: what the segmenter is, what it saw, how well it did, its limits."""
    shape, classes = card.architecture, card.classes
    network = {
        "attention": "a U-Net on the attention maps of a Vision Transformer",
        "tokens": "a convolutional decoder on the tokens of a Vision Transformer",
        "unet": "a U-Net on backscatter",
        "unet_attention": "a U-Net on backscatter and the attention maps of a Vision Transformer",
    }[card.encoding]
    vit = f" (width {shape.width}, {shape.depth} blocks, {shape.heads} heads, patches of {shape.patch} px)"
    synthetic = bool(card.trained_on.get("synthetic"))
    lines = [
        f"# Land cover from Sentinel-1{' (synthetic)' if synthetic else ''}: {card.encoding.replace('_', ' + ')}",
        "",
        f"{network[0].upper()}{network[1:]}{'' if card.encoding == 'unet' else vit}, trained to tell "
        f"{len(classes)} classes of {classes.name}{', labels derived from another image' if classes.derived else ''}.",
        "",
        "`sardino map SCENE -o landcover.tif --model FOLDER` maps a scene with it.",
        "",
        f"Input: {', '.join(card.channels)}, in {card.unit}. Classes: {', '.join(classes.names)}.",
        "",
        *(f"- {name}: {_said(value)}" for name, value in {**card.trained_on, **card.training}.items()),
        "",
        *(f"- **{name}: {value:.3f}**" for name, value in card.measured.items()),
        "",
        *(["Trained on a synthetic world: it shows that the method runs, and is no model of the Earth."] * synthetic),
        f"sha256 of the weights: `{digest}`. Code revision: {card.code_revision or 'not known'}.",
    ]
    return "\n".join(lines) + "\n"


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
