"""`sardino world`, `scene` and `import`: tile stores and a scene without a download, made or from files in hand."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, echo

from sardino.cli.flags import AngleOption, DirectionOption, OverwriteOption, columns_and_rows, shown

StoreArgument = Annotated[Path, Argument(help="Folder of the tile store to make; must not exist.")]
TilePxOption = Annotated[int, Option(min=16, help="Pixels per side of a tile; the paper's tiles have 448, of 10 m.")]
BandsOption = Annotated[int, Option(min=5, help="Geographic bands of the 60/20/20 split; 60 in the paper.")]


def world(
    out: StoreArgument,
    region: Annotated[list[str] | None, Option(help="europe, conus or china; repeat for more.")] = None,
    tiles: Annotated[str, Option(help="Columns x rows of tiles per region.")] = "8x8",
    tile_px: TilePxOption = 96,
    bands: BandsOption = 20,
    direction: DirectionOption = 30.0,
    seed: Annotated[int, Option(min=0, help="Another seed is another geography.")] = 0,
    composite: Annotated[
        Literal["mean", "median"], Option(help="Of a season's dates: mean of power, or median (slower).")
    ] = "mean",
    gaps: Annotated[bool, Option("--gaps", help="With frames and borders that a season lacks.")] = False,
    zstd: Annotated[bool, Option("--zstd", help="A smaller store that reads slower.")] = False,
    workers: Annotated[int, Option(min=1, help="Threads.")] = 2,
    angle: AngleOption = None,
) -> None:
    """Make a tile store of the synthetic world.

    Twelve seasonal Sentinel-1 channels in dB, land-cover labels and reference layers; read it with
    sardino.data.tiles.store.TileStore.open(OUT), or with xarray: xarray.open_zarr("OUT/tiles.zarr").
    """
    from sardino.data.sources.world.synthetic import World
    from sardino.data.tiles.landcover import WORLDCOVER
    from sardino.data.tiles.radiometry import CHANNELS
    from sardino.data.tiles.write_store import write_store
    from sardino.study.preparation import split_regions

    columns, rows = columns_and_rows(tiles, "--tiles", "8x8")
    source = World(seed=seed, composite=composite, gaps=gaps)
    grid = [tile for name in region or ["europe"] for tile in source.tiles(name, tile_px, columns, rows)]
    splits, band = split_regions(grid, bands, direction if angle is None else angle)
    facts = source.metadata()
    store = write_store(
        out,
        grid,
        splits,
        lambda number: source.chip(grid[number]),
        channels=CHANNELS,
        legend=WORLDCOVER,
        product=facts["product"],
        synthetic=True,
        metadata=facts,
        bands=band,
        compression="zstd" if zstd else "none",
        workers=workers,
        progress=shown("tiles"),
    )
    echo(store)


def synthetic_scene(
    out: Annotated[Path, Argument(help="GeoTIFF to make (.tif).")],
    size: Annotated[str, Option(help="Columns x rows of pixels of 10 m.")] = "960x720",
    region: Annotated[str, Option(help="europe, conus or china.")] = "europe",
    seed: Annotated[int, Option(min=0, help="Another seed is another geography; the built-in model knows 0.")] = 1,
    labels: Annotated[Path | None, Option(help="Also write the land cover that is there (.tif).")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a scene of the synthetic world, to try `sardino attend` and `sardino map` on.

    Twelve seasonal channels in decibels, as a scene of yours must have them. No pixel was ever measured.
    """
    from sardino.data.sources.world.scene import write_scene
    from sardino.data.sources.world.synthetic import World

    columns, rows = columns_and_rows(size, "--size", "960x720")
    shape, progress = (rows, columns), shown(out.name)
    write_scene(World(seed=seed), region, out, shape, labels=labels, overwrite=overwrite, progress=progress)
    for path in (out, *([labels] if labels else [])):
        echo(path)


def import_chips(
    spec: Annotated[str, Argument(help="What the files are: a built-in folder spec or a .toml file of yours.")],
    folder: Annotated[Path, Argument(help="Folder that holds the chips' files.")],
    out: StoreArgument,
    tile_px: TilePxOption = 96,
    bands: BandsOption = 20,
    direction: DirectionOption = 30.0,
    angle: AngleOption = None,
) -> None:
    """Make a tile store of a folder of real chips.

    The spec says which file holds which channel, in which unit, and where labels come from;
    copy one of the built-in ones (sardino/data/sources/folder/specs/) to describe chips of your own.
    """
    from sardino.data.sources.folder.source import import_folder
    from sardino.data.sources.folder.specification import FolderSpec

    described, direction = FolderSpec.load(spec), direction if angle is None else angle
    echo(import_folder(folder, described, out, tile_px, bands, direction, progress=shown("tiles")))
