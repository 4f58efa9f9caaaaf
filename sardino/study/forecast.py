"""The plan as a table: every run of a profile, with the operations, memory, disk and hours it is predicted to take.

Operations are counted on the real networks at the profile's sizes, on tensors that hold no numbers, times steps, seeds
and label fractions; nothing is built or read, so the paper's sizes are forecast in seconds.
"""

import copy
import timeit
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from heapq import heappop, heappush
from math import ceil, prod
from typing import Any

import pandas as pd
import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.dense import Hybrid
from sardino.dino.recipe import Recipe, find_recipe
from sardino.dino.runtime import keep_memory, precision_on
from sardino.dino.step import OBJECTIVES
from sardino.dino.turns import WAYS
from sardino.dino.unet import UNet
from sardino.dino.views import half_tile
from sardino.dino.visible import MaskedNetwork, visible_patches
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.reporting.record import hardware, read_record
from sardino.segmentation.segmenter import Segmenter, build_segmenter
from sardino.segmentation.settings import EncodingName, Settings
from sardino.study.plan import Run, plan
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace

OVERHEAD_S = 12.0  # kernel start, imports and reading the store
SIMULATED_PX_S = 2.2e5  # pixels of the synthetic world that its two processes make in a second
TRAIN, TEST = 0.6, 0.2  # shares of a region's tiles (paper, Figure 3)
# Of a pixel: backscatter, label, and the reference layers of the synthetic world; a store of one's own is linked.
STORED_BYTES = {"world": 2 * len(CHANNELS) + 1 + 12, "folder": 2 * len(CHANNELS) + 1, "store": 0}
PROCESS_GB = 1.0  # a kernel with its libraries
EVALUATED = 16  # tiles of a batch without gradient
SNAPSHOTS = 3  # the newest two and the best
OUTPUT_GB = 0.002  # a notebook, a record and its figures
HERE = "here"  # the device that means: this machine's CPU, measured now
ROUNDS = 3
GPU_SHARES = (0.35, 0.25)  # of a GPU's peak that trainings keep up, assumed, in matrix products and convolutions


@dataclass(frozen=True)
class Work:
    """Work on one tile, or on many; memory and parameters stay a tile's."""

    matrix: float = 0.0  # floating-point operations; a product and a sum are two
    convolution: float = 0.0
    kept: float = 0.0  # bytes that the backward pass needs, float32, weights left out
    parameters: int = 0  # numbers of the network
    trained: int = 0  # those that have gradients
    features: float = 0.0  # bytes of what a frozen backbone's cache keeps; 0 without one

    @property
    def operations(self) -> float:
        return self.matrix + self.convolution

    def __mul__(self, number: float) -> "Work":
        return replace(self, matrix=self.matrix * number, convolution=self.convolution * number)

    def __add__(self, other: "Work") -> "Work":
        """Both, one after the other, on the same network."""
        matrix, convolution = self.matrix + other.matrix, self.convolution + other.convolution
        return replace(self, matrix=matrix, convolution=convolution, kept=max(self.kept, other.kept))

    def __sub__(self, other: "Work") -> "Work":
        return self + other * -1


@dataclass(frozen=True)
class Device:
    """What one run gets."""

    name: str
    title: str
    matrix_gflops: float  # kept up in training; narrow U-Nets reach less of a GPU than ViTs
    convolution_gflops: float
    memory_gb: float
    source: str  # of the figures
    at_once: int = 1  # runs that it takes side by side

    def seconds(self, work: Work) -> float:
        return work.matrix / self.matrix_gflops / 1e9 + work.convolution / self.convolution_gflops / 1e9


def _gpu(name: str, title: str, peak_tflops: float, memory_gb: float, source: str) -> Device:
    """A GPU by its maker's dense bfloat16 peak."""
    matrix, convolution = (1000 * peak_tflops * share for share in GPU_SHARES)
    shares = " and ".join(f"{100 * share:g} %" for share in GPU_SHARES)
    return Device(name, title, matrix, convolution, memory_gb, f"{peak_tflops:g} TFLOP/s, {source}; {shares} assumed")


