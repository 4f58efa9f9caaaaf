"""The pre-training of one arm: from its tiles to weights with a card."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sardino
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.dino.batches import CROPS, Cache, MemoryTiles, chance, open_tiles
from sardino.dino.distillation import Network
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import pretrain
from sardino.dino.probe import ProbeTiles
from sardino.dino.recipe import Recipe, Run, Training, find_recipe
from sardino.dino.runtime import best_device, precision_on
from sardino.dino.session import Pretrained
from sardino.dino.step import Learner
from sardino.dino.views import Views
from sardino.dino.vit import Architecture, build_vit, parameter_count
from sardino.errors import SardinoError
from sardino.reporting.record import revision
from sardino.study.plan import hash_of_code, imported_files
from sardino.study.workspace import Workspace
from sardino.weights.card import Card, measured_at_end
from sardino.weights.save import save_backbone


def recipe_of(space: Workspace, arm: str, store: TileStore) -> Recipe:
    """The arm's recipe, fitted to its tiles, with the profile's changes."""
    plan = space.profile.arm(arm)
    images = len(store.ids("train", plan.regions))
    return find_recipe(plan.recipe).fitted(images, plan.steps).changed(**plan.overrides)


def architecture_of(space: Workspace, arm: str, store: TileStore) -> Architecture:
    """The arm's ViT for the store's channels and tile size."""
    return Architecture.of(space.profile.architecture(arm), len(store.channels), store.tile_px)


def first_crops(space: Workspace, arm: str, store: TileStore, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The arm's first training tiles as its networks see them before the first step.

    The tiles (B, C, H, W) in dB, their large crops (2, B, C, H, W) and small ones (L, B, C, h, w), both normalised.
    """
    ids = store.ids("train", space.profile.arm(arm).regions)
    views = Views(architecture_of(space, arm, store), recipe_of(space, arm, store), Normalisation.of_store(store, ids))
    tiles, _ = open_tiles(store, ids[:count], None).read(range(count))
    return (tiles, *views(tiles, views.draw(count, chance(0, CROPS, 0))))


def begin(
    space: Workspace, arm: str, store: TileStore, seed: int = 0
) -> tuple[Network, Network, torch.optim.Optimizer, Tensor]:
    """An arm's student, teacher, optimiser at its peak learning rate, and centre (1, K), before DINO's first step.

    Of an arm that learns by another objective, which is said, DINO's all the same.
    """
    recipe = recipe_of(space, arm, store)
    if recipe.objective != "dino":
        print(f"arm {arm} learns by '{recipe.objective}': DINO's step is shown, its run takes another")
        recipe = recipe.changed(objective="dino")
    learner = Learner(architecture_of(space, arm, store), recipe, Parallel(torch.device("cpu")), seed=seed)
    for group, decay in zip(learner.optimiser.param_groups, (recipe.weight_decay, 0.0), strict=True):
        group["lr"], group["weight_decay"] = recipe.learning_rate(space.profile.arm(arm).batch), decay
    assert isinstance(learner.student, Network) and isinstance(learner.teacher, Network)
    return learner.student, learner.teacher, learner.optimiser, learner.objective.moving["centre"]


def pretrain_arm(
    space: Workspace, arm: str, device: torch.device | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Pre-train on the arm's training tiles alone, save teacher and student, return the record's results.

    All that is random follows from the seed, by default the profile's first.
    """
    device, profile = device or best_device(), space.profile
    if profile.arm(arm).adopted:
        raise SardinoError(f"arm {arm} was pre-trained elsewhere: its weights lie in {space.pretrain(arm)}")
    seed = profile.seeds[0] if seed is None else seed
    plan, folder = profile.arm(arm), space.pretrain(arm, seed)
    store = TileStore.open(space.build / plan.store)
    architecture, recipe = architecture_of(space, arm, store), recipe_of(space, arm, store)
    shared = {name: getattr(plan, name) for name in Training.model_fields}
    shared["save_every"] = plan.save_every or max(1, plan.steps // 4)
    run = Run(**shared, seed=seed, workers=profile.data.loader_workers)
    # The code's own content, because a working tree changes under one revision.
    code = hash_of_code(imported_files(Path(__file__), Path(sardino.__file__).parent))
    options: dict[str, Any] = {"cache": profile.data.cache, "code": code, "mismatch": "restart"}
    options["label"] = f"pre-training {profile.pretrained(arm, seed)}"
    result, digests = pretrain_on(store, plan.regions, architecture, recipe, run, Parallel(device), folder, **options)
    history = result.history
    shape = {**architecture.to_dict(), "parameters": parameter_count(build_vit(architecture))}
    found: dict[str, Any] = {"arm": arm, "seed": seed, "title": plan.title, "architecture": shape}
    found["recipe"] = {**recipe.to_dict(), "learning_rate": recipe.learning_rate(plan.batch)}
    found |= {"steps": plan.steps, "batch": plan.batch, "precision": precision_on(device, plan.precision)}
    found |= {"tiles": len(store.ids("train", plan.regions)), "loss_first": history.loss[0]}
    found |= {"loss_last": history.loss[-1], "curves": history.to_dict(), "warnings": result.warnings}
    weights = (folder / f"{plan.network}.safetensors").relative_to(space.build)
    return {**found, "network": plan.network, "weights": str(weights), "weights_sha256": digests[plan.network]}


def pretrain_on(
    store: TileStore,
    regions: list[str],
    architecture: Architecture,
    recipe: Recipe,
    run: Run,
    parallel: Parallel,
    folder: Path,
    *,
    cache: Cache = "auto",
    code: str = "",
    restart: bool = False,
    **options: Any,
) -> tuple[Pretrained, dict[str, str]]:
    """Pre-train on a store's training tiles and save both backbones with their card.

    Args:
        regions: whose training tiles are learnt from; those for validation are probed, no other is touched.
        folder: of the weights, and of snapshots and the log while it runs.
        cache: see sardino.dino.batches.open_tiles.
        code: of what makes it, kept in the snapshots, and compared where `mismatch` is to restart.
        restart: throw snapshots away whatever they are.
        options: `mismatch`, `tensorboard` and `label` of `pretrain`.

    Returns the result, and the sha256 of each weights file (on the first rank; elsewhere none).
    """
    ids = store.ids("train", regions)
    normalisation = Normalisation.of_store(store, ids)
    options["about"] = {"data": store.fingerprint, "unit": store.unit, "regions": list(regions), "code": code}
    if restart and parallel.first:
        shutil.rmtree(folder / "snapshots", ignore_errors=True)
    parallel.wait()
    tiles = open_tiles(store, ids, None, cache)
    probe = ProbeTiles(store, regions, normalisation)
    options["probe"] = probe if probe.labelled else None
    if isinstance(tiles, MemoryTiles):
        run = run.changed(workers=0)
    result = pretrain(tiles, ids, normalisation, architecture, recipe, run, parallel, folder=folder, **options)
    if not parallel.first:
        return result, {}
    told = ("fingerprint", "product", "synthetic", "gsd_m")
    trained_on = {"regions": list(regions), "tiles": len(ids), **{name: getattr(store, name) for name in told}}
    card = Card(
        architecture,
        tuple(store.channels),
        store.unit,
        normalisation.to_dict(),
        trained_on,
        recipe.to_dict(),
        run={**run.decides(), "precision": precision_on(parallel.device, run.precision)},
        code_revision=revision(),
    )
    weights = {"teacher": result.teacher, "student": result.student, **result.kept}
    measured = measured_at_end(result.history)
    return result, save_backbone(folder, weights, card, measured=measured, warnings=result.warnings)
