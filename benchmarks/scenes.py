"""Whole-scene mapping under measure: its speed beside the bare network, and its memory.

    python benchmarks/scenes.py              # trains its own segmenters on the synthetic world first: some minutes
    python benchmarks/scenes.py --small      # one small run of each, to see that all works

A scene of the synthetic world is mapped end to end: opened, read, predicted, blended, written, made a Cloud-Optimized
GeoTIFF, compared with what was computed. The peer is the bare network on the same windows, normalised and in memory
before the clock starts, in the same batches, with all threads on each, in the same precision: float32, and bfloat16
where this processor has it. They take turns; the ratio is the median of the rounds'. A second row takes the making of
the GeoTIFF out, and lets GDAL read the scene, in the same rows, before the bare network starts: what is left is ours.
Peak memory is that of a process of its own, and of another for four times the area. How good the maps are: `seams.py`.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from row import Row, write_benchmark

from sardino.data.rasters.mosaic import mosaic
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.write_store import write_store
from sardino.dino.batches import open_tiles
from sardino.dino.recipe import Precision
from sardino.dino.runtime import precision_on
from sardino.dino.vit import Architecture
from sardino.mapping.job import Job
from sardino.mapping.resume import PartialMap
from sardino.mapping.scene_map import batch_of, layout_of, make_map, opened
from sardino.mapping.windows import Layout
from sardino.reporting.record import peak_memory_mb, revision
from sardino.segmentation.finetune import Settings, finetune
from sardino.segmentation.settings import EncodingName
from sardino.study.preparation import split_regions
from sardino.weights.card import SegmenterCard
from sardino.weights.save import save_segmenter

ROOT = Path(__file__).parents[1]
SHARE, OURS, MORE = 0.85, 0.95, 1.1
"""Bars: of the bare network's speed; with GDAL's reading before it and no GeoTIFF; memory of four times the area."""
LONG_S = 60.0
"""A speed that has taken so long gets two rounds alone."""
OTHERS = {"attention": "Attention", "embedding": "Embeddings, all dimensions of the tokens"}
NAMES = {"unet": "U-Net", "unet_attention": "U-Net with attention maps", "tokens": "tokens"}


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Args:
        tile_px, tiles: of the world, a square of so many tiles a side.
        seam_tiles: side of the scene that one pass takes.
        vit, unet_width, decoder_width: of the networks; steps: of their training.
        rounds: of the speed.
    """

    tile_px: int
    tiles: int
    seam_tiles: int
    vit: tuple[int, int, int, int]
    unet_width: int
    decoder_width: int
    steps: int
    rounds: int


PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
FULL = Size(96, 16, 8, (96, 6, 3, 8), 8, 64, 400, 4)
PAPER = Size(448, 0, 0, (192, 12, 3, 16), 64, 256, 0, 2)
"""The networks of the paper's profile, with random weights: what they are does not change what they take."""
SMALL = Size(32, 8, 5, (24, 2, 3, 8), 4, 32, 12, 1)


def make_world(folder: Path, size: Size) -> tuple[TileStore, Path]:
    """Tiles to train on and the scene that they make together, as `sardino tiles mosaic` writes it."""
    source = World(seed=0)
    tiles = list(source.tiles("europe", size.tile_px, size.tiles, size.tiles))
    splits, bands = split_regions(tiles, 5, 30.0)
    facts = source.metadata()
    store = write_store(
        folder / "store", tiles, splits, lambda number: source.chip(tiles[number]), channels=CHANNELS,
        legend=WORLDCOVER, product=facts["product"], synthetic=True, metadata=facts, bands=bands, workers=2,
    )  # fmt: skip
    scene = folder / "scene.tif"
    mosaic(store, scene, CHANNELS)
    return store, scene


