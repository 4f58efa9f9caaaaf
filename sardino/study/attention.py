"""What an arm's backbone makes of tiles, scored against reference layers and put into columns for Figure 5."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pyproj import CRS
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import IGNORE, label_order
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import SPLITS, TileStore
from sardino.data.tiles.tile import Chip, Tile
from sardino.dino.attention import class_attention, patch_tokens, rollout
from sardino.dino.vit import build_vit, freeze
from sardino.evaluation.attention_scores import Reference, alignment, attention_scores, block_mean
from sardino.evaluation.map_scores import attention_mask
from sardino.evaluation.patches import patch_classes, patch_means, token_pca
from sardino.mapping.blend import blend_images
from sardino.mapping.model import load_landcover
from sardino.mapping.products import LandCoverMap
from sardino.reporting.figures.places import ComparisonColumn
from sardino.reporting.record import read_record
from sardino.reporting.rows import row_run
from sardino.study.workspace import Workspace
from sardino.weights.card import Card
from sardino.weights.save import load_backbone

BATCH = 64
SEED = 0  # of the untrained ViT that an arm is compared with
MOST = 1024  # tiles scored, the first by hash: the rest would hardly narrow an interval over bands
LANDCOVER = "landcover"  # the label map among the layers
COARSE_LANDCOVER = "landcover_300m"  # the one other layer of classes; all others are amounts
ACROSS = 28  # patches along a side of what figures show, at least: the paper's tiles
TOKEN_TILES = 64  # beside those shown, whose tokens the colours are taken from


@dataclass(frozen=True)
class Seen:
    """What a ViT makes of tiles; relative weights, 1 is an even spread."""

    attention: NDArray[np.float32]  # (N, heads, h, w) of the last block's class token
    rollout: NDArray[np.float32]  # (N, h, w) attention rolled out from the class token through all blocks
    tokens: NDArray[np.float32]  # (N, h, w, D) patch tokens of the last block

    @property
    def token_variance(self) -> list[float]:
        """Shares of the tokens' variance that their first three directions hold, those of the colours."""
        return [float(share) for share in token_pca(self.tokens).explained]


def views(space: Workspace, arm: str, store: TileStore, ids: Sequence[str]) -> tuple[list[Tile], list[Chip]]:
    """Tiles as figures show them: with what lies around them, so that there are `ACROSS` patches a side or more.

    The synthetic world is simulated there. Of other stores, whole blocks of adjacent tiles are put together; where a
    tile of those shown has none, all stay as they are. What lies around a test tile may be of another split.
    """
    data, px = space.profile.data, store.tile_px
    side = max(px, ACROSS * space.profile.architecture(arm).patch)
    if side > px and data.source == "world":
        world = World(seed=data.seed, composite=data.composite)
        tiles = [_around(store.tile(tile), side) for tile in ids]
        return tiles, [world.chip(tile) for tile in tiles]
    blocks = [adjacent(store, tile, math.ceil(side / px)) for tile in ids]
    if not all(blocks):
        blocks = [[tile] for tile in ids]
    tiles, chips = [], []
    for block in blocks:
        backscatter, label = (_joined(each) for each in store.read(block))
        chips.append(Chip(backscatter, label, {name: _joined(store.read_layer(name, block)) for name in store.layers}))
        tiles.append(replace(store.tile(block[0]), shape=label.shape))
    return tiles, chips


def _around(tile: Tile, side: int) -> Tile:
    """A square of so many pixels with a tile in its middle."""
    (a, _, left, _, e, top), more = tile.transform, (side - tile.shape[0]) // 2
    return replace(tile, transform=(a, 0.0, left - more * a, 0.0, e, top - more * e), shape=(side, side))


def _joined(values: NDArray[Any]) -> NDArray[Any]:
    """A square of tiles (n x n, ..., H, W), row by row, as one (..., n H, n W)."""
    rows = np.split(values, math.isqrt(len(values)))
    return np.concatenate([np.concatenate(list(row), -1) for row in rows], -2)


def adjacent(store: TileStore, tile_id: str, many: int) -> list[str]:
    """A square of so many tiles down and across that holds a tile, row by row; empty where the store has none."""
    tile, index, px = store.tile(tile_id), store.index, store.tile_px
    (a, _, left, _, e, top), found = tile.transform, {(0.0, 0.0): tile_id}
    near = index[(index["region"] == tile.region) & (index["crs"] == tile.crs) & bool(tile.crs)]
    for other, place in zip(near["id"], near["transform"], strict=True):
        found[round((place[5] - top) / (e * px), 3), round((place[2] - left) / (a * px), 3)] = str(other)
    for first, start in np.ndindex(many, many):
        square = [(row - first, column - start) for row, column in np.ndindex(many, many)]
        if all(place in found for place in square):
            return [found[place] for place in square]
    return []


