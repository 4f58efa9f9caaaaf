"""What goes beside saved weights: the card that they must be used with, and a page for people by a template."""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sardino.data.tiles.landcover import Legend
from sardino.dino.health import History
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.files import read_text
from sardino.segmentation.segmenter import Segmenter, build_segmenter
from sardino.segmentation.settings import EncodingName

TOLERANCE = 0.1  # share by which a pixel may be larger or smaller than those that a model has seen


class SavedCard:
    """What both cards do: refuse parts and data that do not fit, and go to JSON and back."""

    FORMAT: ClassVar[str]
    FILE: ClassVar[str]
    VERSION: ClassVar[int]
    REMEDY: ClassVar[str]

    architecture: Architecture
    channels: tuple[str, ...]  # of the input, in order
    unit: str  # of the input before normalisation
    normalisation: dict[str, Any]  # Normalisation.to_dict() of the tiles it was trained on
    trained_on: dict[str, Any]

    def __post_init__(self) -> None:
        listed, of = ", ".join(self.channels), self.normalisation
        if len(self.channels) != self.architecture.channels:
            kind = f"a {self.FORMAT.removeprefix('sardino-')} of {self.architecture.channels} channels"
            raise SardinoError(f"{kind} cannot take {listed}: name each channel once")
        if tuple(of.get("channels", ())) != self.channels or of.get("unit") != self.unit:
            own = f"the normalisation is not of its channels {listed} in {self.unit}"
            raise SardinoError(f"{own}: take it from the tiles it was trained on")

    @property
    def gsd_m(self) -> float | None:
        """Pixel size on the ground in metres; None where the card does not say."""
        said = self.trained_on.get("gsd_m")
        return float(said) if said else None

    def require_fit(
        self, folder: Path, data: Path | str, channels: Sequence[str], unit: str, tile_px: int | None = None,
        gsd_m: float | None = None, any_side: bool = False,
    ) -> None:  # fmt: skip
        """Refuse data that the weights in `folder` do not take, by name; a size that is None is not compared.

        With `any_side` tiles are whole patches, else of the side that it was trained on.
        """
        own, known = self.architecture, self.gsd_m
        side = tile_px is None or (tile_px % own.patch == 0 if any_side else tile_px == own.tile_px)
        for fits, trained, held in (
            (self.channels == tuple(channels), f"channels {', '.join(self.channels)}", ", ".join(channels)),
            (self.unit == unit, f"backscatter in {self.unit}", unit),
            (
                side,
                f"patches of {own.patch} px" if any_side else f"tiles of {own.tile_px} px",
                f"tiles of {tile_px} px",
            ),
            (
                not (gsd_m and known) or abs(gsd_m / known - 1) <= TOLERANCE,
                f"pixels of {known or 0:g} m",
                f"{gsd_m or 0:g} m",
            ),
        ):
            if not fits:
                fault = f"{folder} was trained on {trained}, and {data} holds {held}"
                raise SardinoError(f"{fault}: give a model of such data, or prepare data as this one needs it")

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = {**asdict(self), "architecture": self.architecture.to_dict()}  # type: ignore[call-overload]
        return {"format": self.FORMAT, "version": self.VERSION, **values, "channels": list(self.channels)}

    @classmethod
    def read(cls, folder: Path, what: str = "model") -> tuple[Self, Any]:
        """The card in a folder, and the digests that were written with it; what an earlier version lacks is empty.

        Raises SardinoError: no card (`what` says of what), not JSON, a later version, or one that lacks something.
        """
        path = folder / cls.FILE
        try:
            content = json.loads(read_text(path))
        except (FileNotFoundError, NotADirectoryError):
            raise SardinoError(f"{folder} holds no {what} ({cls.FILE} is missing): {cls.REMEDY}") from None
        except ValueError as error:
            raise SardinoError(f"{path} is not JSON ({error}): {cls.REMEDY}") from None
        if not isinstance(content, Mapping) or content.get("format") != cls.FORMAT:
            raise SardinoError(f"{path} is no card of a {cls.FORMAT}: {cls.REMEDY}")
        if (version := content.get("version")) not in range(1, cls.VERSION + 1):
            told = f"{path} is a {cls.FORMAT} of version {version}, this code reads 1 to {cls.VERSION}"
            raise SardinoError(f"{told}: update sardino, or {cls.REMEDY}")
        known = signature(cls).parameters
        if missing := [name for name, each in known.items() if each.default is each.empty and name not in content]:
            raise SardinoError(f"{path} lacks {', '.join(missing)}: {cls.REMEDY}")
        try:
            values = {name: content[name] for name in known if name in content}
            values["architecture"] = Architecture(**values["architecture"])
            values["channels"] = tuple(values["channels"])
            return cls(**values), content.get("sha256")
        except (TypeError, AttributeError) as error:
            raise SardinoError(f"{path} is damaged ({error}): {cls.REMEDY}") from None
        except SardinoError as error:
            raise SardinoError(f"{path} is damaged: {error}") from None


