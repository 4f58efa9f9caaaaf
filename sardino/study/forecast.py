"""The plan as a table: every run of a profile, with the operations, memory, disk and hours it is predicted to take.

Operations are counted on the real networks at the profile's sizes (sardino.study.operations) times steps, seeds and
label fractions; nothing is built or read, so the paper's sizes are forecast in seconds.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Any

import pandas as pd
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.recipe import find_recipe
from sardino.dino.runtime import keep_memory
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.reporting.record import hardware, read_record
from sardino.segmentation.unet import UNet
from sardino.study.operations import Work, pretraining_tile, supervised_tile
from sardino.study.plan import Run, plan
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace

OVERHEAD_S = 12.0
"""Kernel start, imports and reading the store."""
SIMULATED_PX_S = 4e5
"""Pixels of the synthetic world that a core makes in a second."""
TRAIN, TEST = 0.6, 0.2
"""Shares of a region's tiles (paper, Figure 3)."""
STORED_BYTES = {"world": 2 * len(CHANNELS) + 1 + 12, "folder": 2 * len(CHANNELS) + 1, "store": 0}
"""Of a pixel: backscatter, label, and the reference layers of the synthetic world; a store of one's own is linked."""
PROCESS_GB = 1.0
"""A kernel with its libraries."""
EVALUATED = 16
"""Tiles of a batch without gradient."""
SNAPSHOTS = 3
"""The newest two and the best."""
OUTPUT_GB = 0.002
"""A notebook, a record and its figures."""
HERE = "here"
"""The device that means: this machine's CPU, measured now."""
ROUNDS = 3
GPU_SHARES = (0.35, 0.25)
"""Of a GPU's peak that trainings like these are assumed to keep up, in matrix products and in convolutions."""


@dataclass(frozen=True)
class Device:
    """What one run gets.

    Args:
        matrix_gflops, convolution_gflops: speed kept up in training; narrow U-Nets reach less of a GPU than ViTs.
        source: where the figures come from.
    """

    name: str
    title: str
    matrix_gflops: float
    convolution_gflops: float
    memory_gb: float
    source: str

    def seconds(self, work: Work) -> float:
        return work.matrix / self.matrix_gflops / 1e9 + work.convolution / self.convolution_gflops / 1e9


def _gpu(name: str, title: str, peak_tflops: float, memory_gb: float, source: str) -> Device:
    """A GPU by its maker's dense bfloat16 peak."""
    matrix, convolution = (1000 * peak_tflops * share for share in GPU_SHARES)
    shares = " and ".join(f"{100 * share:g} %" for share in GPU_SHARES)
    return Device(name, title, matrix, convolution, memory_gb, f"{peak_tflops:g} TFLOP/s, {source}; {shares} assumed")


DEVICES = (
    Device("cpu-1", "one core of a server CPU", 63.26, 101.91, 8, "what 18 trainings of `laptop` took on an AMD EPYC"),
    _gpu("rtx4090", "NVIDIA GeForce RTX 4090", 165.2, 24, "NVIDIA Ada whitepaper"),
    _gpu("a100", "NVIDIA A100 80 GB", 312, 80, "NVIDIA A100 data sheet"),
    _gpu("h100", "NVIDIA H100 SXM", 989.4, 80, "NVIDIA H100 data sheet"),
)


def find_device(name: str, threads: int = 1) -> Device:
    """A device by name; "here" is measured on so many threads, which takes seconds."""
    if name == HERE:
        return _measured(threads)
    known = {device.name: device for device in DEVICES}
    if name not in known:
        raise SardinoError(f"no device is named '{name}': there are {HERE}, {', '.join(known)}")
    return known[name]


@dataclass(frozen=True)
class Forecast:
    """One row of the table.

    Args:
        arm, encoding, initialisation: of a training; "" elsewhere.
        fractions, seeds: that the run covers, as in "0.1 1 10".
        needs: names of the runs whose records it reads.
        tflop: floating-point operations, 10^12.
        memory_gb: weights, gradients, optimiser state, what the backward pass keeps (float32; bfloat16 takes
            about half) and the process itself.
        disk_gb: what it writes and leaves, snapshots at their most.
        hours: on the device, alone.
    """

    name: str
    notebook: str
    arm: str
    encoding: str
    initialisation: str
    fractions: str
    seeds: str
    needs: str
    tflop: float
    memory_gb: float
    disk_gb: float
    hours: float


