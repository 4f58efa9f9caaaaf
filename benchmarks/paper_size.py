"""The paper's sizes on one GPU within minutes: pre-training, fine-tuning and their speed, on the synthetic world.

    python -m benchmarks.paper_size --minutes 9 --out OUT

Tiles of 448 px with 12 channels; ViT-Tiny/16 pre-trained on Europe and ViT-Base/16 on Europe, CONUS and
China; every row of the paper's Tables 1 and 2 on a few label fractions, one seed. What is not the paper's
is the number of tiles and of steps: what fits in the minutes, recorded with the results. Written after each
stage: paper_size.json (everything), paper_size_rows.json (speed, as benchmark rows), paper_size.md (tables).
Needs the layers below `sardino.workflow` only, and none of the tile store's libraries.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import interval, paired_interval
from sardino.evaluation.confusion import accuracy, class_iou, macro_f1, majority, miou, miou_all
from sardino.models.segmenter import Segmenter, build_segmenter
from sardino.models.vit import Architecture, build_vit, parameter_count
from sardino.reporting.paper import TITLES, CellKey, paper_cells
from sardino.reporting.record import hardware
from sardino.scenes.world.synthetic import REGIONS, World
from sardino.tiles.grid import Tile
from sardino.tiles.landcover import WORLDCOVER
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.radiometry import CHANNELS, NODATA, SCALE_DB, pack
from sardino.tiles.splits import band_index, label_fraction, label_order, split_of_band
from sardino.training.device import best_device
from sardino.training.finetune import Settings, finetune, tile_confusions
from sardino.training.health import History
from sardino.training.parallel import Parallel
from sardino.training.pretrain import pretrain
from sardino.training.recipe import Recipe, find_recipe
from sardino.training.run import Run
from sardino.training.session import Pretrained

ARMS = {"europe": ("europe",), "all": ("europe", "conus", "china")}
"""Pre-training arms of the paper and their regions; "europe" has the small ViT, "all" the large one."""
TABLE_ROWS = [
    *(
        (arm, encoding, init)
        for arm in ARMS
        for encoding in ("attention", "tokens")
        for init in ("scratch", "frozen", "unfrozen")
    ),
    ("europe", "unet", "scratch"),
    *(("europe", "unet_attention", init) for init in ("scratch", "frozen", "unfrozen")),
]
"""(arm, encoding, initialisation) of each row of Tables 1 and 2."""
SHARES = {"pretrain-europe": 14, "pretrain-all": 32, "pretrain-europe-paper": 5, "cells": 49}
"""How the time left after data and probes is shared out."""
RESERVE_S = 12.0
"""Kept for the last tables."""
BAND_ANGLE_DEG = 30.0
POINTS = 60


@dataclass(frozen=True)
class Preset:
    """Sizes of a run; the defaults are the paper's where the paper states them."""

    tile_px: int = 448
    tiles: tuple[tuple[int, int], ...] = ((25, 24), (20, 15), (20, 15))  # columns, rows per region; paper: 652 k tiles
    bands: int = 60
    tiny: tuple[int, int, int] = (192, 12, 3)  # width, depth, heads
    base: tuple[int, int, int] = (768, 12, 12)
    batches: tuple[int, int] = (64, 32)  # tiny, base; not stated
    rates: tuple[float, float] = (5e-4, 2e-4)  # of the small recipe; Table 3's 1e-6 is the paper recipe's
    head: tuple[int, int, int] = (2048, 256, 4096)  # hidden, bottleneck, prototypes of the small recipe
    paper_head: tuple[int, int, int] = (2048, 256, 65536)
    pretrain_steps: int = 100_000  # at most
    probe_steps: int = 9
    fractions: tuple[float, ...] = (1.0, 10.0, 0.1)  # percent; in this order, so that what is cut is the last
    cell_steps: int = 150  # at most, equal in all arms
    cell_batch: int = 8
    cell_rate: float = 3e-4
    validations: int = 3
    validation_tiles: int = 40
    unet_width: int = 32
    unet_depth: int = 3
    decoder_width: int = 128
    matrix: int = 8192


