"""Reading tiles for training: the store against GeoTIFF and against the memory map, its limit.

    python benchmarks/store.py

The same tiles of the synthetic world are written as a tile store, as one GeoTIFF a tile (int16, zstd with the
horizontal predictor, a band one block: the friendliest layout) and as plain arrays on disk. Every reader returns the
same packed backscatter and label, one tile at a time in the same random order, from a warm page cache, on one core;
rounds of the readers take turns, and medians over the rounds are reported. The GeoTIFF reader is what torchgeo's
RasterDataset does: open the file with rasterio, read all bands, make a tensor.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from row import Row, write_benchmark

from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, NODATA
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Tile
from sardino.data.tiles.write_store import write_store

Reader = Callable[[int], list[torch.Tensor]]


def write_tiles(folder: Path, tile_px: int, count: int) -> tuple[TileStore, TileStore]:
    """The same tiles in every format: store, compressed store, GeoTIFFs, plain array."""
    world = World(seed=0)
    tiles = world.tiles("europe", tile_px, count, 1)
    chips = [world.chip(tile) for tile in tiles]
    stores = [
        write_store(
            folder / f"store-{kind}",
            tiles,
            ["train"] * count,
            lambda number: chips[number],
            channels=CHANNELS,
            legend=WORLDCOVER,
            product="benchmark",
            synthetic=True,
            metadata={},
            bands=[0] * count,
            compression=kind,
        )
        for kind in ("none", "zstd")
    ]
    counts, labels = (stores[0].read_array(name, [tile.id for tile in tiles]) for name in ("backscatter", "label"))
    np.save(folder / "counts.npy", counts)
    np.save(folder / "labels.npy", labels)
    for tile, pixels, label in zip(tiles, counts, labels, strict=True):
        write_geotiff(folder / f"{tile.id}.tif", tile, pixels, NODATA)
        write_geotiff(folder / f"{tile.id}_label.tif", tile, label[None], IGNORE)
    return stores[0], stores[1]


def write_geotiff(path: Path, tile: Tile, pixels: NDArray[Any], nodata: int) -> None:
    """One tile as GeoTIFF with zstd and the horizontal predictor, each band one block."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=tile.shape[1],
        height=tile.shape[0],
        count=len(pixels),
        dtype=pixels.dtype,
        crs=tile.crs,
        transform=rasterio.Affine(*tile.transform),
        nodata=nodata,
        compress="zstd",
        predictor=2,
        blockysize=tile.shape[0],
    ) as dataset:
        dataset.write(pixels)


def rates(readers: dict[str, Reader], order: list[int], rounds: int) -> dict[str, float]:
    """Tiles per second of each reader, the median over rounds in which the readers take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(rounds + 1):
        for name, read in readers.items():
            started = time.perf_counter()
            for tile in order:
                read(tile)
            if number:  # the first round warms the page cache
                seconds[name].append(time.perf_counter() - started)
    return {name: len(order) / statistics.median(times) for name, times in seconds.items()}


def measure(tile_px: int, count: int, rounds: int) -> list[Row]:
    """All rows at one tile size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, small = write_tiles(folder, tile_px, count)
        ids = store.ids()
        maps = [np.load(folder / part, mmap_mode="r") for part in ("counts.npy", "labels.npy")]

        def packed(source: TileStore) -> Reader:
            names = ("backscatter", "label")
            return lambda n: [torch.from_numpy(source.read_array(name, [ids[n]])[0]) for name in names]

        def geotiff(number: int) -> list[torch.Tensor]:
            parts = []
            for end in ("", "_label"):
                with rasterio.open(folder / f"{ids[number]}{end}.tif") as dataset:
                    parts.append(torch.from_numpy(dataset.read()))
            return [parts[0], parts[1][0]]

        readers: dict[str, Reader] = {
            "store": packed(store),
            "store zstd": packed(small),
            "geotiff": geotiff,
            "memory map": lambda n: [torch.from_numpy(np.array(part[n])) for part in maps],
        }
        for name, read in readers.items():
            pairs = zip(read(count // 2), readers["memory map"](count // 2), strict=True)
            if not all(torch.equal(one, other) for one, other in pairs):
                raise SystemExit(f"the reader '{name}' does not return the same pixels")
        order = np.random.default_rng(0).permutation(count).tolist()
        found = rates(readers, order, rounds)
    ours, where = found["store"], f"{tile_px} px, {len(CHANNELS)} channels"
    limit, tif = found["memory map"], found["geotiff"]
    # The bars hold for the paper's tiles; the small ones of a laptop are told beside them.
    bars = (5.0, 0.4) if tile_px == 448 else (None, None)
    return [
        Row(f"Store, {where}", ours, "tiles/s", "rasterio GeoTIFF zstd, as torchgeo", tif, ours / tif, bars[0]),
        Row(f"Store, {where}", ours, "tiles/s", "NumPy memory map", limit, ours / limit, bars[1], kind="limit"),
        Row(
            f"Store with zstd, {where}",
            found["store zstd"],
            "tiles/s",
            "rasterio GeoTIFF zstd, as torchgeo",
            tif,
            found["store zstd"] / tif,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=48, help="tiles of 448 px; 96 px tiles are 4 times as many")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of which the median is taken")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/store.json"), help="where the rows go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(448, arguments.tiles, arguments.rounds) + measure(96, 4 * arguments.tiles, arguments.rounds)
    print(write_benchmark(rows, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
