"""What every source of tiles offers, whether it reads a STAC catalogue, Earth Engine or an archive."""

from dataclasses import dataclass
from typing import Any, Protocol

from sardino.data.tiles.landcover import Legend
from sardino.data.tiles.tile import Chip, Tile
from sardino.errors import SardinoError


class LeftOut(SardinoError):
    """This tile cannot be made complete from this source, and another try would not change that."""


class Transient(SardinoError):
    """A fault of the line or the server: the same request may succeed when repeated."""


@dataclass(frozen=True)
class SourceChip(Chip):
    """A chip together with what its store should remember about its making.

    Args:
        notes: sentences about oddities that were handled, for example a stale transform in a catalogue.
    """

    notes: tuple[str, ...] = ()


class Source(Protocol):
    """A place tiles come from. Implementations are frozen dataclasses: they are pickled to Dask workers.

    Attributes:
        channels: names of the backscatter channels, in order.
        legend: meaning of the label indices.
        product: what was measured, in words.
        synthetic: whether the pixels come from a simulation.
    """

    @property
    def channels(self) -> tuple[str, ...]: ...

    @property
    def legend(self) -> Legend: ...

    @property
    def product(self) -> str: ...

    @property
    def synthetic(self) -> bool: ...

    def chip(self, tile: Tile) -> Chip:
        """The pixels of one tile.

        Raises:
            LeftOut: the tile cannot be made complete; the reason names what is missing.
            Transient: worth another try.
        """
        ...

    def metadata(self) -> dict[str, Any]:
        """Facts for the store, JSON values: whatever changes the pixels must be among them."""
        ...
