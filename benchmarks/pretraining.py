"""One whole DINO step, crops included: this package against a plain step built from lightly, and against the machine.

    python benchmarks/pretraining.py                  # CPU: the laptop's ViT at 96 px, ViT-Tiny/16 at 448 px
    python benchmarks/pretraining.py --device cuda    # one GPU: ViT-Tiny/16 and ViT-Base/16 at 448 px, bfloat16

The peer is what a careful reader of lightly's example writes: torchvision's v2 crops and flips of each sample, a timm
ViT with unfused attention, a forward per view, lightly's DINOProjectionHead, DINOLoss and momentum update, AdamW. Both
see the same tiles (12 channels, 2 global and 4 local crops, K = 1024), on the same number of threads, each in its own
process; steps of the two take turns, and medians are reported. On a CPU our training asks the C library to keep freed
memory (sardino.dino.runtime), which a plain script does not; a second peer that does is shown beside. Where the
CPU is faster with bfloat16 our training does so by default, as it does on a GPU; the step in float32, which a
plain script takes on a CPU, is shown too.

The limit is the matrix rate of the machine in the same precision, measured between the steps: the best of several
square products. The step's operations are counted by torch's own counter on the same step with unfused attention
(which it sees whole); what is neither a matrix product nor a convolution counts as nothing. Where a CPU's bfloat16
step is chosen, the same step with torch's fused attention is shown beside it, and the rate at which the products of
queries and keys alone run in their shape; a share of the machine below its bar is followed by the step's dearest
operations on standard error.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.utils.scheduler import cosine_schedule
from row import Row, write_benchmark
from timm.layers.attention import Attention
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.batches import chance
from sardino.dino.parallel import Parallel
from sardino.dino.plain_attention import CACHED_SCORES
from sardino.dino.recipe import DINO, SMALL, Precision, Rates, Recipe
from sardino.dino.runtime import keep_memory, precision_on
from sardino.dino.step import Learner
from sardino.dino.views import Views
from sardino.dino.vit import Architecture, build_vit

PEER = "lightly, timm, torchvision"
RECIPE = DINO.changed(prototypes=1024, local_crops=4)
FLOAT32_PEER, FLOAT32_PEAK = 1.2, 0.6  # bars of a step in float32 on a CPU


@dataclass(frozen=True)
class Case:
    """A size of ViT and tile, and what its step is to reach."""

    name: str
    shape: Architecture
    batch: int
    recipe: Recipe
    bar_peer: float | None = None  # of our usual precision against the peer
    bar_fused: float | None = None  # against torch's fused attention
    bar_peak: float | None = None  # share of the machine's matrix rate in our usual precision


def vit(width: int, depth: int, heads: int, patch: int, tile_px: int) -> Architecture:
    """A ViT for tiles of all channels."""
    return Architecture(width, depth, heads, patch, len(CHANNELS), tile_px)


TINY = vit(192, 12, 3, 16, 448)
CPU_CASES = [
    Case("ViT 96-6-3/8 at 96 px, batch 32", vit(96, 6, 3, 8, 96), 32, SMALL, 1.2, bar_fused=1.7),
    Case("ViT-Tiny/16 at 448 px, batch 2", TINY, 2, RECIPE, bar_peer=2.6, bar_fused=1.3, bar_peak=0.4),
]
GPU_CASES = [
    Case("ViT-Tiny/16 at 448 px, batch 64", TINY, 64, RECIPE, bar_peer=3.0),
    Case("ViT-Base/16 at 448 px, batch 32", vit(768, 12, 12, 16, 448), 32, RECIPE, bar_peer=3.0, bar_peak=0.4),
]
QUICK_CASES = [Case("a small ViT", vit(24, 2, 3, 8, 32), 2, RECIPE)]
NORMALISATION = Normalisation(tuple(CHANNELS), (-12.0,) * len(CHANNELS), (4.0,) * len(CHANNELS))
RATES = Rates(1e-4, 0.04, 0.996, 0.04, False)


def ours(
    case: Case,
    tiles: Tensor,
    device: torch.device,
    compiled: bool = False,
    precision: Precision = "auto",
    fused: bool = False,
) -> Callable[[], object]:
    """A step of this package; or the same with torch's fused attention throughout."""
    learner = Learner(case.shape, case.recipe, Parallel(device), seed=0, compiled=compiled, precision=precision)
    for network in (learner.student, learner.teacher) if fused else ():
        for block in network.backbone.blocks:
            block.attn.__class__ = Attention
    views = Views(case.shape, case.recipe, NORMALISATION)
    generator = chance(0, 1)

    def step() -> object:
        placed = tiles.to(device, non_blocking=True)
        return learner.step([views(placed, views.draw(len(placed), generator), None)], 1, RATES)

    return step


