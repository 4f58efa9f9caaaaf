"""The options of an adoption: what a file of others' weights does not say of itself."""

from typing import Annotated, Literal

from pydantic import Field

from sardino.options import Count, Flag, Options

Origin = Literal["dino", "dinov2", "mae", "timm", "ssl4eo-s12", "torchgeo"]


class Adoption(Options):
    """Where weights come from, and what their input was."""

    origin: Annotated[
        Origin,
        "Who published the weights. Of Sentinel-1 (VV and VH in dB), ssl4eo-s12 and torchgeo bring what those say of "
        "their input; the rest is asked for.",
        Flag("--from"),
    ]
    channels: Annotated[
        tuple[str, ...],
        "What each input channel sees, in order, with commas: the names that bands of your scenes and tiles have.",
    ] = ()
    unit: Annotated[
        Literal["dB", "linear", "0..1"] | None,
        "Of the input before normalisation; 0..1 for values that were scaled, with --range. Only dB can be mapped.",
    ] = None
    value_range: Annotated[
        tuple[float, ...], "The two decibels that were made 0 and 1, as in -25,0.", Flag("--range")
    ] = ()
    mean: Annotated[tuple[float, ...], "Of each channel, with commas, or one for all: subtracted from the input."] = ()
    std: Annotated[tuple[float, ...], "Of each channel, or one for all: what the rest is divided by."] = ()
    heads: Annotated[
        Count | None,
        "Attention heads; no weight shows them. By default those of ViT-Tiny to ViT-Huge by their width; MoCo v3's "
        "ViT-Small has 12.",
    ] = None
    tile_px: Annotated[
        Count | None,
        "Side of the images it is to take, in pixels: positions are interpolated. As trained by default.",
        Flag("--tile"),
    ] = None
    take: Annotated[str, "Part of the name of the ViT to take, where a file holds several; else the teacher."] = ""
    gsd_m: Annotated[float | None, Field(gt=0), "Pixel size that it was trained on, in metres."] = None
    product: Annotated[str, "What it was trained on, in words, for its page."] = ""
    licence: Annotated[str, "Of the weights, for their page: they keep it."] = ""
