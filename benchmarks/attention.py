"""Attention maps of the last block: one query's row, and elsewhere no whole matrix, against full matrices everywhere.

    python benchmarks/attention.py

The peer does as the public DINO code does: each block computes its whole N x N matrix, and of the last one the class
token's row is taken. Both sides are the same ViT-Tiny/16 with the same weights, in float32 and, where the CPU has it,
in bfloat16, each in a process of its own; they take turns, and medians are reported. Both give the same maps, which is
checked first. Peak memory is what passes add to a process that already holds the network and the images.

The limit is the machine's: the products of an extraction, counted, in the time that products of square matrices of the
same precision would take.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from row import Row, write_benchmark
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.attention import class_attention
from sardino.dino.runtime import precision_on
from sardino.dino.vit import Architecture, build_vit

SIZES = {448: (1.4, None), 1024: (3.0, 4.0)}
"""Side of a tile in pixels: bars of the speed and of the memory."""
PEER = "full attention in every block, as the public DINO code"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SIDES = tuple(f"{who} {precision}" for precision in PRECISIONS for who in ("ours", "peer"))
SQUARE, SHARE = 2048, 0.85
"""Side of the matrices whose product is the limit, and the share of it to reach where the peer's bar is missed."""


def case(px: int, batch: int) -> tuple[VisionTransformer, Tensor]:
    """The paper's small ViT with random weights, and random images."""
    torch.manual_seed(0)
    vit = build_vit(Architecture(192, 12, 3, 16, channels=len(CHANNELS), tile_px=448)).eval()
    return vit, torch.randn(batch, len(CHANNELS), px, px)


@torch.no_grad()
def full_attention(vit: VisionTransformer, images: Tensor) -> Tensor:
    """(B, heads, h, w) of the class token, from matrices."""
    for block in vit.blocks:
        block.attn.__class__, block.attn.fused_attn = Attention, False
    found: list[Tensor] = []
    last = vit.blocks[-1]
    handle = last.attn.attn_drop.register_forward_hook(lambda _, given, __: found.append(given[0]))
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))
    for block in vit.blocks[:-1]:
        x = block(x)
    last.attn(last.norm1(x))
    handle.remove()
    rows, columns = images.shape[-2] // 16, images.shape[-1] // 16
    return found[0][:, :, 0, 1:].unflatten(-1, (rows, columns)) * (rows * columns)


def work(side: str, px: int, batch: int) -> Callable[[], Tensor]:
    """One extraction."""
    vit, images = case(px, batch)
    who, precision = side.split()

    def extraction() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return full_attention(vit, images) if who == "peer" else class_attention(vit, images)[0]

    return extraction


def product_count(px: int, batch: int) -> int:
    """Floating-point operations in the matrix products of one extraction."""
    vit, images = case(px, batch)
    for block in vit.blocks:
        block.attn.fused_attn = False  # the counter sees products, not what is fused
    with FlopCounterMode(display=False) as counter:
        class_attention(vit, images)
    return int(counter.get_total_flops())


def peak_flops(precision: str) -> float:
    """Floating-point operations a second of one product of square matrices."""
    one, other = torch.randn(2, SQUARE, SQUARE, dtype=torch.float32).to(PRECISIONS[precision])
    started = time.perf_counter()
    one @ other
    return 2 * SQUARE**3 / (time.perf_counter() - started)


def answer(side: str, px: int, batch: int) -> None:
    """A process of its own: at each line it is sent, one pass; it answers with seconds and the memory added so far."""
    action = work(side, px, batch)
    base = psutil.Process().memory_info().rss
    for _ in sys.stdin:
        started = time.perf_counter()
        action()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "added": peak_bytes() - base}), flush=True)


def peak_bytes() -> int:
    """The most memory this process has held: the kernel's own count, in which a parent's memory has no part."""
    status = Path("/proc/self/status").read_text()
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def measure(px: int, batch: int, rounds: int, sides: list[str]) -> list[Row]:
    """The rows of one size."""
    ours, peer = (work(f"{who} float32", px, 1)() for who in ("ours", "peer"))
    np.testing.assert_allclose(ours.numpy(), peer.numpy(), rtol=2e-3, atol=2e-4)
    command = [sys.executable, __file__, "--px", str(px), "--batch", str(batch), "--side"]
    processes = {
        side: subprocess.Popen([*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for side in sides
    }
    answers: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    peaks: dict[str, list[float]] = {side.split()[1]: [] for side in sides}
    for _ in range(rounds + 1):
        for side, process in processes.items():
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            answers[side].append(json.loads(process.stdout.readline()))
        for precision, found in peaks.items():
            found.append(peak_flops(precision))
    for process in processes.values():
        process.communicate()
    seconds = {side: [each["seconds"] for each in given[1:]] for side, given in answers.items()}  # one warms up
    added = {side: given[-1]["added"] / 2**20 for side, given in answers.items()}
    rows, count = [], product_count(px, batch)
    what = f"ViT-Tiny/16, {px} px, {torch.get_num_threads()} CPU threads"
    for precision, found in peaks.items():
        took, theirs = seconds[f"ours {precision}"], seconds[f"peer {precision}"]
        ratio = statistics.median(b / a for a, b in zip(took, theirs, strict=True))
        rate, there = batch / statistics.median(took), batch / statistics.median(theirs)
        bar = SIZES[px][0] if precision == "float32" or px == max(SIZES) else None
        rows.append(Row(f"Attention maps in {precision}: {what}", rate, "tiles/s", PEER, there, ratio, bar))
        share = statistics.median(count / a / b for a, b in zip(took, found[1:], strict=True))
        name, limit = f"The same, share of the matrix peak: {precision}, {what}", f"products of {SQUARE} x {SQUARE}"
        peak = statistics.median(found[1:]) / 1e9
        bar = SHARE if px == max(SIZES) else None
        rows.append(Row(name, share * peak, "GFLOP/s", limit, peak, share, bar, "limit"))
    ours_added, peer_added = added["ours float32"], added["peer float32"]
    ratio = peer_added / ours_added
    rows.append(Row(f"Memory added: {what}", ours_added, "MiB", PEER, peer_added, ratio, SIZES[px][1]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="passes of each, in turns")
    parser.add_argument("--batch", type=int, default=1, help="tiles of a pass")
    parser.add_argument("--px", type=int, choices=sorted(SIZES), help="one size alone")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/attention.json"), help="where rows go")
    asked = parser.parse_args()
    if asked.side:
        return answer(asked.side, asked.px, asked.batch)
    has_bfloat16 = precision_on(torch.device("cpu")) == "bfloat16"
    sides = [side for side in SIDES if has_bfloat16 or side.endswith("float32")]
    rows: list[Row] = []
    for px in [asked.px] if asked.px else SIZES:
        rows += measure(px, asked.batch, asked.rounds, sides)
    print(write_benchmark(rows, asked.out))
    return None


if __name__ == "__main__":
    main()
