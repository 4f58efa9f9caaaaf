"""What a map shows: attention of the class token, a band a head; embeddings, the patches' tokens; or land cover."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.data.rasters.geotiff import GeoTiff
from sardino.data.rasters.scene import Scene
from sardino.data.rasters.warp import Transform
from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.dino.attention import block_count, class_query_and_keys, patch_maps, patch_tokens, softmax_rows
from sardino.dino.vit import head_count
from sardino.errors import SardinoError
from sardino.mapping.job import ATTENTION, CONFIDENCE, EMBEDDING, LANDCOVER
from sardino.mapping.model import MapModel
from sardino.weights.card import SegmenterCard
from sardino.weights.components import Components

NO_CONFIDENCE = 255
WINDOW_PX = 448  # side of a window of attention, that of the paper's tiles, where the model's own are smaller


@dataclass(frozen=True)
class AttentionMap:
    """Attention relative to an even spread, which is 1 everywhere; one query, the windows' mean, asks all of them."""

    model: MapModel
    block: int = -1  # of the model's ViT, from the front or, negative, from the end
    full_size: bool = False  # at the size of pixels, bilinear, not of patches

    def __post_init__(self) -> None:
        if not -self._blocks <= self.block < self._blocks:
            raise SardinoError(f"there is no block {self.block}: this ViT has {self._blocks}, from 0")

    @property
    def _blocks(self) -> int:
        return block_count(self.model.network)

    @property
    def planes(self) -> int:
        """Values of a cell that are blended: one a head."""
        return head_count(cast(VisionTransformer, self.model.network))

    @property
    def patch(self) -> int:
        """Pixels along a side of a patch, on whose grid all windows lie; 0 where maps are blended as they are."""
        return self.model.card.architecture.patch

    @property
    def cell(self) -> int:
        """Pixels along a side of a cell of the map."""
        return 1 if self.full_size else self.patch

    @property
    def window_px(self) -> int:
        """Side of a window, where no other is asked for: the ViT takes larger tiles than those that it learnt on."""
        return max(self.model.card.architecture.tile_px, WINDOW_PX // self.model.step_px * self.model.step_px)

    def predict(self, images: Tensor) -> Tensor:
        """(B, C, H, W) normalised to what is known of a window alone, float32.

        Here (B, planes, 1 + tokens, d), the class token's query and all keys; for land cover (B, planes, h, w).
        """
        return class_query_and_keys(self.model.network, images, self.block).float()

    @property
    def head_dim(self) -> int:
        """Values of a head's query, or key."""
        return int(cast(Any, self.model.network).blocks[self.block].attn.head_dim)

    def tokens(self, height: int, width: int) -> int:
        """How many, class token and registers too, a window of so many patches has."""
        return int(cast(Any, self.model.network).num_prefix_tokens) + height * width

    def attention(self, query: Tensor, keys: Tensor, height: int, width: int) -> Tensor:
        """(planes, h, w) of a query (planes, 1, d) and the keys (planes, tokens, d) of a window."""
        return patch_maps(self.model.network, softmax_rows(query, keys), (height, width)).squeeze(1)

    def in_cells(self, maps: Tensor) -> Tensor:
        """(B, planes, h, w) of patches in cells of the map."""
        if not self.full_size:
            return maps
        return F.interpolate(maps, scale_factor=float(self.patch), mode="bilinear", align_corners=False)

    def finish(self, blended: Tensor, valid: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """(planes, h, w) to (bands, h, w) of each raster, by the names of `rasters`; NaN where no pixel is valid."""
        return {ATTENTION: np.where(valid, blended.cpu().numpy(), np.float32(np.nan))}

    def rasters(self, scene: Scene) -> dict[str, GeoTiff]:
        """What is written."""
        bands = [f"head {number}" for number in range(1, self.planes + 1)]
        block = f"{self.block % self._blocks + 1} of {self._blocks}"
        tags = {"unit": "attention of the class token, 1 is an even spread", "block": block}
        tags["alignment"] = "one query a head, the windows' mean; factors of windows by least squares over all overlaps"
        return {ATTENTION: GeoTiff(*_grid_of_cells(scene, self.cell), bands, "float32", math.nan, tags=tags)}

    def identity(self) -> dict[str, Any]:
        """What decides the values beside scene and model, as JSON values."""
        return {"kind": ATTENTION, "block": self.block % self._blocks, "full_size": self.full_size}


@dataclass(frozen=True)
class EmbeddingMap:
    """The tokens of the last block, or their principal components, a pixel a patch; members are as AttentionMap's."""

    model: MapModel
    components: Components | None = None
    dtype: str = "float16"  # of the raster: "float16" or "int8"

    @property
    def planes(self) -> int:
        return len(self.components.axes) if self.components else self.model.card.architecture.width

    @property
    def patch(self) -> int:
        return self.model.card.architecture.patch

    @property
    def cell(self) -> int:
        return self.patch

    @property
    def window_px(self) -> int:
        """The side of the tiles that it learnt on: positions are not stretched, and a store's tokens are the same."""
        return self.model.card.architecture.tile_px

    def predict(self, images: Tensor) -> Tensor:
        tokens = patch_tokens(self.model.network, images).float()
        return (self.components.of(tokens) if self.components else tokens).movedim(-1, 1)

    def finish(self, blended: Tensor, valid: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """As half floats, NaN where no pixel is valid; those too small for a normal one are 0."""
        values = torch.where(blended.abs() < torch.finfo(torch.float16).tiny, 0, blended).half()
        return {EMBEDDING: np.where(valid, values.cpu().numpy(), np.float16(np.nan))}

    def rasters(self, scene: Scene) -> dict[str, GeoTiff]:
        name, tags = "dimension", {"unit": "tokens of the last block, after its normalisation"}
        if self.components:
            name, share = "component", f"{100 * float(self.components.explained.sum()):.1f} %"
            tags |= {"explained": f"{share} of the variance of training tokens", **self.components.tags}
        bands = [f"{name} {number}" for number in range(1, self.planes + 1)]
        nodata = math.nan if self.dtype == "float16" else -128
        return {EMBEDDING: GeoTiff(*_grid_of_cells(scene, self.cell), bands, self.dtype, nodata, tags=tags)}

    def identity(self) -> dict[str, Any]:
        """Half floats are kept while it is made, whatever is written of them in the end."""
        axes = [self.planes, self.components.sha256] if self.components else []
        return {"kind": EMBEDDING, "components": axes}


@dataclass(frozen=True)
class LandCoverMap:
    """A segmenter's class of the highest blended probability, and with `confidence` that probability in whole percent.

    Members are as those of AttentionMap.
    """

    model: MapModel
    confidence: bool = False
    cell, patch = 1, 0

    @property
    def window_px(self) -> int:
        """The side of the tiles that it learnt on, also where it sees attention: relative to such a tile's patches."""
        return self.model.card.architecture.tile_px

    @property
    def legend(self) -> Legend:
        return cast(SegmenterCard, self.model.card).classes

    @property
    def _nodata(self) -> int:
        return 0 if 0 not in self.legend.codes else IGNORE

    @property
    def planes(self) -> int:
        return len(self.legend)

    def predict(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model.network(images)
        return logits.float().softmax(1)

    def finish(self, blended: Tensor, valid: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Codes, and percent; nodata where a pixel has no valid channel."""
        highest, place = blended.max(0)
        index = np.where(valid, place.cpu().numpy(), IGNORE).astype(np.uint8)
        made: dict[str, NDArray[Any]] = {LANDCOVER: self.legend.decode(index, self._nodata)[None]}
        if self.confidence:
            percent = np.clip(np.rint(highest.cpu().numpy() * 100), 0, 100)
            made[CONFIDENCE] = np.where(valid, percent, NO_CONFIDENCE).astype(np.uint8)[None]
        return made

    def rasters(self, scene: Scene) -> dict[str, GeoTiff]:
        legend, grid = self.legend, (scene.crs, scene.transform, scene.shape)
        tags = {"classes": "; ".join(f"{c.code} {c.name}" for c in legend.classes), "legend": legend.name}
        colors = dict(zip(legend.codes, legend.colors, strict=True))
        what = {LANDCOVER: GeoTiff(*grid, ["land cover"], "uint8", self._nodata, colors, tags)}
        if self.confidence:
            said = {"unit": "percent", "meaning": "blended probability of the class shown"}
            what[CONFIDENCE] = GeoTiff(*grid, ["confidence"], "uint8", NO_CONFIDENCE, tags=said)
        return what

    def identity(self) -> dict[str, Any]:
        return {"kind": LANDCOVER, "confidence": self.confidence}


Product = AttentionMap | EmbeddingMap | LandCoverMap


def _grid_of_cells(scene: Scene, cell: int) -> tuple[str, Transform, tuple[int, int]]:
    """CRS, transform and shape of a map whose cells are so many pixels; one that the scene fills in part counts."""
    a, b, c, d, e, f = scene.transform
    rows, columns = (-(-size // cell) for size in scene.shape)
    return scene.crs, (a * cell, b, c, d, e * cell, f), (rows, columns)


def origin_of(model: MapModel, scene: Scene) -> dict[str, str]:
    """Tags that tell where a map comes from."""
    said = {
        "scene": scene.path.name,
        "model": model.folder.resolve().name,
        "weights_sha256": model.sha256,
        "code_revision": model.card.code_revision,
        "trained_on_synthetic": str(bool(model.card.trained_on.get("synthetic"))).lower(),
        "product": scene.product,
        "warped_from": scene.warped_from[0].crs if scene.warped_from else "",
    }
    return {name: text for name, text in said.items() if text}
