"""Windows through the network: on a GPU batch after batch, on a CPU as many batches at once as it has threads."""

import copy
import queue
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from sardino.mapping.product import Product
from sardino.mapping.strips import Strip
from sardino.mapping.windows import Layout
from sardino.training.device import Precision, precision_on

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
