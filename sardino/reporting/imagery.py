"""Arrays as pictures: SAR composites, class colours, legends, scale bars."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.reporting.style import INK, MUTED, PALE
from sardino.tiles.landcover import IGNORE, Legend

PREFERRED_SEASON = "summer"
UNLABELLED = "#FFFFFF"


def sar_composite(backscatter_db: NDArray[np.floating], channels: Sequence[str]) -> NDArray[np.float64]:
    """SAR for the eye: red VV, green VH, blue VV-VH of one season, each stretched between its 2 % and 98 %.

    Args:
        backscatter_db: (C, H, W) dB, NaN where missing (drawn white).
        channels: names of the C channels; which are shown follows from the names alone. One polarisation
            gives grey; summer, else the last season there is.

    Returns:
        (H, W, 3) from 0 to 1.
    """
    if backscatter_db.ndim != 3 or len(channels) != len(backscatter_db):
        raise SardinoError(f"{len(channels)} channel names do not fit an array of {backscatter_db.shape}")
    place = {_polarisation(name): i for i, name in sorted(enumerate(channels), key=lambda item: _rank(item[1]))}
    vv, vh = place.get("vv"), place.get("vh")
    if vv is None or vh is None:
        only = vv if vv is not None else vh if vh is not None else 0
        grey = _stretch(backscatter_db[only])
        return np.stack([grey] * 3, axis=-1)
    ratio = backscatter_db[place["vv-vh"]] if "vv-vh" in place else backscatter_db[vv] - backscatter_db[vh]
    return np.stack([_stretch(backscatter_db[vv]), _stretch(backscatter_db[vh]), _stretch(ratio)], axis=-1)


def class_image(index: NDArray[np.uint8], legend: Legend) -> NDArray[np.float64]:
    """(H, W) class indices as (H, W, 3) in the legend's own colours; unlabelled pixels white."""
    colours = np.ones((256, 3)) * to_rgb(UNLABELLED)
    colours[: len(legend)] = [to_rgb(colour) for colour in legend.colors]
    return colours[index]


def class_handles(pairs: Iterable[tuple[NDArray[np.uint8], Legend]]) -> list[Patch]:
    """Legend entries of the classes that occur in some maps, in their legends' order."""
    seen: dict[tuple[str, str], None] = {}
    pairs = list(pairs)
    for legend in {legend.name: legend for _, legend in pairs}.values():
        present = set(np.unique(np.concatenate([i.ravel() for i, own in pairs if own.name == legend.name])))
        seen |= {(c.name, c.color): None for i, c in enumerate(legend.classes) if i in present}
        if IGNORE in present:
            seen[("No label", UNLABELLED)] = None
    return [Patch(facecolor=colour, edgecolor=MUTED, linewidth=0.4, label=name) for name, colour in seen]


def class_legend(figure: Figure, pairs: Iterable[tuple[NDArray[np.uint8], Legend]]) -> None:
    """The classes that occur, below all panels."""
    handles = class_handles(pairs)
    if handles:
        columns = max(1, min(len(handles), round(figure.get_figwidth() / 1.5)))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=1.4, columnspacing=1.4)


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
    axes.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, fontsize=7)


def heat(axes: Axes, values: NDArray[np.floating], limits: tuple[float, float] | None = None, **style: Any) -> Any:
    """A map of one quantity; by default stretched between its 2 % and 98 %."""
    low, high = limits or _limits(np.asarray(values, np.float64))
    return bare(axes).imshow(values, vmin=low, vmax=high, **style)


def scale_bar(axes: Axes, width_px: int, gsd_m: float) -> None:
    """A bar of a round length, about a third of the panel, inside its lower left corner."""
    length_m = _round_length(width_px * gsd_m / 3)
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    bar = AnchoredSizeBar(
        axes.transData,
        length_m / gsd_m,
        text,
        "lower left",
        pad=0.25,
        borderpad=0.25,
        sep=2,
        label_top=True,
        color=INK,
        size_vertical=width_px / 60,
        fontproperties=FontProperties(family="DejaVu Sans", size=7),
    )
    bar.patch.set(alpha=0.85, linewidth=0)
    axes.add_artist(bar)


def tight(figure: Figure, rows: float = 0.04, columns: float = 0.03) -> None:
    """Panels close together; inches between them."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=rows, w_pad=columns, hspace=0.0, wspace=0.0)


def _polarisation(channel: str) -> str:
    return channel.lower().rpartition("_")[2]


def _rank(channel: str) -> int:
    """The preferred season last, so that it wins."""
    return int(channel.lower().startswith(PREFERRED_SEASON))


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, [2, 98])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _stretch(values: NDArray[np.floating]) -> NDArray[np.float64]:
    low, high = _limits(np.asarray(values, np.float64))
    return np.where(np.isfinite(values), np.clip((values - low) / (high - low), 0, 1), 1.0)


def _round_length(metres: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not longer."""
    power = 10.0 ** np.floor(np.log10(metres))
    return float(max(step * power for step in (1, 2, 5) if step * power <= metres * (1 + 1e-9)))