def trained(store: TileStore, folder: Path, encoding: EncodingName, size: Size) -> Path:
    """A segmenter trained from scratch for a minute, or not at all, saved."""
    torch.manual_seed(0)
    normalisation = Normalisation.of_store(store, store.ids("train"))
    width, depth, heads, patch = size.vit
    card = SegmenterCard(
        encoding, Architecture(width, depth, heads, patch, len(CHANNELS), size.tile_px),
        {"unet_width": size.unet_width, "unet_depth": 3, "decoder_width": size.decoder_width}, CHANNELS, store.unit,
        normalisation.to_dict(), store.legend.to_dict(),
        {"regions": ["europe"], "gsd_m": store.gsd_m, "source": store.product, "synthetic": True},
        {"steps": size.steps}, code_revision=revision(),
    )  # fmt: skip
    model = card.build()
    sets = [open_tiles(store, store.ids(split), normalisation) for split in ("train", "val")]
    if size.steps:
        settings = Settings(steps=size.steps, growth=0, lr=1e-2, backbone_lr=5e-4, looks=5)
        finetune(model, *sets, settings, classes=len(store.legend), seed=0, device=torch.device("cpu"), label=encoding)
    save_segmenter(folder, model, card)
    return folder


def windows_of(job: Job, layout: Layout) -> list[torch.Tensor]:
    """All windows of a scene in batches, normalised, as the engine makes them."""
    source, product = opened(job)
    height, width = source.scene.shape
    with source.reading() as read:
        images = torch.from_numpy(product.model.normalisation.apply(read(0, height, 0, width)))
    cell, rows, columns = layout.cell, layout.rows.starts, layout.columns.starts
    high, wide = (axis.window * cell for axis in layout.axes)
    batch = batch_of(job, layout, torch.device("cpu"))
    made = []
    for top in rows:
        each = [images[:, top * cell : top * cell + high, left * cell : left * cell + wide] for left in columns]
        made += [torch.stack(each[n : n + batch]) for n in range(0, len(each), batch)]
    return made


def speed(job: Job, rounds: int) -> list[tuple[float, float, float]]:
    """Windows a second end to end and of the bare network, medians, and the median of the rounds' ratios.

    First as they are; then without the making of the GeoTIFF, beside the bare network after GDAL's reading.
    """
    source, product = opened(job)
    layout = layout_of(job, source, product)
    batches = windows_of(job, layout)
    network, half = product.model.network.eval(), job.precision == "bfloat16"
    finish, copied = PartialMap.finish, [0.0]

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        finish(*arguments)
        copied[-1] += time.perf_counter() - began

    times: list[tuple[float, float, float, float]] = []
    while len(times) <= rounds and (len(times) < 3 or np.sum(times) < LONG_S):
        torch.set_num_threads(job.threads or 1)
        began = time.perf_counter()
        read_by_gdal(job.scene, source.scene.chunk_rows, job.threads or 1)
        read = time.perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            for images in batches:
                network(images) if job.kind == "landcover" else product.predict(images)
        bare = time.perf_counter()
        with patch.object(PartialMap, "finish", timed):
            make_map(job.changed(overwrite=True))
        times.append((read - began, bare - read, time.perf_counter() - bare, copied[-1]))
        copied.append(0.0)
    reading, network_s, whole, copying = np.array(times[1:]).T  # the first warms libraries up
    pairs = (whole, network_s), (whole - copying, reading + network_s)
    return [(layout.windows / median(o), layout.windows / median(t), median(t / o)) for o, t in pairs]


def read_by_gdal(scene: Path, rows: int, threads: int) -> None:
    """All of a scene, so many rows at once, as it is stored."""
    with rasterio.Env(GDAL_NUM_THREADS=threads, GDAL_CACHEMAX=64 * 2**20), rasterio.open(scene) as dataset:
        for top in range(0, dataset.height, rows):
            dataset.read(window=Window(0, top, dataset.width, min(rows, dataset.height - top)))


def _peak(job: Job, answer: Any) -> None:
    make_map(job)
    status = Path("/proc/self/status")
    if status.is_file():  # elsewhere the peak of the parent may count, which the child began as
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        answer.put(int(line.split()[1]) / 1024)
    else:
        answer.put(peak_memory_mb())