PRESETS = {
    "paper": Preset(),
    "cpu-test": Preset(
        tile_px=48,
        tiles=((5, 4), (5, 1), (5, 1)),
        bands=5,
        tiny=(24, 2, 3),
        base=(48, 2, 4),
        batches=(6, 6),
        head=(32, 16, 64),
        paper_head=(32, 16, 128),
        pretrain_steps=8,
        probe_steps=4,
        fractions=(50.0, 10.0),
        cell_steps=10,
        cell_batch=2,
        cell_rate=3e-3,
        validations=1,
        validation_tiles=4,
        unet_width=4,
        unet_depth=2,
        decoder_width=16,
        matrix=256,
    ),
}


class Clock:
    """Time left of the run, counted from the start of the process."""

    def __init__(self, minutes: float) -> None:
        self.end = psutil.Process().create_time() + 60 * minutes - RESERVE_S
        self.shares = dict(SHARES)

    def left(self) -> float:
        """Seconds."""
        return self.end - time.time()

    def budget(self, stage: str) -> float:
        """Seconds for a stage, taken once: its share of what is left, beside the stages still to come."""
        total = sum(self.shares.values())
        return max(0.0, self.left()) * self.shares.pop(stage) / total


# ------------------------------------------------------------------------------------------------------ data


def simulate(job: tuple[int, Tile]) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """One tile of the world: packed backscatter, labels, and (3, C) count, sum and sum of squares of valid pixels."""
    seed, tile = job
    chip = World(seed).chip(tile)
    counts = pack(chip.backscatter_db)
    pixels = counts.reshape(len(counts), -1).astype(np.float64) * SCALE_DB
    valid = counts.reshape(len(counts), -1) != NODATA
    pixels[~valid] = 0
    return counts, chip.label, np.stack([valid.sum(1), pixels.sum(1), (pixels**2).sum(1)])


@dataclass(frozen=True)
class Scenes:
    """All tiles of the run, packed: 4.8 MB each at the paper's size, so that they fit on the GPU as a whole.

    Args:
        counts: (N, C, H, W) int16; labels: (N, H, W) uint8 on the CPU; moments: (N, 3, C), see `simulate`.
    """

    tiles: list[Tile]
    split: NDArray[np.str_]
    band: NDArray[np.int64]
    counts: Tensor
    labels: Tensor
    moments: NDArray[np.float64]

    def numbers(self, split: str, regions: Sequence[str]) -> list[int]:
        return [i for i, tile in enumerate(self.tiles) if tile.region in regions and self.split[i] == split]

    def source(self, numbers: list[int], arm: str, device: torch.device) -> "Packed":
        """Some tiles, normalised by the mean and deviation of the arm's training tiles."""
        count, total, squares = self.moments[self.numbers("train", ARMS[arm])].sum(0)
        mean = total / count
        std = np.sqrt(squares / count - mean**2)
        shape = (len(CHANNELS), 1, 1)
        statistics = (torch.tensor(v, dtype=torch.float32, device=device).view(shape) for v in (mean, std))
        return Packed(self, numbers, *statistics)


@dataclass(frozen=True)
class Packed:
    """A `TileSource` that unpacks and normalises on the device when asked; labels stay on the CPU."""

    scenes: Scenes
    numbers: list[int]
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def inputs(self, numbers: Sequence[int]) -> Tensor:
        chosen = torch.tensor([self.numbers[n] for n in numbers], device=self.scenes.counts.device)
        counts = self.scenes.counts[chosen].to(self.mean.device)
        return ((counts.float() * SCALE_DB - self.mean) / self.std).masked_fill_(counts == NODATA, 0.0)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.inputs(numbers), self.scenes.labels[[self.numbers[n] for n in numbers]]


