"""The columns of Figure 5: places with what a backbone makes of them, and with every layer that their store has."""

from collections.abc import Sequence

import numpy as np
from pyproj import CRS

from sardino.evaluation.token_pca import token_pca
from sardino.reporting.comparison import ComparisonColumn
from sardino.tiles.grid import Tile
from sardino.tiles.landcover import IGNORE
from sardino.tiles.splits import label_order
from sardino.tiles.tileset import TileStore
from sardino.workflow.attention import see
from sardino.workflow.workspace import Workspace

TOKEN_TILES = 64
"""Tiles beside those shown whose tokens the colours are taken from."""


def first_by_hash(store: TileStore) -> list[str]:
    """One tile of each place of a store that is not split: of each region and CRS the first by hash."""
    index = store.index
    groups = index.groupby(["region", "crs"], sort=False)["id"]
    return [label_order([str(tile) for tile in ids])[0] for _, ids in groups]


def place_columns(space: Workspace, arm: str, store: TileStore, ids: Sequence[str]) -> list[ComparisonColumn]:
    """A column for each tile.

    The tokens' colours are fitted to these tiles and to others of the store, the first by hash.
    """
    backscatter, label = store.read(ids)
    seen = see(space, arm, store, backscatter)
    others = [tile for tile in label_order(store.ids()) if tile not in set(ids)][:TOKEN_TILES]
    tokens = [seen.tokens]
    if others:
        tokens.append(see(space, arm, store, store.read(others)[0]).tokens)
    colours = token_pca(np.concatenate(tokens)).colours(seen.tokens)
    columns = []
    for i, tile in enumerate(ids):
        place = store.tile(tile)
        known = bool((label[i] != IGNORE).any())
        columns.append(
            ComparisonColumn(
                name=f"{place.region} {tile[:6]}",
                sar=backscatter[i],
                attention=seen.attention[i],
                layers={name: store.read_layer(name, [tile])[0] for name in store.layers},
                reference=label[i] if known else None,
                legend=store.legend if known else None,
                channels=tuple(store.channels),
                gsd_m=_spacing(store, place),
                # The class token keeps a part of what is rolled out: relative to what the patches hold.
                rollout=seen.rollout[i] / seen.rollout[i].mean(),
                tokens=colours[i],
                placed=bool(place.crs),
                model=arm,
            )
        )
    return columns


def _spacing(store: TileStore, place: Tile) -> float | None:
    """Metres per pixel, of the whole store or of this tile; None where nothing tells."""
    if store.gsd_m or not place.crs:
        return store.gsd_m
    return place.transform[0] if CRS.from_user_input(place.crs).is_projected else None
