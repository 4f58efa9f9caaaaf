"""Making the synthetic world: tiles per second and core, beside the time that the paper's tile may take.

    python benchmarks/world.py

Whole chips: 12 channels, land cover and all reference layers. One process, one thread (the world uses no BLAS); the
median over tiles of the three regions. The world is compared with a limit, for no other generator makes such tiles.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from row import Row, write_benchmark

from sardino.data.sources.world.synthetic import World
from sardino.data.sources.world.tables import REGIONS

LIMIT_S = 1.5
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
    parser.add_argument("--tiles", type=int, default=8, help="tiles per region")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/world.json"), help="where the rows go")
    arguments = parser.parse_args()
    rows = []
    for title, world, tile_px in (
        ("mean composite", World(), 448),
        ("median of 15 dates", World(composite="median"), 448),
        ("mean composite", World(), 96),
    ):
        rate = 1 / seconds_per_tile(world, tile_px, arguments.tiles)
        limit = 1 / LIMIT_S if tile_px == 448 and world == World() else None
        peer = "limit: 1.5 s per tile" if limit else ""
        ratio = rate / limit if limit else None
        rows.append(
            Row(f"World, {title}, {tile_px} px", rate, "tiles/s/core", peer, limit, ratio, 1.0 if limit else None)
        )
    print(write_benchmark(rows, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