def make_scenes(preset: Preset, seed: int, workers: int) -> Scenes:
    """Simulate all tiles on all cores, split each region into bands by itself (paper, Figure 3)."""
    world = World(seed)
    per_region = [
        world.tiles(region, preset.tile_px, columns, rows)
        for region, (columns, rows) in zip(REGIONS, preset.tiles, strict=True)
    ]
    bands = []
    for tiles in per_region:
        x, y = np.array([tile.centre for tile in tiles]).T
        bands.append(band_index(x, y, preset.bands, BAND_ANGLE_DEG))
    band = np.concatenate(bands)
    tiles = [tile for group in per_region for tile in group]
    counts = np.empty((len(tiles), len(CHANNELS), preset.tile_px, preset.tile_px), np.int16)
    labels = np.empty((len(tiles), preset.tile_px, preset.tile_px), np.uint8)
    moments = np.empty((len(tiles), 3, len(CHANNELS)))
    # A fork shares the loaded libraries; it must come before CUDA starts, and is safe on Linux alone.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for i, made in enumerate(pool.map(simulate, [(seed, tile) for tile in tiles], chunksize=2)):
            counts[i], labels[i], moments[i] = made
    return Scenes(tiles, split_of_band(band), band, torch.from_numpy(counts), torch.from_numpy(labels), moments)


# ---------------------------------------------------------------------------------------------------- report


@dataclass
class Report:
    """Results so far, on disk after every stage and every cell, so that a kill loses the stage in progress alone."""

    folder: Path
    content: dict[str, Any]
    clock: Clock
    confusions: dict[tuple[str, str, str, float], NDArray[np.int64]] = field(default_factory=dict)

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.folder / "paper_size.json", json.dumps(self.content, indent=1, allow_nan=False) + "\n")
        rows = benchmark_rows(self.content)
        write(self.folder / "paper_size_rows.json", json.dumps(rows, indent=1, allow_nan=False) + "\n")
        write(self.folder / "paper_size.md", markdown(self.content))

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage; one that fails is recorded, and the next one begins."""
        state: dict[str, Any] = {"status": "running"}
        self.content["stages"][name] = state
        started = time.monotonic()
        try:
            yield state
            state["status"] = "done"
        except (SardinoError, RuntimeError, MemoryError) as error:  # CUDA's errors are RuntimeErrors
            text = (str(error) or repr(error)).splitlines()
            state["status"] = f"failed: {text[0]}"
        state["seconds"] = round(time.monotonic() - started, 2)
        say(f"{name}: {state['status']}, {state['seconds']:.1f} s, {self.clock.left():.0f} s left")
        self.save()


def say(text: str) -> None:
    print(text, flush=True)


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


# ---------------------------------------------------------------------------------------------------- probes


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gb(device: torch.device) -> float | None:
    """Most device memory that tensors took since the last reset, GB."""
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else None


def matrix_tflops(size: int, device: torch.device, rounds: int = 30) -> float:
    """Rate of a square bfloat16 matrix product of random numbers: what the device reaches at best."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    synchronise(device)
    started = time.perf_counter()
    for _ in range(rounds):
        a @ b
    synchronise(device)
    return 2 * size**3 * rounds / (time.perf_counter() - started) / 1e12


class Pulse:
    """Reads batches, times the steps between two of them, and ends a training that outruns the run's budget.

    Args:
        first, last: number of the reads between which it times; with the device's queue empty at both.
    """

    def __init__(self, source: Packed, clock: Clock, device: torch.device, first: int, last: int) -> None:
        self.source, self.clock, self.device = source, clock, device
        self.marks = {first: 0.0, last: 0.0}
        self.calls = 0

    def __len__(self) -> int:
        return len(self.source)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        if self.calls in self.marks:
            synchronise(self.device)
            self.marks[self.calls] = time.perf_counter()
        if self.clock.left() < 0:
            raise SardinoError(f"the time is spent after {self.calls} steps: ask for more minutes")
        self.calls += 1
        return self.source.read(numbers)

    def seconds_per_step(self) -> float:
        (first, started), (last, ended) = self.marks.items()
        return (ended - started) / (last - first)