def example_ids(space: Workspace, arm: str) -> list[str]:
    """The example tiles of an arm's rows."""
    ids: list[str] = read_record(space.record(row_run("attention", "unfrozen", arm)))["results"]["example_ids"]
    return ids


def predicted(space: Workspace, arm: str, backscatter: NDArray[np.float32]) -> dict[str, NDArray[np.uint8]]:
    """Land cover (N, H, W) class index from attention alone, and from backscatter with attention.

    By the segmenters that the rows kept: they started from the pre-trained backbone and were fine-tuned, unfrozen, on
    the largest fraction. Windows of the size of their tiles are blended, as `sardino map` does.
    """
    maps = {}
    for encoding in ("attention", "unet_attention"):
        product = LandCoverMap(load_landcover(space.segmenter(row_run(encoding, "unfrozen", arm))))
        images = torch.from_numpy(product.model.normalisation.apply(backscatter))
        maps[encoding] = blend_images(product, images).argmax(1).numpy().astype(np.uint8)
    return maps


def backbone(space: Workspace, arm: str, store: TileStore) -> tuple[VisionTransformer, Card]:
    """An arm's ViT as it is, never trained on: the network that it uses afterwards; and its card."""
    network = space.profile.arm(arm).network
    vit, card = load_backbone(space.pretrain(arm), tuple(store.channels), store.unit, network)
    return freeze(vit), card


def normalised(card: Card, backscatter: NDArray[np.float32]) -> Tensor:
    """Tiles (N, C, H, W) in the store's unit, NaN where missing, as the backbone takes them."""
    return torch.from_numpy(Normalisation.from_dict(card.normalisation).apply(backscatter))


def see(space: Workspace, arm: str, store: TileStore, backscatter: NDArray[np.float32]) -> Seen:
    """What an arm's ViT makes of tiles (N, C, H, W) in the store's unit, NaN where missing."""
    vit, card = backbone(space, arm, store)
    batches = normalised(card, backscatter).split(BATCH)
    parts = [(class_attention(vit, x)[0], rollout(vit, x), patch_tokens(vit, x)) for x in batches]
    return Seen(*(torch.cat(each).float().numpy() for each in zip(*parts, strict=True)))