@dataclass(frozen=True)
class Card(SavedCard):
    """What a backbone is."""

    FORMAT, FILE, VERSION, REMEDY = "sardino-backbone", "card.json", 2, "run the pre-training, or the adoption, again"

    architecture: Architecture
    channels: tuple[str, ...]
    unit: str
    normalisation: dict[str, Any]
    trained_on: dict[str, Any]  # regions, number of tiles, data fingerprint, whether synthetic
    recipe: dict[str, Any]  # Recipe.to_dict()
    run: dict[str, Any] = field(default_factory=dict)  # Run.decides(): steps, batch, seed; version 1 has none
    code_revision: str = ""  # of the code that trained it; "" where it is not known
    adopted: dict[str, Any] = field(default_factory=dict)  # of weights trained elsewhere: origin, file, licence

    @property
    def origin(self) -> str:
        """Where adopted weights are from, in words."""
        return "pre-trained elsewhere: {origin}, {file}".format_map(self.adopted)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; a backbone that was trained here is told as it was before others could be adopted."""
        return {name: value for name, value in super().to_dict().items() if name != "adopted" or value}


@dataclass(frozen=True)
class SegmenterCard(SavedCard):
    """What a segmenter is, and what it must be used with."""

    FORMAT, FILE, VERSION, REMEDY = "sardino-segmenter", "segmenter.json", 1, "run the fine-tuning again"

    encoding: EncodingName
    architecture: Architecture  # of the ViT and of the tiles; "unet" has no ViT, only tiles
    decoder: dict[str, int]  # "unet_width", "unet_depth" and "decoder_width"
    channels: tuple[str, ...]
    unit: str
    normalisation: dict[str, Any]
    legend: dict[str, Any]  # Legend.to_dict() of the classes
    trained_on: dict[str, Any]  # regions, tiles with labels, pixel spacing, product, whether synthetic
    training: dict[str, Any] = field(default_factory=dict)  # initialisation, seed, steps, learning rates
    measured: dict[str, float] = field(default_factory=dict)  # name and value of what it was judged by
    intervals: dict[str, list[float]] = field(default_factory=dict)  # 95 %, low and high, of those that have one
    caution: str = ""  # what the intervals hold
    code_revision: str = ""

    def __post_init__(self) -> None:
        if self.encoding not in get_args(EncodingName):
            raise SardinoError(f"no encoding is named '{self.encoding}': there are {', '.join(get_args(EncodingName))}")
        super().__post_init__()

    @property
    def classes(self) -> Legend:
        return Legend.from_dict(self.legend)

    @property
    def scores(self) -> list[str]:
        """What it was judged by, a line each."""
        intervals = {name: f" [{low:.3f}, {high:.3f}]" for name, (low, high) in self.intervals.items()}
        return [f"{name}: {value:.3f}{intervals.get(name, '')}" for name, value in self.measured.items()]

    def build(self) -> Segmenter:
        """The network with random weights."""
        vit = None if self.encoding == "unet" else build_vit(self.architecture)
        sizes: dict[str, Any] = {name: self.decoder[name] for name in ("unet_width", "unet_depth", "decoder_width")}
        classes = len(self.legend["classes"])
        return build_segmenter(self.encoding, vit, channels=len(self.channels), classes=classes, **sizes)


def model_card(
    card: Card, digests: Mapping[str, str], measured: Mapping[str, float], warnings: Sequence[str] = ()
) -> str:
    """A backbone's page: Markdown with YAML front matter, as model hubs read it; it follows from the arguments alone.

    Args:
        digests: sha256 of each network's weights file.
        measured: name and value of what the end of the run was judged by; may be empty.
        warnings: what was wrong with the run, a sentence each.
    """
    said: dict[str, Any] = {"digests": digests, "measured": measured, "warnings": warnings}
    said["timm"] = timm_call(card.architecture, "teacher.safetensors")
    return _page("adopted" if card.adopted else "backbone", card, **said)


def segmenter_page(card: SegmenterCard, digest: str) -> str:
    """A segmenter's page: what it is, what it saw, how well it did, its limits."""
    return _page("segmenter", card, digest=digest)


