"""Attention of the class token over a whole scene: a band a head, at the size of patches or of pixels."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.data.rasters.geotiff import GeoTiff
from sardino.data.rasters.scene import Scene
from sardino.data.rasters.warp import Transform
from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.dino.attention import block_count, class_attention
from sardino.dino.vit import head_count
from sardino.errors import SardinoError
from sardino.mapping.model import MapModel
from sardino.weights.card import SegmenterCard

# What a map shows: the two products, and what any product tells the engine.


class Product(Protocol):
    """What is predicted of each window, blended, and written."""

    @property
    def network(self) -> nn.Module:
        """To be moved to the device."""

    @property
    def planes(self) -> int:
        """Values of a cell that are blended."""

    @property
    def cell(self) -> int:
        """Pixels along a side of a cell."""

    def predict(self, images: Tensor) -> Tensor:
        """(B, C, H, W) normalised to (B, planes, H / cell, W / cell) float32."""

    def finish(self, blended: Tensor, valid: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """(planes, h, w) and what is no nodata to (bands, h, w) of each raster, by the names of `rasters`."""

    def rasters(self, scene: Scene) -> dict[str, GeoTiff]:
        """What is written."""

    def identity(self) -> dict[str, Any]:
        """What decides the values beside the scene, as JSON values."""


def cell_transform(scene: Scene, cell: int) -> Transform:
    """Transform of a map whose cells are `cell` pixels wide and high."""
    a, b, c, d, e, f = scene.transform
    return a * cell, b, c, d, e * cell, f


def cell_shape(scene: Scene, cell: int) -> tuple[int, int]:
    """(rows, columns) of such a map; a cell that the scene fills in part counts."""
    return -(-scene.shape[0] // cell), -(-scene.shape[1] // cell)


ATTENTION = "attention"


@dataclass(frozen=True)
class AttentionMap:
    """Attention relative to an even spread over the patches of a window, of which it is 1 for each.

    Args:
        model: with a ViT as its network.
        block: which, from the front or, negative, from the end.
        full_size: at the size of pixels, bilinear, not of patches.
    """

    model: MapModel
    block: int = -1
    full_size: bool = False

    def __post_init__(self) -> None:
        if not -self._blocks <= self.block < self._blocks:
            raise SardinoError(f"there is no block {self.block}: this ViT has {self._blocks}, from 0")

    @property
    def network(self) -> nn.Module:
        return self.model.network

    @property
    def planes(self) -> int:
        return head_count(cast(VisionTransformer, self.model.network))

    @property
    def cell(self) -> int:
        return 1 if self.full_size else self.model.card.architecture.patch

    def predict(self, images: Tensor) -> Tensor:
        """See `Product`."""
        (maps,) = class_attention(self.model.network, images, [self.block])
        maps = maps.float()
        if self.full_size:
            maps = F.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return maps

    def finish(self, blended: Tensor, valid: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """See `Product`: NaN where a cell has no valid pixel."""
        return {ATTENTION: np.where(valid, blended.cpu().numpy(), np.float32(np.nan))}

    def rasters(self, scene: Scene) -> dict[str, GeoTiff]:
        """See `Product`."""
        what = GeoTiff(
            scene.crs,
            cell_transform(scene, self.cell),
            cell_shape(scene, self.cell),
            [f"head {number}" for number in range(1, self.planes + 1)],
            "float32",
            math.nan,
            tags={
                "unit": "attention of the class token, 1 is an even spread over a window",
                "block": f"{self.block % self._blocks + 1} of {self._blocks}",
                **origin(self.model, scene),
            },
        )
        return {ATTENTION: what}

    def identity(self) -> dict[str, Any]:
        """See `Product`."""
        block = self.block % self._blocks
        return {"kind": ATTENTION, "block": block, "full_size": self.full_size, "weights": self.model.sha256}

    @property
    def _blocks(self) -> int:
        return block_count(self.model.network)


def origin(model: MapModel, scene: Scene) -> dict[str, str]:
    """Tags that tell where a map comes from."""
    said = {
        "scene": scene.path.name,
        "model": model.folder.resolve().name,
        "weights_sha256": model.sha256,
        "code_revision": model.card.code_revision,
        "trained_on_synthetic": str(model.synthetic).lower(),
        "product": scene.product,
    }
    return {name: text for name, text in said.items() if text}


# Land cover over a whole scene: codes of the legend with its colours, and how sure the model is of them.

LANDCOVER, CONFIDENCE = "landcover", "confidence"
NO_CONFIDENCE = 255


@dataclass(frozen=True)
class LandCoverMap:
    """The class of the highest probability, the windows' probabilities blended.

    Args:
        model: a segmenter.
        confidence: whether to write that probability too, in whole percent.
    """

    model: MapModel
    confidence: bool = False

    @property
    def network(self) -> nn.Module:
        return self.model.network

    @property
    def legend(self) -> Legend:
        return cast(SegmenterCard, self.model.card).classes

    @property
    def planes(self) -> int:
        return len(self.legend)

    @property
    def cell(self) -> int:
        return 1

    def predict(self, images: Tensor) -> Tensor:
        """See `Product`."""
        logits: Tensor = self.model.network(images)
        return logits.float().softmax(1)

    def finish(self, blended: Tensor, valid: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """See `Product`: nodata where a pixel has no valid channel."""
        highest, place = blended.max(0)
        index = np.where(valid, place.cpu().numpy(), IGNORE).astype(np.uint8)
        made: dict[str, NDArray[Any]] = {LANDCOVER: self.legend.decode(index, self._nodata)[None]}
        if self.confidence:
            percent = np.clip(np.rint(highest.cpu().numpy() * 100), 0, 100)
            made[CONFIDENCE] = np.where(valid, percent, NO_CONFIDENCE).astype(np.uint8)[None]
        return made

    def rasters(self, scene: Scene) -> dict[str, GeoTiff]:
        """See `Product`."""
        legend = self.legend
        grid = scene.crs, scene.transform, scene.shape
        tags = {
            "classes": "; ".join(f"{c.code} {c.name}" for c in legend.classes),
            "legend": legend.name,
            **origin(self.model, scene),
        }
        colors = dict(zip(legend.codes, legend.colors, strict=True))
        what = {LANDCOVER: GeoTiff(*grid, ["land cover"], "uint8", self._nodata, colors, tags)}
        if self.confidence:
            said = {"unit": "percent", "meaning": "blended probability of the class shown", **origin(self.model, scene)}
            what[CONFIDENCE] = GeoTiff(*grid, ["confidence"], "uint8", NO_CONFIDENCE, {}, said)
        return what

    def identity(self) -> dict[str, Any]:
        """See `Product`."""
        return {"kind": LANDCOVER, "confidence": self.confidence, "weights": self.model.sha256}

    @property
    def _nodata(self) -> int:
        return 0 if 0 not in self.legend.codes else IGNORE
