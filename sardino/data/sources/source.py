"""What every source of tiles offers, whether it reads a STAC catalogue, Earth Engine or an archive."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.data.tiles.tile import Chip, Tile
from sardino.errors import SardinoError

# Wraps a loop and is told how many there are, for example `lambda n, total: tqdm(n, total=total)`.
Progress = Callable[[Iterable[int], int], Iterable[int]]
# Carbon in dry biomass (IPCC 2006 guidelines, volume 4, table 4.3): catalogues map carbon, the layer is biomass.
CARBON_FRACTION = 0.47


class LeftOut(SardinoError):
    """This tile cannot be made complete from this source, and another try would not change that."""


class Transient(SardinoError):
    """A fault of the line or the server: the same request may succeed when repeated."""


@dataclass(frozen=True)
class SourceChip(Chip):
    """A chip with sentences about oddities that were handled, for its store: a stale transform in a catalogue, say."""

    notes: tuple[str, ...] = ()


class Source(Protocol):
    """A place tiles come from. Implementations are frozen dataclasses: they are pickled to Dask workers."""

    @property
    def channels(self) -> tuple[str, ...]: ...  # names of the backscatter channels, in order
    @property
    def legend(self) -> Legend: ...  # meaning of the label indices
    @property
    def product(self) -> str: ...  # what was measured, in words
    @property
    def synthetic(self) -> bool: ...  # whether the pixels come from a simulation

    def chip(self, tile: Tile) -> Chip:
        """The pixels of one tile; LeftOut, by what is missing, or Transient where another try is worth it."""
        ...

    def metadata(self) -> dict[str, Any]:
        """Facts for the store, JSON values: whatever changes the pixels must be among them."""
        ...


def as_layer(name: str, planes: NDArray[np.floating]) -> NDArray[Any]:
    """Planes (C, H, W) in a layer's unit, NaN where missing, in the type and shape that a chip holds the layer in."""
    if name == "optical":
        return np.nan_to_num(planes, nan=0).round().clip(0, 255).astype(np.uint8)
    if name == "landcover_300m":
        return np.nan_to_num(planes[0], nan=IGNORE).astype(np.uint8)
    return planes[0].astype(np.float32)


def missing_layer(name: str, shape: tuple[int, int]) -> NDArray[Any]:
    """A reference layer (see LAYERS) of a tile that has none: black, unlabelled or NaN."""
    return as_layer(name, np.full((3, *shape), np.nan, np.float32))
