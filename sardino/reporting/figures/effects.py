"""A forest plot: what each switch of a factorial experiment does to each response, with its interval."""

import pandas as pd
from matplotlib.figure import Figure

from sardino.reporting.figures.style import INK, MUTED, PALETTE, WIDTH, new_figure, styled
from sardino.reporting.tables.effects import RESPONSES, shown


@styled
def draw_effects(table: pd.DataFrame, title: str) -> Figure:
    """One panel a response, one row an effect: those of one factor, and below a line the largest of two.

    `table`: columns response, effect, factors, estimate, low, high. Filled where the interval leaves zero out.
    """
    names = shown(table)
    alone = len(table.loc[table["factors"] == 1, "effect"].unique())
    figure = new_figure(WIDTH, 0.9 + 0.24 * len(names))
    figure.suptitle(title)
    for axes, (response, label) in zip(figure.subplots(1, len(RESPONSES), sharey=True), RESPONSES.items(), strict=True):
        rows = table[table["response"] == response].set_index("effect").loc[names]
        axes.axvline(0, color=MUTED, linewidth=0.8)
        if alone < len(names):
            axes.axhline(alone - 0.5, color="#DDDDDD", linewidth=0.6)
        for place, row in enumerate(rows.itertuples()):
            colour = PALETTE[0] if row.low > 0 else PALETTE[1] if row.high < 0 else MUTED
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt")
            axes.plot(
                row.estimate,
                place,
                "o",
                markersize=4,
                color=colour,
                markerfacecolor="white" if colour == MUTED else colour,
            )
        axes.set_xlabel(label.replace(", ", ",\n"), color=INK)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_yticks(range(len(names)), [name.replace(" = ", " =\n") for name in names])
        axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    return figure
