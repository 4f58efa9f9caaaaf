"""The explorer's answers, without a browser: what a model looks at from a patch of a tile, in pictures and in words."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore, example_tiles
from sardino.data.tiles.tile import georeferenced
from sardino.dino.attention import block_count, class_attention, patch_attention, patch_grid, rollout
from sardino.errors import SardinoError
from sardino.files import whole
from sardino.reporting.figures.exploration import Exploration
from sardino.reporting.figures.places import REFERENCE, has_values

CLASS, PATCH, ROLLOUT = "class token", "patch", "rollout"
"""From where to look: the class token, a patch, or the class token through all blocks."""
ORIGINS = (CLASS, PATCH, ROLLOUT)
TILES = 100
"""Tiles offered at most: a menu of thousands helps nobody."""
KEPT = 4
"""Blocks whose attention from every patch is kept; one of a ViT-Base at the paper's size takes 30 MB."""


@dataclass(frozen=True)
class Look:
    """What is asked.

    Args:
        tile: its id.
        origin: one of ORIGINS.
        block: counted from 0; a rollout runs through all of them.
        head: counted from 0; None for the mean of all.
        patch: (row, column) from which PATCH looks.
        layer: what to compare with, one of the explorer's layers.
    """

    tile: str
    origin: str = CLASS
    block: int = -1
    head: int | None = None
    patch: tuple[int, int] = (0, 0)
    layer: str = REFERENCE

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS:
            raise SardinoError(f"attention cannot start at '{self.origin}': choose {', '.join(ORIGINS)}")


