"""The figure "what each head sees": heads against layers, what each head's score has beyond the best of its nulls."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from sardino.errors import SardinoError
from sardino.reporting.figures.panels import CMAP
from sardino.reporting.figures.style import INK, MUTED, PALE, WIDTH, new_figure, styled
from sardino.reporting.tables import attention
from sardino.reporting.tables.attention import WAYS, Cell

CELL = 0.3  # inches: height of a cell


@styled
def draw_attention_scores(frame: pd.DataFrame, title: str) -> Figure:
    """A grid for each backbone: separation beyond the best null, per head and class or amount.

    `frame`: as in attention_scores.csv.
    """
    if frame.empty:
        raise SardinoError("there is no score of attention to draw: run notebook 05 first")
    parts = [part for _, part in frame.groupby("arm", sort=False)]
    heads = [part["head"].nunique() for part in parts]
    seen = frame[
        (frame["measure"] == attention.SHOWN) & (frame["beyond_low"] > 0) & (frame["layer"] != attention.COARSE)
    ]
    norm = Normalize(0, max(0.1, float(seen["beyond"].max())) if len(seen) else 0.1)
    # Grids of the same columns share their names.
    named = [attention.columns_of(a) != attention.columns_of(b) for a, b in pairwise(parts)] + [True]
    widest = max(len(attention.columns_of(part)) for part in parts)
    figure = new_figure(WIDTH, CELL * sum(heads) + 0.35 * len(parts) + 1.1 * sum(named) + 0.7)
    figure.suptitle(title)
    panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heads)[:, 0]
    for axes, part, names in zip(panels, parts, named, strict=True):
        _draw(axes, part, norm, widest)
        axes.tick_params(labelbottom=names)
    if len(seen):
        bar = figure.colorbar(ScalarMappable(norm, CMAP), ax=list(panels), fraction=0.025, pad=0.015, aspect=30)
        bar.set_label("separation beyond\nthe best null")
        bar.outline.set_linewidth(0.4)
    none = Patch(facecolor=PALE, edgecolor=MUTED, hatch="////", linewidth=0.4, label="not beyond every null (95 %)")
    told = {1: "attends to it", -1: "avoids it", 0: "either, from tile to tile"}
    signs = [Patch(alpha=0, label=f"{WAYS[way]} {text}") for way, text in told.items()]
    figure.legend(handles=[*signs, none], loc="outside lower center", ncols=4, handlelength=1.2)
    return figure


def _draw(axes: Axes, part: pd.DataFrame, norm: Normalize, widest: int) -> None:
    columns = attention.columns_of(part)
    heads = attention.heads_of(part)
    for row, head in enumerate(heads):
        cells = attention.head_cells(part, head)
        for column, name in enumerate(columns):
            _cell(axes, column, row, cells.get(name), norm)
    axes.set(xlim=(-0.5, widest - 0.5), ylim=(len(heads) - 0.5, -0.5))
    names = [name for *_, name in columns]
    axes.set_xticks(range(len(columns)), names, rotation=35, ha="right", rotation_mode="anchor")
    told = [f"Head {head}, position {attention.percent(attention.position_share(part, head))}" for head in heads]
    axes.set_yticks(range(len(heads)), told)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    first: Any = part.iloc[0]
    where = "test tiles" if first["split"] == "test" else "tiles, all that there are"
    count, bands = part["tiles"].max(), part["bands"].max()
    axes.set_title(f"{first['arm_title']}: {count} {where}, {bands} bands or places", loc="left")


def _cell(axes: Axes, column: int, row: int, cell: Cell | None, norm: Normalize) -> None:
    """One square: coloured, signed by the way it points, where the interval lies above 0, hatched where it does not."""
    corner = (column - 0.48, row - 0.46)
    if cell is None:
        axes.text(column, row, "-", ha="center", va="center", fontsize=7, color=MUTED)
        return
    if not cell.seen:
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=PALE, edgecolor="#C8C8C8", hatch="////", linewidth=0))
        return
    colour = colormaps[CMAP](norm(cell.beyond))
    axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=colour, linewidth=0))
    ink = "white" if np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.55 else INK
    axes.text(column, row, f"{WAYS[cell.way]}{cell.beyond:.2f}", ha="center", va="center", fontsize=7, color=ink)