CORE = Device("cpu-1", "one core of a server CPU", 63.26, 101.91, 8, "from 18 trainings of `laptop` on an AMD EPYC")
DEVICES = (
    CORE,
    replace(CORE, name="cpu-8", title="eight cores of a server CPU, each with a run of its own", at_once=8),
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
    """One row of the table."""

    name: str
    notebook: str
    arm: str  # with encoding and initialisation, of a training; "" elsewhere
    encoding: str
    initialisation: str
    fractions: str  # that the run covers, as in "0.1 1 10"
    seeds: str
    needs: str  # names of the runs whose records it reads
    tflop: float
    memory_gb: float  # process, weights, gradients, optimiser, what backward keeps; float32, bfloat16 takes about half
    disk_gb: float  # what it writes and leaves, snapshots at their most
    hours: float  # on the device, alone


def forecast(profile: Profile, device: Device, runs: Iterable[Run] | None = None) -> list[Forecast]:
    """Runs of a profile, in the plan's order; all of them by default."""
    return [_row(profile, run, device) for run in (plan(profile) if runs is None else runs)]


def one_training(profile: Profile, fraction: float) -> dict[str, float]:
    """Operations (10^12) of one training of each run, with this percentage of labels, its looks and its test."""
    tuning = profile.finetuning.changed(lr_grid=[], lr_fraction=None)
    once = profile.changed(seeds=profile.seeds[:1], fractions=[fraction], draws=[1], finetuning=tuning, autopsy=None)
    return {row.name: row.tflop for row in forecast(once, CORE)}


def together_h(rows: Iterable[Forecast], at_once: int) -> float:
    """Hours from the first start to the last end, so many runs side by side, each begun once what it needs is there."""
    free, ends = [0.0] * at_once, {"": 0.0}
    for row in rows:
        begin = max(heappop(free), *(ends.get(name, 0.0) for name in row.needs.split(" ")))
        heappush(free, ends.setdefault(row.name, begin + row.hours))
    return max(ends.values())


def compare(workspace: Workspace, rows: Iterable[Forecast]) -> pd.DataFrame:
    """What runs took beside what was predicted, by the newest record in build/, else the published one, of each.

    Columns: name, predicted_s, took_s, ratio (took over predicted), predicted_gb, peak_gb (of its process), device.
    """
    found = []
    for row in rows:
        if (path := workspace.newest_record(row.name)).is_file():
            record, predicted_s = read_record(path), 3600 * row.hours
            took, machine = float(record["wall_s"]), record["hardware"]
            times = {"predicted_s": predicted_s, "took_s": took, "ratio": took / predicted_s}
            sizes = {"predicted_gb": row.memory_gb, "peak_gb": record["peak_memory_mb"] / 1e3}
            found.append({"name": row.name, **times, **sizes, "device": str(machine["gpu"] or machine["cpu"])})
    return pd.DataFrame(found)


def as_csv(rows: pd.DataFrame | list[Forecast]) -> str:
    """The table as CSV, numbers to four digits."""
    return str(pd.DataFrame(rows).to_csv(index=False, float_format="%.4g", lineterminator="\n"))


@cache
def pretraining_tile(architecture: Architecture, recipe: Recipe) -> Work:
    """One tile of a step: DINO's student forward and backward on all crops, its teacher forward on the large ones.

    Of masked modelling, encoder and decoder forward and backward.

    Layers that stochastic depth drops are counted: an upper bound, by half its rate.
    """
    meta = torch.device("meta")
    with meta:
        network = OBJECTIVES[recipe.objective](architecture, recipe.changed(drop_path=0.0), meta).network()

    visible = 0 if recipe.objective == "dino" else visible_patches(architecture, recipe)
    decodes = isinstance(network, MaskedNetwork | Hybrid)

    def crops(count: int, side: int) -> Tensor:
        return torch.empty(count, 1, architecture.channels, side, side)

    def patches(images: int, count: int) -> Tensor:
        return torch.arange(count).expand(images, -1)

    def given(local_crops: int) -> tuple[Tensor, ...]:
        if decodes:
            return crops(1, architecture.tile_px)[0], patches(1, visible)
        half, count = half_tile(architecture.tile_px, architecture.patch), recipe.global_crops
        views = crops(count, architecture.tile_px), crops(local_crops, half)
        return (*views, patches(count, architecture.grid**2 - visible)) if visible else views

    def learn(net: Any) -> None:
        """All but the features, which come last, is read by the loss."""
        torch.stack([part.sum() for part in net(*given(recipe.local_crops))[:-1]]).sum().backward()

    student = _count(network, learn)
    return student if decodes else student + _count(network, lambda net: net(*given(0)), gradient=False)


@dataclass(frozen=True)
class SupervisedTile:
    """One tile of a cell."""

    step: Work  # forward and backward, features made anew
    decode: Work  # forward and backward from features that are there already
    forward: Work  # a prediction
    features: Work  # the encoding alone


@cache
def supervised_tile(
    encoding: EncodingName, frozen: bool, architecture: Architecture, classes: int, **decoder: int
) -> SupervisedTile:
    """One tile of a cell of Table 1 or 2; `architecture` also gives the U-Net's channels and tile."""
    channels, size = architecture.channels, architecture.tile_px
    with torch.device("meta"):
        vit = None if encoding == "unet" else build_vit(architecture)
        model = build_segmenter(encoding, vit, channels=channels, classes=classes, frozen=frozen, **decoder)

    def image() -> Tensor:
        return torch.empty(1, channels, size, size)

    encoded: list[Tensor] = []
    features = Work() if vit is None else _count(model, lambda net: encoded.append(net.encode(image())), False)

    def decode(net: Segmenter) -> None:
        given = net.join(image(), torch.empty(encoded[0].shape)) if encoded else image()
        net.decode(given, size).sum().backward()

    return SupervisedTile(
        step=_count(model, lambda net: net(image()).sum().backward()),
        decode=_count(model, decode),
        forward=_count(model, lambda net: net(image()), gradient=False),
        features=replace(features, features=float(encoded[0].nbytes) if encoded else 0.0),
    )


def _count(network: nn.Module, work: Callable[[Any], object], gradient: bool = True) -> Work:
    """Do the work with a copy of the network whose tensors have shapes and no numbers."""
    network = copy.deepcopy(network)
    saved: dict[int, torch.UntypedStorage] = {}  # held, so that no address is taken twice
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        network.to_empty(device="cpu")
        own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved[storage._cdata] = storage
            return tensor

        with torch.set_grad_enabled(gradient), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            work(network)
        parameters = [(p.numel(), p.requires_grad) for p in network.parameters()]
    by_kind = counter.get_flop_counts().get("Global", {})
    convolution = sum(flops for kind, flops in by_kind.items() if "convolution" in str(kind))
    return Work(
        matrix=float(sum(by_kind.values()) - convolution),
        convolution=float(convolution),
        kept=float(sum(storage.nbytes() for storage in saved.values())),
        parameters=sum(number for number, _ in parameters),
        trained=sum(number for number, trained in parameters if trained),
    )


def _row(profile: Profile, run: Run, device: Device) -> Forecast:
    given, data = run.parameters, profile.data
    arm = str(given.get("arm") or given.get("regions") or "")
    work, memory, disk, other_s, fractions, seeds = Work(), PROCESS_GB, OUTPUT_GB, 0.0, "", ""
    if run.kind == "pretrain":
        work, memory, disk = _pretraining(profile, arm)
        seeds = str(given.get("seed", profile.seeds[0]))
    elif run.kind in ("finetune", "baseline"):
        arm = arm or profile.arms[0]
        work, memory, disk = _cells(profile, run, arm)
        fractions = " ".join(f"{fraction:g}" for fraction in profile.fractions)
        seeds = " ".join(map(str, profile.seeds))
    elif run.kind == "data":
        tiles = sum(sum(_made(profile, region).values()) for region in data.regions or data.folders)
        disk += STORED_BYTES[data.source] * tiles * data.tile_px**2 / 1e9
        other_s = tiles * data.tile_px**2 / SIMULATED_PX_S
    elif run.kind == "floors":
        # A forest and a logistic regression learn from a few pixels and see all of the test tiles, once a feature set.
        tested = _made(profile, profile.labelled_region)["test"]
        other_s = sum(profile.draws) * (2.5 + 1.1e-5 * tested * data.tile_px**2)
    elif run.kind in ("realism", "attention"):
        other_s = 2 * OVERHEAD_S
    hours = (OVERHEAD_S + device.seconds(work) + other_s) / 3600
    what = (arm, str(given.get("encoding", "")), str(given.get("initialisation", "")), fractions, seeds)
    needs, tflop = " ".join(run.needs), work.operations / 1e12
    return Forecast(run.name, run.notebook, *what, needs, tflop, memory, disk, hours)


def _pretraining(profile: Profile, arm: str) -> tuple[Work, float, float]:
    """Work, memory and disk of one pre-training."""
    asked = profile.arm(arm)
    images = sum(_made(profile, region)["train"] for region in asked.regions)
    recipe = find_recipe(asked.recipe).fitted(images, asked.steps).changed(**asked.overrides)
    tile = pretraining_tile(_shape(profile, arm), recipe)
    # Student, teacher, gradient and AdamW's two moments.
    weights = 4 * tile.parameters / 1e9
    memory = PROCESS_GB + 5 * weights + asked.batch / asked.accumulate * tile.kept / 1e9
    # Two networks are kept; a snapshot holds both and the moments.
    return tile * (asked.steps * asked.batch), memory, OUTPUT_GB + (2 + 4 * SNAPSHOTS) * weights


def _cells(profile: Profile, run: Run, arm: str) -> tuple[Work, float, float]:
    """Work, memory and disk of one row of Table 1 or 2: all its fractions and seeds, and the search of its rate."""
    start, region = run.parameters["initialisation"], profile.labelled_region
    encoding, tuning = profile.row(run.parameters["encoding"], start)
    frozen, classes = start == "frozen", len(WORLDCOVER)
    tile = supervised_tile(encoding, frozen, _shape(profile, arm), classes, **tuning.decoder)
    labelled = TRAIN * _tiles(profile, region) / 100
    judged, tested = tuning.validation_tiles, _made(profile, region)["test"]
    times = {fraction: len(profile.repetitions(fraction)) for fraction in profile.fractions}
    largest = max(times)
    ways = WAYS if tuning.turns else 1
    seen = ways * max(1, round(labelled * largest * times[largest] / len(profile.seeds))) + judged + tested
    features_gb = seen * tile.features.features / 1e9
    cached = frozen and 0 < features_gb <= tuning.feature_cache_gb
    read = tile.forward - tile.features if cached else tile.forward

    waits = tuning.head_share if start not in ("scratch", "frozen") else 0.0
    step = tile.decode if cached else tile.step * (1 - waits) + (tile.features + tile.decode) * waits

    def trained(tuning: Settings, fraction: float) -> Work:
        """One training with its looks at the validation tiles."""
        steps = tuning.steps_for(max(1, round(labelled * fraction)))
        unlabelled = (tile.step + tile.forward) * (steps * tuning.unlabelled)  # the average looks first
        return step * (steps * tuning.batch) + unlabelled + read * (tuning.looks * judged)

    work = tile.features * (seen * len(profile.seeds)) if cached else Work()
    for fraction, number in times.items():
        work = work + (trained(tuning, fraction) + read * tested) * number
    # A trial looks once more at the validation tiles, tile by tile.
    trial = trained(tuning.shortened(tuning.grid_share), profile.rate_fraction) + read * judged
    work = work + trial * len(tuning.lr_grid)
    weights = 4 * (tile.step.parameters + 3 * tile.step.trained) / 1e9
    memory = PROCESS_GB + weights + max(tuning.batch, EVALUATED / 2) * tile.step.kept / 1e9
    # One segmenter is kept. Runs share a cache; each is told the whole, because any may be the one that makes it.
    disk = OUTPUT_GB + 4 * tile.step.parameters / 1e9 + (len(profile.seeds) * features_gb if cached else 0.0)
    # One matrix per test tile and the example maps, compressed to about a tenth.
    confusions = 0.1 * (4 * tested * classes**2 + profile.examples * profile.data.tile_px**2) / 1e9
    return work, memory, disk + sum(times.values()) * confusions


def _shape(profile: Profile, arm: str) -> Architecture:
    """The arm's ViT; real chips with fewer channels take a little less."""
    return Architecture.of(profile.architecture(arm), len(CHANNELS), profile.data.tile_px)


def _tiles(profile: Profile, region: str) -> int:
    """Of a region; of real input whose chips nobody has counted a thousand stand in."""
    data = profile.data
    origin = FolderSpec.load(region).origin if data.source == "folder" else None
    if origin and origin.chips and data.max_tiles_per_chip:
        return origin.chips * data.max_tiles_per_chip
    columns, rows = profile.data.regions.get(region, (40, 25))
    return columns * rows


def _made(profile: Profile, region: str) -> dict[str, int]:
    """Tiles of a region that get pixels, by split."""
    listed, wanted = _tiles(profile, region), profile.data.wanted(region)
    there = {"train": round(TRAIN * listed), "val": round((1 - TRAIN - TEST) * listed), "test": round(TEST * listed)}
    by_fraction = list(zip(profile.fractions, profile.draws, strict=True))
    largest = [max(f for f, draws in by_fraction if draw < draws) for draw in range(max(profile.draws))]
    # Draws know nothing of each other: some tiles are in several.
    labelled = there["train"] * (1 - prod(1 - fraction / 100 for fraction in largest))
    labelled *= region == profile.labelled_region
    band, pool, test = listed / profile.data.bands, wanted["pool"], wanted["test"]
    made = {
        "train": None if pool is None else round(labelled) + pool,
        "val": wanted["validation"],
        "test": None if test is None else round(ceil(test / band) * band),
    }
    return {split: most if (asked := made[split]) is None else min(most, asked) for split, most in there.items()}


def _measured(threads: int) -> Device:
    """This machine's CPU in the small profiles' kind of step: small ViT, narrow U-Net, 96 px, batch 8, as trained."""
    keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        images = torch.zeros(8, 12, 96, 96)
        networks = build_vit(Architecture(96, 6, 3, 8, 12, 96)), UNet(12, 11, 16)
        precision = precision_on(torch.device("cpu"))
        matrix, convolution = (_gflops(network, images, precision == "bfloat16") for network in networks)
    finally:
        torch.set_num_threads(before)
    title = f"this machine, {hardware()['cpu']}, {threads} {'thread' if threads == 1 else 'threads'}"
    memory = psutil.virtual_memory().total / 1e9
    return Device(HERE, title, matrix, convolution, memory, f"measured now in {precision}, best of {ROUNDS} steps")


def _gflops(network: nn.Module, images: Tensor, half: bool) -> float:
    """Speed of forward and backward, 10^9 operations a second."""

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            answer = network(images)
        answer.sum().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops()) / min(timeit.repeat(step, number=1, repeat=ROUNDS)) / 1e9
