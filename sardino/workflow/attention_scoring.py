"""Attention of a profile's backbones scored: which tiles, against which layers, with which nulls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.evaluation.alignment import alignment, block_mean
from sardino.evaluation.attention_scores import Reference, attention_scores
from sardino.evaluation.patches import patch_classes, patch_means
from sardino.tiles.landcover import IGNORE
from sardino.tiles.splits import label_order
from sardino.tiles.tileset import TileStore
from sardino.workflow.attention import attention_maps
from sardino.workflow.workspace import Workspace

MOST = 1024
"""Tiles that are scored at most, the first by hash: the rest would hardly narrow an interval over bands."""
LANDCOVER = "landcover"
"""Name of the label map among the layers."""


@dataclass(frozen=True)
class Scored:
    """Attention of tiles, with what it is compared with.

    Args:
        attention, untrained: (N, heads, h, w).
        references: layers per patch; the label map first, if there are labels.
        blocks: (N,) number of the place and band of each tile, the unit that intervals resample.
        split: "test", or "all" where an arm has no test tiles.
    """

    attention: NDArray[np.float32]
    untrained: NDArray[np.float32]
    references: list[Reference]
    blocks: NDArray[np.int64]
    split: str


def gather(space: Workspace, arm: str, store: TileStore) -> Scored:
    """Attention and references of the tiles that an arm is scored on.

    Test tiles of the arm's first region, whose bands no training saw; all tiles of a store that is not split, because
    its places are too small: its ViT has then seen their backscatter, and never a reference.
    """
    ids = store.ids("test", space.profile.arm(arm).regions[:1])
    split = "test" if ids else "all"
    ids = ids or store.ids()
    chosen = set(label_order(ids)[:MOST])
    ids = [tile for tile in ids if tile in chosen]
    index = store.index.set_index("id").loc[ids]
    blocks = index.groupby(["region", "crs", "band"], sort=True).ngroup().to_numpy(np.int64)
    patch = space.profile.architecture(arm).patch
    return Scored(*attention_maps(space, arm, store, ids), patch_references(store, ids, patch), blocks, split)


def patch_references(store: TileStore, ids: Sequence[str], patch: int) -> list[Reference]:
    """The label map and every layer of a store, patch by patch; optical images as their brightness.

    Args:
        patch: side in pixels.
    """
    names = tuple(store.legend.names)
    maps = {LANDCOVER: store.read(ids)[1]} | {
        name: store.read_layer(name, ids) for name in store.layers if name == "landcover_300m"
    }
    found = [Reference(name, patch_classes(index, patch, len(names)), names) for name, index in maps.items()]
    for name in store.layers:
        if name == "landcover_300m":
            continue
        layer = store.read_layer(name, ids).astype(np.float32)
        if name == "optical":
            layer = np.where((layer > 0).any(1), layer.mean(1), np.nan)
        found.append(Reference(name, patch_means(layer, patch)))
    return [each for each in found if _known(each)]


def score_heads(arm: str, title: str, scored: Scored, store: TileStore) -> pd.DataFrame:
    """The tidy table of one arm (sardino.evaluation.attention_scores), with where its numbers come from.

    Args:
        title: of the arm, for readers.
    """
    frame = attention_scores(scored.attention, scored.untrained, scored.references, scored.blocks)
    origin = {"labels": store.legend.name, "derived": store.legend.derived, "synthetic": store.synthetic}
    for place, (name, value) in enumerate({"arm": arm, "arm_title": title, "split": scored.split}.items()):
        frame.insert(place, name, value)
    return frame.assign(**origin)


def land_cover_alignment(scored: Scored) -> dict[str, float]:
    """How far attention follows the labels beyond chance, and the same for random weights.

    Returns:
        "value", "low", "high" (see `alignment`; bands resampled) and "random_value", ... of an untrained ViT.
    """
    label = np.asarray(scored.references[0].values, np.uint8)
    result: dict[str, float] = {}
    for name, maps in (("", scored.attention), ("random_", scored.untrained)):
        beyond = alignment(maps, label, np.random.default_rng(0))
        values = block_mean(beyond, scored.blocks, np.random.default_rng(0))
        result |= {f"{name}{key}": value for key, value in zip(("value", "low", "high"), values, strict=True)}
    return result


def _known(reference: Reference) -> bool:
    values = reference.values
    return bool((values != IGNORE).any() if reference.classes else np.isfinite(np.asarray(values, float)).any())
