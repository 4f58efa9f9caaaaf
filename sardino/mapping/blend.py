"""The engine: windows through the network in batches, blended where they overlap, written as rows become final."""

import copy
import queue
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sardino.data.rasters.scene import Read
from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.recipe import Precision
from sardino.dino.runtime import precision_on
from sardino.mapping.model import ModelScene
from sardino.mapping.products import Product
from sardino.mapping.resume import PartialMap
from sardino.mapping.windows import Layout

ROWS_AHEAD = 2
"""Rows of windows that are read while one is in use."""
BATCHES_AHEAD = 2
"""Batches that wait beside those being computed, so that no thread waits for the sums."""
_FEW_ROWS = 32


@torch.inference_mode()
def blend_scene(
    source: ModelScene,
    product: Product,
    partial: PartialMap,
    *,
    batch: int,
    device: torch.device,
    threads: int,
    precision: Precision,
) -> Generator[int, None, None]:
    """Fill the rasters of an unfinished map from where it stands; yields the number of windows after each batch.

    Rows that are final are written and noted in the journal, so that an interruption costs the open rows alone; going
    on gives the same bits on the same device with the same batch, however many threads there are.
    """
    layout, begin = partial.layout, partial.done
    if begin[0] >= len(layout.stripes):
        return
    blend, stripe = Blend(product.planes, layout, device), -1
    first = begin[0], _first_needed(layout, begin[1])
    rows = window_rows(source, layout, product.model.normalisation, first, threads)
    with ahead(rows) as coming, Prediction(product, layout, device, threads, precision) as prediction:
        for each, maps in prediction.each(batches(coming, layout, batch)):
            row = each.row
            if row.stripe != stripe:
                stripe = row.stripe
                blend.begin(stripe)
            blend.add(each.places, maps)
            again = (stripe, row.number) < begin
            if not again:
                yield each.windows
            if not each.last:
                continue
            sums = blend.take(layout.rows.final(row.number) - layout.rows.starts[row.number])
            if not again:
                _write(sums, row, layout, product, partial)
                last = row.number + 1 == len(layout.rows.starts)
                partial.reached(*((stripe + 1, 0) if last else (stripe, row.number + 1)))


@dataclass(frozen=True)
class WindowRow:
    """What the windows of one row of a stripe see.

    Args:
        images: (C, window, width) float32, normalised, missing pixels 0; padded so beyond the scene.
        valid: (window, width) bool, in cells: whether any pixel of a cell has any channel.
    """

    stripe: int
    number: int
    images: NDArray[np.float32]
    valid: NDArray[np.bool_]


def window_rows(
    source: ModelScene, layout: Layout, normalisation: Normalisation, begin: tuple[int, int], threads: int = 1
) -> Iterator[WindowRow]:
    """Every row of every stripe from `begin` (stripe, row) on, by stripe and downwards, a pixel read once a stripe."""
    with source.reading(threads) as read:
        for stripe in range(begin[0], len(layout.stripes)):
            first = begin[1] if stripe == begin[0] else 0
            yield from _stripe(read, source, layout, normalisation, stripe, first)


@contextmanager
def ahead(rows: Iterator[WindowRow]) -> Iterator[Iterator[WindowRow]]:
    """Read rows in a thread of their own, a few beyond the one in use; on leaving, the thread has ended."""
    with ThreadPoolExecutor(1, "sardino-scene") as reader:
        waiting = deque(reader.submit(next, rows, None) for _ in range(ROWS_AHEAD))

        def each() -> Iterator[WindowRow]:
            while (row := waiting.popleft().result()) is not None:
                waiting.append(reader.submit(next, rows, None))
                yield row

        try:
            yield each()
        finally:
            for row in waiting:
                row.cancel()
            reader.submit(rows.close)  # type: ignore[attr-defined]  # a generator, which closes its file in its thread


