"""How every figure looks and how it is saved: one type size range, one palette, the same bytes each time."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from sardino.data.tiles.landcover import Legend
from sardino.files import read_toml, whole

WIDTH = 7.2  # inches: the text width of an A4 page
STYLE: dict[str, Any] = read_toml(Path(__file__).with_suffix(".toml"))
# Okabe and Ito's colours, told apart with any colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, MUTED, PALE = "#222222", "#6B6B6B", "#F1F1F1"
styled = rc_context(STYLE)  # decorator of every drawing function: global settings stay as the caller has them


@dataclass(frozen=True)
class Preview:
    """A small PNG of a figure that a notebook shows as a cell's last value, whatever the plotting backend."""

    png: bytes = field(repr=False)  # or notebooks would hold it as text once more

    def _repr_png_(self) -> bytes:
        return self.png


def new_figure(width: float = WIDTH, height: float = 4.0) -> Figure:
    """An empty figure in inches, laid out so that nothing overlaps, not registered anywhere."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write <stem>.png (200 dpi) and <stem>.pdf, each whole or not at all and without a date."""
    written = []
    for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Creator": "sardino"})):
        path = folder / f"{stem}.{suffix}"
        with whole(path) as partial, rc_context(STYLE):
            figure.savefig(partial, dpi=200, format=suffix, metadata=metadata)
        written.append(path)
    return written


def preview(figure: Figure, dpi: int = 90) -> Preview:
    """The figure for a notebook, small enough to commit."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, dpi=dpi, format="png", metadata={"Software": None})
    return Preview(buffer.getvalue())


def captioned(title: str, legends: Iterable[Legend | None]) -> str:
    """The title of a figure with maps; it names derived labels even where its writer forgot to."""
    if any(legend is not None and legend.derived for legend in legends) and "derived" not in title.lower():
        return f"{title} (derived labels)"
    return title
