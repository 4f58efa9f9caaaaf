"""The realism figure: synthetic images over real ones, and how far their statistics agree."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter

from sardino.data.tiles.radiometry import SEASONS
from sardino.errors import SardinoError
from sardino.evaluation import realism
from sardino.evaluation.realism import Images, Statistics
from sardino.reporting.figures.panels import bare, sar_composite, scale_bar
from sardino.reporting.figures.style import INK, MUTED, PALETTE, WIDTH, new_figure, styled

SYNTHETIC, REAL = PALETTE[0], PALETTE[1]
STROKES = {"VV": (0, (3, 1.5)), "VH": "-"}  # dashed and solid, told apart without colour
MARKERS = {"VV": "D", "VH": "o"}


@dataclass(frozen=True)
class Pair:
    """One comparison: what is synthetic, what is real, and how far levels can be compared."""

    title: str  # heading, for example "One date"
    synthetic: Images
    real: Images | None = None  # of the same kind; None where none were given
    calibrated: bool = True  # false where the real level is unknown; histograms are then standardised
    published: bool = False  # the published means of Europe hold for it

    def __post_init__(self) -> None:
        if self.real is not None and set(self.real.bands) != set(self.synthetic.bands):
            raise SardinoError(f"the pair '{self.title}' compares different bands: choose the same on both sides")

    @property
    def sides(self) -> list[tuple[Images, str]]:
        """Images and their colour, the synthetic ones first."""
        return [(self.synthetic, SYNTHETIC)] + ([(self.real, REAL)] if self.real is not None else [])


def realism_table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """A row per pair, band and side: every statistic; levels are missing where the real level is unknown."""
    rows = []
    for pair in pairs:
        for band in pair.synthetic.bands:
            for (images, _), side in zip(pair.sides, ("synthetic", "real"), strict=False):
                found = asdict(realism.statistics(images.bands[band], images.gsd_m))
                if not pair.calibrated:
                    found |= dict.fromkeys(("mean", "low", "high"), math.nan)
                rows.append({"pair": pair.title, "band": band, "side": side, **found})
            if pair.published:
                mean, sd = realism.PUBLISHED_EUROPE[band]
                rows.append({"pair": pair.title, "band": band, "side": "published", "mean": mean, "sd": sd})
    columns = ["pair", "band", "side", *Statistics.__dataclass_fields__]
    return pd.DataFrame(rows, columns=columns).set_index(["pair", "band", "side"]).astype(float)


def differences(table: pd.DataFrame) -> list[str]:
    """One sentence of numbers per comparison of the table: synthetic less real, or less published."""
    sentences = []
    for pair, band in dict.fromkeys((p, b) for p, b, _ in table.index):
        ours = table.loc[(pair, band, "synthetic")]
        for side in ("real", "published"):
            if (pair, band, side) not in table.index:
                continue
            theirs = table.loc[(pair, band, side)]
            less = ours - theirs
            parts = [f"{less[k]:+.2f} dB in {k}" for k in ("mean", "sd") if np.isfinite(theirs[k])]
            if side == "real":
                parts += [f"{less[k]:+.2f} in {k.replace('_', ' of ')}" for k in ("lag_rows", "lag_columns")]
                parts += [f"{less[k]:+.2f} in {k}" for k in ("skewness", "kurtosis")]
                parts.append(f"{ours.looks:.1f} looks where the real images have {theirs.looks:.1f}")
            sentences.append(f"{pair}, {band}, synthetic against {side}: {', '.join(parts)}.")
    return sentences


def as_record(table: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """The table with texts as keys and None for what does not exist, as a record holds it."""
    return {
        ", ".join(key): {name: float(value) if np.isfinite(value) else None for name, value in row.items()}
        for key, row in table.iterrows()
    }


def labelled_table(images: Images) -> pd.DataFrame:
    """Mean and standard deviation in dB of each class and band, and its pixels."""
    rows = {}
    for name, bands in realism.class_means(images).items():
        values = [value for mean, sd, _ in bands.values() for value in (mean, sd)]
        rows[name] = np.array([*values, next(iter(bands.values()))[2]], np.float64)
    columns = [f"{band} {kind}" for band in images.bands for kind in ("mean", "sd")] + ["pixels"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


@styled
def draw_realism(pairs: Sequence[Pair], title: str) -> Figure:
    """Pairs side by side: pictures, histograms, correlation by distance, windows by looks; below, classes."""
    if not pairs:
        raise SardinoError("the realism figure needs at least one pair")
    real = any(pair.real is not None for pair in pairs)
    labelled = next((pair for pair in pairs if realism.class_means(pair.synthetic)), None)
    width = max(WIDTH * len(pairs) / 4, 4.8)
    heights = [width / len(pairs)] * (1 + real) + [1.35] * 3
    names: list[str] = []
    if labelled:
        found = set().union(*(realism.class_means(images) for images, _ in labelled.sides))
        names = [name for name in labelled.synthetic.classes if name in found]
        heights.append(0.17 * len(names) + 0.6)
    figure = new_figure(width, sum(heights) + 1.0)
    figure.suptitle(title)
    grid = figure.add_gridspec(len(heights), len(pairs), height_ratios=heights)
    for column, pair in enumerate(pairs):
        panels = [figure.add_subplot(grid[row, column]) for row in range(len(heights) - bool(labelled))]
        _picture(panels[0], pair.synthetic, SYNTHETIC)
        if real:
            _picture(panels[1], pair.real, REAL)
        panels[0].set_title(f"{pair.title}\n{panels[0].get_title()}")
        for axes, draw in zip(panels[-3:], (_histogram, _correlation, _looks), strict=True):
            draw(axes, pair)
            axes.set_ylabel("" if column else axes.get_ylabel())
    if labelled:
        _class_panel(figure.add_subplot(grid[-1, :]), labelled, names)
    _legend(figure, pairs, real)
    return figure


@styled
def draw_signatures(real: pd.DataFrame, worlds: Mapping[str, pd.DataFrame]) -> Figure:
    """Classes side by side, VV over VH: real means by season with twice their standard error, and those of worlds.

    `real` has the rows and columns of `signatures`; worlds, by title, have vv and vh of them, the last one in colour.
    """
    names = list(dict.fromkeys(real.index.get_level_values("class")))
    figure = new_figure(WIDTH, 3.8)
    panels = figure.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
    for (row, band), (column, name) in product(enumerate(("vv", "vh")), enumerate(names)):
        axes, seen = panels[row, column], real.loc[name].loc[list(SEASONS)]
        style = {"color": REAL, "marker": "o", "ms": 3, "capsize": 2, "label": "Real"}
        axes.errorbar(SEASONS, seen[band], 2 * seen[f"{band}_se"], **style)
        for title, world in worlds.items():
            line = world[band].reindex([(name, season) for season in SEASONS])
            colour, stroke = (SYNTHETIC, "-") if title == list(worlds)[-1] else (MUTED, "--")
            axes.plot(SEASONS, line, color=colour, ls=stroke, label=title)
        axes.set_ylabel("" if column else f"{band.upper()} (dB)")
        axes.set_title("" if row else f"{name}: {seen['points'].iloc[0]} points, {seen['sites'].iloc[0]} sites")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=1 + len(worlds))
    return figure


def _picture(axes: Axes, images: Images | None, colour: str) -> None:
    bare(axes)
    if images is None:
        axes.set_axis_off()
        return
    first = next(iter(images.bands.values()))
    place = realism.typical_image(first)
    shown = np.stack([stack[place] for stack in images.bands.values()])
    axes.imshow(sar_composite(shown, [band.lower() for band in images.bands]))
    scale_bar(axes, first.shape[2], images.gsd_m)
    axes.set_title(images.title, color=colour)


def _histogram(axes: Axes, pair: Pair) -> None:
    step, low, high = (0.5, -36, 6) if pair.calibrated else (0.1, -5, 4)
    edges = np.arange(low, high + step, step)
    centres = (edges[1:] + edges[:-1]) / 2
    for images, colour in pair.sides:
        for band, stack in images.bands.items():
            share = realism.histogram(stack if pair.calibrated else realism.standardised(stack), edges)
            axes.plot(centres, share, color=colour, ls=STROKES[band], lw=1.1)
    if pair.published:
        for band, (mean, sd) in realism.PUBLISHED_EUROPE.items():
            height = axes.get_ylim()[1] * (1.12 if band == "VV" else 1.02)
            axes.errorbar(mean, height, xerr=sd, color=INK, fmt=MARKERS[band], ms=3, lw=0.9, capsize=2)
    axes.set(xlabel="dB" if pair.calibrated else "Deviation / sd", ylabel="Share per unit", xlim=(edges[0], edges[-1]))
    axes.set_ylim(bottom=0)


def _correlation(axes: Axes, pair: Pair) -> None:
    for images, colour in pair.sides:
        stack = images.bands["VH"]
        lags = min(realism.LAGS, min(stack.shape[1:]) - 1)
        for axis, mark in ((1, "o"), (2, "")):
            values = [1.0, *realism.lag_correlation(stack, axis, lags)]
            distance = np.arange(lags + 1) * images.gsd_m
            axes.plot(distance, values, color=colour, lw=1.0, marker=mark, ms=2, ls="-" if mark else (0, (1, 1)))
    axes.axhline(0, color=MUTED, lw=0.5)
    axes.set(xlabel="Distance (m)", ylabel="Correlation of VH", xlim=(0, realism.LAGS * 10), ylim=(-0.15, 1.02))


def _looks(axes: Axes, pair: Pair) -> None:
    edges = np.geomspace(0.3, 300, 41)
    centres = np.sqrt(edges[1:] * edges[:-1])
    for images, colour in pair.sides:
        for band, stack in images.bands.items():
            share = np.histogram(realism.window_looks(stack), edges)[0].astype(float)
            axes.plot(centres, 100 * share / share.sum(), color=colour, ls=STROKES[band], lw=1.1)
    axes.set(xscale="log", xlabel="Looks of a window", ylabel="Windows (%)", xlim=(edges[0], edges[-1]))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xticks([1, 4.4, 20, 66], labels=["1", "4.4", "20", "66"])
    axes.minorticks_off()


def _class_panel(axes: Axes, pair: Pair, names: list[str]) -> None:
    for number, (images, colour) in enumerate(pair.sides):
        means = realism.class_means(images)
        offset = 0.0 if len(pair.sides) == 1 else 0.36 * number - 0.18
        for place, name in enumerate(names):
            for band, (mean, sd, _) in means.get(name, {}).items():
                style = {"color": colour, "mfc": colour if band == "VH" else "white", "ms": 3.6, "lw": 0.8, "mew": 0.9}
                axes.errorbar(mean, place + offset, xerr=sd, fmt=MARKERS[band], **style)
    for line in np.arange(0.5, len(names) - 1):
        axes.axhline(line, color="#DDDDDD", lw=0.5)
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="Mean and standard deviation (dB)")
    axes.set_title(f"By land cover: {pair.title}", loc="left")
    axes.tick_params(axis="y", length=0)


def _legend(figure: Figure, pairs: Sequence[Pair], real: bool) -> None:
    handles = [Line2D([], [], color=SYNTHETIC, label="Synthetic")]
    handles += [Line2D([], [], color=REAL, label="Real")] if real else []
    for band, stroke in STROKES.items():
        face = MUTED if band == "VH" else "white"
        handles.append(Line2D([], [], color=MUTED, ls=stroke, marker=MARKERS[band], ms=3.6, mfc=face, label=band))
    handles.append(Line2D([], [], color=MUTED, marker="o", ms=2, lw=1, label="row to row"))
    handles.append(Line2D([], [], color=MUTED, ls=(0, (1, 1)), lw=1, label="column to column"))
    if any(pair.published for pair in pairs):
        handles.append(Line2D([], [], color=INK, marker="|", lw=0.9, label="Published mean and sd"))
    columns = 4 if figure.get_figwidth() < 6 else len(handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2, handlelength=1.8)