def forecast(profile: Profile, device: Device) -> list[Forecast]:
    """All runs of a profile in the plan's order."""
    return [_row(profile, run, device) for run in plan(profile)]


@dataclass(frozen=True)
class Comparison:
    """What one run took, beside what was predicted.

    Args:
        predicted_s, took_s: seconds; `ratio` is what it took over what was predicted.
        predicted_gb, peak_gb: memory; the peak is of the run's own process.
    """

    name: str
    predicted_s: float
    took_s: float
    ratio: float
    predicted_gb: float
    peak_gb: float
    device: str


def compare(workspace: Workspace, rows: Iterable[Forecast]) -> list[Comparison]:
    """The runs that have a record: the newest in build/, else the published one."""
    found = []
    for row in rows:
        if (path := workspace.newest_record(row.name)).is_file():
            record = read_record(path)
            predicted, took, peak_gb = 3600 * row.hours, float(record["wall_s"]), record["peak_memory_mb"] / 1e3
            device = str(record["hardware"]["gpu"] or record["hardware"]["cpu"])
            found.append(Comparison(row.name, predicted, took, took / predicted, row.memory_gb, peak_gb, device))
    return found


def as_csv(rows: list[Any]) -> str:
    """Rows of a dataclass as CSV, numbers to four digits."""
    return str(pd.DataFrame(rows).to_csv(index=False, float_format="%.4g", lineterminator="\n"))


def _row(profile: Profile, run: Run, device: Device) -> Forecast:
    given = run.parameters
    arm = str(given.get("arm") or given.get("regions") or "")
    work, memory, disk, fractions, seeds = Work(), PROCESS_GB, OUTPUT_GB, "", ""
    if run.kind == "pretrain":
        work, memory, disk = _pretraining(profile, arm)
        seeds = str(given.get("seed", profile.seeds[0]))
    elif run.kind in ("finetune", "baseline"):
        arm = arm or profile.arms[0]
        work, memory, disk = _cells(profile, run, arm)
        fractions = " ".join(f"{fraction:g}" for fraction in profile.fractions)
        seeds = " ".join(map(str, profile.seeds))
    elif run.kind == "data":
        disk += _store_gb(profile)
    return Forecast(
        run.name,
        run.notebook,
        arm,
        str(given.get("encoding", "")),
        str(given.get("initialisation", "")),
        fractions,
        seeds,
        " ".join(run.needs),
        work.operations / 1e12,
        memory,
        disk,
        (OVERHEAD_S + device.seconds(work) + _elsewhere_s(profile, run)) / 3600,
    )


def _pretraining(profile: Profile, arm: str) -> tuple[Work, float, float]:
    """Work, memory and disk of one pre-training."""
    asked = profile.arm(arm)
    images = round(TRAIN * sum(_tiles(profile, region) for region in asked.regions))
    recipe = find_recipe(asked.recipe).fitted(images, asked.steps).changed(**asked.overrides)
    tile = pretraining_tile(_shape(profile, arm), recipe)
    # Student, teacher, gradient and AdamW's two moments.
    weights = 4 * tile.parameters / 1e9
    memory = PROCESS_GB + 5 * weights + asked.batch / asked.accumulate * tile.kept / 1e9
    # Two networks are kept; a snapshot holds both and the moments.
    return tile * (asked.steps * asked.batch), memory, OUTPUT_GB + (2 + 4 * SNAPSHOTS) * weights


