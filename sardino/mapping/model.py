"""The model of a map: a backbone or a segmenter read from its folder, and what it must be used with."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from timm.models.vision_transformer import VisionTransformer

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.recipe import Network
from sardino.errors import SardinoError
from sardino.files import sha256_of
from sardino.segmentation.segmenter import Segmenter
from sardino.weights.card import Card, SegmenterCard
from sardino.weights.save import BACKBONE_CARD, SEGMENTER_CARD, SEGMENTER_WEIGHTS, load_backbone, load_segmenter

Kind = Literal["backbone", "segmenter"]
PRETRAINED = Path(__file__).parents[1] / "pretrained"


@dataclass(frozen=True)
class MapModel:
    """A network in evaluation mode on the CPU, and its card.

    Args:
        folder: it was read from.
        network: a ViT or a segmenter.
        card: of either.
        sha256: of the weights' file.
    """

    folder: Path
    network: VisionTransformer | Segmenter
    card: Card | SegmenterCard
    sha256: str

    @property
    def channels(self) -> tuple[str, ...]:
        return self.card.channels

    @property
    def unit(self) -> str:
        return self.card.unit

    @property
    def normalisation(self) -> Normalisation:
        return Normalisation.from_dict(self.card.normalisation)

    @property
    def gsd_m(self) -> float | None:
        """Pixel size on the ground in metres; None where the card does not say."""
        said = self.card.trained_on.get("gsd_m")
        return float(said) if said else None

    @property
    def product(self) -> str:
        """What the pixels were that it was trained on."""
        return str(self.card.trained_on.get("product") or self.card.trained_on.get("source") or "")

    @property
    def synthetic(self) -> bool:
        return bool(self.card.trained_on.get("synthetic"))

    @property
    def window_px(self) -> int:
        """Side of the tiles it was trained on."""
        return self.card.architecture.tile_px

    @property
    def step_px(self) -> int:
        """Pixels by which windows may be shifted so that patches, and levels of a U-Net, fall on the same pixels."""
        shape = self.card.architecture
        if not isinstance(self.card, SegmenterCard) or self.card.encoding == "tokens":
            return shape.patch
        levels: int = 2 ** self.card.decoder["unet_depth"]
        step = levels if self.card.encoding == "unet" else math.lcm(levels, shape.patch)
        return step if shape.tile_px % step == 0 else shape.patch


def default_model(kind: Kind) -> Path:
    """Folder of the model that comes with the package.

    Raises:
        SardinoError: this copy of the package has none.
    """
    folder = PRETRAINED / f"world-{kind}"
    if not folder.is_dir():
        made = "`sardino pretrain` and `sardino reproduce` make" if kind == "backbone" else "`sardino reproduce` makes"
        raise SardinoError(f"this copy of sardino holds no {kind} of its own: {made} one, give it with --model FOLDER")
    return folder


def load_vit(folder: Path, network: Network = "teacher") -> MapModel:
    """A ViT for attention: the backbone in a folder, or the one inside a segmenter.

    Raises:
        SardinoError: neither is there, it is damaged, or the segmenter has no ViT.
    """
    if (folder / SEGMENTER_CARD).is_file():
        model = load_landcover(folder)
        vit = model.network.vit if isinstance(model.network, Segmenter) else None
        if vit is None:
            raise SardinoError(f"the segmenter in {folder} is a plain U-Net without attention: give a backbone")
        return MapModel(folder, vit.eval(), model.card, model.sha256)
    path = folder / BACKBONE_CARD
    if not path.is_file():
        raise SardinoError(
            f"{folder} holds no model ({BACKBONE_CARD} or {SEGMENTER_CARD} is missing): give the folder that "
            "`sardino pretrain` wrote, or that of a segmenter"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SardinoError(f"{path} is not JSON ({error}): run the pre-training again") from None
    card = Card.from_dict(content, path)
    vit, card = load_backbone(folder, card.channels, card.unit, network)
    return MapModel(folder, vit.eval(), card, sha256_of(folder / f"{network}.safetensors"))


def load_landcover(folder: Path) -> MapModel:
    """A segmenter.

    Raises:
        SardinoError: none is there, or it is damaged.
    """
    if (folder / BACKBONE_CARD).is_file() and not (folder / SEGMENTER_CARD).is_file():
        raise SardinoError(
            f"{folder} holds a backbone, which tells no classes: give a segmenter, or map its attention "
            "(sardino attend)"
        )
    network, card = load_segmenter(folder)
    return MapModel(folder, network, card, sha256_of(folder / SEGMENTER_WEIGHTS))
