"""Curves: of a pre-training, of the trainings of one table row, of all rows' validation, and of scores over labels."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from sardino.errors import SardinoError
from sardino.reporting.figures.style import INK, MUTED, PALETTE, WIDTH, new_figure, styled
from sardino.reporting.record import provenance
from sardino.reporting.rows import ENCODINGS, HYBRID, INITIALISATIONS, SELF_TRAINED, WIDE
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import TITLES, CellKey, paper_arm, paper_cells

PANELS = {
    "loss": "Loss (nats)",
    "teacher_entropy": "Entropy of a target (nats)",
    "batch_entropy": "Entropy of the mean\ntarget (nats)",
    "kl": "KL(teacher || student) (nats)",
    "explained": "Share that is explained\nof what is hidden",
    "feature_std": "Spread of the features",
    "effective_rank": "Effective rank of the features",
    "distance": "Relative distance of the\nbackbone from its start",
    "gradient_norm": "Gradient norm",
    "learning_rate": "Learning rate",
    "probe": "Probe on validation tiles (mIoU)",
}
"""What is drawn where a record has it; "probe" is on frozen tokens, linear with its neighbours beside."""
NATS = ("loss", "teacher_entropy", "batch_entropy")
FROM_ZERO = ("kl", "feature_std", "effective_rank", "distance", *NATS)
LINES = ("-", "--", "-.", ":")
COLUMNS = 3


@styled
def draw_pretraining(records: Sequence[Mapping[str, Any]]) -> Figure:
    """The loss, and the signs of learning and of collapse that the loss hides: a panel a measure, a line an arm.

    The last panel names the arms and says how to read the others. A measure that no record has gets no panel.
    `records`: of runs; those of kind "pretrain" are drawn.
    """
    chosen = [record["results"] for record in records if record["kind"] == "pretrain"]
    if not chosen:
        raise SardinoError("pre-training curves need a pre-training record: run notebook 02 first")
    names = [name for name in PANELS if any(_line(results["curves"], name)[0] for results in chosen)]
    rows = -(-(len(names) + 1) // COLUMNS)
    figure = new_figure(WIDTH, 0.3 + 1.95 * rows)
    synthetic = next(bool(record["data"]["synthetic"]) for record in records if record["kind"] == "pretrain")
    figure.suptitle(f"Pre-training ({provenance(synthetic=synthetic)}): loss and signs of collapse")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for name, axes in zip(names, panels, strict=False):
        for i, results in enumerate(chosen):
            _draw_measure(axes, name, results, {"color": PALETTE[i % len(PALETTE)], "linestyle": LINES[i % len(LINES)]})
        axes.set(xlabel="Step", ylabel=PANELS[name])
        if name == "loss" and any(results["curves"]["ln_k"] is None for results in chosen):
            axes.set_ylabel("Loss (nats; masked: error)")
        if name in FROM_ZERO:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        if name in NATS:
            # What a teacher that says nothing has.
            levels = (results["curves"]["ln_k"] for results in chosen)
            for level in sorted({round(float(level), 6) for level in levels if level is not None}):
                axes.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))
                place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
                axes.text(0.98, level, f"ln K = {level:.2f}", color=MUTED, fontsize=7, **place)
                axes.set_ylim(top=max(axes.get_ylim()[1], level * 1.12))
        axes.grid(True)
        axes.set_axisbelow(True)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    full = "batch_entropy" in names
    constant = "entropy of the mean target\nand spread near 0." if full else "loss near 0, feature spread near 0."
    text = "Collapse to the uniform:\nloss and entropy stay at ln K.\n"
    text += f"Collapse to a constant:\n{constant}\nNo learning:\ndistance stays near 0."
    text += "\nProbe: o linear, x neighbours,\n_ hand-made features, + beside them." if full else ""
    free = panels[len(names)]
    arms = panels[0].get_legend_handles_labels()
    free.legend(*arms, loc="upper left", borderaxespad=0, title="Arm", alignment="left")
    free.text(0, 0.0, text, transform=free.transAxes, va="bottom", fontsize=7, color=INK, linespacing=1.3)
    return figure


def _line(curves: Mapping[str, Any], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of a measure; nothing where the record does not have it, a gap where it was not finite."""
    table, column = (curves.get("probes", {}), "linear") if name == "probe" else (curves, name)
    return (list(table["step"]), _gaps(table[column])) if table.get(column) else ([], [])


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else float(value) for value in values]


