"""One whole DINO step, crops included: this package against a plain step built from lightly, and against the machine.

    python benchmarks/pretraining.py                  # CPU: ViT-Tiny/8 at 128 px, ViT-Tiny/16 at 448 px
    python benchmarks/pretraining.py --device cuda    # one GPU: ViT-Tiny/16 and ViT-Base/16 at 448 px, bfloat16

The peer is what a careful reader of lightly's example writes: torchvision's v2 crops and flips of each sample, a timm
ViT with unfused attention, a forward per view, lightly's DINOProjectionHead, DINOLoss and momentum update, AdamW. Both
see the same tiles (12 channels, 2 global and 4 local crops, K = 1024), on the same number of threads, each in its own
process; steps of the two take turns, and medians are reported. On a CPU our training asks the C library to keep freed
memory (sardino.dino.runtime), which a plain script does not; a second peer that does is shown beside. Where the
CPU multiplies bfloat16 in hardware our training does so by default, as it does on a GPU; the step in float32, which a
plain script takes on a CPU, is shown too.

The limit is the matrix rate of the machine in the same precision, measured between the steps: the best of several
square products. The step's operations are counted by torch's own counter on the same step with unfused attention
(which it sees whole); what is neither a matrix product nor a convolution counts as nothing.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.utils.scheduler import cosine_schedule
from row import Row, write_benchmark
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.batches import chance
from sardino.dino.parallel import Parallel
from sardino.dino.recipe import DINO, Precision, Rates
from sardino.dino.runtime import keep_memory, precision_on
from sardino.dino.step import Learner
from sardino.dino.views import Views
from sardino.dino.vit import Architecture, build_vit

RECIPE = DINO.changed(prototypes=1024, local_crops=4)
TINY, BASE = {"width": 192, "depth": 12, "heads": 3}, {"width": 768, "depth": 12, "heads": 12}
CPU_CASES = {
    "ViT-Tiny/8 at 128 px, batch 8": ({**TINY, "patch": 8, "tile_px": 128}, 8),
    "ViT-Tiny/16 at 448 px, batch 2": ({**TINY, "patch": 16, "tile_px": 448}, 2),
}
GPU_CASES = {
    "ViT-Tiny/16 at 448 px, batch 64": ({**TINY, "patch": 16, "tile_px": 448}, 64),
    "ViT-Base/16 at 448 px, batch 32": ({**BASE, "patch": 16, "tile_px": 448}, 32),
}
QUICK_CASES = {"a small ViT": ({"width": 24, "depth": 2, "heads": 3, "patch": 8, "tile_px": 32}, 2)}
NORMALISATION = Normalisation(tuple(CHANNELS), (-12.0,) * len(CHANNELS), (4.0,) * len(CHANNELS))
RATES = Rates(1e-4, 0.04, 0.996, 0.04, False)
PEER = "lightly, timm, torchvision"
BAR_PEER, BAR_PEAK = {"cpu": 1.2, "cuda": 3.0}, {"cpu": 0.6, "cuda": 0.4}


def ours(
    shape: Architecture, tiles: Tensor, device: torch.device, compiled: bool = False, precision: Precision = "auto"
) -> Callable[[], object]:
    """A step of this package."""
    learner = Learner(shape, RECIPE, Parallel(device), seed=0, compiled=compiled, precision=precision)
    views = Views(shape, RECIPE, NORMALISATION)
    generator = chance(0, 1)

    def step() -> object:
        placed = tiles.to(device, non_blocking=True)
        return learner.step([views(placed, views.draw(len(placed), generator), None)], 1, RATES)

    return step


def lightly_step(shape: Architecture, tiles: Tensor, device: torch.device) -> Callable[[], object]:
    """A plain step from lightly's parts."""

    def network() -> nn.Module:
        vit = build_vit(shape)
        for block in vit.blocks:
            block.attn.fused_attn = False
        head = DINOProjectionHead(shape.width, RECIPE.hidden, RECIPE.bottleneck, RECIPE.prototypes)
        return nn.Sequential(vit, head).to(device)

    student, teacher = network(), network()  # its head's weight normalisation cannot be copied
    teacher.load_state_dict(student.state_dict())
    deactivate_requires_grad(teacher)
    loss_of = DINOLoss(output_dim=RECIPE.prototypes, warmup_teacher_temp_epochs=0).to(device)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-4, weight_decay=0.04)
    mean, std = list(NORMALISATION.mean), list(NORMALISATION.std)
    local_px = max(1, round(shape.grid / 2)) * shape.patch

    def crops(scale: tuple[float, float], size: int) -> v2.Compose:
        return v2.Compose([v2.RandomResizedCrop(size, scale=scale), v2.RandomHorizontalFlip(), v2.Normalize(mean, std)])

    kinds = [crops(RECIPE.global_scale, shape.tile_px)] * 2 + [crops(RECIPE.local_scale, local_px)] * 4
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