def fourfold(scene: Path, large: Path) -> Path:
    """The scene twice across and twice down."""
    with rasterio.open(scene) as dataset:
        profile = dataset.profile | {"height": 2 * dataset.height, "width": 2 * dataset.width, "bigtiff": "if_safer"}
        with rasterio.open(large, "w", **profile) as copy:
            copy.descriptions = dataset.descriptions
            copy.update_tags(**dataset.tags())
            for band in dataset.indexes:
                copy.write(np.tile(dataset.read(band), (2, 2)), band)
    return large


def memory(job: Job, large: Path) -> tuple[float, float]:
    """Peak memory in MiB of a scene, and of four times its area, each in a process of its own."""
    fresh, peaks = multiprocessing.get_context("spawn"), []
    for scene in (job.scene, large):
        answer = fresh.Queue()
        child = fresh.Process(target=_peak, args=(job.changed(scene=scene, overwrite=True), answer))
        child.start()
        peaks.append(float(answer.get(timeout=1800)))
        child.join()
    return peaks[0], peaks[1]


def jobs_of(store: TileStore, scene: Path, folder: Path, size: Size, threads: int) -> dict[str, Job]:
    """A map of each kind, by networks that are trained for it."""
    on: dict[str, Any] = {"scene": scene, "device": "cpu", "threads": threads, "precision": "float32"}
    jobs = {
        encoding: Job(
            out=folder / f"{encoding}.tif",
            kind="landcover",
            model=trained(store, folder / encoding, encoding, size),
            **on,
        )
        for encoding in NAMES
    }
    for kind in OTHERS:
        jobs[kind] = Job(out=folder / f"{kind}.tif", kind=kind, model=folder / "unet_attention", **on)
    return jobs


def measure(folder: Path, size: Size, threads: int) -> list[Row]:
    """All rows."""
    store, scene = make_world(folder, size)
    jobs, large, rows = jobs_of(store, scene, folder, size, threads), fourfold(scene, folder / "large.tif"), []
    timed = {key: job.changed(scene=large) for key, job in jobs.items()}
    if size is FULL:
        of_paper = {key: trained(store, folder / f"paper_{key}", key, PAPER) for key in ("unet", "tokens")}
        for key in ("unet", "tokens", *OTHERS):
            timed[f"paper {key}"] = timed[key].changed(model=of_paper.get(key, of_paper["tokens"]))
        timed["paper unet"] = timed["paper unet"].changed(scene=scene)  # so slow that the smaller one is enough
    for name, job in timed.items():
        papers, key = name.startswith("paper "), name.removeprefix("paper ")
        side = size.tiles * size.tile_px * (2 if job.scene == large else 1)
        title = OTHERS.get(key) or f"Land cover, {NAMES[key]}"
        title += ", paper's size" if papers else ""
        for precision in PRECISIONS if precision_on(torch.device("cpu")) == "bfloat16" else PRECISIONS[:1]:
            whole, ours = speed(job.changed(precision=precision), PAPER.rounds if papers else size.rounds)
            of = f"{title}: a scene of {side} px, {threads} CPU threads, {precision}"
            rows.append(Row(of, whole[0], "windows/s", "bare network, same windows", *whole[1:], SHARE))
            peer = "GDAL reads the scene, then bare network"
            rows.append(Row(f"The same without its GeoTIFF: {of}", ours[0], "windows/s", peer, *ours[1:], OURS))
    for title, key in (("Scene of 4 times the area, peak", "unet"), ("Its embeddings, peak", "embedding")):
        one, four = memory(jobs[key], large)
        rows.append(Row(title, four, "MiB", "1.1 x the peak of the scene", MORE * one, MORE * one / four, 1.0))
    return rows


def run(measure: Callable[[Path, Size, int], list[Row]], name: str, doc: str | None) -> None:
    """The command line of a benchmark of scenes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one small run of each, to see that all works")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / f"{name}.json")
    chosen, started = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), SMALL if chosen.small else FULL, chosen.threads)
    print(write_benchmark(rows, chosen.out))
    print(f"{chosen.out} written after {time.monotonic() - started:.0f} s")


def main() -> None:
    run(measure, "scenes", __doc__)


if __name__ == "__main__":
    main()
