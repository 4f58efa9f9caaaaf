"""The engine: windows through the network in batches, blended where they overlap, written as rows become final."""

import copy
import queue
import threading
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
from sardino.mapping.channels import FittedScene
from sardino.mapping.products import Product
from sardino.mapping.resume import Unfinished
from sardino.mapping.windows import Layout

# Rows of windows as a model takes them, read ahead of it in a thread: each pixel is read once a stripe.

_FEW_ROWS = 32


@dataclass(frozen=True)
class Strip:
    """What the windows of one row of a stripe see.

    Args:
        stripe, row: which.
        images: (C, window, width) float32, normalised, missing pixels 0; padded so beyond the scene.
        valid: (window, width) bool, in cells: whether any pixel of a cell has any channel.
    """

    stripe: int
    row: int
    images: NDArray[np.float32]
    valid: NDArray[np.bool_]


def strips(
    source: FittedScene, layout: Layout, normalisation: Normalisation, begin: tuple[int, int], threads: int = 1
) -> Iterator[Strip]:
    """Every row of every stripe from `begin` (stripe, row) on, stripe by stripe and down.

    Raises:
        SardinoError: a part of the scene cannot be read.
    """
    with source.reading(threads) as read:
        for stripe in range(begin[0], len(layout.stripes)):
            first = begin[1] if stripe == begin[0] else 0
            yield from _stripe(read, source, layout, normalisation, stripe, first)


@contextmanager
def ahead(items: Iterator[Strip], depth: int = 1) -> Iterator[Iterator[Strip]]:
    """Make items in a thread, at most `depth` beyond the one in use; on leaving, the thread has ended."""
    waiting: queue.Queue[Strip | BaseException | None] = queue.Queue(depth)
    left = threading.Event()

    def put(item: Strip | BaseException | None) -> bool:
        while not left.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # raised again where the items are used
            put(error)
        finally:
            items.close()  # type: ignore[attr-defined]  # a generator, which closes its file in its own thread

    def taken() -> Iterator[Strip]:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=make, name="sardino-scene", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        left.set()
        thread.join()


def _stripe(
    read: Read, source: FittedScene, layout: Layout, normalisation: Normalisation, stripe: int, first: int
) -> Iterator[Strip]:
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
        yield Strip(stripe, row, images[:, here].copy(), np.logical_or.reduce(in_cells, axis=(1, 3)))


def _normalise(
    db: NDArray[np.float32], normalisation: Normalisation, images: NDArray[np.float32], seen: NDArray[np.bool_]
) -> None:
    """Rows in dB into the buffer's, few at a time, so that no whole copy of them comes up; beyond them stays 0."""
    width = db.shape[2]
    for row in range(0, db.shape[1], _FEW_ROWS):
        some = slice(row, row + _FEW_ROWS)
        images[:, some, :width] = normalisation.apply(db[:, some])
        seen[some, :width] = np.logical_or.reduce(np.isfinite(db[:, some]), axis=0)


# Windows through the network: on a GPU batch after batch, on a CPU as many batches at once as it has threads.

AHEAD = 2
"""Batches that wait beside those being computed, so that no thread waits for the sums."""


@dataclass(frozen=True)
class Batch:
    """Windows of one row of a stripe.

    Args:
        strip: the row that they are in.
        places: first cell of each, from the stripe's left edge.
        skipped: windows before these that have no valid cell: nobody reads the cells that they alone would tell.
        last: whether the row ends with them.
    """

    strip: Strip
    places: tuple[int, ...]
    skipped: int
    last: bool

    @property
    def windows(self) -> int:
        return len(self.places) + self.skipped


def batches(coming: Iterator[Strip], layout: Layout, most: int) -> Iterator[Batch]:
    """All windows, `most` at once; anew with each row, so that a run that goes on computes in the same batches."""
    width = layout.columns.window
    for strip in coming:
        first, behind = layout.stripes[strip.stripe]
        left = layout.columns.starts[first]
        places = [start - left for start in layout.columns.starts[first:behind]]
        seen = [place for place in places if strip.valid[:, place : place + width].any()]
        for start in range(0, max(len(seen), 1), most):
            skipped = len(places) - len(seen) if start == 0 else 0
            yield Batch(strip, tuple(seen[start : start + most]), skipped, start + most >= len(seen))


