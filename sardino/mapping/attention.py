"""Attention of the class token over a whole scene: a band a head, at the size of patches or of pixels."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.errors import SardinoError
from sardino.mapping.model import MapModel
from sardino.mapping.product import cell_shape, cell_transform
from sardino.mapping.scene import Scene
from sardino.models.extraction import block_count, class_attention
from sardino.models.vit import head_count
from sardino.tiles.contents.geotiff import GeoTiff

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
