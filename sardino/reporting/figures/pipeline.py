"""Figure 1: the pipeline, from radar tiles to land-cover maps, drawn by code."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from sardino.reporting.figures.style import INK, MUTED, PALETTE, new_figure, styled

BLUE, ORANGE, GREEN, PINK = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3]
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
    shape.set(edgecolor=color, facecolor=(*_rgb(color), 0.10))
    axes.add_patch(shape)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=7.5, color=INK, linespacing=1.25)


def _arrow(axes: Axes, start: Point, end: Point, color: str = MUTED, dashed: bool = False) -> None:
    style = (0, (4, 2)) if dashed else "solid"
    arrow = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        mutation_scale=8,
        linewidth=1.0,
        color=color,
        linestyle=style,
        shrinkA=0,
        shrinkB=0,
    )
    axes.add_patch(arrow)


def _rgb(color: str) -> tuple[float, float, float]:
    return int(color[1:3], 16) / 255, int(color[3:5], 16) / 255, int(color[5:7], 16) / 255
