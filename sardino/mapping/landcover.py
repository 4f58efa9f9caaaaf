"""Land cover over a whole scene: codes of the legend with its colours, and how sure the model is of them."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sardino.mapping.attention import origin
from sardino.mapping.model import MapModel
from sardino.mapping.scene import Scene
from sardino.tiles.contents.geotiff import GeoTiff
from sardino.tiles.landcover import IGNORE, Legend
from sardino.training.segmenter_card import SegmenterCard

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
