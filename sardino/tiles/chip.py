"""A chip: what one tile holds in memory, whichever source it came from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.radiometry import SEASONS

LAYERS = {
    "optical": "Optical RGB (uint8)",
    "landcover_300m": "Land cover, 300 m (class index)",
    "vegetation_percent": "Vegetation (%)",
    "biomass_t_ha": "Above-ground biomass (t/ha)",
    "built_percent": "Built surface (%)",
    "ndvi": "NDVI",
    "elevation_m": "Elevation (m)",
}
"""Reference layers of Figure 5 and their titles; a source has those it has."""


@dataclass(frozen=True)
class Chip:
    """The pixels of one tile.

    Args:
        backscatter_db: (C, H, W) float32, dB, NaN where missing.
        label: (H, W) uint8 class index, 255 where unlabelled.
        layers: reference layers by name (see LAYERS): "optical" is (3, H, W)
            uint8, "landcover_300m" (H, W) uint8 class index, others (H, W) float32, NaN where missing.
        counts: (4, H, W) integer, passes that went into each season's composite; None where unknown.
    """

    backscatter_db: NDArray[np.float32]
    label: NDArray[np.uint8]
    layers: dict[str, NDArray[Any]] = field(default_factory=dict)
    counts: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        height_width = self.backscatter_db.shape[-2:]
        if self.backscatter_db.ndim != 3 or self.label.shape != height_width:
            raise SardinoError(
                f"a chip needs backscatter (C, H, W) and a label (H, W) of one size, "
                f"got {self.backscatter_db.shape} and {self.label.shape}"
            )
        for name, layer in self.layers.items():
            if name not in LAYERS or layer.shape[-2:] != height_width:
                raise SardinoError(f"layer '{name}' of shape {layer.shape} does not fit a chip of {height_width}")
        if self.counts is not None and self.counts.shape != (len(SEASONS), *height_width):
            raise SardinoError(f"counts of shape {self.counts.shape} are no count per season and pixel of the chip")
