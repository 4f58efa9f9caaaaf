"""Whole-scene mapping under measure: its speed beside the bare network, its memory, its seams, its files.

    python benchmarks/scenes.py              # trains its own segmenters on the synthetic world first: some minutes
    python benchmarks/scenes.py --model build/laptop/segmenters/RUN --attention build/laptop/pretrained/europe
    python benchmarks/scenes.py --small      # one small run of each, to see that all works

A scene of the synthetic world is mapped end to end: opened, read, predicted, blended, written, made a Cloud-Optimized
GeoTIFF, compared with what was computed. The peer is the bare network on the same windows, normalised and in memory
before the clock starts, in the same batches, with all threads on each, in the same precision: float32, and bfloat16
where this processor has it. They take turns; the ratio is the median of the rounds'. A second row takes the making of
the GeoTIFF out, and lets GDAL read the scene, in the same rows, before the bare network starts: what is left is ours.
Peak memory is that of a process of its own, and of another for four times the area.

Seams: a pixel is at a border where it is within 2 pixels of any window's edge inside the scene. A U-Net can take the
whole scene in one pass: that pass is the truth. A Vision Transformer sees its window alone, and one pass over more is
another function, with positions stretched: there the agreement with it at borders is shown beside that away from them,
and so is the agreement of two maps whose windows are shifted against each other by half a stride. A seam would show as
less agreement at borders.

Attention of windows is compared with that of a scene in one window, of land that the package's backbone has not seen,
head by head; steps of its logarithm across borders of windows with those elsewhere; and, since land may
change at a border, this ratio with that along the same lines in one window.
"""

import argparse
import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate
from row import Row, write_benchmark

from sardino.data.rasters.mosaic import mosaic
from sardino.data.sources.world.synthetic import World, write_scene
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
from sardino.mapping.model import default_model
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
SHARE, OURS, MORE, AGREE, APART = 0.85, 0.95, 1.1, 99.0, 0.01
"""Bars: of the bare network's speed, and with GDAL's reading before it and no GeoTIFF; memory of four times the area;
percent of border pixels; hundredth of a pixel."""
LONG_S = 60.0
"""A speed that has taken so long gets two rounds alone."""
LIKE = 0.95
"""Bar: of the correlation of each head's map, in windows and in one."""
BORDER_PX = 2
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


def crop(scene: Path, path: Path, top: int, left: int, side: int) -> Path:
    """A square part of a scene as a scene."""
    with rasterio.open(scene) as dataset:
        window = Window(left, top, side, side)
        profile = dataset.profile | {"height": side, "width": side, "transform": dataset.window_transform(window)}
        with rasterio.open(path, "w", **profile) as part:
            part.write(dataset.read(window=window))
            part.descriptions = dataset.descriptions
            part.update_tags(**dataset.tags())
    return path


def mapped(job: Job) -> NDArray[np.uint8]:
    make_map(job.changed(overwrite=True))
    with rasterio.open(job.out) as dataset:
        codes: NDArray[np.uint8] = dataset.read(1)
    return codes


def at_borders(layout: Layout) -> NDArray[np.bool_]:
    """Pixels near an edge of any window that is not an edge of the scene."""
    lines = []
    for axis in (layout.rows, layout.columns):
        near = np.zeros(axis.size, bool)
        for edge in {*axis.starts, *(start + axis.window for start in axis.starts)} - {0, axis.size}:
            near[edge - BORDER_PX : edge + BORDER_PX] = True
        lines.append(near)
    return lines[0][:, None] | lines[1][None, :]


def one_pass(job: Job) -> NDArray[np.uint8]:
    """Codes that the network gives to a scene taken whole."""
    source, product = opened(job)
    side = source.scene.shape[0]
    with source.reading() as read:
        images = torch.from_numpy(product.model.normalisation.apply(read(0, side, 0, side)))[None]
    with torch.inference_mode():
        index = product.model.network.eval()(images)[0].argmax(0).numpy().astype(np.uint8)
    codes: NDArray[np.uint8] = WORLDCOVER.decode(index)
    return codes


