"""The card of a trained segmenter: the network, the input it expects, the classes it tells, how well it did."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from sardino.errors import SardinoError
from sardino.models.segmenter import EncodingName, Segmenter, build_segmenter
from sardino.models.vit import Architecture, build_vit
from sardino.tiles.landcover import Legend

FORMAT, VERSION = "sardino-segmenter", 1
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
        return {"format": FORMAT, "version": VERSION, **asdict(self), "channels": list(self.channels)}

    @classmethod
    def from_dict(cls, content: Any, path: Path) -> "SegmenterCard":
        """Back from `to_dict`.

        Args:
            content: JSON values.
            path: named in what is refused.

        Raises:
            SardinoError: no card, another version, or one that lacks something.
        """
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise SardinoError(f"{path} is no card of a {FORMAT}: {REMEDY}")
        if content.get("version") != VERSION:
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