def _cells(profile: Profile, run: Run, arm: str) -> tuple[Work, float, float]:
    """Work, memory and disk of one row of Table 1 or 2: all its fractions and seeds, and the search of its rate."""
    tuning, first = profile.finetuning, profile.arm(profile.arms[0]).regions[0]
    frozen = run.parameters["initialisation"] == "frozen"
    tile = supervised_tile(
        run.parameters["encoding"],
        frozen,
        _shape(profile, arm),
        len(WORLDCOVER),
        tuning.unet_width,
        tuning.unet_depth,
        tuning.decoder_width,
    )
    labelled = TRAIN * _tiles(profile, first) / 100
    judged, tested = tuning.validation_tiles, round(TEST * _tiles(profile, first))
    seen = max(1, round(labelled * max(profile.fractions))) + judged + tested
    features_gb = seen * tile.features.features / 1e9
    cached = frozen and 0 < features_gb <= tuning.feature_cache_gb
    read = tile.forward - tile.features if cached else tile.forward

    def trained(fraction: float) -> Work:
        """One training with its looks at the validation tiles."""
        steps = tuning.steps_for(max(1, round(labelled * fraction)))
        looks = max(1, round(steps / tuning.validate_every)) * judged
        return (tile.decode if cached else tile.step) * (steps * tuning.batch) + read * looks

    seed = tile.features * seen if cached else Work()
    for fraction in profile.fractions:
        seed = seed + trained(fraction) + read * tested
    work = seed * len(profile.seeds) + trained(profile.rate_fraction) * len(tuning.lr_grid)
    weights = 4 * (tile.step.parameters + 3 * tile.step.trained) / 1e9
    memory = PROCESS_GB + weights + max(tuning.batch, EVALUATED / 2) * tile.step.kept / 1e9
    # One segmenter is kept. Runs share a cache; each is told the whole, because any may be the one that makes it.
    disk = OUTPUT_GB + 4 * tile.step.parameters / 1e9 + (len(profile.seeds) * features_gb if cached else 0.0)
    return work, memory, disk + len(profile.seeds) * len(profile.fractions) * _confusions_gb(profile)


def _elsewhere_s(profile: Profile, run: Run) -> float:
    """What a run spends on other things than its networks."""
    if run.kind == "data":
        tiles = sum(columns * rows for columns, rows in profile.data.regions.values()) or 1000
        return tiles * profile.data.tile_px**2 / SIMULATED_PX_S
    if run.kind == "floors":
        # A forest and a logistic regression learn from a few pixels and see all of the test tiles, once a feature set.
        tiles = sum(columns * rows for columns, rows in profile.data.regions.values()) or 1000
        each = 1.5 + 1.5e-5 * TEST * tiles * profile.data.tile_px**2
        return len(profile.seeds) * len(profile.fractions) * each
    return 2 * OVERHEAD_S if run.kind in ("realism", "attention") else 0.0


def _shape(profile: Profile, arm: str) -> Architecture:
    """The arm's ViT; real chips with fewer channels take a little less."""
    return Architecture.of(profile.architecture(arm), len(CHANNELS), profile.data.tile_px)


def _tiles(profile: Profile, region: str) -> int:
    """Of a region; of real input only the number per chip is known, so a thousand stand in."""
    columns, rows = profile.data.regions.get(region, (40, 25))
    return columns * rows


def _store_gb(profile: Profile) -> float:
    tiles = sum(_tiles(profile, region) for region in profile.data.regions or profile.data.folders)
    return STORED_BYTES[profile.data.source] * tiles * profile.data.tile_px**2 / 1e9


def _confusions_gb(profile: Profile) -> float:
    """One matrix per test tile and the example maps, compressed to about a tenth."""
    tested = ceil(TEST * _tiles(profile, profile.arm(profile.arms[0]).regions[0]))
    return 0.1 * (4 * tested * len(WORLDCOVER) ** 2 + profile.examples * profile.data.tile_px**2) / 1e9


def _measured(threads: int) -> Device:
    """This machine's CPU in the small profiles' own kind of step: a small ViT, a narrow U-Net, 96 px, batch of 8."""
    keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        images = torch.zeros(8, 12, 96, 96)
        vit, unet = build_vit(Architecture(96, 6, 3, 8, 12, 96)), UNet(12, 11, 8)
        matrix = _gflops(lambda: vit(images).sum().backward())
        convolution = _gflops(lambda: unet(images).sum().backward())
    finally:
        torch.set_num_threads(before)
    title = f"this machine, {hardware()['cpu']}, {threads} {'thread' if threads == 1 else 'threads'}"
    memory = psutil.virtual_memory().total / 1e9
    return Device(HERE, title, matrix, convolution, memory, f"measured now, best of {ROUNDS} steps")


def _gflops(step: Callable[[], object]) -> float:
    """Speed of a step, 10^9 operations a second."""
    with FlopCounterMode(display=False) as counter:
        step()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return float(counter.get_total_flops()) / min(seconds) / 1e9
