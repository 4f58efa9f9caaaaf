"""A scene of the synthetic world as a GeoTIFF, for trying what takes a scene; and its labels."""

import math
from contextlib import ExitStack
from pathlib import Path

from sardino.data.rasters.geotiff import GeoTiff, write_geotiff
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.tile import Progress
from sardino.errors import SardinoError

PIECE_PX = 448
"""Side of what is simulated at once."""
UNLABELLED = 0


def write_scene(
    world: World,
    region: str,
    path: Path,
    shape: tuple[int, int],
    *,
    labels: Path | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> None:
    """Write the 12 channels of a rectangle of land, in dB, and beside it the land cover that is there.

    Args:
        region: "europe", "conus" or "china"; the rectangle begins at its origin.
        path: .tif file to make, float32, NaN where missing.
        shape: (rows, columns) in pixels of 10 m.
        labels: .tif file of WorldCover codes to make as well.

    Raises:
        SardinoError: an unknown region, an empty rectangle, or an unwritable path.
    """
    if min(shape) < 1:
        raise SardinoError(f"a scene of {shape[1]} x {shape[0]} pixels is empty")
    rows, columns = (math.ceil(side / PIECE_PX) for side in shape)
    pieces = world.tiles(region, PIECE_PX, columns, rows)
    facts = world.metadata()
    tags = {name: str(facts[name]) for name in ("product", "synthetic", "seed", "unit", "quantity")}
    corner = pieces[0].transform
    what = GeoTiff(pieces[0].crs, corner, shape, CHANNELS, "float32", math.nan, {}, tags)
    colours = dict(zip(WORLDCOVER.codes, WORLDCOVER.colors, strict=True))
    cover = GeoTiff(pieces[0].crs, corner, shape, ["label"], "uint8", UNLABELLED, colours, tags)
    with ExitStack() as stack:
        scene = stack.enter_context(write_geotiff(path, what, overwrite))
        land = stack.enter_context(write_geotiff(labels, cover, overwrite)) if labels is not None else None
        for piece in progress(pieces):
            chip = world.chip(piece)
            row = round((piece.transform[5] - corner[5]) / corner[4])
            column = round((piece.transform[2] - corner[2]) / corner[0])
            scene.lay(chip.backscatter_db, row, column)
            if land is not None:
                land.lay(WORLDCOVER.decode(chip.label, UNLABELLED)[None], row, column)
