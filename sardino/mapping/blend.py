"""The engine: windows through the network in batches, blended where they overlap, written as rows become final."""

import copy
import itertools
import queue
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.value_ranges import ValueRanges
from sardino.mapping.model import ModelScene
from sardino.mapping.products import LandCoverMap, Product
from sardino.mapping.resume import PartialMap
from sardino.mapping.windows import Layout, stride_of

ROWS_AHEAD = 2  # rows of windows that are read while one is in use
BATCHES_AHEAD = 2  # batches that wait beside those being computed, so that no thread waits for the sums
_FEW_ROWS = 32


def blend(
    predicted: Iterable[tuple["Batch", Tensor]],
    product: Product,
    partial: PartialMap,
    begin: tuple[int, int],
    device: torch.device,
) -> Iterator["Batch"]:
    """Sum maps (windows, planes, h, w) up by the windows' weights and write rows that are final; yields each batch.

    Of rows before `begin` (stripe, row), taken again for what they say of later ones, nothing is written.
    """
    layout, rows = partial.layout, partial.layout.rows
    weight = torch.from_numpy(layout.weight).to(device)
    width, stripe = layout.columns.window, -1
    for each, maps in predicted:
        row = each.row
        if row.stripe != stripe:
            stripe = row.stripe
            left, _, right = layout.span(stripe)
            sums = torch.zeros((product.planes, rows.window, right - left), device=device)  # of the open rows
        for place, one in zip(each.places, maps, strict=True):
            sums[:, :, place : place + width].addcmul_(one, weight)
        if each.last:
            count = rows.final(row.number) - rows.starts[row.number]
            if (stripe, row.number) >= begin:
                _write(sums[:, :count], row, product, partial)
            sums = F.pad(sums[:, count:], (0, 0, 0, count))
        yield each


@torch.inference_mode()
def blend_images(product: LandCoverMap, images: Tensor) -> Tensor:
    """Small normalised images (B, C, H, W), in memory and at once: weighted sums (B, planes, H, W) of their windows."""
    window, stride = product.window_px, stride_of(product.window_px, None, product.model.step_px)
    layout = Layout.of((images.shape[2], images.shape[3]), window, stride, product.cell, 1)
    sums, weight = torch.zeros(len(images), product.planes, *images.shape[2:]), torch.from_numpy(layout.weight)
    for top, left in itertools.product(layout.rows.starts, layout.columns.starts):
        here = ..., slice(top, top + window), slice(left, left + window)
        sums[here] += product.predict(images[here]) * weight
    return sums


def _write(sums: Tensor, row: "WindowRow", product: Product, partial: PartialMap) -> None:
    """Finish complete rows of a stripe: what came from the stripe before, what goes to the next, the values."""
    layout = partial.layout
    left, own, right = layout.span(row.stripe)
    top, height = layout.rows.starts[row.number], sums.shape[1]
    if row.stripe > 0:
        _, before, behind = layout.span(row.stripe - 1)
        carried = partial.carried[(row.stripe - 1) % 2].read(Window(0, top, behind - before, height))
        sums[:, :, : behind - before] += torch.from_numpy(carried).to(sums.device)
    if row.stripe + 1 < len(layout.stripes) and right > own:
        partial.write(partial.carried[row.stripe % 2], sums[:, :, own - left :].cpu().numpy(), top, 0)
    total = np.outer(layout.rows.total[top : top + height], layout.columns.total[left:own]).astype(np.float32)
    blended = sums[:, :, : own - left] / torch.from_numpy(total).to(sums.device)
    for name, values in product.finish(blended, row.valid[:height, : own - left]).items():
        partial.write(partial.rasters[name], values, top, left)


@dataclass(frozen=True)
class WindowRow:
    """What the windows of one row of a stripe see."""

    stripe: int
    number: int
    images: NDArray[np.float32]  # (C, window, width), normalised, missing pixels 0; padded so beyond the scene
    valid: NDArray[np.bool_]  # (window, width) in cells: whether any pixel of a cell has any channel


Rows = Generator[WindowRow, None, None]


