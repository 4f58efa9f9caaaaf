"""Training losses of the cells of one table row, seen while the row runs; not published."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from sardino.reporting.style import PALETTE, WIDTH, new_figure, styled

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
