"""A backbone to look into: the one named, the built-in one, the arm's own, or one made in seconds."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.dino.batches import open_tiles
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import pretrain
from sardino.dino.recipe import Network, Run, find_recipe
from sardino.dino.vit import build_vit
from sardino.errors import SardinoError
from sardino.mapping.model import PRETRAINED
from sardino.study.arm import architecture_of
from sardino.study.workspace import Workspace
from sardino.weights.card import Card
from sardino.weights.save import load_backbone

BUILT_IN = "built-in"
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
        space, arm: whose own pre-training is meant where no model is named.
        store: the tiles it will see.
        model: "" for the arm's own; "built-in" for the one that comes with the package; else a folder as
            `sardino pretrain` writes it, relative to the project's. Where the arm was not trained yet, or the built-in
            one takes other channels, the other of the two stands in, and where neither is there, one of a few steps on
            a few tiles, which is kept nowhere.

    Raises:
        SardinoError: no such arm, or the folder holds no backbone, or one for other channels or units.
    """
    network = space.profile.arm(arm).network
    if model not in ("", BUILT_IN):
        folder = space.root / Path(model).expanduser()
        if not (folder / "card.json").is_file():
            raise SardinoError(f"{folder} holds no backbone: give a folder that `sardino pretrain` wrote")
        return _opened(folder, store, network)
    own, built_in = space.pretrain(arm), PRETRAINED / "world-backbone"
    trained, fits = (own / "card.json").is_file(), _fits(built_in, store)
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
    if not (folder / "card.json").is_file():
        return False
    card = Card.from_dict(json.loads((folder / "card.json").read_text(encoding="utf-8")), folder / "card.json")
    whole = store.tile_px % card.architecture.patch == 0
    return whole and card.channels == tuple(store.channels) and card.unit == store.unit


def _made_now(space: Workspace, arm: str, store: TileStore) -> Backbone:
    ids = store.ids("train", space.profile.arm(arm).regions)[:TILES]
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
