"""The explorer's answers, without a browser: what a network looks at from a patch of a tile, and which network."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore, example_tiles
from sardino.data.tiles.tile import georeferenced
from sardino.dino.attention import block_count, class_attention, patch_attention, patch_grid, rollout
from sardino.dino.recipe import Network
from sardino.dino.vit import build_vit
from sardino.errors import SardinoError
from sardino.files import whole
from sardino.mapping.model import PRETRAINED
from sardino.reporting.figures.exploration import Exploration
from sardino.reporting.figures.places import REFERENCE, has_values
from sardino.study.arm import architecture_of
from sardino.study.quickstart import learn_a_little
from sardino.study.workspace import Workspace
from sardino.weights.card import Card
from sardino.weights.save import load_backbone

# From where to look: the class token, a patch, or the class token through all blocks.
ORIGINS = CLASS, PATCH, ROLLOUT = "class token", "patch", "rollout"
OFFERED = 100  # tiles at most: a menu of thousands helps nobody
KEPT = 6  # answers of the network; attention from every patch of a ViT-Base at the paper's size takes 30 MB a block
BUILT_IN = "built-in"
STEPS, TILES = 8, 32  # of a backbone made on the spot: enough to have weights, not to have learnt


@dataclass(frozen=True)
class Look:
    """What is asked."""

    tile: str
    origin: str = CLASS  # one of ORIGINS
    block: int = -1  # counted from 0; a rollout runs through all of them
    head: int | None = None  # counted from 0; None for the mean of all
    patch: tuple[int, int] = (0, 0)  # (row, column) from which PATCH looks
    layer: str = REFERENCE  # what to compare with, one of the explorer's layers

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS:
            raise SardinoError(f"attention cannot start at '{self.origin}': choose {', '.join(ORIGINS)}")


class Explorer:
    """A store's tiles and one ViT, timm's with a class token, normalised as it was trained.

    A tile and a block are computed once, so that a click is answered at once.

    Attributes:
        tiles: ids offered: of test tiles, which no training saw, in the fixed order of the paper's figures.
        layers: what a tile can be compared with, the labels first.
        blocks, heads: how many the ViT has.
    """

    def __init__(self, store: TileStore, vit: nn.Module, normalisation: Normalisation) -> None:
        normalisation.require(store.channels, store.unit)
        self.store, self.vit, self.normalisation = store, vit.eval(), normalisation
        self.tiles = example_tiles(store, store.ids("test") or store.ids(), OFFERED)
        self.layers = [REFERENCE, *store.layers]
        self.blocks = block_count(vit)
        # Bound here and not by a decorator: a cache of the class would keep every explorer alive.
        self._read = lru_cache(KEPT)(self._read_tile)
        self._attention = lru_cache(KEPT)(self._ask)
        self.heads = len(self.maps(Look(self.tiles[0])))
        self.grid = patch_grid(vit, self._images(self.tiles[0]))

    def maps(self, look: Look) -> NDArray[np.float32]:
        """(heads, h, w) of attention, 1 is an even share; a rollout knows no heads and gives one map."""
        if not -self.blocks <= look.block < self.blocks:
            raise SardinoError(f"there is no block {look.block}: this ViT has {self.blocks}, from 0")
        if look.origin == ROLLOUT:
            return self._attention(look.tile, ROLLOUT)
        if look.origin == CLASS:
            return self._attention(look.tile, CLASS)[look.block]
        (row, column), (rows, columns) = look.patch, self.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise SardinoError(f"patch {look.patch} is outside the grid of {rows} x {columns} patches")
        return self._attention(look.tile, PATCH, look.block % self.blocks)[:, row * columns + column]

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
        store, patch = self.store, look.patch if look.origin == PATCH else None
        if look.layer not in self.layers:
            raise SardinoError(f"there is no layer '{look.layer}': this store has {', '.join(self.layers)}")
        layer: NDArray[Any] = label if look.layer == REFERENCE else store.read_layer(look.layer, [look.tile])[0]
        values = layer if has_values(look.layer, layer) else None
        return Exploration(
            sar, store.channels, self.map(look), self.said(look), patch, look.layer, values, store.legend, store.gsd_m
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
        tags = {"unit": "times an even share", "from": self.said(look)}
        with whole(path) as partial:
            georeferenced(self.maps(look), self.store.tile(look.tile)).rio.to_raster(partial, driver="GTiff", tags=tags)
        return path

    def _place(self, look: Look) -> str:
        tile, split = self.store.tile(look.tile), self.store.index["split"].iloc[self.store.row(look.tile)]
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

    def _ask(self, tile: str, origin: str, block: int = 0) -> NDArray[np.float32]:
        """A rollout; the class token's maps in every block, in one pass; or those of every patch in one block.

        Every patch, (heads, patches, h, w), so that the next click is answered already.
        """
        images = self._images(tile)
        if origin == ROLLOUT:
            return rollout(self.vit, images).float().numpy()
        if origin == CLASS:
            return torch.stack(class_attention(self.vit, images, range(self.blocks)))[:, 0].float().numpy()
        points = list(np.ndindex(*self.grid))
        return patch_attention(self.vit, images, points, block)[0].float().numpy()


@dataclass(frozen=True)
class Backbone:
    """A ViT with what its input must be normalised by, and a sentence on where it comes from."""

    vit: VisionTransformer
    normalisation: Normalisation
    told: str


def backbone_at_hand(space: Workspace, arm: str, store: TileStore, model: str = "") -> Backbone:
    """The backbone to look into.

    Args:
        space, arm: whose own pre-training is meant where no model is named.
        store: the tiles it will see.
        model: "" for the arm's own; "built-in" for the one that comes with the package; else a folder as
            `sardino pretrain` writes it, relative to the project's. Where the arm was not trained yet, or the built-in
            one takes other channels, the other of the two stands in, and where neither is there, one of a few steps on
            a few tiles, which is kept nowhere.

    Raises SardinoError: no such arm, or the folder holds no backbone, or one for other channels or units.
    """
    network = space.profile.arm(arm).network
    if model not in ("", BUILT_IN):
        folder = space.root / Path(model).expanduser()
        if not (folder / Card.FILE).is_file():
            raise SardinoError(f"{folder} holds no backbone: give a folder that `sardino pretrain` wrote")
        return _opened(folder, store, network)
    own, built_in = space.pretrain(arm), PRETRAINED / "world-backbone"
    trained, fits = (own / Card.FILE).is_file(), _fits(built_in, store)
    if trained and not (model == BUILT_IN and fits):
        return _opened(own, store, network)
    return _opened(built_in, store, "teacher") if fits else _made_now(space, arm, store)


def _opened(folder: Path, store: TileStore, network: Network) -> Backbone:
    if not (folder / f"{network}.safetensors").is_file():
        network = "teacher"
    vit, card = load_backbone(folder, tuple(store.channels), store.unit, network)
    regions = ", ".join(map(str, card.trained_on.get("regions", ()))) or "unknown regions"
    told = f"{network} of {folder.name}, pre-trained on {card.trained_on.get('tiles', '?')} tiles of {regions}"
    return Backbone(vit, Normalisation.from_dict(card.normalisation), told)


def _fits(folder: Path, store: TileStore) -> bool:
    """Whether a backbone is there and takes the store's tiles."""
    if not (folder / Card.FILE).is_file():
        return False
    card, _ = Card.read(folder)
    divided = store.tile_px % card.architecture.patch == 0
    return divided and (card.channels, card.unit) == (tuple(store.channels), store.unit)


def _made_now(space: Workspace, arm: str, store: TileStore) -> Backbone:
    ids = store.ids("train", space.profile.arm(arm).regions)[:TILES]
    normalisation, architecture = Normalisation.of_store(store, ids), architecture_of(space, arm, store)
    vit = build_vit(architecture)
    vit.load_state_dict(learn_a_little(store, ids, normalisation, architecture, STEPS).teacher)
    trains = f"`sardino notebook pretrain-{arm} --profile {space.profile.name}` trains one that is kept"
    told = f"made just now, {STEPS} steps on {len(ids)} tiles: it has hardly learnt. {trains}"
    return Backbone(vit, normalisation, told)
