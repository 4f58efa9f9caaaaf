"""Figure 1: the pipeline, from radar tiles to land-cover maps; and the views that DINO's networks see of a tile."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from sardino.errors import SardinoError
from sardino.reporting.figures.panels import Floats, sar_composite
from sardino.reporting.figures.style import INK, MUTED, PALETTE, WIDTH, new_figure, styled
from sardino.reporting.record import provenance

BLUE, ORANGE, GREEN, PINK = PALETTE[:4]
Point = tuple[float, float]


@styled
def draw_pipeline() -> Figure:
    """Self-supervised pre-training above, the two routes of fine-tuning below (paper, Figure 1)."""
    figure = new_figure(7.2, 4.5)
    axes = figure.subplots()
    axes.set(xlim=(-0.5, 100.5), ylim=(0, 62))
    axes.axis("off")
    _pretraining(axes)
    _finetuning(axes)
    return figure


def _pretraining(axes: Axes) -> None:
    axes.text(0, 60.5, "1  Pre-training without labels (DINO)", fontsize=9, fontweight="bold", color=INK)
    _box(axes, 0, 38, 15, 12, "Sentinel-1 tile\n4 seasons x\nVV, VH, VV-VH\n12 channels", MUTED)
    _box(axes, 21, 46.5, 15, 8.5, "2 large crops\nflip", BLUE)
    _box(axes, 21, 33, 15, 8.5, "small crops\nflip", BLUE)
    _arrow(axes, (15, 46), (21, 50.5))
    _arrow(axes, (15, 42), (21, 37.5))
    _box(axes, 43, 46.5, 17, 8.5, "Teacher\nViT + head", ORANGE)
    _box(axes, 43, 33, 17, 8.5, "Student\nViT + head", GREEN)
    _arrow(axes, (36, 51), (43, 51))
    _arrow(axes, (36, 37), (43, 37))
    _arrow(axes, (36, 48.5), (43, 40.5))
    _arrow(axes, (49, 41.5), (49, 46.5), color=ORANGE, dashed=True)
    axes.text(50, 43.9, "moving average", fontsize=7, color=ORANGE, va="center")
    _box(axes, 66, 46.5, 15, 8.5, "centre, sharpen\nsoftmax", ORANGE)
    _box(axes, 66, 33, 15, 8.5, "softmax", GREEN)
    _arrow(axes, (60, 51), (66, 51))
    _arrow(axes, (60, 37), (66, 37))
    _box(axes, 86, 38.5, 14, 11, "cross-entropy\nbetween\ndifferent views", PINK)
    _arrow(axes, (81, 50), (86, 46.5))
    _arrow(axes, (81, 38), (86, 41.5))
    axes.text(73.5, 56, "no gradient", fontsize=7, color=MUTED, ha="center")


def _finetuning(axes: Axes) -> None:
    axes.axhline(30, color="#DDDDDD", linewidth=0.8)
    axes.text(0, 26.5, "2  Fine-tuning on few labels", fontsize=9, fontweight="bold", color=INK)
    _box(axes, 0, 8, 15, 10, "Sentinel-1 tile", MUTED)
    _box(axes, 22, 8, 16, 10, "pre-trained ViT\nfrozen or not", GREEN)
    _arrow(axes, (15, 13), (22, 13))
    _arrow(axes, (53, 33), (32, 18), color=GREEN, dashed=True)
    _box(axes, 45, 15.5, 18, 8.5, "attention maps\none per head", BLUE)
    _box(axes, 45, 2, 18, 8.5, "patch tokens, without\nthe class token", BLUE)
    _arrow(axes, (38, 15), (45, 19.5))
    _arrow(axes, (38, 11), (45, 6.5))
    _box(axes, 69, 15.5, 12, 8.5, "U-Net", PINK)
    _box(axes, 69, 2, 12, 8.5, "convolutional\ndecoder", PINK)
    _arrow(axes, (63, 19.7), (69, 19.7))
    _arrow(axes, (63, 6.2), (69, 6.2))
    _box(axes, 87, 8, 13, 10, "land cover\nof each pixel", MUTED)
    _arrow(axes, (81, 19.5), (87, 15.5))
    _arrow(axes, (81, 6.5), (87, 10.5))


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, color: str) -> None:
    """A rounded box with its lower left corner at (x, y); a pale fill keeps the text legible in grey print."""
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=1.2", linewidth=1.1)
    shape.set(edgecolor=color, facecolor=to_rgba(color, 0.10))
    axes.add_patch(shape)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=7.5, color=INK, linespacing=1.25)


def _arrow(axes: Axes, start: Point, end: Point, color: str = MUTED, dashed: bool = False) -> None:
    style = {"linestyle": (0, (4, 2)) if dashed else "solid", "linewidth": 1.0, "color": color}
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, shrinkA=0, shrinkB=0, **style))


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