class Explorer:
    """A store's tiles and one ViT; a tile and a block are computed once, so that a click is answered at once.

    Args:
        store: the tiles.
        vit: timm's, with a class token.
        normalisation: as the ViT was trained with.

    Attributes:
        tiles: ids offered: of test tiles, which no training saw, in the fixed order of the paper's figures.
        layers: what a tile can be compared with, the labels first.
        blocks, heads: how many the ViT has.
    """

    def __init__(self, store: TileStore, vit: nn.Module, normalisation: Normalisation) -> None:
        normalisation.require(store.channels, store.unit)
        self.store, self.vit, self.normalisation = store, vit.eval(), normalisation
        self.tiles = example_tiles(store, store.ids("test") or store.ids(), TILES)
        self.layers = [REFERENCE, *store.layers]
        self.blocks = block_count(vit)
        # Bound here and not by a decorator: a cache of the class would keep every explorer alive.
        self._read = lru_cache(KEPT)(self._read_tile)
        self._class = lru_cache(KEPT)(self._class_maps)
        self._patches = lru_cache(KEPT)(self._patch_maps)
        self._rolled = lru_cache(KEPT)(self._rollout_map)
        self.heads = len(self._class(self.tiles[0])[0])
        self.grid = patch_grid(vit, self._images(self.tiles[0]))

    def maps(self, look: Look) -> NDArray[np.float32]:
        """(heads, h, w) of attention, 1 is an even share; a rollout knows no heads and gives one map.

        Raises:
            SardinoError: no such tile, block or patch.
        """
        if not -self.blocks <= look.block < self.blocks:
            raise SardinoError(f"there is no block {look.block}: this ViT has {self.blocks}, from 0")
        if look.origin == ROLLOUT:
            return self._rolled(look.tile)
        if look.origin == CLASS:
            return self._class(look.tile)[look.block]
        row, column = look.patch
        if not (0 <= row < self.grid[0] and 0 <= column < self.grid[1]):
            raise SardinoError(f"patch {look.patch} is outside the grid of {self.grid[0]} x {self.grid[1]} patches")
        return self._patches(look.tile, look.block % self.blocks)[:, row * self.grid[1] + column]

    def map(self, look: Look) -> NDArray[np.float32]:
        """(h, w) of the head asked, or the mean of all."""
        maps = self.maps(look)
        if look.head is None or look.origin == ROLLOUT:
            return maps.mean(0)
        if not 0 <= look.head < len(maps):
            raise SardinoError(f"there is no head {look.head}: each block has {len(maps)}, from 0")
        return maps[look.head]

    def see(self, look: Look) -> Exploration:
        """What to draw."""
        sar, label = self._read(look.tile)
        if look.layer not in self.layers:
            raise SardinoError(f"there is no layer '{look.layer}': this store has {', '.join(self.layers)}")
        values: NDArray[Any] = label if look.layer == REFERENCE else self.store.read_layer(look.layer, [look.tile])[0]
        return Exploration(
            sar,
            self.store.channels,
            self.map(look),
            self.said(look),
            look.patch if look.origin == PATCH else None,
            look.layer,
            values if has_values(look.layer, values) else None,
            self.store.legend,
            self.store.gsd_m,
        )

    def said(self, look: Look) -> str:
        """The heading of the attention map; blocks and heads count from 1, as in the paper's figures."""
        if look.origin == ROLLOUT:
            return f"Rollout: all {self.blocks} blocks together"
        head = "mean of heads" if look.head is None else f"head {look.head + 1}"
        source = "From this patch" if look.origin == PATCH else "From the class token"
        return f"{source}: block {look.block % self.blocks + 1}, {head}"

    def words(self, look: Look) -> list[str]:
        """Where this is, how concentrated the attention is, and on which class it lies."""
        return [self._place(look), self._spread(self.map(look)), *self._classes(look)]

    def save(self, look: Look, folder: Path) -> Path:
        """Write all heads' maps as a GeoTIFF in the tile's place, and return its path; the folder is made."""
        source = {PATCH: f"patch-{look.patch[0] + 1}-{look.patch[1] + 1}", CLASS: "class"}.get(look.origin, "rollout")
        block = "" if look.origin == ROLLOUT else f"-block-{look.block % self.blocks + 1}"
        path = folder / f"{look.tile}-{source}{block}.tif"
        array = georeferenced(self.maps(look), self.store.tile(look.tile))
        tags = {"unit": "times an even share", "from": self.said(look)}
        with whole(path) as partial:
            array.rio.to_raster(partial, driver="GTiff", tags=tags)
        return path

    def _place(self, look: Look) -> str:
        tile = self.store.tile(look.tile)
        split = str(self.store.index["split"].iloc[self.store.row(look.tile)])
        where = f"Tile {look.tile}, {tile.region}, {split} split"
        if look.origin != PATCH:
            return where
        left, bottom, right, top = tile.bounds
        x = left + (look.patch[1] + 0.5) * (right - left) / self.grid[1]
        y = top - (look.patch[0] + 0.5) * (top - bottom) / self.grid[0]
        digits = ".1f" if abs(right - left) > 1 else ".6f"  # metres, or degrees
        at = f"x {x:{digits}}, y {y:{digits}} ({tile.crs or 'no CRS'})"
        return f"{where}: patch row {look.patch[0] + 1}, column {look.patch[1] + 1}, centre {at}"

    def _spread(self, attention: NDArray[np.float32]) -> str:
        weights = np.sort((attention / attention.sum()).ravel())[::-1]
        half = int(np.searchsorted(np.cumsum(weights), 0.5) + 1)
        rows, columns = np.unravel_index(int(attention.argmax()), attention.shape)
        most = f"{attention.max():.2f} times an even share, on row {rows + 1}, column {columns + 1}"
        return f"Half of the attention lies on {half} of {weights.size} patches; most, {most}"

    def _classes(self, look: Look) -> list[str]:
        """The class with most of the attention beside its share of the tile: attention finds what is there anyway."""
        label, legend = self._read(look.tile)[1], self.store.legend
        attention = self.map(look)
        cell = np.array(label.shape) // attention.shape
        weight = np.kron(attention, np.ones(cell, np.float32))[label != IGNORE]
        index = label[label != IGNORE]
        if not index.size:
            return []
        share = np.bincount(index, weight, len(legend)) / weight.sum()
        most = int(share.argmax())
        lies, covers = 100 * share[most], 100 * (index == most).mean()
        return [f"{lies:.0f} % of it lies on {legend.names[most]}, which covers {covers:.0f} % of the tile's labels"]

    def _read_tile(self, tile: str) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        backscatter, label = self.store.read([tile])
        return backscatter[0], label[0]

    def _images(self, tile: str) -> Tensor:
        return torch.from_numpy(self.normalisation.apply(self._read(tile)[0][None]))

    def _class_maps(self, tile: str) -> list[NDArray[np.float32]]:
        """Of every block, in one pass."""
        maps = class_attention(self.vit, self._images(tile), range(self.blocks))
        return [each[0].float().numpy() for each in maps]

    def _patch_maps(self, tile: str, block: int) -> NDArray[np.float32]:
        """(heads, patches, h, w): from every patch, so that the next click is answered already."""
        points = [(row, column) for row in range(self.grid[0]) for column in range(self.grid[1])]
        return patch_attention(self.vit, self._images(tile), points, block)[0].float().numpy()

    def _rollout_map(self, tile: str) -> NDArray[np.float32]:
        return rollout(self.vit, self._images(tile)).float().numpy()
