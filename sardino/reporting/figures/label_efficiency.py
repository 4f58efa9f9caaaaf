"""Label-efficiency curves: mIoU over labelled tiles, this run's above and the paper's below."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from sardino.errors import SardinoError
from sardino.reporting.figures.style import INK, MUTED, PALETTE, WIDTH, new_figure, styled
from sardino.reporting.rows import ENCODINGS, INITIALISATIONS, baseline_rows
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import TITLES, CellKey, paper_arm, paper_cells

PLAIN = "unet"
LOOKS: dict[str, dict[str, Any]] = {
    "scratch": {"color": INK, "linestyle": "-", "marker": "o"},
    "frozen": {"color": PALETTE[4], "linestyle": ":", "marker": "s"},
    "unfrozen": {"color": PALETTE[0], "linestyle": "--", "marker": "^"},
    PLAIN: {"color": PALETTE[1], "linestyle": "-.", "marker": "D"},
}
"""Line and marker tell the arms apart without colour."""
Panel = tuple[str, list[tuple[str, str, str, str]]]
"""Heading, and (look, regions, encoding, initialisation) of each line."""


@styled
def draw_label_efficiency(cells: Cells, titles: Mapping[str, str], fractions: Sequence[float]) -> Figure:
    """A column a group of arms; lines are initialisations, areas and bars 95 % intervals.

    Args:
        cells: of all runs.
        titles: the profile's pre-training arms in order, with their headings.
        fractions: percent of labels that were run.
    """
    panels = _panels(titles)
    wanted = {(regions, encoding) for _, lines in panels for _, regions, encoding, _ in lines}
    if not wanted <= {(key.regions, key.encoding) for key in cells.confusions}:
        raise SardinoError("label-efficiency curves need the cells of Tables 1 and 2: run notebooks 03 and 04 first")
    figure = new_figure(WIDTH, 4.6)
    where = cells.provenance
    figure.suptitle(f"Label efficiency ({where} above, the paper's tables below)")
    rows = figure.subplots(2, len(panels), sharey="row", squeeze=False)
    for column, (heading, lines) in enumerate(panels):
        _draw_ours(rows[0, column], cells, lines, fractions)
        _draw_papers(rows[1, column], lines)
        rows[0, column].set_title(heading)
        for axes in rows[:, column]:
            axes.grid(True, axis="y")
            axes.set_axisbelow(True)
    rows[0, 0].set_ylabel("mIoU, this run")
    rows[1, 0].set_ylabel("mIoU, the paper")
    middle = len(panels) // 2
    rows[0, middle].set_xlabel("Labelled training tiles")
    rows[1, middle].set_xlabel("Labelled training tiles (% of all)")
    for axes in rows.ravel():
        axes.set_ylim(bottom=0)
    handles = {h.get_label(): h for axes in rows[0] for h in axes.get_lines() if not str(h.get_label()).startswith("_")}
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=len(handles), handlelength=3.2)
    return figure


def _panels(titles: Mapping[str, str]) -> list[Panel]:
    found: list[Panel] = []
    for arm, title in titles.items():
        for encoding in ENCODINGS:
            heading = f"{TITLES[encoding]}\n{_broken(title)}"
            found.append((heading, [(row, arm, encoding, row) for row in INITIALISATIONS]))
    beside = "unet+attention"
    lines = [(PLAIN, "", PLAIN, "scratch"), *((row, "", beside, row) for row in baseline_rows(beside))]
    return [*found, ("U-Net: SAR and\nattention maps", lines)]


def _broken(title: str) -> str:
    """A long list of regions over two lines."""
    head, _, tail = title.partition(", ")
    return f"{head},\n{tail}" if tail and len(title) > 16 else title


def _table(encoding: str) -> int:
    return 1 if encoding in ENCODINGS else 2


def _draw_ours(
    axes: Axes, cells: Cells, lines: Sequence[tuple[str, str, str, str]], fractions: Sequence[float]
) -> None:
    ticks: set[int] = set()
    for look, regions, encoding, initialisation in lines:
        keys = [CellKey(_table(encoding), regions, encoding, initialisation, float(f)) for f in sorted(fractions)]
        keys = [key for key in keys if key in cells.confusions]
        labelled = [cells.labelled[key] for key in keys]
        ticks |= set(labelled)
        low, high = np.array([cells.interval(key) for key in keys]).reshape(-1, 2).T
        colour = str(LOOKS[look]["color"])
        axes.fill_between(labelled, low, high, color=colour, alpha=0.1, linewidth=0)
        # Beside each other, so that intervals can be told apart where areas cover each other.
        beside = np.array(labelled) * 1.09 ** (list(LOOKS).index(look) - 1)
        axes.vlines(beside, low, high, colors=colour, linewidth=0.9)
        label = "U-Net, SAR only" if look == PLAIN else TITLES[look]
        axes.plot(beside, [cells.miou(key) for key in keys], label=label, markersize=3.6, **LOOKS[look])
    _log_axis(axes, sorted(ticks))


def _draw_papers(axes: Axes, lines: Sequence[tuple[str, str, str, str]]) -> None:
    """The paper's points, open; for orientation only where the arm is not the paper's."""
    published = paper_cells()
    for look, regions, encoding, initialisation in lines:
        arm = paper_arm(regions) if regions else ""
        points = {
            key.fraction: score
            for key, score in published.items()
            if (key.regions, key.encoding, key.initialisation) == (arm, encoding, initialisation)
        }
        axes.plot(list(points), list(points.values()), markersize=3.6, markerfacecolor="white", **LOOKS[look])
    if any(regions and paper_arm(regions) != regions for _, regions, _, _ in lines):
        axes.text(0.96, 0.05, "the paper's Europe", transform=axes.transAxes, ha="right", fontsize=7, color=MUTED)
    _log_axis(axes, sorted({key.fraction for key in published}))


def _log_axis(axes: Axes, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if ticks:
        axes.set_xlim(min(ticks) / 1.6, max(ticks) * 1.6)
