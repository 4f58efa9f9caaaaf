"""Pre-training from the first step to the last: it reads, learns, watches, probes, saves and goes on."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.batches import CROPS, LAYERS, NOISE, Order, TileSource, chance, load, seed_of
from sardino.dino.objective import Maker
from sardino.dino.parallel import Parallel
from sardino.dino.recipe import Rates, Recipe, Run
from sardino.dino.runtime import keep_memory, stop_requests
from sardino.dino.session import Pretrained, Probe, Session
from sardino.dino.step import Learner, NotFinite
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError
from sardino.progress import track


class Stopped(SardinoError):
    """Asked to stop, saved and stopped; the same command goes on."""


FIRST = 64  # tiles that an objective may look at before the first step


def pretrain(
    tiles: TileSource,
    ids: Sequence[str],
    normalisation: Normalisation,
    architecture: Architecture,
    recipe: Recipe,
    run: Run,
    parallel: Parallel,
    *,
    folder: Path | None = None,
    about: dict[str, Any] | None = None,
    mismatch: Literal["refuse", "restart"] = "refuse",
    probe: Probe | None = None,
    tensorboard: bool = False,
    label: str = "pre-training",
) -> Pretrained:
    """Train a student, and its moving average, by the recipe's objective on tiles without labels.

    Args:
        tiles, ids: inputs (C, H, W) in dB, missing as NaN, and their names, in one order.
        normalisation: of the training tiles; applied after DINO's views are cut.
        folder: where snapshots and the log live; a run that was stopped goes on from there. None keeps nothing.
        about: what else must be the same for a run to go on: the data's fingerprint, say; and "code", what made it.
        mismatch: "refuse" snapshots of another run, whatever its code; or "restart", also where the code differs.
        probe: judges the teacher's backbone every `run.probe_every` steps and at the end.
        tensorboard: write its event files below the folder as well.
        label: shown with the progress.

    Raises:
        SardinoError: the loss is not finite, the batch does not divide, or the folder holds another run.
        Stopped: after SIGTERM or SIGUSR1, once the state is saved.
    """
    if run.batch % (parts := parallel.world * run.accumulate):
        raise SardinoError(
            f"a batch of {run.batch} does not divide into {parallel.world} ranks of {run.accumulate} micro-batches: "
            f"choose a multiple of {parts}"
        )
    if parallel.device.type == "cpu":
        keep_memory()
    order = Order(len(tiles), run.batch, run.seed)
    machine = run.model_dump(include={"precision", "compiled", "checkpointing"})
    learner = Learner(architecture, recipe, parallel, seed=run.seed, **machine)
    views = learner.objective.views(normalisation, run.physics, lambda: tiles.read(order.numbers(0)[:FIRST])[0])
    config = {
        "architecture": architecture.to_dict(),
        "recipe": recipe.to_dict(),
        "normalisation": normalisation.to_dict(),
        "tiles": len(ids),
        **run.decides(),
        **(about or {}),
    }
    session = Session(learner, config, run, order.steps_per_epoch, folder, probe, tensorboard, mismatch)
    own = order.batches(session.step, run.steps, parallel.rank, parallel.world)
    read = load(tiles, own, run.workers, pin=parallel.device.type == "cuda")
    steps: Iterable[int] = range(session.step, run.steps)
    if parallel.first:
        steps = track(steps, run.steps, label, done=session.step, images=run.batch)
    with stop_requests() as asked, contextlib.closing(session):
        for step in steps:
            began = time.perf_counter()
            inputs, _ = next(read)
            waited_s = time.perf_counter() - began
            rates = Rates.at(step, run.steps, order.steps_per_epoch, run.batch, recipe)
            torch.manual_seed(seed_of(run.seed, LAYERS, step, parallel.rank))
            try:
                micro = _micro_batches(views, inputs, step, run, parallel)
                seen = learner.step(micro, run.accumulate, rates, session.watches(step))
            except NotFinite:
                (numbers,) = order.batches(step, step + 1, parallel.rank, parallel.world)
                raise session.lost(step, inputs, [ids[n] for n in numbers], rates) from None
            session.look(step, seen, rates, time.perf_counter() - began, waited_s)
            if parallel.any(bool(asked)) and step + 1 < run.steps:
                session.save()
                kept = f"its state is in {folder}: the same command goes on" if folder else "nothing was kept"
                raise Stopped(f"{label} was asked to stop after step {step + 1} of {run.steps}; {kept}")
    return session.end()


def _micro_batches(views: Maker, inputs: Tensor, step: int, run: Run, parallel: Parallel) -> Iterator[Any]:
    """One rank's views, part by part; drawn for the whole batch, so that they do not depend on ranks."""
    draws = views.draw(run.batch, chance(run.seed, CROPS, step))
    size = len(inputs) // run.accumulate
    noise = chance(run.seed, NOISE, step, parallel.rank, device=parallel.device)
    for part in range(run.accumulate):
        start = parallel.rank * len(inputs) + part * size
        tiles = inputs[part * size : (part + 1) * size].to(parallel.device, non_blocking=True)
        yield views(tiles, draws.part(start, start + size), noise)