# ----------------------------------------------------------------------------------------------- pre-training


@dataclass
class Lab:
    """What all stages share."""

    preset: Preset
    scenes: Scenes
    device: torch.device
    seed: int
    clock: Clock
    teachers: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def architecture(self, arm: str) -> Architecture:
        width, depth, heads = self.preset.tiny if arm == "europe" else self.preset.base
        return Architecture(width, depth, heads, 16, len(CHANNELS), self.preset.tile_px)

    def recipe(self, arm: str, name: str) -> Recipe:
        heads = self.preset.head if name == "small" else self.preset.paper_head
        recipe = find_recipe(name, hidden=heads[0], bottleneck=heads[1], prototypes=heads[2])
        rate = self.preset.rates[list(ARMS).index(arm)]
        return recipe.changed(base_learning_rate=rate) if name == "small" else recipe


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


# ----------------------------------------------------------------------------------------------------- cells


@dataclass(frozen=True)
class Europe:
    """Labelled tiles of the cells, normalised for one arm."""

    train: Packed
    validation: Packed
    test: Packed

    @classmethod
    def of(cls, lab: Lab, arm: str, fraction: float) -> "Europe":
        numbers = {split: lab.scenes.numbers(split, ("europe",)) for split in ("train", "val", "test")}
        by_id = {lab.scenes.tiles[i].id: i for group in numbers.values() for i in group}

        def ids(split: str) -> list[str]:
            return [lab.scenes.tiles[i].id for i in numbers[split]]

        granted = label_fraction(ids("train"), fraction, lab.seed)
        judged = label_order(ids("val"))[: lab.preset.validation_tiles]
        chosen = ([by_id[i] for i in granted], [by_id[i] for i in judged], numbers["test"])
        return cls(*(lab.scenes.source(group, arm, lab.device) for group in chosen))


def segmenter(lab: Lab, arm: str, encoding: str, initialisation: str) -> Segmenter:
    """The row's network, its random weights decided by the seed."""
    torch.manual_seed(lab.seed)
    vit = None
    if encoding != "unet":
        vit = build_vit(lab.architecture(arm))
        if initialisation != "scratch":
            if arm not in lab.teachers:
                raise SardinoError(f"no backbone was pre-trained for '{arm}'")
            vit.load_state_dict(lab.teachers[arm])
    return build_segmenter(
        encoding,  # type: ignore[arg-type]
        vit,
        channels=len(CHANNELS),
        classes=len(WORLDCOVER),
        unet_width=lab.preset.unet_width,
        unet_depth=lab.preset.unet_depth,
        decoder_width=lab.preset.decoder_width,
        frozen=initialisation == "frozen",
    ).to(lab.device)


def tune(lab: Lab, model: Segmenter, tiles: Europe, steps: int, validations: int) -> Any:
    settings = Settings(steps, lab.preset.cell_batch, lab.preset.cell_rate, validations=validations)
    return finetune(
        model, tiles.train, tiles.validation, settings, classes=len(WORLDCOVER), seed=lab.seed, device=lab.device
    )


