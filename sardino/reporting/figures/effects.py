"""Forest plots: what each switch of an experiment, or each part of a recipe, does, with its interval."""

from collections.abc import Mapping, Sequence

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
    panels = {label: table[table["response"] == name].set_index("effect") for name, label in RESPONSES.items()}
    return _forest(panels, names, title, alone)


@styled
def draw_parts(table: pd.DataFrame, title: str) -> Figure:
    """One panel a number of labelled tiles, one row a part: the difference that it makes, points of mIoU.

    `table`: columns part, fraction, labelled_tiles, difference, low, high, of mIoU. Filled where the interval leaves
    zero out.
    """
    points = table.assign(estimate=100 * table["difference"], low=100 * table["low"], high=100 * table["high"])
    panels = {
        f"{fraction:g} %: {tiles} labelled tile{'s' * (tiles != 1)},\npoints of mIoU": rows.set_index("part")
        for (fraction, tiles), rows in points.groupby(["fraction", "labelled_tiles"])
    }
    return _forest(panels, list(dict.fromkeys(table["part"])), title, alike=True)


def _forest(
    panels: Mapping[str, pd.DataFrame], names: Sequence[str], title: str, rule: int | None = None, alike: bool = False
) -> Figure:
    """Rows of these names, a line above the one of number `rule`; a name that a panel lacks stays empty there.

    `alike`: all panels have one axis.
    """
    figure = new_figure(WIDTH, 0.9 + 0.24 * len(names))
    figure.suptitle(title)
    places = figure.subplots(1, len(panels), sharex=alike, sharey=True, squeeze=False)[0]
    for axes, (label, table) in zip(places, panels.items(), strict=True):
        axes.axvline(0, color=MUTED, linewidth=0.8)
        if rule is not None and rule < len(names):
            axes.axhline(rule - 0.5, color="#DDDDDD", linewidth=0.6)
        for row in table.loc[[name for name in names if name in table.index]].itertuples():
            place, sure = names.index(row.Index), row.low > 0 or row.high < 0
            colour = PALETTE[0] if row.low > 0 else PALETTE[1] if row.high < 0 else MUTED
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt")
            fill = colour if sure else "white"
            axes.plot(row.estimate, place, "o", markersize=4, color=colour, markerfacecolor=fill)
        axes.set_xlabel(label.replace(", ", ",\n"), color=INK)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_yticks(range(len(names)), [name.replace(" = ", " =\n") for name in names])
        axes.tick_params(axis="y", length=0)
    places[0].invert_yaxis()
    return figure