def seams(name: str, job: Job, folder: Path, side: int, convolutional: bool) -> list[Row]:
    """Agreement at borders and away from them, with one pass and with shifted windows, in percent of pixels."""
    part = job.changed(scene=crop(job.scene, folder / "part.tif", 0, 0, side))
    source, product = opened(part)
    layout = layout_of(part, source, product)
    border, ours = at_borders(layout), mapped(part)
    same = ours == one_pass(part)
    rows = [versus(f"Seams, {name}: agrees with one pass over the scene, at borders", same, border, convolutional)]
    shift = layout.rows.stride // 2 // product.model.step_px * product.model.step_px or product.model.step_px
    moved = part.changed(scene=crop(job.scene, folder / "moved.tif", shift, shift, side))
    same = ours[shift:, shift:] == mapped(moved)[:-shift, :-shift]
    rows.append(versus(f"Seams, {name}: agrees with windows shifted by {shift} px, at borders", same,
                       border[shift:, shift:], False))  # fmt: skip
    return rows


def versus(name: str, same: NDArray[np.bool_], border: NDArray[np.bool_], barred: bool) -> Row:
    at, away = 100 * float(same[border].mean()), 100 * float(same[~border].mean())
    if barred:
        return Row(name, at, "% of pixels", f"the least to reach (away from borders {away:.2f})", AGREE, at / AGREE, 1)
    return Row(name, at, "% of pixels", "away from borders", away, at / away)


def attention(job: Job) -> NDArray[np.float32]:
    make_map(job)
    with rasterio.open(job.out) as dataset:
        maps: NDArray[np.float32] = dataset.read()
    return maps


def border_steps(maps: NDArray[np.float32], layout: Layout) -> tuple[float, float]:
    """Mean step of the logarithm from cell to cell, across borders of windows and elsewhere."""
    at, away = [], []
    for number, axis in enumerate(layout.axes):
        steps = np.moveaxis(np.abs(np.diff(np.log(maps), axis=number + 1)), number + 1, 0)
        border = np.zeros(len(steps), bool)
        border[[e - 1 for e in {*axis.starts, *(s + axis.window for s in axis.starts)} - {0, axis.size}]] = True
        at.append(steps[border].ravel())
        away.append(steps[~border].ravel())
    return float(np.concatenate(at).mean()), float(np.concatenate(away).mean())


def alignment(folder: Path, side: int, window_px: int, threads: int) -> list[Row]:
    """Attention of the package's backbone in windows, aligned and as they are, beside that of the scene in one."""
    scene = folder / "unseen.tif"
    write_scene(World(seed=1), "europe", scene, (side, side))
    job = Job(
        scene=scene, out=folder / "aligned.tif", kind="attention", model=default_model("backbone"), window_px=side,
        device="cpu", threads=threads, precision="float32", overwrite=True,
    )  # fmt: skip
    one, job = attention(job), job.changed(window_px=window_px)
    layout, ours = layout_of(job, *opened(job)), attention(job)
    with patch("sardino.mapping.kept.align_windows", lambda _, maps, *__: np.ones(maps.shape[:2], np.float32)):
        plain = attention(job)
    found = [min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one, m, strict=True)) for m in (ours, plain)]
    name = f"Attention in windows of {window_px} px"
    what = f"{name}: the head least like one window of {side} px"
    at, away = border_steps(ours, layout)
    same_at, same_away = border_steps(one, layout)
    ours_of, one_of = at / away, same_at / same_away
    return [
        Row(what, found[0], "correlation", bar=LIKE, kind="least"),
        Row(f"{what}, aligned", found[0], "correlation", "not aligned", found[1], found[0] / found[1]),
        Row(f"{name}: steps across borders", at, "mean of |log|", "steps elsewhere", away, away / at, 1.0),
        Row(
            f"{name}: steps across borders, of those elsewhere",
            ours_of,
            "ratio",
            "same lines in one window",
            one_of,
            one_of / ours_of,
        ),
    ]


def in_place(jobs: list[Job], folder: Path) -> Row:
    """Share of maps that are valid and lie where their scene lies, in UTM and in degrees."""
    good = []
    degrees = folder / "degrees.tif"
    for job in jobs:
        side = 3 * opened(job)[1].model.card.architecture.tile_px
        crop(job.scene, degrees, 0, 0, side)
        with rasterio.open(degrees, "r+") as dataset:
            dataset.crs, dataset.transform = "EPSG:4326", Affine(1.4e-4, 0, 3.1234567, 0, -9e-5, 49.7654321)
        for scene in (crop(job.scene, folder / "metres.tif", 40, 24, side), degrees):
            make_map(job.changed(scene=scene, overwrite=True))
            with rasterio.open(scene) as before, rasterio.open(job.out) as after:
                cell = before.width / after.width
                ends = [(0.0, 0.0), (after.width, 0.0), (0.0, after.height), (after.width, after.height)]
                apart = [np.subtract(~before.transform @ (after.transform @ end), np.array(end) * cell) for end in ends]
                good.append(
                    bool(cog_validate(job.out, strict=True, quiet=True)[0])
                    and before.crs == after.crs
                    and float(np.abs(apart).max()) < APART
                )
    share = sum(good) / len(good)
    return Row(
        f"{len(good)} maps in UTM and EPSG:4326: valid by rio-cogeo, in place to 0.01 px", share, "of maps", "all of "
        "them", 1.0, share, 1.0,
    )  # fmt: skip