def window_rows(
    source: ModelScene,
    layout: Layout,
    normalisation: Normalisation,
    begin: tuple[int, int],
    threads: int,
    ranges: ValueRanges,
) -> Rows:
    """Every row of every stripe from `begin` (stripe, row) on, by stripe and downwards, a pixel read once a stripe.

    What the channels hold is added to `ranges`, of what two stripes read once.
    """
    height, width = source.scene.shape
    chunk, cell, side = source.scene.chunk_rows, layout.cell, layout.rows.window * layout.cell
    with source.reading(threads) as read:
        for stripe in range(begin[0], len(layout.stripes)):
            left, own, right = (column * cell for column in layout.span(stripe))
            # One buffer for all rows of the stripe: a window's rows that stay, and a chunk that comes below them.
            images = np.zeros((len(normalisation.channels), side + chunk, right - left), np.float32)
            seen = np.zeros(images.shape[1:], bool)
            first = begin[1] if stripe == begin[0] else 0
            top = bottom = layout.rows.starts[first] * cell  # of the rows held
            for number in range(first, len(layout.rows.starts)):
                start = layout.rows.starts[number] * cell
                stop = start + side
                if bottom < stop:
                    kept = slice(start - top, bottom - top)
                    images[:, : bottom - start], seen[: bottom - start] = images[:, kept], seen[kept]
                    top = start
                while bottom < stop:
                    behind = min((bottom // chunk + 1) * chunk, height) if bottom < height else stop
                    rows = slice(bottom - top, behind - top)
                    images[:, rows], seen[rows] = 0, False
                    if bottom < height:
                        db = read(bottom, behind, left, min(right, width))
                        _normalise(db, normalisation, images[:, rows], seen[rows])
                        for channel, plane in zip(normalisation.channels, db[:, :, : own - left], strict=True):
                            ranges.add(channel, plane)
                    bottom = behind
                here = slice(start - top, stop - top)
                in_cells = seen[here].reshape(layout.rows.window, cell, -1, cell)
                yield WindowRow(stripe, number, images[:, here].copy(), np.logical_or.reduce(in_cells, axis=(1, 3)))


def _normalise(
    db: NDArray[np.float32], normalisation: Normalisation, images: NDArray[np.float32], seen: NDArray[np.bool_]
) -> None:
    """Rows in dB into the buffer's, few at a time, so that no whole copy of them comes up; beyond them stays 0."""
    width = db.shape[2]
    for row in range(0, db.shape[1], _FEW_ROWS):
        some = slice(row, row + _FEW_ROWS)
        images[:, some, :width] = normalisation.apply(db[:, some])
        seen[some, :width] = np.logical_or.reduce(np.isfinite(db[:, some]), axis=0)


def ahead(rows: Rows) -> Rows:
    """Read rows in a thread of their own, a few beyond the one in use; once closed, the thread has ended."""
    with ThreadPoolExecutor(1, "sardino-scene") as reader:
        waiting = deque(reader.submit(next, rows, None) for _ in range(ROWS_AHEAD))
        try:
            while (row := waiting.popleft().result()) is not None:
                waiting.append(reader.submit(next, rows, None))
                yield row
        finally:
            for coming in waiting:
                coming.cancel()
            reader.submit(rows.close)  # in the thread that opened its file


@dataclass(frozen=True)
class Batch:
    """Windows of one row of a stripe."""

    row: WindowRow
    places: tuple[int, ...]  # first cell of each, from the stripe's left edge
    windows: int  # how many, with those before them that have no valid cell and are skipped: nobody reads their cells
    last: bool  # whether the row ends with them


def batches(coming: Iterator[WindowRow], layout: Layout, most: int) -> Iterator[Batch]:
    """All windows, `most` at once; anew with each row, so that a run that goes on computes in the same batches."""
    width = layout.columns.window
    for row in coming:
        first, behind = layout.stripes[row.stripe]
        places = [start - layout.columns.starts[first] for start in layout.columns.starts[first:behind]]
        seen = [place for place in places if row.valid[:, place : place + width].any()]
        for start in range(0, max(len(seen), 1), most):
            some = tuple(seen[start : start + most])
            skipped = len(places) - len(seen) if start == 0 else 0
            yield Batch(row, some, len(some) + skipped, start + most >= len(seen))


def predict(
    coming: Iterator[Batch], product: Product, layout: Layout, device: torch.device, threads: int, half: bool
) -> Generator[tuple[Batch, Tensor], None, None]:
    """Batches in their order, each with its maps (windows, planes, h, w) float32; once closed, its threads have ended.

    On a CPU each thread takes whole batches, alone: threads that share one batch wait for each other at every layer,
    and for the thread that reads the scene.
    """
    cell, width = layout.cell, layout.columns.window
    on_cpu, before = device.type == "cpu", torch.get_num_threads()
    threads = threads if on_cpu else 1
    network = product.model.network.eval().to(device)
    # Extraction hangs hooks on modules: each thread has modules of its own, all of them the same weights.
    weights = {id(each): each for each in [*network.parameters(), *network.buffers()]}
    idle: queue.SimpleQueue[Product] = queue.SimpleQueue()
    for _ in range(threads):
        idle.put(copy.deepcopy(product, dict(weights)))

    @torch.inference_mode()
    def maps_of(batch: Batch) -> Tensor:
        if not batch.places:
            return torch.empty(0)
        images = torch.from_numpy(batch.row.images)
        windows = torch.stack([images[:, :, p * cell : (p + width) * cell] for p in batch.places])
        mine = idle.get()
        try:
            return mine.predict(windows.to(device, non_blocking=True))
        finally:
            idle.put(mine)

    if on_cpu:
        torch.set_num_threads(1)
    # Entered for as long as a thread lives: weights are rounded once, not once a batch.
    pool = ThreadPoolExecutor(threads, "sardino-predict", torch.autocast(device.type, torch.bfloat16, half).__enter__)
    waiting: deque[tuple[Batch, Future[Tensor]]] = deque()
    try:
        for batch in coming:
            waiting.append((batch, pool.submit(maps_of, batch)))
            if len(waiting) >= threads + BATCHES_AHEAD:
                done, maps = waiting.popleft()
                yield done, maps.result()
        for done, maps in waiting:
            yield done, maps.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.clear_autocast_cache()
        torch.set_num_threads(before)
