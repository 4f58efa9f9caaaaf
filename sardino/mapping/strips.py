"""Rows of windows as a model takes them, read ahead of it in a thread: each pixel is read once a stripe."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sardino.mapping.fit import FittedScene
from sardino.mapping.scene import Read
from sardino.mapping.windows import Layout
from sardino.tiles.normalisation import Normalisation

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