def _draw_measure(axes: Axes, name: str, results: Mapping[str, Any], style: dict[str, Any]) -> None:
    steps, values = _line(results["curves"], name)
    if not steps:
        return
    label = f"{results['arm']} ({results['steps']} steps)"
    axes.plot(steps, values, label=label, marker="o" if name == "probe" else None, markersize=3, **style)
    if name == "probe":
        probes = results["curves"]["probes"]
        axes.plot(steps, _gaps(probes["knn"]), marker="x", markersize=3.5, linewidth=0.7, **style)
        for other, marker in (("line", "_"), ("beside", "+")):  # which an older record does not have
            if other in probes:
                axes.plot(steps, _gaps(probes[other]), marker=marker, markersize=4, linewidth=0.7, **style)
    if name == "gradient_norm" and np.nanmax([0.0, *values]) > 0:
        axes.set_yscale("log", nonpositive="mask")


@styled
def draw_training(
    losses: Mapping[str, Sequence[float]], curves: Mapping[str, Sequence[Mapping[str, float]]], loss: str, title: str
) -> Figure:
    """How the cells of one table row learn, a line a cell, seen while the row runs; not published.

    `losses`: name of the cell to its training loss per step. `curves`: and to its looks at the validation tiles, "step"
    and "val_miou". `loss`: what kind of loss it is.
    """
    figure = new_figure(WIDTH, 2.8)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for number, (name, values) in enumerate(losses.items()):
        style = {"color": PALETTE[number % len(PALETTE)], "linestyle": LINES[number // len(PALETTE) % len(LINES)]}
        left.plot(values, linewidth=1, label=name, **style)
        looks = [(look["step"], look["val_miou"]) for look in curves[name]]
        right.plot(*zip(*looks, strict=True), linewidth=1, marker="o", markersize=2.5, **style)
    left.set(xlabel="Step", ylabel=f"Training loss ({loss})")
    right.set(xlabel="Step", ylabel="mIoU, validation tiles")
    right.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", fontsize=7, ncols=min(len(losses), 4))
    return figure


PLAIN, BESIDE = "unet", "unet+attention"
# Line and marker tell the arms apart without colour.
LOOKS: dict[str, dict[str, Any]] = {
    "scratch": {"color": INK, "linestyle": "-", "marker": "o"},
    "frozen": {"color": PALETTE[4], "linestyle": ":", "marker": "s"},
    "unfrozen": {"color": PALETTE[0], "linestyle": "--", "marker": "^"},
    PLAIN: {"color": PALETTE[1], "linestyle": "-.", "marker": "D"},
    WIDE: {"color": PALETTE[2], "linestyle": (0, (4, 1, 1, 1, 1, 1)), "marker": "v"},
    f"{PLAIN} {SELF_TRAINED}": {"color": PALETTE[3], "linestyle": (0, (1, 1)), "marker": "P"},
    f"{HYBRID} {SELF_TRAINED}": {"color": PALETTE[5], "linestyle": (0, (6, 1)), "marker": "X"},
}
Line = tuple[str, str, str]  # regions, encoding, initialisation


@styled
def draw_label_efficiency(cells: Cells, titles: Mapping[str, str], fractions: Sequence[float]) -> Figure:
    """mIoU over labelled tiles, this run's above and the paper's below: a column a group of arms.

    Lines are initialisations, areas and bars 95 % intervals.

    `cells`: of all runs. `titles`: the profile's pre-training arms in order, with their headings. `fractions`: percent
    of labels that were run.
    """
    panels = _panels(cells, titles)
    figure = new_figure(WIDTH, 4.6)
    figure.suptitle(f"Label efficiency ({cells.provenance} above, the paper's tables below)")
    rows = figure.subplots(2, len(panels), sharey="row", squeeze=False)
    for (ours, papers), (heading, lines) in zip(rows.T, panels.items(), strict=True):
        _draw_ours(ours, cells, lines, fractions)
        _draw_papers(papers, lines)
        ours.set_title(heading)
        for axes in (ours, papers):
            axes.grid(True, axis="y")
            axes.set_axisbelow(True)
    rows[0, 0].set_ylabel("mIoU, this run")
    rows[1, 0].set_ylabel("mIoU, the paper")
    middle = len(panels) // 2
    rows[0, middle].set_xlabel("Labelled training tiles")
    rows[1, middle].set_xlabel("Labelled training tiles (% of all)")
    for axes in rows.ravel():
        axes.set_ylim(bottom=0)
    _legend(figure)
    return figure


@styled
def draw_validation(cells: Cells, titles: Mapping[str, str], fractions: Sequence[float]) -> Figure:
    """mIoU on validation tiles of all cells as they train: a row a percentage of labels, a column a group of arms.

    Marks at the right are mIoU on test tiles, where the grey lines are the floors' too, the strongest dark.
    Arguments as `draw_label_efficiency`.
    """
    panels = _panels(cells, titles)
    figure = new_figure(WIDTH, 0.9 + 1.35 * len(fractions))
    figure.suptitle(f"Validation while training ({cells.provenance}); marks and grey lines: test")
    grid = figure.subplots(len(fractions), len(panels), sharex="row", sharey="row", squeeze=False)
    for fraction, row in zip(fractions, grid, strict=True):
        row[0].set_ylabel(f"mIoU, {fraction:g} %\nof labels")
        for axes, lines in zip(row, panels.values(), strict=True):
            for floor in (floors := cells.floors(fraction)):
                look = (MUTED, 1.1, "Strongest floor") if floor == floors[-1] else ("#CCCCCC", 0.6, None)
                axes.axhline(cells.miou(floor), **dict(zip(("color", "linewidth", "label"), look, strict=True)))
            for line in lines:
                key = _key(line, fraction)
                steps, values = cells.curve(key)
                axes.plot(steps, values, label=_label(line), **{**LOOKS[_look(line)], "marker": None})
                end = cells.facts(key)["steps"]
                axes.plot([end], [cells.miou(key)], markersize=3.6, clip_on=False, **LOOKS[_look(line)])
        row[0].set_ylim(bottom=0)
    grid[-1, len(panels) // 2].set_xlabel("Step")
    for axes, heading in zip(grid[0], panels, strict=True):
        axes.set_title(heading)
    _legend(figure)
    return figure


def _panels(cells: Cells, titles: Mapping[str, str]) -> dict[str, list[Line]]:
    """Lines of each column by its heading, of what was run; refused where a table's cells are missing."""
    panels: dict[str, list[Line]] = {}
    there = {(key.regions, key.encoding) for key in cells.arms}
    groups = list(product(titles, ENCODINGS))
    for arm, encoding in [group for group in groups if group in there] or groups:
        head, _, tail = titles[arm].partition(", ")
        broken = f"{head},\n{tail}" if tail and len(titles[arm]) > 16 else titles[arm]
        panels[f"{TITLES[encoding]}\n{broken}"] = [(arm, encoding, start) for start in INITIALISATIONS]
    panels["U-Net: SAR and\nattention maps"] = [("", PLAIN, "scratch"), *(("", BESIDE, s) for s in INITIALISATIONS)]
    if ("", HYBRID) in there:
        plain = [("", each, "scratch") for each in (PLAIN, WIDE) if ("", each) in there]
        panels["U-Net: SAR and\ntokens"] = [*plain, *(("", HYBRID, s) for s in INITIALISATIONS)]
    starts = {(key.encoding, key.initialisation) for key in cells.arms}
    own = [("", each, SELF_TRAINED) for each in (PLAIN, HYBRID) if (each, SELF_TRAINED) in starts]
    if own:
        panels["U-Nets,\nself-trained"] = [("", PLAIN, "scratch"), *own]
    wanted = {line[:2] for lines in panels.values() for line in lines}
    if not wanted <= there:
        raise SardinoError("curves of all cells need those of Tables 1 and 2: run notebook 03 for each row first")
    return panels


def _legend(figure: Figure) -> None:
    """Each look once, below all panels."""
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    handles = {line.get_label(): line for line in lines if not str(line.get_label()).startswith("_")}
    columns = len(handles) if len(handles) <= 5 else -(-len(handles) // 2)
    look = {"ncols": columns, "handlelength": 2.4, "columnspacing": 1.0}
    figure.legend(handles=list(handles.values()), loc="outside lower center", **look)


def _draw_ours(axes: Axes, cells: Cells, lines: Sequence[Line], fractions: Sequence[float]) -> None:
    ticks: set[float] = set()
    for line in lines:
        keys = [_key(line, fraction) for fraction in sorted(fractions)]
        keys = [key for key in keys if key in cells.confusions]
        labelled = [cells.facts(key)["labelled_tiles"] for key in keys]
        ticks |= set(labelled)
        low, high = np.array([cells.interval(key) for key in keys]).reshape(-1, 2).T
        look = _look(line)
        axes.fill_between(labelled, low, high, color=LOOKS[look]["color"], alpha=0.1, linewidth=0)
        # Beside each other, so that intervals can be told apart where areas cover each other.
        beside = np.array(labelled) * 1.09 ** (list(LOOKS).index(look) - 1)
        axes.vlines(beside, low, high, colors=LOOKS[look]["color"], linewidth=0.9)
        axes.plot(beside, [cells.miou(key) for key in keys], label=_label(line), markersize=3.6, **LOOKS[look])
    _log_axis(axes, sorted(ticks))


def _draw_papers(axes: Axes, lines: Sequence[Line]) -> None:
    """The paper's points, open; for orientation only where the arm is not the paper's."""
    published = paper_cells()
    for line in lines:
        arm = paper_arm(line[0]) if line[0] else ""
        keys = [key for key in published if (key.regions, key.encoding, key.initialisation) == (arm, *line[1:])]
        scores = [published[key] for key in keys]
        axes.plot([k.fraction for k in keys], scores, markersize=3.6, markerfacecolor="white", **LOOKS[_look(line)])
    if any(regions and paper_arm(regions) != regions for regions, _, _ in lines):
        axes.text(0.96, 0.05, "the paper's Europe", transform=axes.transAxes, ha="right", fontsize=7, color=MUTED)
    _log_axis(axes, sorted({key.fraction for key in published}))


def _key(line: Line, fraction: float) -> CellKey:
    return CellKey(1 if line[1] in ENCODINGS else 2, *line, float(fraction))


def _look(line: Line) -> str:
    return f"{line[1]} {line[2]}" if line[2] == SELF_TRAINED else line[1] if line[1] in LOOKS else line[2]


def _label(line: Line) -> str:
    if line[2] == SELF_TRAINED:
        return f"{'U-Net' if line[1] == PLAIN else 'With tokens'}, self-trained"
    return {PLAIN: "U-Net, SAR only", WIDE: "U-Net, SAR only, wide"}.get(line[1], TITLES[line[2]])


def _log_axis(axes: Axes, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if ticks:
        axes.set_xlim(min(ticks) / 1.6, max(ticks) * 1.6)