def choose_steps(lab: Lab, budget_s: float) -> int:
    """Steps that all cells can make, such that two fractions of every row fit: one number, so that rows compare."""
    ends, seconds, probe = time.monotonic() + budget_s, [], 10
    for arm, encoding in (("all", "attention"), ("europe", "tokens"), ("europe", "unet_attention")):
        tiles = Europe.of(lab, arm, max(lab.preset.fractions))
        model = segmenter(lab, arm, encoding, "scratch")
        tune(lab, model, tiles, 2, 1)
        started = time.monotonic()
        tile_confusions(model, tiles.test, len(WORLDCOVER), lab.device)
        test_s = time.monotonic() - started
        judge_s = test_s * len(tiles.validation) / len(tiles.test)
        started = time.monotonic()
        tune(lab, model, tiles, probe, 1)
        trained_s = time.monotonic() - started
        seconds.append((max(trained_s - judge_s, trained_s / 10) / probe, test_s + lab.preset.validations * judge_s))
    step_s, fixed_s = np.mean(seconds, axis=0)
    cells = len(TABLE_ROWS) * min(2, len(lab.preset.fractions))
    fits = int((0.9 * (ends - time.monotonic()) / cells - fixed_s - 0.3) / step_s)
    return min(lab.preset.cell_steps, max(20, fits))