def timm_call(architecture: Architecture, weights: str = "") -> str:
    """Python text that builds this ViT with timm alone; its state dictionary has the names of the saved one.

    Any ViT of timm would do as the named one: what differs is said in full. `weights` is a file to load, every weight
    or none; "" leaves the ViT random.
    """
    said: dict[str, Any] = {"img_size": architecture.tile_px, "patch_size": architecture.patch}
    said |= {"in_chans": architecture.channels, "embed_dim": architecture.width, "depth": architecture.depth}
    said |= {"reg_tokens": architecture.registers} if architecture.registers else {}
    said |= {"num_heads": architecture.heads, "num_classes": 0, "global_pool": '"token"', "dynamic_img_size": True}
    said |= {"checkpoint_path": f'"{weights}"'} if weights else {}
    lines = "".join(f"    {name}={value},\n" for name, value in said.items())
    return f'timm.create_model(\n    "vit_tiny_patch16_224",\n{lines})'


def measured_at_end(history: History) -> dict[str, float]:
    """What a run's history says of its end, by name; nothing of what was not watched."""
    found: dict[str, float] = {}
    if history.probes["step"]:
        where, probes = "validation tiles, mIoU", history.probes
        found[f"linear probe on frozen tokens, {where}"] = probes["linear"][-1]
        found[f"nearest neighbours on frozen tokens, {where}"] = probes["knn"][-1]
        found[f"linear probe on hand-made features, the line to beat, {where}"] = probes["line"][-1]
        found[f"linear probe on frozen tokens beside these, {where}"] = probes["beside"][-1]
    if history.columns["step"]:
        found["distance of the student from its start, share of its length"] = history.columns["distance"][-1]
        found["loss"] = history.columns["loss"][-1]
        if history.ln_k is None:
            found["share of what is hidden that is explained"] = history.columns["explained"][-1]
        else:
            found["loss of a teacher that says nothing, ln K"] = history.ln_k
            found["entropy of a target"] = history.columns["teacher_entropy"][-1]
        found["effective rank of the features"] = history.columns["effective_rank"][-1]
    return found


def _page(name: str, card: Card | SegmenterCard, **said: Any) -> str:
    """Filled from <name>.md.j2 beside this file."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters |= {"told": _told, "json": json.dumps, "combined": operator.or_}
    return pages.get_template(f"{name}.md.j2").render(card=card, **said)


def _told(value: Any) -> str:
    """A value as a table of Markdown says it."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_told(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    told = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return told.replace("|", "\\|")
