"""The command: options, stages in order, and what the run records of itself."""

import argparse
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.at_paper_size.cells import cells_stage, choose_steps
from benchmarks.at_paper_size.clock import Clock
from benchmarks.at_paper_size.contrasts import contrasts
from benchmarks.at_paper_size.lab import Lab
from benchmarks.at_paper_size.preset import PRESETS
from benchmarks.at_paper_size.pretraining import pretrain_stage
from benchmarks.at_paper_size.probes import matrix_tflops
from benchmarks.at_paper_size.results import Report, say
from benchmarks.at_paper_size.scenes import make_scenes
from sardino.data.sources.world.region import REGIONS
from sardino.data.sources.world.synthetic import World
from sardino.dino.runtime import best_device
from sardino.reporting.record import hardware


def revision(root: Path) -> str:
    """The checked-out commit, or "unknown" where git or its folder is missing."""
    try:
        done = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def arguments(description: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--preset", choices=PRESETS, default="paper", help="cpu-test: everything minute, no GPU")
    parser.add_argument("--minutes", type=float, default=9.0, help="wall-clock of the whole run, imports included")
    parser.add_argument("--tiles", nargs=3, metavar="CxR", help="columns x rows of Europe, CONUS and China")
    parser.add_argument("--fractions", nargs="+", type=float, help="percent of labels; the last are cut first")
    parser.add_argument("--cell-steps", type=int, help="most fine-tuning steps per cell")
    parser.add_argument("--seed", type=int, default=0)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--workers", type=int, default=cores, help="processes that make tiles")
    parser.add_argument("--revision", help="commit of the code, where there is no git folder to ask")
    return parser.parse_args(argv)


def main(description: str | None, argv: Sequence[str] | None = None) -> int:
    options = arguments(description, argv)
    clock = Clock(options.minutes)
    options.out.mkdir(parents=True, exist_ok=True)
    beat = options.out / "progress.json"
    os.environ.setdefault("SARDINO_PROGRESS", str(beat))  # instead of a progress bar per training
    started = time.monotonic()
    lab = furnished(options, clock)
    made_s = round(time.monotonic() - started, 2)
    content = described(options, lab, made_s)
    report = Report(options.out, content, clock)
    say(f"{len(lab.scenes.tiles)} tiles in {made_s:.1f} s; {content['hardware']['gpu']}; {clock.left():.0f} s left")
    run_stages(lab, report)
    content["wall_s"] = round(time.time() - psutil.Process().create_time(), 1)
    report.save()
    beat.unlink(missing_ok=True)
    failed = [name for name, state in content["stages"].items() if state["status"] != "done"]
    say(f"{content['title']}: {len(content['cells'])} cells, {content['wall_s']:.0f} s")
    return 1 if failed else 0


def furnished(options: argparse.Namespace, clock: Clock) -> Lab:
    """The sizes asked for and their tiles, on the device where they fit."""
    changes: dict[str, Any] = {}
    if options.tiles:
        changes["tiles"] = tuple(tuple(map(int, size.split("x"))) for size in options.tiles)
    if options.fractions:
        changes["fractions"] = tuple(options.fractions)
    if options.cell_steps:
        changes["cell_steps"] = options.cell_steps
    preset = replace(PRESETS[options.preset], **changes)
    scenes = make_scenes(preset, options.seed, options.workers)  # before CUDA starts, see there
    device = best_device() if options.preset == "paper" else torch.device("cpu")
    if device.type == "cuda" and scenes.counts.nbytes < 0.25 * torch.cuda.mem_get_info(device)[0]:
        scenes = replace(scenes, counts=scenes.counts.to(device))
    return Lab(preset, scenes, device, options.seed, clock)


def described(options: argparse.Namespace, lab: Lab, made_s: float) -> dict[str, Any]:
    """What the results say before the first stage: sizes, versions, machine."""
    scenes = lab.scenes
    given = {k: v for k, v in vars(options).items() if k not in ("out", "workers", "revision")}
    splits = {
        region: {split: len(scenes.numbers(split, (region,))) for split in ("train", "val", "test")}
        for region in REGIONS
    }
    return {
        "format": "sardino-benchmark",
        "version": 1,
        "name": "paper_size",
        "title": f"Paper-size run: synthetic world, one seed, {len(scenes.tiles)} tiles",
        "note": (
            "Every pixel is simulated, and only one seed was run: intervals hold the spread over geographic bands, not "
            "over trainings. The paper's column was measured on real data with 200 thousand tiles in Europe and many "
            "more steps; it shows what is compared, not a level to meet."
        ),
        "synthetic": True,
        "arguments": given,
        "preset": vars(lab.preset),
        "revision": options.revision or revision(Path(__file__).resolve().parents[2]),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "device": lab.device.type,
        "precision": {
            "training": "bfloat16 autocast" if lab.device.type == "cuda" else "float32",
            "evaluation": "float32, convolutions in TF32 where the device has it",
        },
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "world": World(options.seed).metadata(),
        "tiles": splits,
        "test_bands": len(set(scenes.band[scenes.numbers("test", ("europe",))].tolist())),
        "stages": {"data": {"status": "done", "seconds": made_s, "workers": options.workers}},
        "probes": {},
        "pretraining": {},
        "cells": [],
        "skipped": [],
        "contrasts": [],
    }


def run_stages(lab: Lab, report: Report) -> None:
    """All stages in order; one that fails is recorded, and the next begins."""
    content, clock, device = report.content, lab.clock, lab.device
    with report.stage("probes"):
        content["probes"]["matrix_tflops"] = matrix_tflops(lab.preset.matrix, device)
        content["probes"]["matrix_size"] = lab.preset.matrix
        if device.type == "cuda":
            content["probes"]["device_memory_gb"] = round(torch.cuda.mem_get_info(device)[1] / 1e9, 2)
    peak = content["probes"].get("matrix_tflops")
    for stage, arm, recipe in (
        ("pretrain-europe", "europe", "small"),
        ("pretrain-all", "all", "small"),
        ("pretrain-europe-paper", "europe", "paper"),
    ):
        with report.stage(stage) as state:
            state["budget_s"] = round(clock.budget(stage), 1)
            content["pretraining"][stage] = pretrain_stage(lab, arm, recipe, state["budget_s"], peak)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    with report.stage("cells") as state:
        state["budget_s"] = round(clock.budget("cells"), 1)
        state["steps"] = choose_steps(lab, state["budget_s"])
        runs = content["pretraining"].values()
        steps = " + ".join(str(run["steps"]) for run in runs)
        content["title"] = f"{content['title']}, {steps} pre-training steps, {state['steps']} fine-tuning steps"
        cells_stage(lab, report, state["steps"])
    with report.stage("contrasts"):
        content["contrasts"] = contrasts(lab, report.confusions)
