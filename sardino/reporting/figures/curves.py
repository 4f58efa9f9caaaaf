"""Pre-training curves: the loss, and the signs of learning and of collapse that the loss hides."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sardino.errors import SardinoError
from sardino.reporting.figures.style import INK, MUTED, PALETTE, WIDTH, new_figure, styled
from sardino.reporting.record import provenance

PANELS = {
    "loss": "Loss (nats)",
    "teacher_entropy": "Entropy of a target (nats)",
    "batch_entropy": "Entropy of the mean\ntarget (nats)",
    "kl": "KL(teacher || student) (nats)",
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
    """One panel a measure, one line an arm; the last panel names the arms and says how to read the others.

    Args:
        records: of runs; those of kind "pretrain" are drawn. A measure that no record has gets no panel.
    """
    chosen = [record for record in records if record["kind"] == "pretrain"]
    if not chosen:
        raise SardinoError("pre-training curves need a pre-training record: run notebook 02 first")
    names = [name for name in PANELS if any(_line(record["results"]["curves"], name)[0] for record in chosen)]
    rows = -(-(len(names) + 1) // COLUMNS)
    figure = new_figure(WIDTH, 0.3 + 1.95 * rows)
    where = provenance(synthetic=bool(chosen[0]["data"]["synthetic"]))
    figure.suptitle(f"Pre-training ({where}): loss and signs of collapse")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for name, axes in zip(names, panels, strict=False):
        for i, record in enumerate(chosen):
            style = {"color": PALETTE[i % len(PALETTE)], "linestyle": LINES[i % len(LINES)]}
            _draw(axes, name, record, style)
        axes.set(xlabel="Step", ylabel=PANELS[name])
        if name in FROM_ZERO:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        if name in NATS:
            _mark_ln_k(axes, sorted({round(float(record["results"]["curves"]["ln_k"]), 6) for record in chosen}))
        axes.grid(True)
        axes.set_axisbelow(True)
    for axes in panels[len(names) + 1 :]:
        axes.set_axis_off()
    _explain(panels[len(names)], panels[0].get_legend_handles_labels(), "batch_entropy" in names)
    return figure


def _line(curves: Mapping[str, Any], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of a measure; nothing where the record does not have it, a gap where it was not finite."""
    table, column = (curves.get("probes", {}), "linear") if name == "probe" else (curves, name)
    if not table.get(column):
        return [], []
    return list(table["step"]), [np.nan if value is None else float(value) for value in table[column]]


def _draw(axes: Axes, name: str, record: Mapping[str, Any], style: dict[str, Any]) -> None:
    curves = record["results"]["curves"]
    steps, values = _line(curves, name)
    if not steps:
        return
    label = f"{record['results']['arm']} ({record['results']['steps']} steps)"
    axes.plot(steps, values, label=label, marker="o" if name == "probe" else None, markersize=3, **style)
    if name == "probe":
        neighbours = [np.nan if value is None else float(value) for value in curves["probes"]["knn"]]
        axes.plot(steps, neighbours, marker="x", markersize=3.5, linewidth=0.7, **style)
    if name == "gradient_norm" and np.nanmax([0.0, *values]) > 0:
        axes.set_yscale("log", nonpositive="mask")


def _mark_ln_k(axes: Axes, levels: Sequence[float]) -> None:
    """What a teacher that says nothing has."""
    for level in levels:
        axes.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))
        axes.text(
            0.98,
            level,
            f"ln K = {level:.2f}",
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="bottom",
            color=MUTED,
            fontsize=7,
        )
        axes.set_ylim(top=max(axes.get_ylim()[1], level * 1.12))


def _explain(axes: Axes, legend: tuple[list[Any], list[str]], full: bool) -> None:
    """The free panel: arms, and how to read the others."""
    axes.set_axis_off()
    axes.legend(*legend, loc="upper left", borderaxespad=0, title="Arm", alignment="left")
    constant = "entropy of the mean target\nand spread near 0." if full else "loss near 0, feature spread near 0."
    text = (
        "Collapse to the uniform:\nloss and entropy stay at ln K.\n"
        f"Collapse to a constant:\n{constant}\n"
        "No learning:\ndistance stays near 0."
    )
    if full:
        text += "\nProbe: o linear, x neighbours."
    axes.text(0, 0.0, text, transform=axes.transAxes, va="bottom", fontsize=7, color=INK, linespacing=1.3)


# Training losses of the cells of one table row, seen while the row runs; not published.

STYLES = ("-", "--", ":", "-.")


@styled
def draw_losses(losses: Mapping[str, Sequence[float]], loss: str, title: str) -> Figure:
    """One line a cell.

    Args:
        losses: name of the cell to its training loss per step.
        loss: what kind of loss it is.
    """
    figure = new_figure(WIDTH, 2.6)
    axes = figure.subplots()
    for number, (name, values) in enumerate(losses.items()):
        style = {"color": PALETTE[number % len(PALETTE)], "linestyle": STYLES[number // len(PALETTE) % len(STYLES)]}
        axes.plot(values, linewidth=1, label=name, **style)
    axes.set(xlabel="Step", ylabel=f"Loss ({loss})", title=title)
    axes.legend(fontsize=7, frameon=False, ncols=1 + (len(losses) - 1) // 6)
    return figure
