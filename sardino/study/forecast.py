"""The grid as a table: every run of a profile, with the operations, memory, disk and hours it is predicted to take.

Operations are counted on the real networks at the profile's sizes (sardino.study.forecast) times steps, seeds
and label fractions; nothing is built or read, so the paper's sizes are forecast in seconds.
"""

import copy
import csv
import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.head_and_loss import Head
from sardino.dino.recipe import Recipe, find_recipe
from sardino.dino.skip_unused import class_token_only
from sardino.dino.step import Network
from sardino.dino.views import half_tile
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting.record import read_record
from sardino.segmentation.segmenter import EncodingName, Segmenter, build_segmenter
from sardino.study.plan import OVERHEAD_S, Run, plan
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace

# What the real networks do to one tile: operations and memory, counted on tensors that hold no numbers.


@dataclass(frozen=True)
class Count:
    """Work on one tile.

    Args:
        matrix, convolution: floating-point operations; a product and a sum are two.
        kept: bytes that the backward pass needs, float32, weights left out.
        parameters: numbers of the network.
        trained: those that have gradients.
        features: bytes of what a frozen backbone's cache keeps; 0 without one.
    """

    matrix: float = 0.0
    convolution: float = 0.0
    kept: float = 0.0
    parameters: int = 0
    trained: int = 0
    features: float = 0.0

    def times(self, number: float) -> "Count":
        """The work on so many tiles; memory and parameters stay a tile's."""
        return Count(
            self.matrix * number, self.convolution * number, self.kept, self.parameters, self.trained, self.features
        )

    def plus(self, other: "Count") -> "Count":
        """Both works, one after the other."""
        return Count(
            self.matrix + other.matrix,
            self.convolution + other.convolution,
            max(self.kept, other.kept),
            max(self.parameters, other.parameters),
            max(self.trained, other.trained),
            max(self.features, other.features),
        )


@cache
def pretraining_tile(architecture: Architecture, recipe: Recipe) -> Count:
    """One tile of a pre-training step: student forward and backward on all crops, teacher forward on the large ones.

    Layers that stochastic depth drops are counted: an upper bound, by half its rate.
    """
    with torch.device("meta"):
        backbone = class_token_only(build_vit(architecture))
        network = Network(backbone, Head(architecture.width, recipe.hidden, recipe.bottleneck, recipe.prototypes))
    tile, crop = architecture.tile_px, half_tile(architecture.tile_px, architecture.patch)

    def views() -> tuple[Tensor, Tensor]:
        return (
            torch.empty(recipe.global_crops, 1, architecture.channels, tile, tile),
            torch.empty(recipe.local_crops, 1, architecture.channels, crop, crop),
        )

    student = _count(network, lambda net: net(*views())[0].sum().backward())
    teacher = _count(network, lambda net: net(views()[0]), gradient=False)
    return student.plus(teacher)


@dataclass(frozen=True)
class SupervisedTile:
    """One tile of a cell.

    Args:
        step: forward and backward, features made anew.
        decode: forward and backward from features that are there already.
        forward: a prediction.
        features: the encoding alone.
    """

    step: Count
    decode: Count
    forward: Count
    features: Count


@cache
def supervised_tile(
    encoding: EncodingName,
    frozen: bool,
    architecture: Architecture,
    classes: int,
    unet_width: int,
    unet_depth: int,
    decoder_width: int,
) -> SupervisedTile:
    """One tile of a cell of Table 1 or 2; `architecture` also gives the U-Net's channels and tile."""
    with torch.device("meta"):
        model = build_segmenter(
            encoding,
            None if encoding == "unet" else build_vit(architecture),
            channels=architecture.channels,
            classes=classes,
            unet_width=unet_width,
            unet_depth=unet_depth,
            decoder_width=decoder_width,
            frozen=frozen,
        )
    size = architecture.tile_px

    def image() -> Tensor:
        return torch.empty(1, architecture.channels, size, size)

    encoded: list[Tensor] = []
    features = Count() if model.vit is None else _count(model, lambda net: encoded.append(net.encode(image())), False)
    kept = encoded[0] if encoded else image()

    def taken(net: Segmenter) -> Tensor:
        return net.join(image(), torch.empty(kept.shape)) if encoded else image()

    step = _count(model, lambda net: net(image()).sum().backward())
    decode = _count(model, lambda net: net.decode(taken(net), size).sum().backward())
    forward = _count(model, lambda net: net(image()), gradient=False)
    stored = float(kept.nbytes) if encoded else 0.0
    return SupervisedTile(step, decode, forward, Count(features.matrix, features.convolution, features=stored))


