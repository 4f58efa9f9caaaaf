"""What a map shows: the two products, and what any product tells the engine."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sardino.mapping.scene import Scene
from sardino.tiles.contents.geotiff import GeoTiff
from sardino.tiles.contents.resampling import Transform


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
