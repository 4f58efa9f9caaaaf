"""Attention kept window by window until all are there: then windows are aligned, and come back to be blended."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from sardino.mapping.align import align_windows
from sardino.mapping.blend import Batch, WindowRow
from sardino.mapping.products import AttentionMap, Product
from sardino.mapping.resume import PartialMap
from sardino.mapping.windows import Layout

WINDOWS, VALID = "windows", "valid"  # a row a window, its maps; whether a cell, those beyond the scene too, is valid


def shapes(product: Product, layout: Layout) -> dict[str, tuple[tuple[int, int, int], str]]:
    """Shape and type of what is kept, a value a patch; of land cover nothing."""
    if not isinstance(product, AttentionMap):
        return {}
    return {
        WINDOWS: ((1, layout.windows, math.prod(_of_window(product, layout))), "float32"),
        VALID: ((1, len(layout.rows.total), len(layout.columns.total)), "bool"),
    }


def _of_window(product: AttentionMap, layout: Layout) -> tuple[int, int, int]:
    """(planes, h, w) of a window in patches."""
    height, width = (axis.window * product.cell // product.patch for axis in layout.axes)
    return product.planes, height, width


def keep(predicted: Iterable[tuple[Batch, Tensor]], partial: PartialMap) -> Iterator[Batch]:
    """Write the windows of each batch down; yields it."""
    layout = partial.layout
    for each, maps in predicted:
        row, left = each.row, layout.span(each.row.stripe)[0]
        for place, one in zip(each.places, maps.cpu().numpy(), strict=True):
            number = row.number * len(layout.columns.starts) + layout.columns.starts.index(left + place)
            partial.write(partial.kept[WINDOWS], one.reshape(1, 1, -1), number, 0)
        partial.write(partial.kept[VALID], row.valid[None], layout.rows.starts[row.number], left)
        yield each


def aligned(product: AttentionMap, partial: PartialMap) -> Iterator[tuple[Batch, Tensor]]:
    """The windows in the order of their stripes, one by one, aligned, and in cells of the map."""
    layout, columns = partial.layout, partial.layout.columns
    maps = partial.kept[WINDOWS].mapped().reshape(-1, *_of_window(product, layout))
    valid = partial.kept[VALID].mapped()[0]
    exponents, factors = align_windows(layout, maps, valid, product.patch // product.cell)
    for stripe, (first, behind) in enumerate(layout.stripes):
        left, _, right = layout.span(stripe)
        for number, top in enumerate(layout.rows.starts):
            row = WindowRow(stripe, number, np.empty(0, np.float32), valid[top : top + layout.rows.window, left:right])
            for column in range(first, behind):
                window = number * len(columns.starts) + column
                one = factors[window][:, None, None] * maps[window] ** exponents[window][:, None, None]
                yield (
                    Batch(row, (columns.starts[column] - left,), 1, column + 1 == behind),
                    product.in_cells(torch.from_numpy(one)[None]),
                )