def _count(network: nn.Module, work: Callable[[Any], object], gradient: bool = True) -> Count:
    """Do the work with a copy of the network whose tensors have shapes and no numbers."""
    network = copy.deepcopy(network)
    saved: dict[int, int] = {}
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        network.to_empty(device="cpu")
        own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved[storage._cdata] = storage.nbytes()
            return tensor

        with torch.set_grad_enabled(gradient), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            work(network)
        parameters = [(p.numel(), p.requires_grad) for p in network.parameters()]
    by_kind = counter.get_flop_counts().get("Global", {})
    convolution = sum(flops for kind, flops in by_kind.items() if "convolution" in str(kind))
    return Count(
        float(sum(by_kind.values()) - convolution),
        float(convolution),
        float(sum(saved.values())),
        sum(number for number, _ in parameters),
        sum(number for number, trained in parameters if trained),
    )


# Devices a run may be forecast for: a table of them with sources, and this machine, measured.

HERE = "here"
"""The name that means: this machine's CPU, measured now."""
SPEED = Path(__file__).with_name("cpu_speed.json")
"""What sardino.study.forecast writes."""
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

    def seconds(self, matrix: float, convolution: float) -> float:
        """Time for so many floating-point operations of each kind."""
        return matrix / self.matrix_gflops / 1e9 + convolution / self.convolution_gflops / 1e9


def _gpu(name: str, title: str, peak_tflops: float, memory_gb: float, source: str) -> Device:
    """A GPU by its maker's dense bfloat16 peak."""
    matrix, convolution = (1000 * peak_tflops * share for share in GPU_SHARES)
    shares = " and ".join(f"{100 * share:g} %" for share in GPU_SHARES)
    return Device(name, title, matrix, convolution, memory_gb, f"{peak_tflops:g} TFLOP/s, {source}; {shares} assumed")


def _core() -> Device:
    """One core as the last `sardino plan PROFILE --calibrate` found it, with the memory of a small machine."""
    speed = json.loads(SPEED.read_text(encoding="utf-8"))
    source = (
        f"fitted to {speed['runs']} trainings of `{speed['profile']}`, {speed['cpu']}, revision {speed['revision']}"
    )
    matrix, convolution = speed["matrix_gflops"], speed["convolution_gflops"]
    return Device("cpu-1", "one core of a server CPU", matrix, convolution, 8, source)


TABLE = (
    _core(),
    _gpu("rtx4090", "NVIDIA GeForce RTX 4090", 165.2, 24, "NVIDIA Ada whitepaper"),
    _gpu("a100", "NVIDIA A100 80 GB", 312, 80, "NVIDIA A100 data sheet"),
    _gpu("h100", "NVIDIA H100 SXM", 989.4, 80, "NVIDIA H100 data sheet"),
)


def find_device(name: str, threads: int = 1) -> Device:
    """A device by name; "here" is measured on so many threads, which takes seconds."""
    if name == HERE:
        return measured(threads)
    table = {device.name: device for device in TABLE}
    if name not in table:
        raise SardinoError(f"no device is named '{name}': there are {HERE}, {', '.join(table)}")
    return table[name]


def measured(threads: int) -> Device:
    """This machine's CPU in the small profiles' own kind of step: a small ViT, a narrow U-Net, 96 px, batch of 8."""
    import psutil
    import torch

    from sardino.dino.runtime import keep_memory
    from sardino.dino.vit import Architecture, build_vit
    from sardino.reporting.record import hardware
    from sardino.segmentation.unet import UNet

    keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        images = torch.zeros(8, 12, 96, 96)
        vit, unet = build_vit(Architecture(96, 6, 3, 8, 12, 96)), UNet(12, 11, 8)
        matrix = _speed(lambda: vit(images).sum().backward())
        convolution = _speed(lambda: unet(images).sum().backward())
    finally:
        torch.set_num_threads(before)
    title = f"this machine, {hardware()['cpu']}, {threads} {'thread' if threads == 1 else 'threads'}"
    memory = psutil.virtual_memory().total / 1e9
    return Device(HERE, title, matrix, convolution, memory, f"measured now, best of {ROUNDS} steps")