class Prediction:
    """A product's network at work; a context that ends its threads.

    On a CPU each thread takes whole batches, alone: threads that share one batch wait for each other at every layer,
    and for the thread that reads the scene.

    Args:
        product: what is predicted.
        layout: of the scene.
        device: of the network.
        threads: of a CPU.
        precision: of matrix products; bfloat16 where the hardware has it by default.
    """

    def __init__(
        self, product: Product, layout: Layout, device: torch.device, threads: int, precision: Precision = "auto"
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
            if len(waiting) >= self.threads + AHEAD:
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
        images = torch.from_numpy(batch.strip.images)
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
    """The open rows of one stripe: weighted sums of what its windows say.

    Args:
        planes: that are blended.
        layout: of the scene.
        device: of the sums.
    """

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


@torch.inference_mode()
def blend_scene(
    source: FittedScene,
    layout: Layout,
    product: Product,
    normalisation: Normalisation,
    unfinished: Unfinished,
    *,
    batch: int,
    device: torch.device,
    threads: int,
    precision: Precision = "auto",
) -> Generator[int, None, None]:
    """Fill the rasters of an unfinished map from where it stands; yields the number of windows after each batch.

    Rows that are final are written and noted in the journal, so that an interruption costs the open rows alone; going
    on gives the same bits on the same device with the same batch, however many threads there are.
    """
    begin = unfinished.done
    if begin[0] >= len(layout.stripes):
        return
    blend, reached, stripe = Blend(product.planes, layout, device), _first_needed(layout, begin[1]), -1
    with (
        ahead(strips(source, layout, normalisation, (begin[0], reached), threads)) as coming,
        Prediction(product, layout, device, threads, precision) as prediction,
    ):
        for each, maps in prediction.each(batches(coming, layout, batch)):
            strip = each.strip
            if strip.stripe != stripe:
                stripe = strip.stripe
                blend.begin(stripe)
            blend.add(each.places, maps)
            again = (stripe, strip.row) < begin
            if not again:
                yield each.windows
            if not each.last:
                continue
            sums = blend.take(layout.rows.final(strip.row) - layout.rows.starts[strip.row])
            if not again:
                _write(sums, strip, layout, product, unfinished)
                last = strip.row + 1 == len(layout.rows.starts)
                unfinished.reached(*((stripe + 1, 0) if last else (stripe, strip.row + 1)))


def _write(sums: Tensor, strip: Strip, layout: Layout, product: Product, unfinished: Unfinished) -> None:
    """Finish complete rows of a stripe: what came from the stripe before, what goes to the next, the values."""
    left, own, right = layout.span(strip.stripe)
    top, height = layout.rows.starts[strip.row], sums.shape[1]
    if strip.stripe > 0:
        _, before, behind = layout.span(strip.stripe - 1)
        carried = unfinished.carried[(strip.stripe - 1) % 2].read(top, 0, height, behind - before)
        sums[:, :, : behind - before] += torch.from_numpy(carried).to(sums.device)
    if strip.stripe + 1 < len(layout.stripes) and right > own:
        onward = sums[:, :, own - left :].cpu().numpy()
        unfinished.write(unfinished.carried[strip.stripe % 2], onward, top, 0)
    total = np.outer(layout.rows.total[top : top + height], layout.columns.total[left:own]).astype(np.float32)
    blended = sums[:, :, : own - left] / torch.from_numpy(total).to(sums.device)
    for name, values in product.finish(blended, strip.valid[:height, : own - left]).items():
        unfinished.write(unfinished.rasters[name], values, top, left)


def _first_needed(layout: Layout, row: int) -> int:
    """The first row of windows that reaches into those that are still open when `row` is next."""
    starts, window = layout.rows.starts, layout.rows.window
    return next(number for number in range(row + 1) if starts[number] + window > starts[row] or number == row)
