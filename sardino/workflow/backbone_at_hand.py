"""A backbone to look into: the one named, the arm's own, the built-in one, or one made in seconds."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer

from sardino.errors import SardinoError
from sardino.mapping.model import PRETRAINED
from sardino.models.vit import build_vit
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.tileset import TileStore
from sardino.training.checkpoint import Card, load_backbone
from sardino.training.parallel import Parallel
from sardino.training.pretrain import pretrain
from sardino.training.recipe import find_recipe
from sardino.training.run import Run
from sardino.training.store_tiles import open_tiles
from sardino.workflow.backbone import architecture_of
from sardino.workflow.workspace import Workspace

STEPS, TILES = 8, 32
"""Of the one made on the spot: enough to have weights, not to have learnt."""


@dataclass(frozen=True)
class Backbone:
    """A ViT with what its input must be normalised by, and a sentence on where it comes from."""

    vit: VisionTransformer
    normalisation: Normalisation
    told: str


def backbone_at_hand(space: Workspace, arm: str, store: TileStore, model: str = "") -> Backbone:
    """The backbone to look into.

    Args:
        space, arm: whose pre-training is taken where no model is named.
        store: the tiles it will see.
        model: a folder as `sardino pretrain` writes it, relative to the project's; "" for the arm's own, or, before
            that was trained, the one that comes with the package; where the tiles have other channels than that, one
            of a few steps on a few tiles, which is kept nowhere.

    Raises:
        SardinoError: the folder holds no backbone, or one for other channels or units.
    """
    folder = space.root / Path(model).expanduser() if model else space.pretrain(arm)
    network = space.profile.pretraining[arm].network
    if not model and not (folder / "card.json").is_file():
        folder, network = PRETRAINED / "world-backbone", "teacher"
        if not _fits(folder, store):
            return _made_now(space, arm, store)
    if not (folder / "card.json").is_file():
        raise SardinoError(f"{folder} holds no backbone: give a folder that `sardino pretrain` wrote")
    if not (folder / f"{network}.safetensors").is_file():
        network = "teacher"
    vit, card = load_backbone(folder, tuple(store.channels), store.unit, network)
    regions = ", ".join(map(str, card.trained_on.get("regions", ()))) or "unknown regions"
    told = f"{network} pre-trained on {card.trained_on.get('tiles', '?')} tiles of {regions}"
    return Backbone(vit, Normalisation.from_dict(card.normalisation), told)


def _fits(folder: Path, store: TileStore) -> bool:
    """Whether a backbone is there and takes the store's tiles."""
    if not (folder / "card.json").is_file():
        return False
    card = Card.from_dict(json.loads((folder / "card.json").read_text(encoding="utf-8")), folder / "card.json")
    whole = store.tile_px % card.architecture.patch == 0
    return whole and card.channels == tuple(store.channels) and card.unit == store.unit


def _made_now(space: Workspace, arm: str, store: TileStore) -> Backbone:
    ids = store.ids("train", space.profile.pretraining[arm].regions)[:TILES]
    normalisation = Normalisation.of_store(store, ids)
    architecture = architecture_of(space, arm, store)
    result = pretrain(
        open_tiles(store, ids, None),
        ids,
        normalisation,
        architecture,
        find_recipe("small", hidden=64, bottleneck=32, prototypes=64, local_crops=2),
        Run(steps=STEPS, batch=min(8, len(ids)), watch_every=1),
        Parallel(torch.device("cpu")),
    )
    vit = build_vit(architecture)
    vit.load_state_dict(result.teacher)
    told = (
        f"made just now, {STEPS} steps on {len(ids)} tiles: it has hardly learnt. "
        f"`sardino notebook pretrain-{arm} --profile {space.profile.name}` trains one that is kept"
    )
    return Backbone(vit, normalisation, told)
