"""Keys kept window by window until all are there: then one query asks them, and windows are aligned and blended."""

import math
from collections.abc import Generator, Iterable, Iterator

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from sardino.mapping.align import align_windows
from sardino.mapping.blend import Batch, WindowRow
from sardino.mapping.products import AttentionMap, Product
from sardino.mapping.resume import PartialMap
from sardino.mapping.windows import Layout

QUERIES, KEYS, WINDOWS = "queries", "keys", "windows"  # a row a window: its class token's query, all keys, its maps
VALID = "valid"  # whether a cell, those beyond the scene too, is valid


def shapes(product: Product, layout: Layout) -> dict[str, tuple[tuple[int, int, int], str]]:
    """Shape and type of what is kept, for each patch of each window a key and a value a head; of land cover nothing."""
    if not isinstance(product, AttentionMap):
        return {}
    planes, *size = _of_window(product, layout)
    return {
        QUERIES: ((1, layout.windows, planes * product.head_dim), "float32"),
        KEYS: ((1, layout.windows, planes * product.tokens(*size) * product.head_dim), "float32"),
        WINDOWS: ((1, layout.windows, planes * math.prod(size)), "float32"),
        VALID: ((1, len(layout.rows.total), len(layout.columns.total)), "bool"),
    }


def _of_window(product: AttentionMap, layout: Layout) -> tuple[int, int, int]:
    """(planes, h, w) of a window in patches."""
    height, width = (axis.window * product.cell // product.patch for axis in layout.axes)
    return product.planes, height, width


def keep(predicted: Iterable[tuple[Batch, Tensor]], partial: PartialMap) -> Iterator[Batch]:
    """Write the windows of each batch down; yields it."""
    layout = partial.layout
    for each, tokens in predicted:
        row, left = each.row, layout.span(each.row.stripe)[0]
        for place, one in zip(each.places, tokens.cpu().numpy(), strict=True):
            number = row.number * len(layout.columns.starts) + layout.columns.starts.index(left + place)
            for name, part in ((QUERIES, one[:, :1]), (KEYS, one[:, 1:])):
                partial.write(partial.kept[name], part.reshape(1, 1, -1), number, 0)
        partial.write(partial.kept[VALID], row.valid[None], layout.rows.starts[row.number], left)
        yield each


def ask(product: AttentionMap, partial: PartialMap) -> Generator[int, None, None]:
    """Make the maps of all windows with one query a head, the mean of theirs; yields 1 after each.

    A window's own class token asks for what stands out in that window: maps of two would show different things. It is
    computed in one thread, so that it has the same bits on any number of cores.
    """
    (planes, height, width), size = _of_window(product, partial.layout), product.head_dim
    queries, keys = partial.kept[QUERIES].mapped()[0].reshape(-1, planes, 1, size), partial.kept[KEYS]
    seen = queries.any((1, 2, 3))  # a window without a valid cell was skipped: its query is zero
    query = torch.from_numpy((queries.sum(0, dtype=np.float64) / max(seen.sum(), 1)).astype(np.float32))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number, any_valid in enumerate(seen):
            if any_valid:
                of_window = torch.from_numpy(keys.read(Window(0, number, keys.shape[2], 1)).reshape(planes, -1, size))
                maps = product.attention(query, of_window, height, width)
                partial.write(partial.kept[WINDOWS], maps.numpy().reshape(1, 1, -1), number, 0)
            yield 1
    finally:
        torch.set_num_threads(threads)


def aligned(product: AttentionMap, partial: PartialMap) -> Iterator[tuple[Batch, Tensor]]:
    """The windows in the order of their stripes, one by one, aligned, and in cells of the map."""
    layout, columns = partial.layout, partial.layout.columns
    maps = partial.kept[WINDOWS].mapped().reshape(-1, *_of_window(product, layout))
    valid = partial.kept[VALID].mapped()[0]
    factors = align_windows(layout, maps, valid, product.patch // product.cell)
    for stripe, (first, behind) in enumerate(layout.stripes):
        left, _, right = layout.span(stripe)
        for number, top in enumerate(layout.rows.starts):
            row = WindowRow(stripe, number, np.empty(0, np.float32), valid[top : top + layout.rows.window, left:right])
            for column in range(first, behind):
                window = number * len(columns.starts) + column
                one = factors[window][:, None, None] * maps[window]
                yield (
                    Batch(row, (columns.starts[column] - left,), 1, column + 1 == behind),
                    product.in_cells(torch.from_numpy(one)[None]),
                )