def attention_maps(
    space: Workspace, arm: str, store: TileStore, ids: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Class attention (N, heads, h, w) of many tiles: by the arm's ViT, and by an untrained one of its architecture."""
    vit, card = backbone(space, arm, store)
    torch.manual_seed(SEED)
    networks = (vit, build_vit(card.architecture).eval())
    parts = []
    for start in range(0, len(ids), BATCH):
        images = normalised(card, store.read(ids[start : start + BATCH])[0])
        parts.append([class_attention(network, images)[0] for network in networks])
    trained, untrained = (torch.cat(each).float().numpy() for each in zip(*parts, strict=True))
    return trained, untrained


def head_summary(attention: NDArray[np.float32]) -> list[dict[str, float]]:
    """How concentrated each head of (N, heads, h, w) maps is, averaged over tiles.

    Per head "mass_share", the smallest share of patches that holds 60 % of the attention (0.6 for an even spread), and
    "peak", the largest weight relative to an even spread.
    """
    flat = attention.reshape(*attention.shape[:2], -1)
    share, peak = attention_mask(flat).mean(-1), flat.max(-1) / flat.mean(-1)
    return [{"mass_share": float(s), "peak": float(p)} for s, p in zip(share.mean(0), peak.mean(0), strict=True)]


@dataclass(frozen=True)
class Scored:
    """Attention of tiles, with what it is compared with."""

    attention: NDArray[np.float32]  # (N, heads, h, w)
    untrained: NDArray[np.float32]  # the same of random weights
    references: list[Reference]  # layers per patch; the label map first, if there are labels
    blocks: NDArray[np.int64]  # (N,) of `TileStore.blocks`
    split: str  # "test", or "all" where an arm has no test tiles


def gather(space: Workspace, arm: str, store: TileStore) -> Scored:
    """Attention and references of the tiles that an arm is scored on.

    Test tiles of the arm's first region, whose bands no training saw; all tiles of a store that is not split, because
    its places are too small: its ViT has then seen their backscatter, and never a reference.
    """
    test = store.ids("test", space.profile.arm(arm).regions[:1])
    ids = test or store.ids(SPLITS)
    chosen = set(label_order(ids)[:MOST])
    ids = [tile for tile in ids if tile in chosen]
    references = patch_references(store, ids, space.profile.architecture(arm).patch)
    return Scored(*attention_maps(space, arm, store, ids), references, store.blocks(ids), "test" if test else "all")


def patch_references(store: TileStore, ids: Sequence[str], patch: int) -> list[Reference]:
    """The label map and every layer of a store, by patches of so many pixels; optical images as their brightness."""
    names = tuple(store.legend.names)
    maps = {LANDCOVER: store.read(ids)[1]}
    if COARSE_LANDCOVER in store.layers:
        maps[COARSE_LANDCOVER] = store.read_layer(COARSE_LANDCOVER, ids)
    found = [Reference(name, patch_classes(index, patch, len(names)), names) for name, index in maps.items()]
    found = [each for each in found if (each.values != IGNORE).any()]
    for name in store.layers:
        if name == COARSE_LANDCOVER:
            continue
        layer = store.read_layer(name, ids).astype(np.float32)
        if name == "optical":
            layer = np.where((layer > 0).any(1), layer.mean(1), np.nan)
        if np.isfinite(means := patch_means(layer, patch)).any():
            found.append(Reference(name, means))
    return found


def score_arms(space: Workspace, scored: dict[str, Scored], stores: dict[str, TileStore]) -> pd.DataFrame:
    """The tidy table of all arms (sardino.evaluation.attention_scores), with where its numbers come from."""
    frames = []
    for arm, each in scored.items():
        store, frame = stores[arm], attention_scores(each.attention, each.untrained, each.references, each.blocks)
        told = {"arm": arm, "arm_title": space.profile.arm(arm).title, "split": each.split}
        for place, (name, value) in enumerate(told.items()):
            frame.insert(place, name, value)
        legend = store.legend
        frames.append(frame.assign(labels=legend.name, derived=legend.derived, synthetic=store.synthetic))
    return pd.concat(frames, ignore_index=True)


def land_cover_alignment(scored: Scored) -> dict[str, float]:
    """How far attention follows the labels beyond chance, and the same for random weights.

    "value", "low", "high" (see `alignment`; bands resampled) and "random_value", ... of an untrained ViT.
    """
    label = np.asarray(scored.references[0].values, np.uint8)
    result: dict[str, float] = {}
    for name, maps in (("", scored.attention), ("random_", scored.untrained)):
        beyond = alignment(maps, label, np.random.default_rng(0))
        values = block_mean(beyond, scored.blocks, np.random.default_rng(0))
        result |= {f"{name}{key}": value for key, value in zip(("value", "low", "high"), values, strict=True)}
    return result


def first_by_hash(store: TileStore) -> list[str]:
    """One tile of each place of a store that is not split: of each region and CRS the first by hash."""
    groups = store.index.groupby(["region", "crs"], sort=False)["id"]
    return [label_order([str(tile) for tile in ids])[0] for _, ids in groups]


def place_columns(space: Workspace, arm: str, store: TileStore, ids: Sequence[str]) -> list[ComparisonColumn]:
    """For each tile what a backbone makes of it, with every layer that the store has.

    The tokens' colours are fitted to these tiles and to others of the store, the first by hash.
    """
    tiles, chips = views(space, arm, store, ids)
    seen = see(space, arm, store, np.stack([chip.backscatter_db for chip in chips]))
    others = [tile for tile in label_order(store.ids(SPLITS)) if tile not in set(ids)][:TOKEN_TILES]
    tokens = [seen.tokens]
    if others:
        tokens.append(see(space, arm, store, store.read(others)[0]).tokens)
    flat = np.concatenate([each.reshape(-1, each.shape[-1]) for each in tokens])
    colours = token_pca(flat).colours(seen.tokens)
    columns = []
    for i, (tile, place, chip) in enumerate(zip(ids, tiles, chips, strict=True)):
        gsd_m = store.gsd_m
        if not gsd_m and place.crs and CRS.from_user_input(place.crs).is_projected:
            gsd_m = place.transform[0]
        known = bool((chip.label != IGNORE).any())
        columns.append(
            ComparisonColumn(
                name=f"{place.region} {tile[:6]}, {place.shape[1]}\N{NO-BREAK SPACE}px",
                sar=chip.backscatter_db,
                attention=seen.attention[i],
                layers=chip.layers,
                reference=chip.label if known else None,
                legend=store.legend if known else None,
                channels=tuple(store.channels),
                gsd_m=gsd_m,
                # The class token keeps a part of what is rolled out: relative to what the patches hold.
                rollout=seen.rollout[i] / seen.rollout[i].mean(),
                tokens=colours[i],
                placed=bool(place.crs),
                model=arm,
            )
        )
    return columns
