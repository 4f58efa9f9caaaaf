"""What there is to look at: the tiles of a store, or windows of a scene; each is chosen on a map of all, or by name."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import SPLITS, TileStore, example_tiles
from sardino.data.tiles.tile import Tile
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError
from sardino.mapping.model import MapModel, ModelScene
from sardino.mapping.products import WINDOW_PX
from sardino.reporting.figures.exploration import draw_scene_overview
from sardino.reporting.figures.panels import sar_composite
from sardino.reporting.figures.places import REFERENCE, draw_splits, placed_outlines

MOST_PIXELS, OVERVIEW_PX = 3000**2, 600  # a larger scene is not read whole to be shown; longer side of its picture
DEMO_SEED, DEMO_TILES = 1, (2, 1)  # lakes, forest and fields, of a world that the built-in networks never saw


@dataclass(frozen=True)
class Place:
    """One tile of a store, or one window of a scene."""

    tile: Tile
    said: str
    backscatter: NDArray[np.float32]  # (C, H, W) in the unit of its source, NaN where missing
    label: NDArray[np.uint8]  # (H, W) class index, IGNORE where nobody knows


class StoreTiles:
    """The tiles of a store; it opens on a test tile, which no training saw, the first of the paper's figures.

    Attributes, here and of SceneWindows:
        layers: what a place can be compared with, the labels first.
        first: id of the place to open on.
        told: what all this is.
        asks: what `find` wants.
        synthetic: whether it is of the synthetic world; figures say so.
    """

    asks = "part of a tile's id"

    def __init__(self, store: TileStore) -> None:
        self.store, self.channels, self.unit = store, tuple(store.channels), store.unit
        self.legend, self.gsd_m, self.layers = store.legend, store.gsd_m, [REFERENCE, *store.layers]
        self.synthetic = store.synthetic
        self.first = example_tiles(store, store.ids("test") or store.ids(), 1)[0]
        self.told = f"{len(store)} tiles of {store.tile_px} px of {store.product}"

    def read(self, place: str) -> Place:
        backscatter, label = self.store.read([place])
        tile, split = self.store.tile(place), self.store.index["split"].iloc[self.store.row(place)]
        return Place(tile, f"Tile {place}, {tile.region}, {split} split", backscatter[0], label[0])

    def layer(self, name: str, place: str) -> NDArray[Any]:
        """(3, H, W) of "optical", else (H, W)."""
        return self.store.read_layer(name, [place])[0]

    def find(self, text: str) -> list[str]:
        """Ids of the places that are meant; SardinoError where there is none."""
        found = [tile for tile in self.store.ids() if text.strip().lower() in tile.lower()]
        if not found:
            raise SardinoError(f"no tile of {self.store.path} has '{text}' in its id")
        return found

    def overview(self) -> Figure:
        """A map of all, to be clicked."""
        kind = "synthetic tiles" if self.synthetic else "tiles"
        return draw_splits(self.store.index, f"All {len(self.store)} {kind}: click one")

    def at(self, panel: int, x: float, y: float) -> str | None:
        """The place nearest to a point of a panel of the overview; None where the panel has none."""
        ids, _, centres = self._panels[panel]
        return ids[int(np.hypot(*(centres - (x, y)).T).argmin())] if ids else None

    def outline(self, place: str) -> tuple[int, NDArray[np.floating]] | None:
        """The panel in which a place lies, and its outline (n, 2) there; None where nobody knows."""
        for panel, (ids, outlines, _) in enumerate(self._panels):
            if place in ids:
                return panel, outlines[ids.index(place)]
        return None

    @cached_property
    def _panels(self) -> list[tuple[list[str], list[NDArray[np.floating]], NDArray[np.floating]]]:
        """Ids, outlines and centres (n, 2) of the tiles in each panel of the overview, which are its regions."""
        shown, panels = self.store.index[self.store.index["split"].isin(SPLITS)], []
        for region in dict.fromkeys(shown["region"]):
            tiles = shown[shown["region"] == region]
            known, outlines, _ = placed_outlines(tiles)
            centres = np.array([(outline.min(0) + outline.max(0)) / 2 for outline in outlines])
            panels.append(([str(tile) for tile in tiles["id"][known]], outlines, centres))
        return panels


class SceneWindows:
    """Windows of a scene of at most 448 px, the model's patches whole; id "row-column" of the upper left pixel."""

    unit, legend, layers = "dB", WORLDCOVER, [REFERENCE]
    asks = "row, column of a pixel"

    def __init__(self, source: ModelScene, model: MapModel) -> None:
        self.source, self.scene, self.channels, self.gsd_m = source, source.scene, model.card.channels, model.card.gsd_m
        self.synthetic = "synthetic" in self.scene.product
        patch = model.card.architecture.patch
        rows, columns = self.shape = self.scene.shape
        self.window = min(rows, WINDOW_PX) // patch * patch, min(columns, WINDOW_PX) // patch * patch
        if not all(self.window):
            raise SardinoError(f"{self.scene.path} is smaller than a patch of {patch} px: take a larger scene")
        self.first = self._around(rows / 2, columns / 2)
        self.told = f"{self.scene.path.name}, {rows} x {columns} px: a window of {self.window[0]} x {self.window[1]} px"

    def read(self, place: str) -> Place:
        (top, left), (height, width) = self._corner(place), self.window
        a, b, c, d, e, f = self.scene.transform
        tile = Tile(self.scene.path.stem, self.scene.crs, (a, b, c + a * left, d, e, f + e * top), self.window)
        with self.source.reading() as read:
            pixels = read(top, top + height, left, left + width)
        said = f"Rows {top} to {top + height - 1}, columns {left} to {left + width - 1} of {self.scene.path.name}"
        if missing := 100 * float((~np.isfinite(pixels).any(0)).mean()):
            said += f", {missing:.0f} % of it missing"
        return Place(tile, said, pixels, np.full(self.window, IGNORE, np.uint8))

    def layer(self, name: str, place: str) -> NDArray[Any]:
        raise SardinoError(f"{self.scene.path} is a scene, which has no layer '{name}'")

    def find(self, text: str) -> list[str]:
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        if len(numbers) != 2 or any(number >= size for number, size in zip(numbers, self.shape, strict=True)):
            rows, columns = self.shape
            raise SardinoError(
                f"'{text}' is no pixel of {self.scene.path.name}: give row, column of {rows} x {columns}"
            )
        return [self._around(*numbers)]

    def overview(self) -> Figure:
        picture, (rows, columns) = None, self.shape
        title = f"The whole {'synthetic ' if self.synthetic else ''}scene: click where to look"
        if rows * columns <= MOST_PIXELS:
            step = max(1, max(self.shape) // OVERVIEW_PX)
            height = max(self.scene.chunk_rows // step, 1) * step
            with self.source.reading() as read:
                parts = [read(top, min(top + height, rows), 0, columns) for top in range(0, rows, height)]
            picture = sar_composite(np.concatenate([part[:, ::step, ::step] for part in parts], 1), self.channels)
        else:
            title += " (too large for a picture)"
        return draw_scene_overview(picture, self.shape, title)

    def at(self, panel: int, x: float, y: float) -> str | None:
        return self._around(y, x)

    def outline(self, place: str) -> tuple[int, NDArray[np.floating]] | None:
        (top, left), (height, width) = self._corner(place), self.window
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height), (left, top)]
        return 0, np.array(corners) - 0.5

    def _around(self, row: float, column: float) -> str:
        """The window about a pixel, inside the scene."""
        ends = zip((row, column), self.shape, self.window, strict=True)
        top, left = (min(max(round(at - side / 2), 0), size - side) for at, size, side in ends)
        return f"{top}-{left}"

    def _corner(self, place: str) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+)-(\d+)", place)
        top, left = map(int, found.groups()) if found else (-1, -1)
        if not (found and top <= self.shape[0] - self.window[0] and left <= self.shape[1] - self.window[1]):
            raise SardinoError(f"{self.scene.path} has no window {place}")
        return top, left


Places = StoreTiles | SceneWindows


def demo_tiles(folder: Path) -> TileStore:
    """Tiles of 448 px of synthetic land, the paper's size, which are made once and kept in a folder."""
    if folder.exists():
        return TileStore.open(folder)
    world = World(seed=DEMO_SEED)
    tiles, facts = world.tiles("europe", WINDOW_PX, *DEMO_TILES), world.metadata()
    made: dict[str, Any] = {"channels": CHANNELS, "legend": WORLDCOVER, "product": facts["product"], "metadata": facts}
    splits = ["test"] * len(tiles)  # nothing was trained on them
    made |= {"synthetic": True, "bands": [0] * len(tiles)}
    return write_store(folder, tiles, splits, lambda number: world.chip(tiles[number]), **made)