def measure(size: Size, model: Path | None, attention: Path | None, threads: int) -> list[Row]:
    """All rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, scene = make_world(folder, size)
        models: dict[str, Path] = {"given": model} if model else {}
        chosen: tuple[EncodingName, ...] = ("unet", "unet_attention", "tokens")
        for encoding in chosen:
            models[encoding] = trained(store, folder / encoding, encoding, size)
        jobs = {
            key: Job(
                scene=scene,
                out=folder / f"{key}.tif",
                kind="landcover",
                model=path,
                device="cpu",
                threads=threads,
                precision="float32",
            )
            for key, path in models.items()
        }
        vit = attention or models["unet_attention"]
        attend = Job(
            scene=scene,
            out=folder / "attention.tif",
            kind="attention",
            model=vit,
            device="cpu",
            threads=threads,
            precision="float32",
        )
        embed = attend.changed(kind="embedding", out=folder / "embedding.tif")
        rows = []
        large = fourfold(scene, folder / "large.tif")
        all_jobs = {**jobs, "attention": attend, "embedding": embed}
        timed = {key: job.changed(scene=large) for key, job in all_jobs.items()}
        if size is FULL:
            for key in ("unet", "tokens"):
                paper = trained(store, folder / f"paper_{key}", key, PAPER)
                timed[f"paper {key}"] = jobs[key].changed(model=paper, scene=large)
            timed["paper unet"] = timed["paper unet"].changed(scene=scene)  # so slow that the smaller one is enough
            for key, job in (("attention", attend), ("embedding", embed)):
                timed[f"paper {key}"] = job.changed(model=paper, scene=large)
        for name, job in timed.items():
            of_paper, key = name.startswith("paper "), name.removeprefix("paper ")
            side = size.tiles * size.tile_px * (2 if job.scene == large else 1)
            title = OTHERS.get(key) or f"Land cover, {NAMES.get(key, key)}"
            title += ", paper's size" if of_paper else ""
            for precision in PRECISIONS if precision_on(torch.device("cpu")) == "bfloat16" else PRECISIONS[:1]:
                rounds = PAPER.rounds if of_paper else size.rounds
                whole, ours = speed(job.changed(precision=precision), rounds)
                of = f"{title}: a scene of {side} px, {threads} CPU threads, {precision}"
                rows.append(Row(of, whole[0], "windows/s", "bare network, same windows", *whole[1:], SHARE))
                peer = "GDAL reads the scene, then bare network"
                rows.append(Row(f"The same without its GeoTIFF: {of}", ours[0], "windows/s", peer, *ours[1:], OURS))
        for title, job in (("Scene of 4 times the area, peak", jobs["unet"]), ("Its embeddings, peak", embed)):
            one, four = memory(job, large)
            limit = "1.1 x the peak of the scene"
            rows.append(Row(title, four, "MiB", limit, MORE * one, MORE * one / four, 1.0))
        for key, job in jobs.items():
            part = size.seam_tiles * size.tile_px
            rows += seams(NAMES.get(key, key), job, folder, part, key == "unet")
        rows += alignment(folder, *((896, 448) if size is FULL else (160, 96)), threads)
        return [*rows, in_place([jobs["unet"], attend], folder)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one small run of each, to see that all works")
    parser.add_argument("--model", type=Path, help="folder of a segmenter to measure besides")
    parser.add_argument("--attention", type=Path, help="folder of the backbone for attention; else a segmenter's ViT")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "scenes.json")
    chosen = parser.parse_args()
    started = time.monotonic()
    rows = measure(SMALL if chosen.small else FULL, chosen.model, chosen.attention, chosen.threads)
    print(write_benchmark(rows, chosen.out))
    print(f"{chosen.out} written after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
