"""A confusion matrix: what became of each class of the reference, in percent of its pixels."""

import numpy as np
from matplotlib.figure import Figure

from sardino.data.tiles.landcover import Legend
from sardino.evaluation.scores import Confusion
from sardino.reporting.figures.style import INK, MUTED, WIDTH, captioned, new_figure, styled

DARK = 55  # percent from which numbers are white


@styled
def draw_confusion(matrix: Confusion, legend: Legend, title: str) -> Figure:
    """(n, n) pixel counts as rows of percent, of the classes that occur in reference or prediction.

    A reference class is named with its share of the labelled pixels; the row of one that has none stays empty.
    """
    known = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    counts = matrix[np.ix_(known, known)].astype(np.float64)
    with np.errstate(invalid="ignore"):
        percent = 100 * counts / counts.sum(1, keepdims=True)
    figure = new_figure(WIDTH, 1.9 + 0.36 * len(known))
    figure.suptitle(captioned(title, [legend]))
    axes = figure.subplots()
    image = axes.imshow(percent, vmin=0, vmax=100, cmap="Blues", aspect="auto")
    for (row, column), value in np.ndenumerate(percent):
        if not np.isnan(value):
            text = f"{value:.0f}" if value >= 0.5 or not counts[row, column] else "<1"
            colour = "white" if value >= DARK else INK if counts[row, column] else MUTED
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    shares = 100 * counts.sum(1) / counts.sum()
    names = [legend.names[number] for number in known]
    axes.spines[:].set_visible(False)
    axes.spines[["left", "bottom"]].set_position(("outward", 7))
    axes.set_yticks(range(len(known)), [f"{name} ({share:.2g} %)" for name, share in zip(names, shares, strict=True)])
    axes.set_xticks(range(len(known)), names, rotation=45, ha="right", rotation_mode="anchor")
    # The ticks are squares of their classes' colours.
    for axis in (axes.xaxis, axes.yaxis):
        for tick, number in zip(axis.get_major_ticks(), known, strict=True):
            tick.tick1line.set(marker="s", markersize=7, markeredgewidth=0.4, markeredgecolor=MUTED)
            tick.tick1line.set_markerfacecolor(legend.colors[number])
    axes.set(xlabel="Prediction", ylabel="Reference (share of labelled pixels)")
    figure.colorbar(image, ax=axes, label="Percent of the reference class")
    return figure
