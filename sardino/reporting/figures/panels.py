"""The panels of figures with maps: backscatter, classes, amounts and attention; scale bars, north, legends, scales."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.errors import SardinoError
from sardino.reporting.figures.style import INK, MUTED, PALE, captioned, new_figure

PREFERRED_SEASON = "summer"
UNLABELLED = "#FFFFFF"
Floats = NDArray[np.floating]
Indices = NDArray[np.uint8]
ClassPanel = tuple[Axes, Indices, Legend]  # one that shows a class map, its indices (H, W) and their legend
ROOM = 0.055  # inches: half of what a number needs around it
CMAP = "cividis"  # of attention: even steps in lightness, in grey too and with any colour vision
LEAST = 1.02  # times an even spread: no scale of attention is narrower on either side
# Inches, of an upright bar and of one that lies: numbers nearer to each other would touch.
APART = {True: 0.14, False: 0.3}


def map_grid(
    title: str, legends: Iterable[Legend | None], size: tuple[float, float], shape: tuple[int, int], **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """A figure of close panels.

    Args:
        title: says what the data are; derived labels are named even where it does not.
        size: width and height, inches.
        shape: rows and columns of panels.
        options: for `Figure.subplots`, and `gap`, inches between rows and between columns.
    """
    figure = new_figure(*size)
    figure.suptitle(captioned(title, legends))
    rows, columns = options.pop("gap", (0.04, 0.03))
    if engine := figure.get_layout_engine():
        engine.set(h_pad=rows, w_pad=columns, hspace=0.0, wspace=0.0)
    return figure, figure.subplots(*shape, squeeze=False, **options)


def draw_sar(axes: Axes, backscatter_db: Floats, channels: Sequence[str], gsd_m: float | None, placed: bool) -> None:
    """(C, H, W) dB as a picture; a scale bar where the pixel size is known, north where the tile's place is."""
    bare(axes).imshow(sar_composite(backscatter_db, channels))
    if gsd_m is not None:
        scale_bar(axes, backscatter_db.shape[-1], gsd_m)
    if placed:
        north_arrow(axes)


def draw_classes(axes: Axes, index: Indices, legend: Legend) -> ClassPanel:
    """(H, W) class indices in their legend's colours."""
    bare(axes).imshow(class_image(index, legend))
    return axes, index, legend


def sar_composite(backscatter_db: Floats, channels: Sequence[str]) -> NDArray[np.float64]:
    """SAR for the eye: red VV, green VH, blue VV-VH of one season, each stretched between its 2 % and 98 %.

    `backscatter_db`: (C, H, W) dB, NaN where missing (drawn white). `channels`: names of the C channels; which are
    shown follows from the names alone. One polarisation gives grey; summer, else the last season there is. Returns (H,
    W, 3) from 0 to 1.
    """
    if backscatter_db.ndim != 3 or len(channels) != len(backscatter_db):
        raise SardinoError(f"{len(channels)} channel names do not fit an array of {backscatter_db.shape}")
    # The preferred season last, so that it wins.
    ranked = sorted(enumerate(channels), key=lambda item: item[1].lower().startswith(PREFERRED_SEASON))
    place = {name.lower().rpartition("_")[2]: i for i, name in ranked}
    if not {"vv", "vh"} <= place.keys():
        return np.stack([_stretch(backscatter_db[place.get("vv", place.get("vh", 0))])] * 3, axis=-1)
    vv, vh = backscatter_db[place["vv"]], backscatter_db[place["vh"]]
    ratio = backscatter_db[place["vv-vh"]] if "vv-vh" in place else vv - vh
    return np.stack([_stretch(band) for band in (vv, vh, ratio)], axis=-1)


def class_image(index: Indices, legend: Legend) -> NDArray[np.float64]:
    """(H, W) class indices as (H, W, 3) in the legend's own colours; unlabelled pixels white."""
    colours = np.ones((256, 3)) * to_rgb(UNLABELLED)
    colours[: len(legend)] = [to_rgb(colour) for colour in legend.colors]
    return colours[index]


def class_handles(pairs: Iterable[tuple[Indices, Legend]]) -> list[Patch]:
    """Legend entries of the classes that occur in some maps, in their legends' order."""
    seen: dict[tuple[str, str], None] = {}
    pairs = list(pairs)
    for legend in {legend.name: legend for _, legend in pairs}.values():
        present = set(np.unique(np.concatenate([i.ravel() for i, own in pairs if own.name == legend.name])))
        seen |= {(c.name, c.color): None for i, c in enumerate(legend.classes) if i in present}
        if IGNORE in present:
            seen[("No label", UNLABELLED)] = None
    return [Patch(facecolor=colour, edgecolor=MUTED, linewidth=0.4, label=name) for name, colour in seen]


