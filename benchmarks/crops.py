"""DINO's views of a batch of tiles: sardino's crops against torchvision's, on one device.

    python benchmarks/crops.py
    python benchmarks/crops.py --device cuda

A batch of tiles is held in memory. The peer is torchvision's v2 RandomResizedCrop and RandomHorizontalFlip, tile by
tile and stacked to a batch, as a data loader hands views over; the same without stacking is told beside it, and the
same with antialiasing off, which is then the very resampling that sardino does. Ours includes the draws and writes to
kept memory, as training does. The last rows are a training's whole set, two global and four local views, normalised:
ours also looks for missing pixels. Both sides use the same threads; rounds of the contestants take turns, and medians
over the rounds are reported.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from row import Row, write_benchmark
from torchvision.transforms import v2

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.crops import crop_views, random_boxes, random_flips
from sardino.dino.recipe import DINO
from sardino.dino.views import Views, half_tile
from sardino.dino.vit import Architecture

Contestant = Callable[[], object]
GLOBAL, LOCAL = (0.4, 1.0), (0.05, 0.4)
BAR = 5.0
OURS, STACKED, LOOSE, ALIASED = (
    "ours",
    "torchvision v2, stacked",
    "torchvision v2, unstacked",
    "torchvision v2, stacked, no antialiasing",
)


def medians(contestants: dict[str, Contestant], rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds of each contestant, the median over rounds in which they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, work in contestants.items():
            started = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round compiles and warms up
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def peer(scale: tuple[float, float], px: int, *more: v2.Transform, antialias: bool = True) -> v2.Compose:
    """Torchvision's random resized crop and flip."""
    return v2.Compose([v2.RandomResizedCrop(px, scale=scale, antialias=antialias), v2.RandomHorizontalFlip(), *more])


def one_view(tiles: torch.Tensor, scale: tuple[float, float], px: int) -> dict[str, Contestant]:
    """One view of each tile, on all sides."""
    batch, channels, height, width = tiles.shape
    generator = torch.Generator().manual_seed(0)
    outs = [tiles.new_empty(batch, channels, px, px)] if tiles.device.type == "cpu" else None
    usual, aliased = peer(scale, px), peer(scale, px, antialias=False)

    def ours() -> torch.Tensor:
        boxes = random_boxes(batch, height, width, scale, generator)
        return crop_views(tiles, boxes[None], random_flips(batch, generator)[None], [px], outs)[0]

    return {
        OURS: ours,
        STACKED: lambda: torch.stack([usual(tile) for tile in tiles]),
        LOOSE: lambda: [usual(tile) for tile in tiles],
        ALIASED: lambda: torch.stack([aliased(tile) for tile in tiles]),
    }


def whole_set(tiles: torch.Tensor) -> dict[str, Contestant]:
    """Two global and four local views of each tile, normalised."""
    batch, channels, side, _ = tiles.shape
    mean, std = [-12.0 + n for n in range(channels)], [2.0 + n / 4 for n in range(channels)]
    normal = Normalisation(CHANNELS, tuple(mean), tuple(std))
    recipe = DINO.changed(global_crops=2, global_scale=GLOBAL, local_crops=4, local_scale=LOCAL)
    views = Views(Architecture(192, 12, 3, 16, channels, side), recipe, normal)
    generator = torch.Generator().manual_seed(0)
    sizes = ((2, GLOBAL, side), (4, LOCAL, half_tile(side, 16)))

    def peers(antialias: bool) -> list[v2.Compose]:
        return [
            peer(scale, px, v2.Normalize(mean, std), antialias=antialias) for n, scale, px in sizes for _ in range(n)
        ]

    usual, aliased = peers(True), peers(False)
    return {
        OURS: lambda: views(tiles, views.draw(batch, generator)),
        STACKED: lambda: [torch.stack([view(tile) for tile in tiles]) for view in usual],
        LOOSE: lambda: [[view(tile) for tile in tiles] for view in usual],
        ALIASED: lambda: [torch.stack([view(tile) for tile in tiles]) for view in aliased],
    }


def agree(tiles: torch.Tensor) -> bool:
    """Whether both sides cut the same pixels from the same box."""
    top, left, height, width, px = 3, 5, tiles.shape[-2] // 2, tiles.shape[-1] // 3, tiles.shape[-1] // 2
    boxes = torch.tensor([[float(top), float(left), float(height), float(width)]] * len(tiles))
    ours = crop_views(tiles, boxes[None], torch.zeros(1, len(tiles), dtype=torch.bool), [px])[0]
    theirs = v2.functional.resized_crop(tiles, top, left, height, width, [px, px], antialias=False)
    # Torchvision cuts before it resamples: pixels at the edge of its box do not see their neighbours outside.
    inside = slice(2, -2)
    return bool(torch.allclose(ours[..., inside, inside], theirs[..., inside, inside], atol=1e-3))


def measure(px: int, batch: int, rounds: int, device: torch.device) -> list[Row]:
    """All rows: a global view, a local view, the whole set."""
    tiles = torch.randn(batch, len(CHANNELS), px, px, generator=torch.Generator().manual_seed(0)).to(device)
    if not agree(tiles):
        raise SystemExit("the two sides do not cut the same pixels from the same box")
    half = half_tile(px, 16)
    works = {
        f"Global view, {px} px": one_view(tiles, GLOBAL, px),
        f"Local view, {half} px": one_view(tiles, LOCAL, half),
        f"2 global + 4 local views, {px} and {half} px": whole_set(tiles),
    }
    threads = torch.get_num_threads()
    where = f"{len(CHANNELS)} channels, " + (f"{threads} CPU threads" if device.type == "cpu" else device.type.upper())
    rows = []
    for name, contestants in works.items():
        seconds = medians(contestants, rounds, device)
        ours = batch / seconds[OURS]
        for who in (STACKED, LOOSE, ALIASED):
            rate = batch / seconds[who]
            # The bar holds for the paper's tiles as a data loader hands them over.
            bar = BAR if who == STACKED and px == 448 else None
            rows.append(Row(f"{name}, {where}", ours, "tiles/s", who, rate, ours / rate, bar))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=448, help="side of a tile, a multiple of 16")
    parser.add_argument("--batch", type=int, default=8, help="tiles of a batch")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of which the median is taken")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/crops.json"), help="where the rows go")
    arguments = parser.parse_args()
    rows = measure(arguments.px, arguments.batch, arguments.rounds, torch.device(arguments.device))
    print(write_benchmark(rows, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