def _stripe(
    read: Read, source: ModelScene, layout: Layout, normalisation: Normalisation, stripe: int, first: int
) -> Iterator[WindowRow]:
    height, width = source.scene.shape
    chunk = source.scene.chunk_rows
    cell, window = layout.cell, layout.rows.window
    left, _, right = (column * cell for column in layout.span(stripe))
    wide = right - left
    # One buffer for all rows of the stripe: a window's rows that stay, and a chunk that comes below them.
    images = np.zeros((len(normalisation.channels), window * cell + chunk, wide), np.float32)
    seen = np.zeros((images.shape[1], wide), bool)
    top = bottom = layout.rows.starts[first] * cell  # of the rows held
    for row in range(first, len(layout.rows.starts)):
        start = layout.rows.starts[row] * cell
        stop = start + window * cell
        if bottom < stop:
            kept = slice(start - top, bottom - top)
            images[:, : bottom - start], seen[: bottom - start] = images[:, kept], seen[kept]
            top = start
        while bottom < stop:
            behind = min((bottom // chunk + 1) * chunk, height) if bottom < height else stop
            rows = slice(bottom - top, behind - top)
            if bottom < height:
                db = read(bottom, behind, left, min(right, width))
                _normalise(db, normalisation, images[:, rows], seen[rows])
            else:
                images[:, rows], seen[rows] = 0, False
            bottom = behind
        here = slice(start - top, stop - top)
        in_cells = seen[here].reshape(window, cell, wide // cell, cell)
        yield WindowRow(stripe, row, images[:, here].copy(), np.logical_or.reduce(in_cells, axis=(1, 3)))


def _normalise(
    db: NDArray[np.float32], normalisation: Normalisation, images: NDArray[np.float32], seen: NDArray[np.bool_]
) -> None:
    """Rows in dB into the buffer's, few at a time, so that no whole copy of them comes up; beyond them stays 0."""
    width = db.shape[2]
    for row in range(0, db.shape[1], _FEW_ROWS):
        some = slice(row, row + _FEW_ROWS)
        images[:, some, :width] = normalisation.apply(db[:, some])
        seen[some, :width] = np.logical_or.reduce(np.isfinite(db[:, some]), axis=0)


@dataclass(frozen=True)
class Batch:
    """Windows of one row of a stripe.

    Args:
        places: first cell of each, from the stripe's left edge.
        skipped: windows before these that have no valid cell: nobody reads the cells that they alone would tell.
        last: whether the row ends with them.
    """

    row: WindowRow
    places: tuple[int, ...]
    skipped: int
    last: bool

    @property
    def windows(self) -> int:
        return len(self.places) + self.skipped


def batches(coming: Iterator[WindowRow], layout: Layout, most: int) -> Iterator[Batch]:
    """All windows, `most` at once; anew with each row, so that a run that goes on computes in the same batches."""
    width = layout.columns.window
    for row in coming:
        first, behind = layout.stripes[row.stripe]
        left = layout.columns.starts[first]
        places = [start - left for start in layout.columns.starts[first:behind]]
        seen = [place for place in places if row.valid[:, place : place + width].any()]
        for start in range(0, max(len(seen), 1), most):
            skipped = len(places) - len(seen) if start == 0 else 0
            yield Batch(row, tuple(seen[start : start + most]), skipped, start + most >= len(seen))


class Prediction:
    """A product's network at work; a context that ends its threads.

    On a CPU each thread takes whole batches, alone: threads that share one batch wait for each other at every layer,
    and for the thread that reads the scene.
    """

    def __init__(
        self, product: Product, layout: Layout, device: torch.device, threads: int, precision: Precision
    ) -> None:
        self.layout, self.device = layout, device
        self.half = precision_on(device, precision) == "bfloat16"
        self.threads = threads if device.type == "cpu" else 1
        product.network.eval().to(device)
        weights = {id(each): each for each in [*product.network.parameters(), *product.network.buffers()]}
        # Extraction hangs hooks on modules: each thread has modules of its own, all of them the same weights.
        self._products: queue.SimpleQueue[Product] = queue.SimpleQueue()
        for _ in range(self.threads):
            self._products.put(copy.deepcopy(product, dict(weights)))

    def __enter__(self) -> Self:
        self._before = torch.get_num_threads()
        self._pool = None
        if self.device.type == "cpu":
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self.threads, "sardino-predict", self._begin)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            torch.clear_autocast_cache()
        torch.set_num_threads(self._before)

    def each(self, coming: Iterator[Batch]) -> Iterator[tuple[Batch, Tensor]]:
        """Batches in their order, each with its maps (windows, planes, h, w) float32."""
        waiting: deque[tuple[Batch, Callable[[], Tensor]]] = deque()
        for batch in coming:
            waiting.append((batch, self._submit(batch)))
            if len(waiting) >= self.threads + BATCHES_AHEAD:
                done, maps = waiting.popleft()
                yield done, maps()
        while waiting:
            done, maps = waiting.popleft()
            yield done, maps()

    def _submit(self, batch: Batch) -> Callable[[], Tensor]:
        if self._pool is not None and batch.places:
            found: Future[Tensor] = self._pool.submit(self._predict, batch)
            return found.result
        maps = self._predict(batch)
        return lambda: maps

    def _begin(self) -> None:
        # For as long as the thread lives: weights are rounded once, not once a batch.
        self._autocast().__enter__()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    @torch.inference_mode()
    def _predict(self, batch: Batch) -> Tensor:
        if not batch.places:
            return torch.empty(0)
        cell, width = self.layout.cell, self.layout.columns.window
        images = torch.from_numpy(batch.row.images)
        windows = torch.stack([images[:, :, p * cell : (p + width) * cell] for p in batch.places])
        product = self._products.get()
        try:
            if self._pool is not None:
                return product.predict(windows)
            with self._autocast():
                return product.predict(windows.to(self.device, non_blocking=True))
        finally:
            self._products.put(product)


class Blend:
    """The open rows of one stripe: weighted sums of what its windows say."""

    def __init__(self, planes: int, layout: Layout, device: torch.device) -> None:
        self.planes, self.layout, self.device = planes, layout, device
        self._weight = torch.from_numpy(np.outer(layout.rows.profile, layout.columns.profile)).to(device)
        self._open = torch.empty(0)

    def begin(self, stripe: int) -> None:
        """Start at the top of a stripe, or where it goes on."""
        left, _, right = self.layout.span(stripe)
        self._open = torch.zeros((self.planes, self.layout.rows.window, right - left), device=self.device)

    def add(self, places: Sequence[int], maps: Tensor) -> None:
        """Add what windows say, (windows, planes, h, w), each at its place."""
        width = self.layout.columns.window
        for place, one in zip(places, maps, strict=True):
            self._open[:, :, place : place + width].addcmul_(one, self._weight)

    def take(self, count: int) -> Tensor:
        """The first `count` open rows (planes, count, width), which are complete; zeros come in at the bottom."""
        done = self._open[:, :count].clone()
        kept = self._open.shape[1] - count
        if kept > 0:
            self._open[:, :kept] = self._open[:, count:].clone()
        self._open[:, max(kept, 0) :] = 0
        return done


def _write(sums: Tensor, row: WindowRow, layout: Layout, product: Product, partial: PartialMap) -> None:
    """Finish complete rows of a stripe: what came from the stripe before, what goes to the next, the values."""
    left, own, right = layout.span(row.stripe)
    top, height = layout.rows.starts[row.number], sums.shape[1]
    if row.stripe > 0:
        _, before, behind = layout.span(row.stripe - 1)
        carried = partial.carried[(row.stripe - 1) % 2].read(top, 0, height, behind - before)
        sums[:, :, : behind - before] += torch.from_numpy(carried).to(sums.device)
    if row.stripe + 1 < len(layout.stripes) and right > own:
        onward = sums[:, :, own - left :].cpu().numpy()
        partial.write(partial.carried[row.stripe % 2], onward, top, 0)
    total = np.outer(layout.rows.total[top : top + height], layout.columns.total[left:own]).astype(np.float32)
    blended = sums[:, :, : own - left] / torch.from_numpy(total).to(sums.device)
    for name, values in product.finish(blended, row.valid[:height, : own - left]).items():
        partial.write(partial.rasters[name], values, top, left)


def _first_needed(layout: Layout, row: int) -> int:
    """The first row of windows that reaches into those that are still open when `row` is next."""
    starts, window = layout.rows.starts, layout.rows.window
    return next(number for number in range(row + 1) if starts[number] + window > starts[row] or number == row)