def _speed(step: Callable[[], object]) -> float:
    """GFLOP/s of a step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return float(counter.get_total_flops()) / min(seconds) / 1e9


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


@dataclass(frozen=True)
class Forecast:
    """One row of the grid.

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


def run_work(profile: Profile, run: Run) -> Count:
    """Operations of one run; none where it trains nothing."""
    arm = str(run.parameters.get("arm") or run.parameters.get("regions") or profile.arms[0])
    if run.kind == "pretrain":
        return _pretraining(profile, arm)[0]
    return _cells(profile, run, arm)[0] if run.kind in ("finetune", "baseline") else Count()


def as_csv(rows: Iterable[Any], kind: type) -> str:
    """Rows of a dataclass as CSV."""
    names = [field.name for field in fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow([f"{value:.4g}" if isinstance(value, float) else value for value in values])
    return text.getvalue()


def _row(profile: Profile, run: Run, device: Device) -> Forecast:
    given = run.parameters
    arm = str(given.get("arm") or given.get("regions") or "")
    work, memory, disk = Count(), PROCESS_GB, OUTPUT_GB
    seconds, fractions, seeds = run.cost, "", ""
    if run.kind == "pretrain":
        work, memory, disk = _pretraining(profile, arm)
        seeds = str(given.get("seed", profile.seeds[0]))
    elif run.kind in ("finetune", "baseline"):
        arm = arm or profile.arms[0]
        work, memory, kept = _cells(profile, run, arm)
        fractions = " ".join(f"{fraction:g}" for fraction in profile.fractions)
        seeds = " ".join(map(str, profile.seeds))
        disk += kept + len(profile.seeds) * len(profile.fractions) * _confusions_gb(profile)
    elif run.kind == "data":
        disk += _store_gb(profile)
    if work.matrix or work.convolution:
        seconds = OVERHEAD_S + device.seconds(work.matrix, work.convolution)
    return Forecast(
        run.name,
        run.notebook,
        arm,
        str(given.get("encoding", "")),
        str(given.get("initialisation", "")),
        fractions,
        seeds,
        " ".join(run.needs),
        (work.matrix + work.convolution) / 1e12,
        memory,
        disk,
        seconds / 3600,
    )


def _pretraining(profile: Profile, arm: str) -> tuple[Count, float, float]:
    """Work, memory and disk of one pre-training."""
    asked = profile.arm(arm)
    images = round(TRAIN * sum(_tiles(profile, region) for region in asked.regions))
    recipe = find_recipe(asked.recipe).fitted(images, asked.steps).changed(**asked.overrides)
    tile = pretraining_tile(_shape(profile, arm), recipe)
    # Student, teacher, gradient and AdamW's two moments.
    weights = 4 * tile.parameters / 1e9
    memory = PROCESS_GB + 5 * weights + asked.batch / asked.accumulate * tile.kept / 1e9
    # Two networks are kept; a snapshot holds both and the moments.
    return tile.times(asked.steps * asked.batch), memory, OUTPUT_GB + (2 + 4 * SNAPSHOTS) * weights


def _cells(profile: Profile, run: Run, arm: str) -> tuple[Count, float, float]:
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
    disk = seen * tile.features.features / 1e9
    cached = frozen and 0 < disk <= tuning.feature_cache_gb
    read = tile.forward
    if cached:
        encoded = tile.features
        read = Count(read.matrix - encoded.matrix, read.convolution - encoded.convolution, read.kept)

    def trained(fraction: float) -> Count:
        """One training with its looks at the validation tiles."""
        steps = tuning.steps_for(max(1, round(labelled * fraction)))
        looks = max(1, round(steps / tuning.validate_every)) * judged
        return (tile.decode if cached else tile.step).times(steps * tuning.batch).plus(read.times(looks))

    seed = tile.features.times(seen) if cached else Count()
    for fraction in profile.fractions:
        seed = seed.plus(trained(fraction)).plus(read.times(tested))
    work = seed.times(len(profile.seeds)).plus(trained(profile.rate_fraction).times(len(tuning.lr_grid)))
    weights = 4 * (tile.step.parameters + 3 * tile.step.trained) / 1e9
    memory = PROCESS_GB + weights + max(tuning.batch, EVALUATED / 2) * tile.step.kept / 1e9
    # Runs share a cache; each is told the whole, because any may be the one that makes it. One segmenter is kept.
    return work, memory, 4 * tile.step.parameters / 1e9 + (len(profile.seeds) * disk if cached else 0.0)


def _shape(profile: Profile, arm: str) -> Architecture:
    """The arm's ViT; real chips with fewer channels take a little less."""
    return Architecture(**profile.architecture(arm).model_dump(), channels=len(CHANNELS), tile_px=profile.data.tile_px)


def _tiles(profile: Profile, region: str) -> int:
    """Of a region; of real input only the number per chip is known, so the plan's stand-in serves."""
    columns, rows = profile.data.regions.get(region, (40, 25))
    return columns * rows


def _store_gb(profile: Profile) -> float:
    tiles = sum(_tiles(profile, region) for region in profile.data.regions or profile.data.folders)
    return STORED_BYTES[profile.data.source] * tiles * profile.data.tile_px**2 / 1e9


def _confusions_gb(profile: Profile) -> float:
    """One matrix per test tile and the example maps, compressed to about a tenth."""
    tested = ceil(TEST * _tiles(profile, profile.arm(profile.arms[0]).regions[0]))
    return 0.1 * (4 * tested * len(WORLDCOVER) ** 2 + profile.examples * profile.data.tile_px**2) / 1e9


# What the runs of a reproduction took, beside what was predicted.


@dataclass(frozen=True)
class Taken:
    """One run.

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


def taken(workspace: Workspace, rows: Iterable[Forecast]) -> list[Taken]:
    """The runs that have a record: the newest in build/, else the published one."""
    found = []
    for row in rows:
        places = (workspace.record(row.name), workspace.results / "runs" / f"{row.name}.json")
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            continue
        record = read_record(path)
        predicted, took = 3600 * row.hours, float(record["wall_s"])
        machine = record["hardware"]
        found.append(
            Taken(
                row.name,
                predicted,
                took,
                took / predicted,
                row.memory_gb,
                record["peak_memory_mb"] / 1e3,
                str(machine["gpu"] or machine["cpu"]),
            )
        )
    return found


# The speed of one CPU core, from what a profile's published trainings took.


@dataclass(frozen=True)
class CpuSpeed:
    """What one core keeps up in trainings like the small profiles'.

    Args:
        matrix_gflops, convolution_gflops: of products and of convolutions.
        runs: how many trainings it was found from.
        profile, cpu, revision: whose, on what, by which code.
    """

    matrix_gflops: float
    convolution_gflops: float
    runs: int
    profile: str
    cpu: str
    revision: str


def calibrated(workspace: Workspace) -> CpuSpeed:
    """Speeds that explain the published trainings' wall times best, by non-negative least squares.

    The error of each run is taken relative to what it took, so that short runs count as much as long ones.

    Raises:
        SardinoError: the profile is not published, ran on a GPU, or on several threads a run.
    """
    work, took, records = [], [], []
    for run in plan(workspace.profile):
        path = workspace.results / "runs" / f"{run.name}.json"
        if run.kind in ("pretrain", "finetune", "baseline") and path.is_file():
            count = run_work(workspace.profile, run)
            record = read_record(path)
            work.append((count.matrix / 1e9, count.convolution / 1e9))
            took.append(float(record["wall_s"]) - OVERHEAD_S)
            records.append(record)
    name = workspace.profile.name
    if len(records) < 4:
        raise SardinoError(f"profile '{name}' has {len(records)} published trainings: run `sardino reproduce {name}`")
    if workspace.profile.threads != 1 or any(record["hardware"]["gpu"] for record in records):
        raise SardinoError(f"the trainings of '{name}' did not run on one CPU thread each")
    seconds = np.maximum(took, 1.0)
    matrix, convolution = nnls(np.array(work) / seconds[:, None], np.ones(len(seconds)))[0]
    if not (matrix > 0 and convolution > 0):
        raise SardinoError(f"the trainings of '{name}' do not tell products from convolutions")
    newest = max(records, key=lambda record: record["finished"])
    return CpuSpeed(
        round(1 / float(matrix), 2),
        round(1 / float(convolution), 2),
        len(records),
        name,
        newest["hardware"]["cpu"],
        newest["code"]["revision"][:10],
    )


def calibrate(workspace: Workspace) -> CpuSpeed:
    """`calibrated`, kept for `--device cpu-1`."""
    speed = calibrated(workspace)
    write_text(json.dumps(asdict(speed), indent=1) + "\n", SPEED)
    return speed
