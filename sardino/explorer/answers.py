"""The explorer's answers, without a browser: where a network looks from a place, which tokens are alike, and how."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sardino.data.rasters.scene import Scene, open_scene
from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import ARRAYS, TileStore
from sardino.data.tiles.tile import georeferenced
from sardino.dino.attention import (
    LayerInput,
    block_count,
    class_attention,
    layer_inputs,
    patch_maps,
    patch_tokens,
    rollout,
)
from sardino.dino.recipe import Network
from sardino.errors import SardinoError
from sardino.explorer.places import Place, Places, SceneWindows, StoreTiles, demo_tiles
from sardino.files import whole
from sardino.mapping.job import Reading
from sardino.mapping.model import MapModel, default_model, load_vit, match_scene
from sardino.reporting.figures.exploration import ATTENTION, SIMILARITY, Exploration
from sardino.reporting.figures.places import REFERENCE, has_values
from sardino.weights.card import Card

# From where to look: the class token, a patch, the class token through all blocks; and what is like a patch.
ORIGINS = CLASS, PATCH, ROLLOUT, ALIKE = "class token", "patch", "rollout", "similarity"
KEPT = 4  # places whose pixels, and what blocks make of them, are held
MOST_ALIKE = 0.1  # share of the patches that are told of


@dataclass(frozen=True)
class Look:
    """What is asked."""

    place: str
    origin: str = CLASS  # one of ORIGINS
    block: int = -1  # counted from 0; a rollout runs through all of them, and tokens are the last one's
    head: int | None = None  # counted from 0; None for the mean of all
    patch: tuple[int, int] = (0, 0)  # (row, column) from which PATCH looks, and to which ALIKE compares
    layer: str = REFERENCE  # what to compare with, one of the explorer's layers

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS:
            raise SardinoError(f"attention cannot start at '{self.origin}': choose {', '.join(ORIGINS)}")

    @property
    def one_map(self) -> bool:
        """Whether blocks and heads make no difference."""
        return self.origin in (ROLLOUT, ALIKE)


class Explorer:
    """Places and one ViT, timm's with a class token, normalised as it was trained.

    A place passes the network once, so that a click in it is answered at once.

    Attributes:
        blocks, heads: how many the ViT has.
        grid: (rows, columns) of patches of a place.
        told: what is looked at, and by which network.
    """

    def __init__(self, places: Places, vit: nn.Module, normalisation: Normalisation, told: str = "") -> None:
        normalisation.require(places.channels, places.unit)
        self.places, self.vit, self.normalisation, self.told = places, vit.eval(), normalisation, told
        self.blocks = block_count(vit)
        # Bound here and not by a decorator: a cache of the class would keep every explorer alive.
        self.read = lru_cache(KEPT)(places.read)
        self._layers = lru_cache(KEPT)(self._layer_inputs)
        self._tokens = lru_cache(KEPT)(self._unit_tokens)
        self._rollout = lru_cache(KEPT)(lambda place: rollout(vit, self._images(place)).float().numpy())
        self.heads, *grid = class_attention(vit, self._images(places.first), [0])[0].shape[1:]
        self.grid = grid[0], grid[1]

    @torch.no_grad()
    def maps(self, look: Look) -> NDArray[np.float32]:
        """(heads, h, w) of attention, 1 is an even share; one map of a rollout, or of cosine similarity."""
        if not -self.blocks <= look.block < self.blocks:
            raise SardinoError(f"there is no block {look.block}: this ViT has {self.blocks}, from 0")
        if look.origin == ROLLOUT:
            return self._rollout(look.place)
        (row, column), (rows, columns) = look.patch, self.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise SardinoError(f"patch {look.patch} is outside the grid of {rows} x {columns} patches")
        if look.origin == ALIKE:
            tokens = self._tokens(look.place)
            return (tokens @ tokens[row, column])[None].numpy()
        layer = self._layers(look.place)[look.block]
        # Patches are the last tokens, behind the class token and registers.
        token = layer.x.shape[1] - rows * columns + row * columns + column
        asked = layer.rows(slice(1) if look.origin == CLASS else [token])
        return patch_maps(self.vit, asked, self.grid)[0, :, 0].float().numpy()

    def map(self, look: Look) -> NDArray[np.float32]:
        """(h, w) of the head asked, or the mean of all."""
        maps = self.maps(look)
        if look.head is None or look.one_map:
            return maps.mean(0)
        if not 0 <= look.head < len(maps):
            raise SardinoError(f"there is no head {look.head}: each block has {len(maps)}, from 0")
        return maps[look.head]

    def see(self, look: Look) -> Exploration:
        """What to draw."""
        places, place = self.places, self.read(look.place)
        patch = look.patch if look.origin in (PATCH, ALIKE) else None
        if look.layer not in places.layers:
            raise SardinoError(f"there is no layer '{look.layer}': there is {', '.join(places.layers)}")
        layer: NDArray[Any] = place.label if look.layer == REFERENCE else places.layer(look.layer, look.place)
        values = layer if has_values(look.layer, layer) else None
        unit = SIMILARITY if look.origin == ALIKE else ATTENTION
        shown = place.backscatter, places.channels, self.map(look), self.said(look), patch, look.layer, values
        return Exploration(*shown, places.legend, places.gsd_m, unit, places.synthetic)

    def said(self, look: Look) -> str:
        """The heading of the map; blocks and heads count from 1, as in the paper's figures."""
        if look.origin == ROLLOUT:
            return f"Rollout: all {self.blocks} blocks together"
        if look.origin == ALIKE:
            return "Tokens alike to this patch's: last block"
        head = "mean of heads" if look.head is None else f"head {look.head + 1}"
        source = "From this patch" if look.origin == PATCH else "From the class token"
        return f"{source}: block {look.block % self.blocks + 1}, {head}"

    def words(self, look: Look) -> list[str]:
        """Where this is, how concentrated the map is, and on which class it lies."""
        place, values = self.read(look.place), self.map(look)
        if look.origin == ALIKE:
            limit = float(np.quantile(values, 1 - MOST_ALIKE))
            spread = f"Cosine similarity from {values.min():.2f} to 1; a tenth of {values.size} patches has {limit:.2f}"
            spread += " or more"
            return [self._where(look, place), spread, *self._classes(values >= limit, place, "that tenth")]
        return [self._where(look, place), _spread(values), *self._classes(values, place, "it")]

    def save(self, look: Look, folder: Path) -> Path:
        """Write all heads' maps as a GeoTIFF in their place, and return its path; the folder is made."""
        tile, patch = self.read(look.place).tile, f"-{look.patch[0] + 1}-{look.patch[1] + 1}"
        source = {PATCH: f"patch{patch}", ALIKE: f"similarity{patch}", CLASS: "class"}.get(look.origin, ROLLOUT)
        block = "" if look.one_map else f"-block-{look.block % self.blocks + 1}"
        path = folder / f"{look.place}-{source}{block}.tif"
        tags = {"unit": SIMILARITY if look.origin == ALIKE else ATTENTION, "from": self.said(look)}
        with whole(path) as partial:
            georeferenced(self.maps(look), tile).rio.to_raster(partial, driver="GTiff", tags=tags)
        return path

    def _where(self, look: Look, place: Place) -> str:
        if look.origin not in (PATCH, ALIKE):
            return place.said
        left, bottom, right, top = place.tile.bounds
        x = left + (look.patch[1] + 0.5) * (right - left) / self.grid[1]
        y = top - (look.patch[0] + 0.5) * (top - bottom) / self.grid[0]
        digits = ".1f" if abs(right - left) > 1 else ".6f"  # metres, or degrees
        at = f"x {x:{digits}}, y {y:{digits}} ({place.tile.crs or 'no CRS'})"
        return f"{place.said}: patch row {look.patch[0] + 1}, column {look.patch[1] + 1}, centre {at}"

    def _classes(self, weights: NDArray[Any], place: Place, what: str) -> list[str]:
        """The class with most of a map beside its share of the place: a map finds what is there anyway."""
        label, legend = place.label, self.places.legend
        cell = np.array(label.shape) // weights.shape
        weight = np.kron(weights, np.ones(cell, np.float32))[label != IGNORE]
        index = label[label != IGNORE]
        if not weight.sum():
            return []
        share = np.bincount(index, weight, len(legend)) / weight.sum()
        most = int(share.argmax())
        lies, covers = 100 * share[most], 100 * (index == most).mean()
        return [f"{lies:.0f} % of {what} lies on {legend.names[most]}, which covers {covers:.0f} % of what is labelled"]

    def _images(self, place: str) -> Tensor:
        return torch.from_numpy(self.normalisation.apply(self.read(place).backscatter[None]))

    @torch.no_grad()
    def _layer_inputs(self, place: str) -> list[LayerInput]:
        """What each block's attention is given, from which the attention of any token follows."""
        return layer_inputs(self.vit, self._images(place), range(self.blocks))

    def _unit_tokens(self, place: str) -> Tensor:
        """(h, w, D) of length 1."""
        return F.normalize(patch_tokens(self.vit, self._images(place))[0].float(), dim=-1)


