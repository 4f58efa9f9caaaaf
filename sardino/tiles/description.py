"""What a record must say about the tiles a run has read."""

from typing import Any

from sardino.tiles.tileset import TileStore


def describe(store: TileStore) -> dict[str, Any]:
    """What a record must say about its input."""
    return {
        "source": store.product,
        "synthetic": store.synthetic,
        "fingerprint": store.fingerprint,
        "labels": store.metadata.get("labels", store.legend.name),
        "derived": store.legend.derived,
        "channels": store.channels,
        "tile_px": store.tile_px,
        "tiles": len(store),
    }