def operations(shape: Architecture, tiles: Tensor, device: torch.device) -> int:
    """Floating-point operations of one of our steps, counted with attention written out."""
    learner = Learner(shape, RECIPE, Parallel(device), seed=0)
    for network in (learner.student, learner.teacher):
        for block in network.backbone.blocks:
            block.attn.fused_attn = False
    views = Views(shape, RECIPE, NORMALISATION)
    with FlopCounterMode(display=False) as counter:
        learner.step([views(tiles.to(device), views.draw(len(tiles), chance(0, 1)), None)], 1, RATES)
    return int(counter.get_total_flops())


def matrix_rate(device: torch.device, size: int, dtype: torch.dtype) -> float:
    """Operations per second of one square product."""
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    out = torch.empty_like(a)
    return 2 * size**3 / seconds(lambda: torch.mm(a, b, out=out), device)


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """How long an action takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peer(connection: Connection, shape: Architecture, tiles: Tensor, kind: str, keep: bool) -> None:
    """lightly's side in a process of its own: told to, it makes a step and answers with its seconds."""
    device = torch.device(kind)
    torch.set_num_threads(connection.recv())
    if keep:
        keep_memory()
    step = lightly_step(shape, tiles, device)
    while connection.recv():
        connection.send((seconds(step, device), peak_gib(device)))


def peak_gib(device: torch.device) -> float:
    """Most memory that tensors of this process have taken on a GPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0


def measure(
    name: str, shape: Architecture, batch: int, rounds: int, size: int, device: torch.device, compiled: bool
) -> list[Row]:
    """The rows of one case."""
    tiles = torch.randn(batch, shape.channels, shape.tile_px, shape.tile_px) * 4 - 12
    counted = operations(shape, tiles, device)
    processes = torch.multiprocessing.get_context("spawn")
    peers = {}
    for keep in (False, True) if device.type == "cpu" else (False,):
        here, there = processes.Pipe()
        processes.Process(target=peer, args=(there, shape, tiles, device.type, keep), daemon=True).start()
        here.send(torch.get_num_threads())
        peers[keep] = here

    def ask(connection: Connection) -> tuple[float, float]:
        connection.send(True)
        return connection.recv()

    if device.type == "cpu":
        keep_memory()  # as `pretrain` does
    usual = precision_on(device)
    precisions = list(dict.fromkeys([usual, *(["float32"] if device.type == "cpu" else [])]))
    steps = {kind: ours(shape, tiles, device, compiled, kind) for kind in precisions}  # type: ignore[arg-type]
    for _ in range(2):  # warm-up: allocations, kernels, threads
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for step in steps.values():
            step()
        memory = {keep: ask(connection)[1] for keep, connection in peers.items()}
    own_memory = peak_gib(device)
    mine: dict[str, list[float]] = {kind: [] for kind in steps}
    theirs: dict[bool, list[float]] = {keep: [] for keep in peers}
    peaks: dict[str, list[float]] = {kind: [] for kind in steps}
    for _ in range(rounds):
        for kind, step in steps.items():
            mine[kind].append(seconds(step, device))
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
            their, bar = ("lightly, memory kept as ours", None) if keep else (PEER, BAR_PEER[device.type])
            images, there = batch / statistics.median(own), batch / statistics.median(times)
            rows.append(Row(title, images, "images/s", their, there, ratio, bar))
    limited = device.type == "cpu" or "Base" in name
    for kind, own in mine.items():
        rate, peak = counted / statistics.median(own) / 1e9, max(peaks[kind]) / 1e9
        bar = BAR_PEAK[device.type] if limited else None
        rows.append(Row(f"{name}: rate in {kind}", rate, "GFLOP/s", "best square product", peak, rate / peak, bar))
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
    for name, (shape, batch) in cases.items():
        architecture = Architecture(**shape, channels=len(CHANNELS))
        rows += measure(name, architecture, batch, options.rounds, size, device, options.compile)
        print(*rows[-2:], sep="\n", file=sys.stderr)
    out = options.out or Path("results/benchmarks") / f"pretraining{'_gpu' if device.type == 'cuda' else ''}.json"
    print(write_benchmark(rows, out))


if __name__ == "__main__":
    main()
