"""The cards beside saved weights: what a backbone or a segmenter is, the input it expects, where it comes from."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

from sardino.data.tiles.landcover import Legend
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.segmentation.segmenter import EncodingName, Segmenter, build_segmenter


class SavedCard:
    """What both cards do: refuse parts that do not fit together, and go to JSON and back.

    Raises:
        SardinoError: channels, units and architecture do not fit together.
    """

    KIND: ClassVar[str]
    VERSION: ClassVar[int]
    REMEDY: ClassVar[str]

    architecture: Architecture
    channels: tuple[str, ...]
    unit: str
    normalisation: dict[str, Any]

    def __post_init__(self) -> None:
        if len(self.channels) != self.architecture.channels:
            raise SardinoError(
                f"a {self.KIND} of {self.architecture.channels} channels cannot take {', '.join(self.channels)}: "
                "name each channel once"
            )
        of = self.normalisation
        if tuple(of.get("channels", ())) != self.channels or of.get("unit") != self.unit:
            raise SardinoError(
                f"the normalisation is not of its channels {', '.join(self.channels)} in {self.unit}: "
                "take it from the tiles it was trained on"
            )

    @classmethod
    def format(cls) -> str:
        return f"sardino-{cls.KIND}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = asdict(self)  # type: ignore[call-overload]
        return {"format": self.format(), "version": self.VERSION, **values, "channels": list(self.channels)}

    @classmethod
    def from_dict(cls, content: Any, path: Path) -> Self:
        """Back from `to_dict`; what an earlier version did not know is empty.

        Args:
            content: JSON values.
            path: named in what is refused.

        Raises:
            SardinoError: no card, a later version, or one that lacks something.
        """
        if not isinstance(content, Mapping) or content.get("format") != cls.format():
            raise SardinoError(f"{path} is no card of a {cls.format()}: {cls.REMEDY}")
        if content.get("version") not in range(1, cls.VERSION + 1):
            raise SardinoError(
                f"{path} is a {cls.format()} of version {content.get('version')}, this code reads 1 to {cls.VERSION}: "
                f"update sardino, or {cls.REMEDY}"
            )
        values = {}
        missing = []
        for each in fields(cls):  # type: ignore[arg-type]
            if each.name in content:
                values[each.name] = content[each.name]
            elif each.default is MISSING and each.default_factory is MISSING:
                missing.append(each.name)
        if missing:
            raise SardinoError(f"{path} lacks {', '.join(missing)}: {cls.REMEDY}")
        try:
            values["architecture"] = Architecture(**values["architecture"])
            values["channels"] = tuple(values["channels"])
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise SardinoError(f"{path} is damaged ({error}): {cls.REMEDY}") from None
        except SardinoError as error:
            raise SardinoError(f"{path} is damaged: {error}") from None


@dataclass(frozen=True)
class Card(SavedCard):
    """What a backbone is.

    Args:
        channels, unit: of the input before normalisation, in order.
        normalisation: `Normalisation.to_dict()` of the pre-training tiles.
        trained_on: regions, number of tiles, data fingerprint, whether synthetic.
        recipe: `Recipe.to_dict()`.
        run: `Run.decides()`: steps, batch, seed; empty where it is not known, as in cards of version 1.
        code_revision: of the code that trained it; "" where it is not known.
    """

    KIND, VERSION, REMEDY = "backbone", 2, "run the pre-training again"

    architecture: Architecture
    channels: tuple[str, ...]
    unit: str
    normalisation: dict[str, Any]
    trained_on: dict[str, Any]
    recipe: dict[str, Any]
    run: dict[str, Any] = field(default_factory=dict)
    code_revision: str = ""


@dataclass(frozen=True)
class SegmenterCard(SavedCard):
    """What a segmenter is, and what it must be used with.

    Args:
        architecture: shape of the ViT and of the tiles; "unet" has no ViT and takes the size of its tiles from here.
        decoder: "unet_width", "unet_depth" and "decoder_width".
        channels, unit, normalisation: as in `Card`, of the tiles it saw.
        legend: `Legend.to_dict()` of the classes.
        trained_on: regions, tiles with labels, pixel spacing, product, whether synthetic.
        training: initialisation, seed, steps, learning rates.
        measured: name and value of what it was judged by.
    """

    KIND, VERSION, REMEDY = "segmenter", 1, "run the fine-tuning again"

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
        super().__post_init__()

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
