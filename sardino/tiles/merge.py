"""Several tile stores as one: sites that are too small alone are learnt from together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.chip import Chip
from sardino.tiles.landcover import IGNORE
from sardino.tiles.store import write_store
from sardino.tiles.tileset import TileStore

_MISSING: dict[str, tuple[Any, float]] = {"optical": (np.uint8, 0), "landcover_300m": (np.uint8, IGNORE)}
"""Type and nodata of a layer that a store lacks; the others are float32 with NaN."""


def merge_stores(stores: Sequence[TileStore], out: Path, overwrite: bool = False) -> TileStore:
    """Write the tiles of all stores into a new one, in order; a layer that a store lacks is all nodata there.

    Raises:
        SardinoError: the stores differ in channels, unit, tile size, legend, or in being synthetic.
    """
    first = stores[0]
    for other in stores[1:]:
        other.require(first.channels, first.unit, first.tile_px)
        if other.legend != first.legend or other.synthetic != first.synthetic:
            raise SardinoError(f"{other.path} and {first.path} differ in legend or origin and cannot be one store")
    places = [(store, tile_id) for store in stores for tile_id in store.ids()]
    names = list(dict.fromkeys(name for store in stores for name in store.layers))
    size = (first.tile_px, first.tile_px)

    def layer(store: TileStore, name: str, tile_id: str) -> NDArray[Any]:
        if name in store.layers:
            return store.read_layer(name, [tile_id])[0]
        dtype, nodata = _MISSING.get(name, (np.float32, np.nan))
        return np.full((3, *size) if name == "optical" else size, nodata, dtype)

    def chip(number: int) -> Chip:
        store, tile_id = places[number]
        backscatter, label = store.read([tile_id])
        return Chip(backscatter[0], label[0], {name: layer(store, name, tile_id) for name in names})

    def column(name: str) -> list[Any]:
        return [value for store in stores for value in store.index[name]]

    labels = sorted({str(store.metadata.get("labels", store.legend.name)) for store in stores})
    return write_store(
        out,
        [store.tile(tile_id) for store, tile_id in places],
        column("split"),
        chip,
        channels=first.channels,
        legend=first.legend,
        product="; ".join(dict.fromkeys(store.product for store in stores)),
        unit=first.unit,
        synthetic=first.synthetic,
        metadata={"labels": ", ".join(labels), "parts": [store.metadata for store in stores]},
        bands=column("band"),
        overwrite=overwrite,
    )
