"""Tokens of a store's tiles, and their principal components: those kept with the model, or fitted on training tiles."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sardino.data.tiles.landcover import label_order
from sardino.data.tiles.store import TileStore
from sardino.dino.attention import patch_tokens
from sardino.dino.runtime import best_device, precision_on
from sardino.errors import SardinoError
from sardino.mapping.job import Job
from sardino.mapping.model import MapModel
from sardino.weights.components import FILE, Components

MOST_TILES = 4096  # that components are fitted on: their covariance has long settled
Tokens = tuple[NDArray[np.float32], NDArray[np.bool_]]


def open_store(path: Path, model: MapModel) -> TileStore:
    """A store whose tiles are a model's input; SardinoError where channels, unit, tile or pixel size do not fit."""
    store = TileStore.open(path)
    model.card.require_fit(model.folder, path, store.channels, store.unit, store.tile_px, store.gsd_m, any_side=True)
    return store


@torch.inference_mode()
def tile_tokens(
    model: MapModel, store: TileStore, ids: Sequence[str], job: Job, components: Components | None = None
) -> Iterator[Tokens]:
    """Batch by batch (n, h, w, D) float32 tokens of tiles, and (n, h, w) whether a patch has any valid pixel."""
    device, patch = torch.device(job.device or best_device()), model.card.architecture.patch
    half, batch = precision_on(device, job.precision) == "bfloat16", job.batch or (64 if device.type != "cpu" else 8)
    network, grid, before = model.network.eval().to(device), store.tile_px // patch, torch.get_num_threads()
    torch.set_num_threads(job.threads or before)
    try:
        for start in range(0, len(ids), batch):
            backscatter, _ = store.read(ids[start : start + batch])
            seen = np.asarray(np.isfinite(backscatter).any(1).reshape(-1, grid, patch, grid, patch).any((2, 4)))
            images = torch.from_numpy(model.normalisation.apply(backscatter)).to(device)
            with torch.autocast(device.type, torch.bfloat16, half):
                tokens = patch_tokens(network, images).float()
            yield (components.of(tokens) if components else tokens).cpu().numpy(), seen
    finally:
        torch.set_num_threads(before)


def components_of(job: Job, model: MapModel) -> Components | None:
    """The principal components that a job asks for, fitted where its `fit` is a store; None where it asks for none.

    Raises:
        SardinoError: more than the tokens have dimensions, of other weights, or none kept and no store to fit them on.
    """
    if job.components is None:
        if job.fit:
            raise SardinoError(f"{job.fit} is given to fit principal components: say how many with --components")
        return None
    width, kept = model.card.architecture.width, model.folder / FILE
    if job.components > width:
        raise SardinoError(
            f"--components {job.components} is more than the {width} dimensions of a token of {model.folder}: take at "
            f"most {width}"
        )
    if job.fit:
        kept = fitted(job, model, job.out.with_name(f"{job.out.stem}.{FILE}"))
    elif not kept.is_file():
        raise SardinoError(
            f"{model.folder} keeps no principal components ({FILE} is missing): fit them on its training tiles with "
            "--fit STORE"
        )
    return Components.read(kept, model.sha256).first(job.components)


def fitted(job: Job, model: MapModel, kept: Path) -> Path:
    """The file of a job's components: its `fit`, or, where that is a store, `kept`, made unless an earlier run did."""
    if job.fit is None or not job.fit.is_dir():
        return job.fit or kept
    store = open_store(job.fit, model)
    ids = label_order(store.ids("train"))[:MOST_TILES]
    if kept.is_file():
        if Components.read(kept, model.sha256).about == _about(model, store, ids):
            return kept
        if not job.overwrite:
            raise SardinoError(f"{kept} holds principal components of another store: say --overwrite, or move it away")
    return fit(model, store, ids, job).save(kept)


def fit(model: MapModel, store: TileStore, ids: Sequence[str], job: Job) -> Components:
    """The principal components of the tokens of some tiles, patches without a valid pixel left out."""
    parts = (tokens[seen] for tokens, seen in tile_tokens(model, store, ids, job))
    return Components.of_tokens(parts, _about(model, store, ids))


def _about(model: MapModel, store: TileStore, ids: Sequence[str]) -> dict[str, Any]:
    facts = {"weights_sha256": model.sha256, "fingerprint": store.fingerprint}
    return {**facts, "tiles": len(ids), "synthetic": store.synthetic}
