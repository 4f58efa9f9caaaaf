"""Pre-training for as many steps as a budget holds, with its speed."""

import math
import time
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.at_paper_size.lab import Lab
from benchmarks.at_paper_size.preset import ARMS
from benchmarks.at_paper_size.probes import Pulse, peak_gb
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.health import History
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import pretrain
from sardino.dino.recipe import Recipe, Run
from sardino.dino.session import Pretrained
from sardino.dino.vit import build_vit, parameter_count

POINTS = 60


def pretrain_flops(lab: Lab, arm: str, recipe: Recipe) -> float:
    """Floating-point operations per tile of one step, counted: all views, student forth and back, teacher forth."""
    source = lab.scenes.source(lab.scenes.numbers("train", ARMS[arm]), arm, lab.device)
    with FlopCounterMode(display=False) as counter:
        run_pretraining(lab, arm, recipe, Pulse(source, lab.clock, lab.device, 0, 0), 1, 2)
    return counter.get_total_flops() / 2


def run_pretraining(lab: Lab, arm: str, recipe: Recipe, pulse: Pulse, steps: int, batch: int) -> Pretrained:
    every = max(5, math.ceil(steps / (POINTS - 2)))
    ids = [lab.scenes.tiles[n].id for n in pulse.source.numbers]
    # The tiles are normalised as they are unpacked on the device.
    as_is = Normalisation(tuple(CHANNELS), (0.0,) * len(CHANNELS), (1.0,) * len(CHANNELS))
    run = Run(steps=steps, batch=batch, seed=lab.seed, watch_every=every)
    return pretrain(pulse, ids, as_is, lab.architecture(arm), recipe, run, Parallel(lab.device))


def pretrain_stage(lab: Lab, arm: str, name: str, budget_s: float, peak_tflops: float | None) -> dict[str, Any]:
    """Pre-train for as many steps as the budget holds.

    Their number is fixed beforehand, by a timed probe, because the schedules need it; a batch
    that does not fit in memory is halved.
    """
    ends = time.monotonic() + budget_s
    recipe = lab.recipe(arm, name)
    source = lab.scenes.source(lab.scenes.numbers("train", ARMS[arm]), arm, lab.device)
    batch = lab.preset.batches[list(ARMS).index(arm)]
    flops = pretrain_flops(lab, arm, recipe)
    while True:
        try:
            probe = Pulse(source, lab.clock, lab.device, lab.preset.probe_steps // 3, lab.preset.probe_steps - 1)
            run_pretraining(lab, arm, recipe, probe, lab.preset.probe_steps, batch)
            break
        except torch.OutOfMemoryError:
            if batch < 4:
                raise
        batch //= 2  # outside the handler, which would keep the failed step's memory alive
        torch.cuda.empty_cache()
    fits = int(0.95 * (ends - time.monotonic()) / probe.seconds_per_step())
    steps = min(lab.preset.pretrain_steps, max(lab.preset.probe_steps, fits))
    epoch = max(1, len(source) // batch)
    # A tenth of the steps, where the recipes count on epochs of many more tiles.
    recipe = recipe.changed(warmup_epochs=0.1 * steps / epoch)
    if lab.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(lab.device)
    pulse = Pulse(source, lab.clock, lab.device, min(10, steps // 2), steps - 1)
    result = run_pretraining(lab, arm, recipe, pulse, steps, batch)
    rate = batch / pulse.seconds_per_step()
    if name == "small":
        lab.teachers[arm] = result.teacher
    history = result.history
    return {
        "arm": arm,
        "regions": list(ARMS[arm]),
        "architecture": {
            **lab.architecture(arm).to_dict(),
            "parameters": parameter_count(build_vit(lab.architecture(arm))),
        },
        "recipe": {**recipe.to_dict(), "learning_rate": recipe.learning_rate(batch)},
        "tiles": len(source),
        "batch": batch,
        "steps": pulse.calls,
        "epochs": round(pulse.calls / epoch, 2),
        "tiles_per_s": rate,
        "flops_per_tile": flops,
        "tflops": rate * flops / 1e12,
        "share_of_matrix_peak": rate * flops / 1e12 / peak_tflops if peak_tflops else None,
        "peak_memory_gb": peak_gb(lab.device),
        "loss_first": history.loss[0],
        "loss_last": history.loss[-1],
        "curves": thinned(history),
    }


def thinned(history: History) -> dict[str, Any]:
    """At most POINTS points of each curve, the first and the last among them, to six digits."""
    count = len(history.step)
    keep = sorted({round(i) for i in np.linspace(0, count - 1, min(POINTS, count))})
    curves = {name: [float(f"{values[i]:.6g}") for i in keep] for name, values in history.columns.items()}
    return {"ln_k": history.ln_k, **curves, "step": [history.step[i] for i in keep]}