def lightly_step(case: Case, tiles: Tensor, device: torch.device) -> Callable[[], object]:
    """A plain step from lightly's parts."""
    shape, recipe = case.shape, case.recipe

    def network(drop_path: float) -> nn.Module:
        vit = build_vit(shape, drop_path)
        for block in vit.blocks:
            block.attn.fused_attn = False
        head = DINOProjectionHead(shape.width, recipe.hidden, recipe.bottleneck, recipe.prototypes)
        return nn.Sequential(vit, head).to(device)

    student, teacher = network(recipe.drop_path), network(0.0)  # its head's weight normalisation cannot be copied
    teacher.load_state_dict(student.state_dict())
    deactivate_requires_grad(teacher)
    loss_of = DINOLoss(output_dim=recipe.prototypes, warmup_teacher_temp_epochs=0).to(device)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-4, weight_decay=0.04)
    mean, std = list(NORMALISATION.mean), list(NORMALISATION.std)
    local_px = max(1, round(shape.grid / 2)) * shape.patch

    def crops(scale: tuple[float, float], size: int) -> v2.Compose:
        return v2.Compose([v2.RandomResizedCrop(size, scale=scale), v2.RandomHorizontalFlip(), v2.Normalize(mean, std)])

    kinds = [crops(recipe.global_scale, shape.tile_px)] * 2 + [crops(recipe.local_scale, local_px)] * 4
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def step() -> object:
        placed = tiles.to(device, non_blocking=True)
        views = [torch.stack([kind(tile) for tile in placed]) for kind in kinds]
        update_momentum(student, teacher, m=cosine_schedule(0, 10, 0.996, 1))
        with autocast:
            with torch.no_grad():
                targets = [teacher(view) for view in views[:2]]
            predictions = [student(view) for view in views]
            loss = loss_of(targets, predictions, epoch=0)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 3.0)
        optimiser.step()
        return loss.item()

    return step


def operations(case: Case, tiles: Tensor, device: torch.device) -> int:
    """Floating-point operations of one of our steps, counted with attention written out."""
    learner = Learner(case.shape, case.recipe, Parallel(device), seed=0)
    for network in (learner.student, learner.teacher):
        for block in network.backbone.blocks:
            block.attn.fused_attn = False
    views = Views(case.shape, case.recipe, NORMALISATION)
    with FlopCounterMode(display=False) as counter:
        learner.step([views(tiles.to(device), views.draw(len(tiles), chance(0, 1)), None)], 1, RATES)
    return int(counter.get_total_flops())


def matrix_rate(device: torch.device, size: int, dtype: torch.dtype) -> float:
    """Operations per second of one square product."""
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    out = torch.empty_like(a)
    return 2 * size**3 / seconds(lambda: torch.mm(a, b, out=out), device)


