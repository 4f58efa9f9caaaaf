"""Making the synthetic world: tiles per second and core, beside the time that the paper's tile may take.

    python benchmarks/world.py

Whole chips: 12 channels, land cover and all reference layers. One process, one thread (the world uses no BLAS); the
median over tiles of the three regions. No other generator makes such tiles: the bar is the time that one of the paper's
size may take, and the others stand beside that one.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from row import Row, write_benchmark

from sardino.data.sources.world.synthetic import World
from sardino.data.sources.world.tables import REGIONS

MOST_S = 1.5
"""A tile of 448 px may take so long on one core."""


def seconds_per_tile(world: World, tile_px: int, count: int) -> float:
    """Median over `count` tiles of each region, after one that warms the tables."""
    times = []
    for region in REGIONS:
        tiles = world.tiles(region, tile_px, count + 1, 1)
        world.chip(tiles[0])
        for tile in tiles[1:]:
            started = time.perf_counter()
            world.chip(tile)
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=448, help="side of a large tile")
    parser.add_argument("--tiles", type=int, default=8, help="tiles per region")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/world.json"), help="where the rows go")
    arguments = parser.parse_args()
    px = arguments.px
    usual, median, small = (
        1 / seconds_per_tile(world, tile_px, arguments.tiles)
        for world, tile_px in ((World(), px), (World(composite="median"), px), (World(), 96))
    )
    unit, like = "tiles/s/core", usual * (px / 96) ** 2
    rows = [
        Row(f"World, mean composite, {px} px", usual, unit, bar=1 / MOST_S, kind="least"),
        Row(f"World, median of 15 dates, {px} px", median, unit, "mean composite", usual, median / usual),
        Row("World, mean composite, 96 px", small, unit, f"{px} px, as many pixels", like, small / like),
    ]
    print(write_benchmark(rows, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
