"""The figures of a report: published files, made small enough to send, with a caption and words for who cannot see."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sardino.errors import SardinoError

COLOURS = 256
"""A palette holds the flat colours of maps and legends exactly, at a third of the size."""

TOLD = {
    "fig1": (
        "The pipeline: backscatter to self-supervised pre-training, to land-cover maps, to tables.",
        "Diagram of the pipeline: tiles, pre-training, fine-tuning, evaluation.",
    ),
    "fig2": (
        "Backscatter, three attention heads, the maps predicted from attention alone and from backscatter with "
        "attention, and the reference. The first heads and tiles are shown, not the best.",
        "Grid of example tiles: radar image, attention maps, two predicted land-cover maps, reference map.",
    ),
    "fig3": (
        "Tiles of each region, coloured by split. Splits are geographic bands, so that neighbours stay together.",
        "Maps of tiles by region; bands of training, validation and test tiles alternate.",
    ),
    "fig4": (
        "Land cover of example test tiles, in the legend's own colours. Tiles were chosen by hash, not by eye.",
        "Grid of small land-cover maps with the legend of their classes.",
    ),
    "fig5": (
        "Attention of the pre-trained backbone beside other views of the same places. The first heads are shown, and "
        "tiles chosen by hash.",
        "Grid of example tiles: radar image, attention maps, and reference layers such as land cover.",
    ),
    "attention_scores": (
        "What each head sees: how much more clearly its map separates the patches of a tile, by class or amount, than "
        "the best of three maps that cannot have seen it. Hatched where the 95 % interval does not lie above 0.",
        "Grid of attention heads by land-cover classes and layers; shade and number tell the score beyond its nulls.",
    ),
    "fig2_heads": (
        "Figure 2 with every head of its backbone.",
        "Grid of example tiles: radar image, all attention maps, two predicted land-cover maps, reference map.",
    ),
    "fig5_heads": (
        "Every head of the backbone, attention rolled out through all its blocks, and its tokens' main directions as "
        "red, green and blue, beside the other views.",
        "Grid of example tiles: radar image, all attention maps, rollout, tokens as colours, and reference layers.",
    ),
    "label_efficiency": (
        "mIoU over the number of labelled tiles, arm by arm, with 95 % intervals; below, the paper's values.",
        "Curves that rise with the number of labels, one per arm; a second row shows the paper's.",
    ),
    "pretraining": (
        "One line for each backbone: the loss, and the signs that it has not collapsed.",
        "Curves over pre-training steps: loss, entropies and the spread of the outputs.",
    ),
    "realism": (
        "The synthetic world measured beside Sentinel-1: levels, speckle and correlation.",
        "Pairs of radar images with histograms of backscatter and curves of correlation.",
    ),
}
"""Per file stem, in the order of a report: caption and alternative text."""


@dataclass(frozen=True)
class Illustration:
    """One figure of a report.

    Args:
        stem: name of its file.
        png: the image with at most 256 colours.
        alt: what it shows, for a reader who cannot see it.
        caption: Markdown, to stand below it.
    """

    stem: str
    png: bytes
    alt: str
    caption: str


def illustrations(folder: Path) -> list[Illustration]:
    """The published figures of a profile, in reading order; those this module does not know come last.

    Args:
        folder: for example figures/laptop. A part, as pretraining-europe is of pretraining, is left out.

    Raises:
        SardinoError: a file is no image.
    """
    stems = {path.stem for path in folder.glob("*.png") if not path.name.startswith(".")}
    known = [stem for stem in TOLD if stem in stems]
    others = sorted(stem for stem in stems - set(known) if stem.partition("-")[0] not in TOLD)
    shown = []
    for stem in [*known, *others]:
        name = stem.replace("_", " ").replace("-", " ").capitalize()
        if stem.startswith("fig"):  # the paper's number
            number, _, part = stem[3:].partition("_")
            name = f"Figure {number}, all {part}" if part else f"Figure {number}"
        caption, alt = TOLD.get(stem, ("", name))
        shown.append(Illustration(stem, _small(folder / f"{stem}.png"), alt, f"**{name}.** {caption}".rstrip()))
    return shown


def _small(path: Path) -> bytes:
    """The image with a palette of its own, as PNG."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            reduced = image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    except OSError as error:
        raise SardinoError(f"{path} is not an image ({error}): make the profile's figures again") from error
    reduced.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
