"""Figure 1: the pipeline, from radar tiles to land-cover maps; and the views that DINO's networks see of a tile."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from sardino.errors import SardinoError
from sardino.files import read_toml
from sardino.reporting.figures.panels import Floats, sar_composite
from sardino.reporting.figures.style import INK, MUTED, PALETTE, WIDTH, new_figure, styled
from sardino.reporting.record import provenance

COLOURS = dict(zip(("blue", "orange", "green", "pink"), PALETTE, strict=False)) | {"grey": MUTED, "ink": INK}


@styled
def draw_pipeline() -> Figure:
    """Self-supervised pre-training above, the two routes of fine-tuning below (paper, Figure 1)."""
    figure = new_figure(7.2, 4.5)
    axes = figure.subplots()
    axes.set(xlim=(-0.5, 100.5), ylim=(0, 62))
    axes.axis("off")
    axes.axhline(30, color="#DDDDDD", linewidth=0.8)
    drawn = read_toml(Path(__file__).with_suffix(".toml"))
    for x, y, width, height, colour, text in drawn["boxes"]:
        _box(axes, x, y, width, height, text, COLOURS[colour])
    for start, end, colour, stroke in drawn["arrows"]:
        dashes = (0, (4, 2)) if stroke == "dashed" else "solid"
        style = {"arrowstyle": "-|>", "mutation_scale": 8, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.0}
        axes.add_patch(FancyArrowPatch(start, end, color=COLOURS[colour], linestyle=dashes, **style))
    for x, y, text, style in drawn["texts"]:
        axes.text(x, y, text, **{**style, "color": COLOURS[style.get("color", "ink")]})
    return figure


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, color: str) -> None:
    """A rounded box with its lower left corner at (x, y); a pale fill keeps the text legible in grey print."""
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=1.2", linewidth=1.1)
    shape.set(edgecolor=color, facecolor=to_rgba(color, 0.10))
    axes.add_patch(shape)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=7.5, color=INK, linespacing=1.25)


@styled
def draw_views(
    tile_db: Floats, large: Sequence[Floats], small: Sequence[Floats], channels: Sequence[str], *, synthetic: bool
) -> Figure:
    """The tile, its large views (student and teacher) and its small ones (student alone), at one scale of pixels.

    Args:
        tile_db: (C, H, W) dB.
        large, small: (C, h, w) views; normalised or not, as each picture is stretched by itself (paper, section 2).
        synthetic: whether the tile is of the synthetic world.
    """
    if not large:
        raise SardinoError("there is no view to draw: a recipe has at least one global crop")
    pictures = [("tile", tile_db), *(("student, teacher", v) for v in large), *(("student", v) for v in small)]
    shares = [picture.shape[-1] for _, picture in pictures]
    figure = new_figure(WIDTH, 0.45 + (WIDTH - 0.3) * max(shares) / (sum(shares) + 4 * len(shares)))
    figure.suptitle(f"One tile and its views ({provenance(synthetic=synthetic)})")
    panels = figure.subplots(1, len(pictures), width_ratios=shares, squeeze=False)[0]
    for axes, (title, picture) in zip(panels, pictures, strict=True):
        axes.imshow(sar_composite(picture, channels), interpolation="nearest")
        axes.set_title(title, fontsize=7)
        axes.set_anchor("N")
        axes.set_axis_off()
    return figure