def train_cell(
    lab: Lab, arm: str, encoding: str, initialisation: str, fraction: float, steps: int
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """One cell, keyed as in the notebooks' records, with a bootstrap interval over bands; and its confusions."""
    started = time.monotonic()
    tiles = Europe.of(lab, arm, fraction)
    model = segmenter(lab, arm, encoding, initialisation)
    if lab.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(lab.device)
    result = tune(lab, model, tiles, steps, lab.preset.validations)
    confusions = tile_confusions(model, tiles.test, len(WORLDCOVER), lab.device)
    total = confusions.sum(0)
    low, high = interval(confusions[None], lab.scenes.band[tiles.test.numbers], seed=lab.seed)
    row = {
        "table": 1 if encoding in ("attention", "tokens") else 2,
        "regions": arm,
        "encoding": encoding,
        "initialisation": initialisation,
        "fraction": fraction,
        "seed": lab.seed,
        "labelled_tiles": len(tiles.train),
        "steps": len(result.losses),
        "lr": lab.preset.cell_rate,
        "best_step": result.best_step,
        "loss_first": result.loss_first,
        "loss_last": result.loss_last,
        "val_miou": result.validation_miou,
        "miou": float(miou(total)),
        "low": low,
        "high": high,
        "miou_all": float(miou_all(total)),
        "accuracy": float(accuracy(total)),
        "macro_f1": float(macro_f1(total)),
        "class_iou": [float(v) if here else None for v, here in zip(class_iou(total), total.sum(-1) > 0, strict=True)],
        "miou_majority": float(miou(majority(total))),
        "parameters": parameter_count(model),
        "peak_memory_gb": peak_gb(lab.device),
        "wall_s": round(time.monotonic() - started, 3),
    }
    return row, confusions


def cells_stage(lab: Lab, report: Report, steps: int) -> None:
    """All rows at one fraction, then at the next, until the time is spent; what is left out is listed."""
    content, longest = report.content, 0.0
    for fraction in lab.preset.fractions:
        for arm, encoding, initialisation in TABLE_ROWS:
            name = f"{arm} {encoding} {initialisation} {fraction:g} %"
            if lab.clock.left() < 1.1 * longest:
                content["skipped"].append({"cell": name, "why": "the time was spent"})
                continue
            try:
                row, confusions = train_cell(lab, arm, encoding, initialisation, fraction, steps)
            except (SardinoError, torch.OutOfMemoryError) as error:
                content["skipped"].append({"cell": name, "why": str(error).splitlines()[0]})
                continue
            longest = max(longest, row["wall_s"])
            content["cells"].append(row)
            report.confusions[(arm, encoding, initialisation, fraction)] = confusions
            say(f"  {name}: mIoU {row['miou']:.3f} [{row['low']:.3f}, {row['high']:.3f}], {row['wall_s']:.1f} s")
            report.save()


def contrasts(lab: Lab, confusions: dict[tuple[str, str, str, float], NDArray[np.int64]]) -> list[dict[str, Any]]:
    """Paired differences of mIoU that the paper's claims are about: with and without pre-training, and attention."""
    blocks = lab.scenes.band[lab.scenes.numbers("test", ("europe",))]
    result = []
    for (arm, encoding, initialisation, fraction), ours in confusions.items():
        others = [(arm, encoding, "scratch", fraction)] if initialisation != "scratch" else []
        if encoding == "unet_attention":
            others.append((arm, "unet", "scratch", fraction))
        for other in others:
            if other in confusions:
                value, low, high = paired_interval(ours[None], confusions[other][None], blocks, seed=lab.seed)
                result.append(
                    {
                        "regions": arm,
                        "fraction": fraction,
                        "ours": f"{encoding} {initialisation}",
                        "theirs": f"{other[1]} {other[2]}",
                        "difference": value,
                        "low": low,
                        "high": high,
                    }
                )
    return result


# ---------------------------------------------------------------------------------------------------- tables


def benchmark_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Speed and memory as benchmark rows: each value beside the peer it is read against."""
    gpu = content["hardware"]["gpu"] or content["hardware"]["cpu"]
    peak, memory = content["probes"].get("matrix_tflops"), content["probes"].get("device_memory_gb")
    rows: list[dict[str, Any]] = []

    def add(
        name: str, value: float | None, unit: str, peer: str | None = None, peer_value: float | None = None
    ) -> None:
        if value is None:
            return
        ratio = value / peer_value if peer_value else None
        rows.append(
            {
                "name": name,
                "value": value,
                "unit": unit,
                "peer": peer if peer_value else None,
                "peer_value": peer_value,
                "ratio": ratio,
                "bar": None,
                "hardware": gpu,
                "revision": content["revision"],
                "date": content["date"],
            }
        )

    for name, run in content["pretraining"].items():
        shape = run["architecture"]
        vit = f"ViT {shape['width']}/{shape['depth']}/{shape['heads']}"
        what = f"{name}: {vit}, {shape['tile_px']} px, batch {run['batch']}"
        add(f"{what}, tiles", run["tiles_per_s"], "tiles/s")
        add(f"{what}, arithmetic", run["tflops"], "TFLOP/s", "bfloat16 matrix product on the same device", peak)
        add(f"{what}, peak memory", run["peak_memory_gb"], "GB", "memory of the device", memory)
    return rows


def markdown(content: dict[str, Any]) -> str:
    """The cells next to the paper's numbers, and the pre-trainings."""
    lines = [f"# {content['title']}", "", content["note"], ""]
    if content["pretraining"]:
        lines += [
            "| pre-training | steps | batch | epochs | tiles/s | TFLOP/s | of matrix peak | GB | loss |",
            "|" + "---|" * 9,
        ]
    for name, run in content["pretraining"].items():
        share, memory = run["share_of_matrix_peak"], run["peak_memory_gb"]
        lines.append(
            f"| {name} | {run['steps']} | {run['batch']} | {run['epochs']:g} | {run['tiles_per_s']:.1f} | "
            f"{run['tflops']:.3g} | {f'{share:.0%}' if share else '-'} | {memory if memory else '-'} | "
            f"{run['loss_first']:.3f} to {run['loss_last']:.3f} |"
        )
    if content["cells"]:
        lines += [
            "",
            "| arm | encoding | initialisation | labels | mIoU | 95 % over bands | majority | paper |",
            "|" + "---|" * 8,
        ]
    for row in content["cells"]:
        encoding = row["encoding"].replace("_", "+")
        key = CellKey(
            row["table"], row["regions"] if row["table"] == 1 else "", encoding, row["initialisation"], row["fraction"]
        )
        printed = paper_cells().get(key)
        lines.append(
            f"| {row['regions']} | {TITLES[encoding]} | {TITLES[row['initialisation']]} | {row['fraction']:g} % "
            f"({row['labelled_tiles']} tiles) | {row['miou']:.3f} | {row['low']:.3f} to {row['high']:.3f} | "
            f"{row['miou_majority']:.3f} | {'-' if printed is None else f'{printed:.3f}'} |"
        )
    if content["contrasts"]:
        lines += ["", "| arm | labels | difference of mIoU | value | 95 % over bands |", "|" + "---|" * 5]
    for row in content["contrasts"]:
        lines.append(
            f"| {row['regions']} | {row['fraction']:g} % | {row['ours']} - {row['theirs']} | "
            f"{row['difference']:+.3f} | {row['low']:+.3f} to {row['high']:+.3f} |"
        )
    if content["skipped"]:
        left_out = "; ".join(f"{item['cell']} ({item['why']})" for item in content["skipped"])
        lines += ["", f"Left out: {left_out}."]
    return "\n".join(lines) + "\n"


def revision(root: Path) -> str:
    """The checked-out commit, or "unknown" where git or its folder is missing."""
    try:
        done = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


# ------------------------------------------------------------------------------------------------------ main


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    clock = Clock(options.minutes)
    changes: dict[str, Any] = {}
    if options.tiles:
        changes["tiles"] = tuple(tuple(map(int, size.split("x"))) for size in options.tiles)
    if options.fractions:
        changes["fractions"] = tuple(options.fractions)
    if options.cell_steps:
        changes["cell_steps"] = options.cell_steps
    preset = replace(PRESETS[options.preset], **changes)
    options.out.mkdir(parents=True, exist_ok=True)
    beat = options.out / "progress.json"
    os.environ.setdefault("SARDINO_PROGRESS", str(beat))  # instead of a progress bar per training
    given = {k: v for k, v in vars(options).items() if k not in ("out", "workers", "revision")}

    started = time.monotonic()
    scenes = make_scenes(preset, options.seed, options.workers)  # before CUDA starts, see there
    made_s = round(time.monotonic() - started, 2)
    device = best_device() if options.preset == "paper" else torch.device("cpu")
    if device.type == "cuda" and scenes.counts.nbytes < 0.25 * torch.cuda.mem_get_info(device)[0]:
        scenes = replace(scenes, counts=scenes.counts.to(device))
    splits = {
        region: {split: len(scenes.numbers(split, (region,))) for split in ("train", "val", "test")}
        for region in REGIONS
    }
    lab = Lab(preset, scenes, device, options.seed, clock)
    title = f"Paper-size run: synthetic world, one seed, {len(scenes.tiles)} tiles"
    content: dict[str, Any] = {
        "format": "sardino-benchmark",
        "version": 1,
        "name": "paper_size",
        "title": title,
        "note": (
            "Every pixel is simulated, and only one seed was run: intervals hold the spread over geographic bands, not "
            "over trainings. The paper's column was measured on real data with 200 thousand tiles in Europe and many "
            "more steps; it shows what is compared, not a level to meet."
        ),
        "synthetic": True,
        "arguments": given,
        "preset": vars(preset),
        "revision": options.revision or revision(Path(__file__).resolve().parents[1]),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "device": device.type,
        "precision": {
            "training": "bfloat16 autocast" if device.type == "cuda" else "float32",
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
    report = Report(options.out, content, clock)
    say(f"{len(scenes.tiles)} tiles in {made_s:.1f} s; {content['hardware']['gpu']}; {clock.left():.0f} s left")

    with report.stage("probes"):
        content["probes"]["matrix_tflops"] = matrix_tflops(preset.matrix, device)
        content["probes"]["matrix_size"] = preset.matrix
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
        content["title"] = f"{title}, {steps} pre-training steps, {state['steps']} fine-tuning steps"
        cells_stage(lab, report, state["steps"])
    with report.stage("contrasts"):
        content["contrasts"] = contrasts(lab, report.confusions)
    content["wall_s"] = round(time.time() - psutil.Process().create_time(), 1)
    report.save()
    beat.unlink(missing_ok=True)
    failed = [name for name, state in content["stages"].items() if state["status"] != "done"]
    say(f"{content['title']}: {len(content['cells'])} cells, {content['wall_s']:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
