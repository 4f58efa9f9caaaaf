"""The job: one map of one scene, with the options that code and the command line give it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sardino.dino.recipe import Network, Precision
from sardino.options import Count, Flag, Options

ATTENTION, LANDCOVER, CONFIDENCE, EMBEDDING = "attention", "landcover", "confidence", "embedding"
"""The rasters of a map, by name."""
Unit = Literal["db", "linear", "amplitude"]


class Reading(Options):
    """What a scene's file does not say, and whether it may be warped."""

    channels: Annotated[
        tuple[str, ...], "Names of the scene's bands in order, with commas; else those in the file."
    ] = ()
    unit: Annotated[Unit | None, "Of the bands, where the file does not say (linear is power); made decibels."] = None
    crs: Annotated[str, "Of a scene that states none, for example EPSG:32631."] = ""
    warp: Annotated[
        bool,
        "Read a scene of another grid (degrees, another pixel size, rotated, ground control points) on a metric one of "
        "the model's pixel size, on which the map then lies.",
    ] = False


class Job(Reading):
    """One map of one scene, as it can be sent to another machine."""

    scene: Annotated[Path, "GeoTIFF, VRT or any raster of GDAL; NetCDF (.nc) or Zarr folder."]
    out: Annotated[Path, "Map to make (.tif; embeddings also .zarr)."]
    kind: Literal["attention", "landcover", "embedding"]
    model: Annotated[Path, "Folder of a backbone or segmenter."]
    network: Annotated[Network, "Of a pre-training."] = "teacher"
    block: Annotated[int, "Block of the ViT, from 0; -1 is the last."] = -1
    full_size: Annotated[bool, "At the scene's pixels (bilinear), not one value a patch."] = False
    confidence: Annotated[
        Path | None, "Also the probability of the class shown, in percent (.tif; a folder for several)."
    ] = None
    components: Annotated[Count | None, "So many principal components, not all dimensions of the tokens."] = None
    fit: Annotated[
        Path | None,
        "Where the model's folder keeps no principal components: the tile store on whose training tiles they are "
        "fitted, kept beside the output; or a file so kept (.safetensors), for the same axes again.",
    ] = None
    dtype: Annotated[
        Literal["float16", "int8"], "Of a raster; int8 is half as large, with a scale and offset for each band (.tif)."
    ] = "float16"
    per: Annotated[Literal["tile", "patch"], "Row of a table: a tile, the mean of its patches, or a patch."] = "tile"
    window_px: Annotated[
        Count | None,
        "In pixels. By default the side of the model's tiles; for attention at least 448, or what a smaller scene has.",
        Flag("--window"),
    ] = None
    overlap_px: Annotated[
        int | None,
        Field(ge=0),
        "Pixels that windows share, where they are blended and attention is aligned; a third by default. More: fainter "
        "seams, slower.",
        Flag("--overlap"),
    ] = None
    batch: Annotated[
        Count | None,
        "Windows at once, on a CPU in each thread; fewer take less memory, more fill a GPU. By default "
        "64 on a GPU and 8 on a CPU, there fewer of windows larger than 96 px.",
    ] = None
    device: Annotated[Literal["cuda", "mps", "cpu"] | None, "The best there is by default."] = None
    threads: Annotated[Count | None, "CPU threads; by default all cores it may use."] = None
    precision: Annotated[
        Precision,
        "auto is bfloat16 on processors and GPUs that have it, which is faster; float32 gives the same "
        "map on every machine, but for the last digits.",
    ] = "auto"
    overwrite: Annotated[bool, "Replace maps that exist; throw away unfinished ones and begin anew."] = False

    @property
    def targets(self) -> dict[str, Path]:
        """The files to make, by the name of their raster; the one that says that all is finished comes last."""
        if self.kind != "landcover":
            return {self.kind: self.out}
        return {**({CONFIDENCE: self.confidence} if self.confidence else {}), LANDCOVER: self.out}
