"""A scene in, a map out: opened, checked, predicted, blended and made a Cloud-Optimized GeoTIFF."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from sardino.data.rasters.scene import open_scene
from sardino.dino.recipe import Network, Precision
from sardino.dino.runtime import best_device, cores, precision_on
from sardino.errors import SardinoError
from sardino.mapping.blend import blend_scene
from sardino.mapping.channels import FittedScene, fitted
from sardino.mapping.model import load_landcover, load_vit
from sardino.mapping.products import ATTENTION, CONFIDENCE, LANDCOVER, AttentionMap, LandCoverMap, Product
from sardino.mapping.resume import open_unfinished
from sardino.mapping.windows import Layout, stride_of

MEMORY, FEWEST = 128 * 2**20, 4
"""Bytes that the rows of a stripe may take, which bounds its width; but so many windows it has: what it shares with the
next stripe is read twice."""
Track = Callable[[Iterator[int], int, int], Iterable[int]]
"""Wraps the loop over windows: given their counts batch by batch, how many there are, and how many are done."""


@dataclass(frozen=True)
class Job:
    """One map of one scene, as it can be sent to another machine.

    Args:
        scene: file or folder.
        out: .tif to make.
        kind: "attention" or "landcover".
        model: folder of the backbone or segmenter.
        network: of a backbone.
        block: of the ViT, for attention.
        full_size: attention at the size of pixels.
        confidence: .tif to make beside a land-cover map.
        channels: names of the scene's bands, where the file has none or others.
        unit: of its bands, where the file does not say.
        window_px: side of a window; that of the model's tiles by default.
        overlap_px: of neighbouring windows; a third of the window by default.
        batch: windows at once, on a CPU in each thread; by default 8 on a CPU and 64 on a GPU, of tiles of 96 px, and
            on a CPU fewer of larger ones.
        device: cuda, mps or cpu; the best there is by default.
        threads: of the CPU; all cores that the process may use by default.
        precision: of matrix products; "auto" is bfloat16 on hardware that has it, else float32.
        overwrite: replace maps that exist, and throw away an unfinished one.
    """

    scene: Path
    out: Path
    kind: Literal["attention", "landcover"]
    model: Path
    network: Network = "teacher"
    block: int = -1
    full_size: bool = False
    confidence: Path | None = None
    channels: tuple[str, ...] = ()
    unit: str = ""
    window_px: int | None = None
    overlap_px: int | None = None
    batch: int | None = None
    device: str = ""
    threads: int | None = None
    precision: Precision = "auto"
    overwrite: bool = False

    @property
    def targets(self) -> dict[str, Path]:
        """The files to make, by the name of their raster; the one that says that all is finished comes last."""
        if self.kind == "attention":
            return {ATTENTION: self.out}
        return {**({CONFIDENCE: self.confidence} if self.confidence else {}), LANDCOVER: self.out}


def make_map(
    job: Job,
    track: Track = lambda counts, total, done: counts,
    pieces: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[str]:
    """Make the map, or go on with it.

    Args:
        job: what to do.
        track: shows how far the windows are.
        pieces: wraps the loop over the pieces of the GeoTIFF.
        say: is told each doubt before the work begins.

    Returns:
        What could not be checked or may matter, as sentences.

    Raises:
        SardinoError: an input that does not fit, a file that is in the way, a full disk.
    """
    _check_targets(job)
    device = torch.device(job.device) if job.device else best_device()
    precision = precision_on(device, job.precision)
    source, product = opened(job)
    for doubt in source.doubts:
        say(doubt)
    layout = layout_of(job, source, product)
    what = {
        name: replace(raster, tags={**raster.tags, "precision": precision})
        for name, raster in product.rasters(source.scene).items()
    }
    unfinished, layout = open_unfinished(
        job.out, what, _identity(source, product, layout, precision), layout, product.planes, job.overwrite
    )
    counts = blend_scene(
        source,
        layout,
        product,
        product.model.normalisation,
        unfinished,
        batch=batch_of(job, layout, device),
        device=device,
        threads=job.threads or cores(),
        precision=precision,
    )
    done = layout.before(*unfinished.done)
    with closing(unfinished), closing(counts):  # an interruption ends the reading thread too
        for _ in track(counts, layout.windows, done):
            pass
        for name, path in job.targets.items():
            unfinished.finish(name, path, what[name], pieces)
        unfinished.remove()
    return list(source.doubts)


def opened(job: Job) -> tuple[FittedScene, AttentionMap | LandCoverMap]:
    """The scene of a job, checked against its model, and what is made of it."""
    product: AttentionMap | LandCoverMap
    if job.kind == "attention":
        product = AttentionMap(load_vit(job.model, job.network), job.block, job.full_size)
    else:
        product = LandCoverMap(load_landcover(job.model), job.confidence is not None)
    return fitted(open_scene(job.scene), product.model, job.channels, job.unit), product


def layout_of(job: Job, source: FittedScene, product: AttentionMap | LandCoverMap) -> Layout:
    """Where the windows of a job lie; a stripe is as wide as memory allows, in whole batches."""
    model = product.model
    window = job.window_px or model.window_px
    stride = stride_of(window, job.overlap_px, model.step_px)
    device = torch.device(job.device) if job.device else best_device()
    one = Layout.of(source.scene.shape, window, stride, product.cell, 1)
    batch = batch_of(job, one, device)
    read = source.scene.chunk_rows
    # Rows held, read, waiting, predicted and summed, and the open sums with their copies, of one column of pixels.
    column = 4 * (len(model.channels) * (5 * window + 2 * read) + 3 * product.planes * window // product.cell**2)
    across = max(FEWEST, int(MEMORY / column - window) // stride + 1)
    return Layout(one.rows, one.columns, one.cell, max(batch, across // batch * batch))


def batch_of(job: Job, layout: Layout, device: torch.device) -> int:
    """Windows at once."""
    if job.batch:
        return job.batch
    most = 8 if device.type == "cpu" else 64
    side = layout.rows.window * layout.cell
    return max(1, min(most, round(most * (96 / side) ** 2) if device.type == "cpu" else most))


def _check_targets(job: Job) -> None:
    targets = list(job.targets.values())
    if len({path.resolve() for path in [*targets, job.scene]}) <= len(targets):
        raise SardinoError(f"{job.scene} would be overwritten by its map: choose another name")
    for path in targets:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise SardinoError(f"a map is a .tif file, not {path}")
        if not path.parent.is_dir():
            raise SardinoError(f"there is no folder {path.parent} to write {path.name} into: make it first")
    if job.out.exists() and not job.overwrite:
        raise SardinoError(f"{job.out} exists already: remove it, or say --overwrite")
    # A run that was killed between its two files has left the one that comes first, and goes on.
    going_on = job.out.with_name(f".{job.out.name}.unfinished").exists()
    if job.confidence and job.confidence.exists() and not job.overwrite and not going_on:
        raise SardinoError(f"{job.confidence} exists already: remove it, or say --overwrite")


def _identity(source: FittedScene, product: Product, layout: Layout, precision: str) -> dict[str, Any]:
    scene, made = source.scene, product.identity()
    return {
        "scene": [str(scene.path.name), scene.state(), scene.crs, list(scene.transform), list(scene.shape)],
        "model": made.pop("weights"),
        "product": made,
        "windows": [layout.rows.window * layout.cell, layout.rows.stride * layout.cell],
        "bands": [list(source.channels.bands), [list(p) for p in source.channels.made_of], source.channels.unit],
        "precision": precision,
    }