def scores_rate(shape: Architecture) -> float:
    """Operations per second of queries times keys, as many images at once as attention in training takes."""
    tokens, depth = shape.grid**2 + 1, shape.width // shape.heads
    count = shape.heads * max(1, CACHED_SCORES // (shape.heads * tokens**2))
    queries, keys = torch.randn(2, count, tokens, depth, dtype=torch.bfloat16)
    out = queries.new_empty(count, tokens, tokens)
    spent = seconds(lambda: torch.bmm(queries, keys.transpose(1, 2), out=out), torch.device("cpu"))
    return 2 * out.numel() * depth / spent


def dearest(step: Callable[[], object], device: torch.device) -> str:
    """The operations that take most of a step, by torch's profiler."""
    gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as found:
        step()
    order = f"self_{'cuda' if gpu else 'cpu'}_time_total"
    return found.key_averages().table(sort_by=order, row_limit=10, max_name_column_width=48)


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """How long an action takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peer(connection: Connection, case: Case, tiles: Tensor, kind: str, keep: bool) -> None:
    """lightly's side in a process of its own: told to, it makes a step and answers with its seconds."""
    device = torch.device(kind)
    torch.set_num_threads(connection.recv())
    if keep:
        keep_memory()
    step = lightly_step(case, tiles, device)
    while connection.recv():
        connection.send((seconds(step, device), peak_gib(device)))


def peak_gib(device: torch.device) -> float:
    """Most memory that tensors of this process have taken on a GPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0


def measure(case: Case, rounds: int, size: int, device: torch.device, compiled: bool) -> list[Row]:
    """The rows of one case."""
    name, batch = case.name, case.batch
    tiles = torch.randn(batch, case.shape.channels, case.shape.tile_px, case.shape.tile_px) * 4 - 12
    counted = operations(case, tiles, device)
    processes = torch.multiprocessing.get_context("spawn")
    peers = {}
    for keep in (False, True) if device.type == "cpu" else (False,):
        here, there = processes.Pipe()
        processes.Process(target=peer, args=(there, case, tiles, device.type, keep), daemon=True).start()
        here.send(torch.get_num_threads())
        peers[keep] = here

    def ask(connection: Connection) -> tuple[float, float]:
        connection.send(True)
        return connection.recv()

    if device.type == "cpu":
        keep_memory()  # as `pretrain` does
    usual = precision_on(device)
    precisions = list(dict.fromkeys([usual, *(["float32"] if device.type == "cpu" else [])]))
    steps = {kind: ours(case, tiles, device, compiled, kind) for kind in precisions}  # type: ignore[arg-type]
    chosen = device.type == "cpu" and usual == "bfloat16"  # where attention is not torch's fused one
    fused = ours(case, tiles, device, compiled, usual, fused=True) if chosen else None
    for _ in range(2):  # warm-up: allocations, kernels, threads
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for step in [*steps.values(), *([fused] if fused else [])]:
            step()
        memory = {keep: ask(connection)[1] for keep, connection in peers.items()}
    own_memory = peak_gib(device)
    mine: dict[str, list[float]] = {kind: [] for kind in steps}
    theirs: dict[bool, list[float]] = {keep: [] for keep in peers}
    peaks: dict[str, list[float]] = {kind: [] for kind in steps}
    before: list[float] = []
    scores: list[float] = []
    for _ in range(rounds):
        for kind, step in steps.items():
            mine[kind].append(seconds(step, device))
        if fused:
            before.append(seconds(fused, device))
            scores.extend(scores_rate(case.shape) for _ in range(3))
        for keep, connection in peers.items():
            theirs[keep].append(ask(connection)[0])
        for kind in steps:
            peaks[kind].extend(matrix_rate(device, size, getattr(torch, kind)) for _ in range(3))
    for connection in peers.values():
        connection.send(False)
    rows = []
    for kind, own in mine.items():
        title = f"{name}: step in {kind}{', our default here' if kind == usual else ''}"
        for keep, times in theirs.items():
            ratio = statistics.median(b / a for a, b in zip(own, times, strict=True))
            their = "lightly, memory kept as ours" if keep else PEER
            images, there = batch / statistics.median(own), batch / statistics.median(times)
            bar = None if keep else case.bar_peer if kind == "bfloat16" else FLOAT32_PEER
            rows.append(Row(title, images, "images/s", their, there, ratio, bar))
    if fused:
        ratio = statistics.median(b / a for a, b in zip(mine[usual], before, strict=True))
        images, there = batch / statistics.median(mine[usual]), batch / statistics.median(before)
        title = f"{name}: step in {usual}, attention as products"
        rows.append(Row(title, images, "images/s", "torch's fused attention", there, ratio, case.bar_fused))
    for kind, own in mine.items():
        rate, peak = counted / statistics.median(own) / 1e9, max(peaks[kind]) / 1e9
        bar = case.bar_peak if kind == "bfloat16" else FLOAT32_PEAK
        rows.append(Row(f"{name}: rate in {kind}", rate, "GFLOP/s", "best square product", peak, rate / peak, bar))
        if bar and rate / peak < bar:
            print(f"{name} in {kind} ends below its bar; what holds it:", dearest(steps[kind], device), file=sys.stderr)
    if fused:
        best, peak = max(scores) / 1e9, max(peaks[usual]) / 1e9
        title = f"{name}: limit of its products of queries and keys in {usual}"
        rows.append(Row(title, best, "GFLOP/s", "best square product", peak, best / peak))
    if device.type == "cuda":
        ratio = memory[False] / own_memory
        rows.append(Row(f"{name}: memory", own_memory, "GiB", "lightly", memory[False], ratio))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=9, help="steps of each, in turns")
    parser.add_argument("--quick", action="store_true", help="a small ViT, to see that it works")
    parser.add_argument("--compile", action="store_true", help="let torch.compile fuse our blocks")
    parser.add_argument("--out", type=Path, default=None, help="results/benchmarks/pretraining[_gpu].json")
    options = parser.parse_args()
    device = torch.device(options.device)
    cases = QUICK_CASES if options.quick else GPU_CASES if device.type == "cuda" else CPU_CASES
    size = 128 if options.quick else 8192 if device.type == "cuda" else 2048
    rows: list[Row] = []
    for case in cases:
        rows += measure(case, options.rounds, size, device, options.compile)
        print(*rows[-3:], sep="\n", file=sys.stderr)
    out = options.out or Path("results/benchmarks") / f"pretraining{'_gpu' if device.type == 'cuda' else ''}.json"
    print(write_benchmark(rows, out))


if __name__ == "__main__":
    main()