def bare(axes: Axes) -> Axes:
    """An image panel: no ticks, a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.4, color=MUTED)
    return axes


def not_available(axes: Axes, text: str = "not available") -> None:
    """A panel for what the data does not hold."""
    bare(axes).set_facecolor(PALE)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=7)


def heat(axes: Axes, values: Floats, limits: tuple[float, float] | None = None, **style: Any) -> Any:
    """A map of one quantity; by default stretched between its 2 % and 98 %."""
    low, high = limits or _limits(np.asarray(values, np.float64))
    return bare(axes).imshow(values, vmin=low, vmax=high, **style)


def scale_bar(axes: Axes, width_px: int, gsd_m: float) -> None:
    """A bar of a round length, about a third of the panel, inside its lower left corner."""
    third = width_px * gsd_m / 3
    power = 10.0 ** np.floor(np.log10(third))
    length_m = float(max(step * power for step in (1, 2, 5) if step * power <= third * (1 + 1e-9)))
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    font = FontProperties(family="DejaVu Sans", size=7)
    style = {"pad": 0.25, "borderpad": 0.25, "sep": 2, "label_top": True, "color": INK, "fontproperties": font}
    size = length_m / gsd_m
    bar = AnchoredSizeBar(axes.transData, size, text, "lower left", size_vertical=width_px / 60, **style)
    bar.patch.set(alpha=0.85, linewidth=0)
    axes.add_artist(bar)


def north_arrow(axes: Axes) -> None:
    """An arrow to the north of the tile's grid, in the upper right corner: rows of tiles run from north to south."""
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "va": "bottom"}
    box = {"boxstyle": "square,pad=0.25", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("N", (0.9, 0.97), (0, -20), **place, fontsize=7, color=INK, bbox=box, arrowprops=arrow)


def class_legend(
    figure: Figure, panels: Sequence[ClassPanel], inches: float | None = None, per_column: float = 1.6
) -> None:
    """The classes that occur, below all panels; numbered, and each number on its largest area, where it has room.

    Official colours of different classes are the same grey: a print needs the numbers.

    `inches`: side of a panel; None: without numbers. `per_column`: inches that a name of the legend takes.
    """
    handles = class_handles((index, legend) for _, index, legend in panels)
    if not handles:
        return
    columns = max(1, min(len(handles), round(figure.get_figwidth() / per_column)))
    style: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "columnspacing": 1.4}
    if inches is None:
        figure.legend(handles=handles, handlelength=1.4, **style)
        return
    numbers: dict[tuple[str, str], int] = {}
    for handle in handles:
        if (name := str(handle.get_label())) != "No label":
            numbers[name, to_hex(handle.get_facecolor())] = len(numbers) + 1
            handle.set_label(f"{len(numbers)} {name}")
    for axes, index, legend in panels:
        for place, each in enumerate(legend.classes):
            if number := numbers.get((each.name, to_hex(each.color))):
                _mark(axes, index == place, ROOM / inches, str(number), each.color)
    names = ", ".join(dict.fromkeys(legend.name for _, _, legend in panels))
    figure.legend(handles=handles, **style).set_title(names, {"size": 7.5})


def attention_scale(maps: Sequence[Floats]) -> LogNorm:
    """Colours of one head's maps, in all tiles alike: from their 2 % to their 98 %, an even spread always among them.

    `maps`: (h, w) each, relative to an even spread.
    """
    values = np.concatenate([np.ravel(each) for each in maps]).astype(np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = np.percentile(values, [2, 98]) if values.size else (1.0, 1.0)
    return LogNorm(min(float(low), 1 / LEAST), max(float(high), LEAST))


def draw_attention(axes: Axes, attention: Floats, scale: LogNorm) -> None:
    """One head's map of one tile."""
    bare(axes).imshow(np.maximum(attention, scale.vmin or 1e-9), norm=scale, cmap=CMAP)


def colour_bar(figure: Figure, drawn: ScalarMappable, axes: Axes, **style: Any) -> Colorbar:
    """The scale of what was drawn, in a panel of its own."""
    bar = figure.colorbar(drawn, cax=axes, **style)
    bar.outline.set_linewidth(0.4)
    axes.tick_params(length=2, pad=1.5)
    return bar


def attention_bar(
    figure: Figure, axes: Axes, bar: Axes, inches: float, upright: bool = True, alone: bool = True
) -> None:
    """The scale of a panel's map in a panel of its own; 1 is named as even.

    Args:
        axes: with a map that `draw_attention` drew.
        bar: where the scale goes.
        inches: its length.
        upright: beside the panels, else below them.
        alone: no panel of the row has another scale; else the ends have no numbers, which would not hold for all.
    """
    drawn = axes.images[0]
    long = colour_bar(figure, drawn, bar, orientation="vertical" if upright else "horizontal").long_axis
    low, high = float(drawn.norm.vmin or 1), float(drawn.norm.vmax or 1)
    # Even, and each end that is not too near to it.
    room = APART[upright] / inches * np.log(high / low)
    ticks = {low: _number(low)} if -np.log(low) > room else {}
    ticks |= {1.0: "1 = even" if upright else "1"}
    ticks |= {high: _number(high)} if np.log(high) > room else {}
    if not alone:
        ticks = {low: "least", high: "most"}
    long.set_major_locator(FixedLocator(list(ticks)))
    long.set_minor_locator(NullLocator())
    long.set_minor_formatter(NullFormatter())
    long.set_ticklabels(list(ticks.values()))
    bar.tick_params(labelsize=7)
    bar.set_box_aspect(8 if upright else 1 / 8)
    if upright or not alone:
        return
    bar.set_xlabel("1 = even", fontsize=7, labelpad=1)
    for tick, label in zip(ticks, bar.get_xticklabels(), strict=True):
        # Numbers at the ends stay within the panel's width, so that all columns are of one width.
        place = np.log(tick / low) / np.log(high / low) * inches
        label.set_horizontalalignment("left" if place < 0.15 else "right" if place > inches - 0.15 else "center")


def _number(value: float) -> str:
    return f"{value:.3g}" if 0.9 < value < 1.1 else f"{value:.2g}"


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, [2, 98])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _stretch(values: Floats) -> NDArray[np.float64]:
    low, high = _limits(np.asarray(values, np.float64))
    return np.where(np.isfinite(values), np.clip((values - low) / (high - low), 0, 1), 1.0)


def _mark(axes: Axes, mask: NDArray[np.bool_], room: float, text: str, colour: str) -> None:
    """The number at the point of a class that lies deepest in it."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    if depth[row, column] < room * mask.shape[1]:
        return
    lightness = float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))
    ink = "white" if lightness < 0.5 else "black"
    axes.text(float(column), float(row), text, ha="center", va="center_baseline", fontsize=7, color=ink)