def _spread(attention: NDArray[np.float32]) -> str:
    weights = np.sort((attention / attention.sum()).ravel())[::-1]
    half = int(np.searchsorted(np.cumsum(weights), 0.5) + 1)
    row, column = np.unravel_index(int(attention.argmax()), attention.shape)
    most = f"{attention.max():.2f} times an even share, on row {row + 1}, column {column + 1}"
    return f"Half of the attention lies on {half} of {weights.size} patches; most, {most}"


def open_explorer(
    kept: Path, what: str | Path = "", backbone: str | Path = "", network: Network = "teacher", **reading: Any
) -> Explorer:
    """What to look at, and the network that looks.

    Args:
        kept: folder of the synthetic land, where that is to be shown and was not made yet.
        what: a tile store, a scene as `sardino attend` takes it, or "" for synthetic land.
        backbone: folder of `sardino pretrain` or `sardino adopt`, or of a segmenter; "" for the built-in one.
        network: of a pre-training.
        reading: of a scene, the fields of Reading.

    Raises SardinoError: nothing is there, or the two do not fit.
    """
    path, given = Path(what).expanduser(), Reading(**reading)
    found: Scene | TileStore
    if what and not (path / ARRAYS).exists():
        found = open_scene(path, given.crs)
    elif given != Reading():
        raise SardinoError(f"{what or 'synthetic land'} is no scene's file: do not say how to read it")
    else:
        found = TileStore.open(path) if what else demo_tiles(kept / "world")
    names = given.channels or (found.names if isinstance(found, Scene) else found.channels)
    model = load_vit(Path(backbone).expanduser() if backbone else default_model("backbone", names), network)
    doubts: tuple[str, ...] = ()
    places: Places
    if isinstance(found, Scene):
        scene = match_scene(found, model, given.channels, given.unit, given.warp)
        places, doubts = SceneWindows(scene, model), scene.doubts
    else:
        places = StoreTiles(found)
    told = [places.told, _told(model, network), *(f"warning: {doubt}" for doubt in doubts)]
    return Explorer(places, model.network, model.normalisation, "\n".join(told))


def _told(model: MapModel, network: str) -> str:
    card = model.card
    if isinstance(card, Card) and card.adopted:
        return f"{model.folder.name}, {card.origin}"
    regions = ", ".join(map(str, card.trained_on.get("regions", ()))) or "unknown regions"
    part = network if isinstance(card, Card) else "ViT"
    return f"{part} of {model.folder.name}, trained on {card.trained_on.get('tiles', '?')} tiles of {regions}"
