"""`sardino world` and `sardino scene`: the synthetic world as a tile store, and as a scene."""

from pathlib import Path
from typing import Annotated

import typer

from sardino.errors import SardinoError


def world(
    out: Annotated[Path, typer.Argument(help="Folder of the tile store to make; must not exist.")],
    region: Annotated[list[str] | None, typer.Option(help="europe, conus or china; repeat for more.")] = None,
    tiles: Annotated[str, typer.Option(help="Columns x rows of tiles per region.")] = "8x8",
    tile_px: Annotated[int, typer.Option(min=16, help="Pixels per side at 10 m; the paper's tiles have 448.")] = 96,
    bands: Annotated[int, typer.Option(min=5, help="Geographic bands of the 60/20/20 split; 60 in the paper.")] = 20,
    angle: Annotated[float, typer.Option(help="Direction of the bands, degrees from east.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another geography.")] = 0,
    composite: Annotated[str, typer.Option(help="Of a season's dates: mean of power, or median (slower).")] = "mean",
    gaps: Annotated[bool, typer.Option("--gaps", help="With frames and borders that a season lacks.")] = False,
    zstd: Annotated[bool, typer.Option("--zstd", help="A smaller store that reads slower.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 2,
) -> None:
    """Make a tile store of the synthetic world.

    Twelve seasonal Sentinel-1 channels in dB, land-cover labels and reference layers; read it with
    sardino.data.tiles.write_store.TileStore.open(OUT), or with xarray: xarray.open_zarr("OUT/tiles.zarr").
    """
    from tqdm import tqdm

    from sardino.data.sources.world.synthetic import World
    from sardino.data.tiles.landcover import WORLDCOVER
    from sardino.data.tiles.radiometry import CHANNELS
    from sardino.data.tiles.write_store import write_store
    from sardino.study.preparation import split_regions

    columns, _, rows = tiles.partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and int(columns) and int(rows)):
        raise SardinoError(f"--tiles takes columns x rows, for example 8x8, not '{tiles}'")
    if composite not in ("mean", "median"):
        raise SardinoError(f"--composite is mean or median, not '{composite}'")
    source = World(seed=seed, composite=composite, gaps=gaps)  # type: ignore[arg-type]
    grid = [t for name in region or ["europe"] for t in source.tiles(name, tile_px, int(columns), int(rows))]
    splits, band = split_regions(grid, bands, angle)
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
        progress=lambda numbers: tqdm(numbers, total=len(grid), unit="tile"),
    )
    typer.echo(store)


def synthetic_scene(
    out: Annotated[Path, typer.Argument(help="GeoTIFF to make (.tif).")],
    size: Annotated[str, typer.Option(help="Columns x rows of pixels of 10 m.")] = "960x720",
    region: Annotated[str, typer.Option(help="europe, conus or china.")] = "europe",
    seed: Annotated[
        int, typer.Option(min=0, help="Another seed is another geography; the built-in model knows 0.")
    ] = 1,
    labels: Annotated[Path | None, typer.Option(help="Also write the land cover that is there (.tif).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Write a scene of the synthetic world, to try `sardino attend` and `sardino map` on.

    Twelve seasonal channels in decibels, as a scene of yours must have them. No pixel was ever measured.
    """
    from sardino.data.sources.world.scene import write_scene
    from sardino.data.sources.world.synthetic import World
    from sardino.progress import track

    columns, _, rows = size.partition("x")
    if not (columns.isdecimal() and rows.isdecimal()):
        raise SardinoError(f"--size takes columns x rows, for example 960x720, not '{size}'")
    write_scene(
        World(seed=seed),
        region,
        out,
        (int(rows), int(columns)),
        labels=labels,
        overwrite=overwrite,
        progress=lambda pieces: track(pieces, len(list(pieces)), out.name),
    )
    for path in (out, *([labels] if labels else [])):
        typer.echo(path)
