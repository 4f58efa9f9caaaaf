"""The pre-training of one arm: from its tiles to weights with a card."""

from typing import Any

import torch

from sardino.models.vit import Architecture, build_vit, parameter_count
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.tileset import TileStore
from sardino.training.checkpoint import Card, save_backbone
from sardino.training.loader import shuffled
from sardino.training.pretrain import pretrain
from sardino.training.recipe import Recipe, find_recipe
from sardino.training.source import MemoryTiles
from sardino.training.store_tiles import open_tiles
from sardino.workflow.workspace import Workspace


def recipe_of(space: Workspace, arm: str) -> Recipe:
    """The arm's recipe with the profile's changes."""
    pretraining = space.profile.pretraining[arm]
    return find_recipe(pretraining.recipe, **pretraining.overrides)


def architecture_of(space: Workspace, arm: str, store: TileStore) -> Architecture:
    """The arm's ViT for the store's channels and tile size."""
    shape = space.profile.architecture(arm)
    return Architecture(**shape.model_dump(), channels=len(store.channels), tile_px=store.tile_px)


def pretrain_arm(space: Workspace, arm: str, device: torch.device) -> dict[str, Any]:
    """Pre-train on the arm's training tiles alone, save teacher and student, return the record's results."""
    profile = space.profile
    plan = profile.pretraining[arm]
    store = TileStore.open(space.build / plan.store)
    ids = store.ids("train", plan.regions)
    normalisation = Normalisation.of_store(store, ids)
    architecture = architecture_of(space, arm, store)
    recipe = recipe_of(space, arm)
    tiles = open_tiles(store, ids, normalisation, profile.data.cache, space.build / "cache")
    workers = 0 if isinstance(tiles, MemoryTiles) else profile.data.loader_workers
    result = pretrain(
        shuffled(tiles, plan.batch, workers, pin=device.type == "cuda"),
        architecture,
        recipe,
        steps=plan.steps,
        batch=plan.batch,
        steps_per_epoch=max(1, len(ids) // plan.batch),
        seed=profile.seeds[0],
        device=device,
        label=f"pre-training {arm}",
    )
    trained_on = {
        "regions": plan.regions,
        "tiles": len(ids),
        "fingerprint": store.fingerprint,
        "product": store.product,
        "synthetic": store.synthetic,
    }
    card = Card(architecture, tuple(store.channels), store.unit, normalisation.to_dict(), trained_on, recipe.to_dict())
    folder = space.pretrain(arm)
    digests = save_backbone(folder, {"teacher": result.teacher, "student": result.student}, card)
    history = result.history
    return {
        "arm": arm,
        "title": plan.title,
        "architecture": {**architecture.to_dict(), "parameters": parameter_count(build_vit(architecture))},
        "recipe": {**recipe.to_dict(), "learning_rate": recipe.learning_rate(plan.batch)},
        "steps": plan.steps,
        "batch": plan.batch,
        "tiles": len(ids),
        "loss_first": history.loss[0],
        "loss_last": history.loss[-1],
        "curves": {name: value for name, value in vars(history).items()},
        "network": plan.network,
        "weights": str((folder / f"{plan.network}.safetensors").relative_to(space.build)),
        "weights_sha256": digests[plan.network],
    }
