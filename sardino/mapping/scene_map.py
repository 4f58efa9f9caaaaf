"""Scenes in, maps out: opened, checked, predicted, blended and made Cloud-Optimized GeoTIFFs, here or on a cluster."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from sardino.data.rasters.scene import open_scene
from sardino.data.tiles.value_ranges import ValueRanges
from sardino.dino.runtime import best_device, cores, precision_on
from sardino.errors import SardinoError, of_the_system
from sardino.mapping.blend import ahead, batches, blend, predict, window_rows
from sardino.mapping.job import Job
from sardino.mapping.kept import aligned, ask, keep, shapes
from sardino.mapping.model import ModelScene, load_landcover, load_vit, match_scene
from sardino.mapping.products import AttentionMap, EmbeddingMap, LandCoverMap, Product, origin_of
from sardino.mapping.resume import PartialMap, folder_of
from sardino.mapping.store_tokens import components_of
from sardino.mapping.windows import Layout, stride_of

CPU = torch.device("cpu")
MEMORY, FEWEST = 128 * 2**20, 4
"""Bytes that the rows of a stripe may take, which bounds its width; but so many windows it has: what it shares with the
next stripe is read twice."""
Track = Callable[[Iterator[int], int, int, str], Iterable[int]]
"""Wraps a pass over windows: given their counts batch by batch, how many there are and are done, and what is done."""
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


def make_map(
    job: Job,
    track: Track = lambda counts, total, done, what: counts,
    say: Callable[[str], None] = lambda sentence: None,
    ranges: ValueRanges | None = None,
) -> list[str]:
    """Make the map, or go on with it.

    Args:
        track: shows how far the windows are.
        say: is told each doubt before the work begins.
        ranges: gets what the model's channels hold, in dB; of a map that goes on, from there.

    Returns the doubts: what could not be checked or may matter, as sentences. Raises SardinoError: an input that does
    not fit or holds no valid pixel, a file that is in the way, a full disk.
    """
    _check_targets(job)
    device = torch.device(job.device or best_device())
    precision = precision_on(device, job.precision)
    source, product = opened(job)
    for doubt in source.doubts:
        say(doubt)
    scene, layout = source.scene, layout_of(job, source, product)
    sides = [[axis.window * layout.cell, axis.stride * layout.cell] for axis in layout.axes]
    where = " x ".join(f"{window}" for window, _ in sides), " x ".join(f"{window - stride}" for window, stride in sides)
    origin = {**origin_of(product.model, scene), "precision": precision, "window_px": where[0], "overlap_px": where[1]}
    rasters = {name: replace(raster, tags=raster.tags | origin) for name, raster in product.rasters(scene).items()}
    # What decides the values: an unfinished map of another identity is not gone on with.
    identity = {
        "scene": [scene.path.name, scene.state(), scene.crs, scene.transform, scene.shape],
        "model": product.model.sha256,
        "product": product.identity(),
        "windows": sides,
        "bands": [source.bands, source.made_of, source.unit],
        "precision": precision,
    }
    kept = shapes(product, layout)
    partial = PartialMap(job.out, rasters, identity, layout, product.planes, kept, job.overwrite)
    batch, threads, half = batch_of(job, partial.layout, device), job.threads or cores(), precision == "bfloat16"
    ranges = ValueRanges() if ranges is None else ranges
    if partial.done != (0, 0):
        say("it goes on where it stopped: what the channels hold is told of the rest alone")
    counts = _fill(source, product, partial, ranges, batch=batch, device=device, threads=threads, half=half)
    passes: list[tuple[str, int, Generator[int, None, None]]] = [("", partial.layout.before(*partial.done), counts)]
    if isinstance(product, AttentionMap):
        blended = (each.windows for each in blend(aligned(product, partial), product, partial, (0, 0), CPU))
        passes += [("one query asks", 0, ask(product, partial)), ("aligned and blended", 0, blended)]
    with closing(partial):
        for what, before, counts in passes:
            with closing(counts), torch.inference_mode():  # an interruption ends the reading thread too
                for _ in track(counts, layout.windows, before, what):
                    pass
        if partial.is_empty(job.kind, rasters[job.kind].nodata):
            partial.remove()
            raise SardinoError(f"{scene.path} has no valid pixel in the model's channels: correct its nodata value")
        for name, path in job.targets.items():
            partial.finish(name, path, rasters[name])
        partial.remove()
    return list(source.doubts)


def _fill(
    source: ModelScene,
    product: Product,
    partial: PartialMap,
    ranges: ValueRanges,
    *,
    batch: int,
    device: torch.device,
    threads: int,
    half: bool,
) -> Generator[int, None, None]:
    """Fill the rasters of an unfinished map from where it stands; yields the number of windows after each batch.

    Rows that are final are written and noted in the journal, so that an interruption costs the open rows alone; going
    on gives the same bits on the same device with the same batch, however many threads there are. Of attention each
    window's query and keys are kept: once all are there, further passes make, align and blend their maps, which after
    an interruption begin anew.
    """
    layout, rows, begin = partial.layout, partial.layout.rows, partial.done
    if begin[0] < len(layout.stripes):
        # Windows that reach into rows which are still open where it goes on are summed up again.
        reaching = (row for row, start in enumerate(rows.starts) if start + rows.window > rows.starts[begin[1]])
        first = begin[1] if partial.kept else next(reaching)
        coming = ahead(window_rows(source, layout, product.model.normalisation, (begin[0], first), threads, ranges))
        predicted = predict(batches(coming, layout, batch), product, layout, device, threads, half)
        with closing(coming), closing(predicted):
            done = keep(predicted, partial) if partial.kept else blend(predicted, product, partial, begin, device)
            for each in done:
                stripe, row = each.row.stripe, each.row.number
                if (stripe, row) < begin:
                    continue
                if each.last:
                    partial.reached(*((stripe + 1, 0) if row + 1 == len(rows.starts) else (stripe, row + 1)))
                yield each.windows


def _check_targets(job: Job) -> None:
    targets = list(job.targets.values())
    if len({path.resolve() for path in [*targets, job.scene]}) <= len(targets):
        raise SardinoError(f"{job.scene} would be overwritten by its map: choose another name")
    if job.dtype == "int8" and job.out.suffix == ".zarr":
        raise SardinoError(f"int8 takes a scale for each band, which {job.out} has not: say .tif, or float16")
    # A run that was killed between its two files has left the one that comes first, and goes on.
    going_on = folder_of(job.out).exists()
    suffixes, what = [".tif", ".tiff"], "a map is a .tif file"
    if job.kind == "embedding":
        suffixes, what = [*suffixes, ".zarr"], "embeddings of a scene are a .tif file or a .zarr folder"
    for path in targets:
        if path.suffix.lower() not in suffixes:
            raise SardinoError(f"{what}, not {path}")
        if path.exists() and not job.overwrite and not (going_on and path != job.out):
            raise SardinoError(f"{path} exists already: remove it, or say --overwrite")


def opened(job: Job) -> tuple[ModelScene, Product]:
    """The scene of a job, checked against its model, and what is made of it."""
    product: Product
    if job.kind == "attention":
        product = AttentionMap(load_vit(job.model, job.network), job.block, job.full_size)
    elif job.kind == "embedding":
        vit = load_vit(job.model, job.network)
        product = EmbeddingMap(vit, components_of(job, vit), job.dtype)
    else:
        product = LandCoverMap(load_landcover(job.model), job.confidence is not None)
    scene = open_scene(job.scene, job.crs)
    return match_scene(scene, product.model, job.channels, job.unit, job.warp), product


def layout_of(job: Job, source: ModelScene, product: Product) -> Layout:
    """Where the windows of a job lie; a stripe is as wide as memory allows, in whole batches."""
    model = product.model
    window = job.window_px or product.window_px
    stride = stride_of(window, job.overlap_px, model.step_px)
    one = Layout.of(source.scene.shape, window, stride, product.cell, 1, product.patch)
    window = one.rows.window * one.cell
    batch = batch_of(job, one, torch.device(job.device or best_device()))
    # Rows held, read, waiting, predicted and summed, and the open sums with their copies, of one column of pixels.
    read = len(model.card.channels) * (5 * window + 2 * source.scene.chunk_rows)
    column = 4 * (read + 3 * product.planes * window // product.cell**2)
    across = max(FEWEST, int(MEMORY / column - one.columns.window * one.cell) // stride + 1)
    return replace(one, across=max(batch, across // batch * batch))


def batch_of(job: Job, layout: Layout, device: torch.device) -> int:
    """Windows at once."""
    if job.batch or device.type != "cpu":
        return job.batch or 64
    return max(1, min(8, round(8 * 96**2 / (layout.rows.window * layout.columns.window * layout.cell**2))))


@dataclass(frozen=True)
class Made:
    """What became of one scene of many: doubts about its map, or why there is none; and what the scene holds."""

    job: Job
    doubts: tuple[str, ...] = ()
    fault: str = ""
    ranges: ValueRanges = field(default_factory=ValueRanges)


def make_one(job: Job) -> Made:
    """The map of one scene on whatever machine this runs; a fault of its input is told, not raised."""
    ranges = ValueRanges()
    try:
        return Made(job, tuple(make_map(job, ranges=ranges)), ranges=ranges)
    except (SardinoError, OSError) as error:
        return Made(job, fault=str(of_the_system(error) or error))


def make_all(jobs: Sequence[Job], client: Any = None, progress: Progress = lambda items, total: items) -> list[Made]:
    """Make the map of each scene, in the order of the jobs; one that cannot be made does not hold up the others.

    Args:
        jobs: scenes, models and maps lie on a disk that all workers see; two maps of one name are refused.
        client: dask.distributed.Client, for one task a scene; here, one after the other, without one.
        progress: wraps the loop over scenes that are done, and is told how many there are.
    """
    places = [path.resolve() for job in jobs for path in job.targets.values()]
    if twice := sorted({str(path) for path in places if places.count(path) > 1}):
        raise SardinoError(f"{twice[0]} would be the map of two scenes: give them in two calls")
    if client is None:
        return list(progress(map(make_one, jobs), len(jobs)))
    from distributed import as_completed

    # Not pure: a map that failed is tried again by the next call, not remembered.
    futures = {client.submit(make_one, job, pure=False, retries=1): number for number, job in enumerate(jobs)}
    made: dict[int, Made] = {}
    try:
        for future in progress(as_completed(list(futures), loop=client.loop), len(jobs)):
            number = futures[future]
            try:
                made[number] = future.result()
            except Exception as error:  # the worker died, or its environment lacks something
                made[number] = Made(jobs[number], fault=f"{jobs[number].scene}: {type(error).__name__}: {error}")
    finally:
        client.cancel(list(futures))
    return [made[number] for number in range(len(jobs))]
