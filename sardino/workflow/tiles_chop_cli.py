"""`sardino tiles chop`: scenes, interferograms and seasonal coherence cut into tiles, from files in hand."""

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from sardino.errors import SardinoError
from sardino.workflow.tiles_cli import app

TableArgument = Annotated[Path, typer.Argument(help="Tile table (.parquet or .geojson) from `sardino tiles grid`.")]
OutArgument = Annotated[Path, typer.Argument(help="Folder of the files to make; a run that was stopped goes on there.")]
ResolutionOption = Annotated[
    float | None, typer.Option(help="Pixel size in units of the tile's CRS; about that of the source by default.")
]
_MOST_NAMED = 20


@app.command()
def chop(
    table: TableArgument,
    source: Annotated[
        Path, typer.Argument(help="Scene: .tif, .nc or .zarr; or a folder of GUNW granules or of GSSIC files.")
    ],
    out: OutArgument,
    lat: Annotated[str, typer.Option(help="Name of the latitude (or y) coordinate, where CF does not tell.")] = "",
    lon: Annotated[str, typer.Option(help="Name of the longitude (or x) coordinate.")] = "",
    crs: Annotated[str, typer.Option(help="Of a scene that states none.")] = "",
    group: Annotated[str, typer.Option(help="Group inside a NetCDF file.")] = "",
    variable: Annotated[list[str] | None, typer.Option(help="Of the scene, all by default; repeat for more.")] = None,
    kind: Annotated[
        str, typer.Option(help="What pixels mean: classes, db, amplitude or values; told from the file by default.")
    ] = "",
    nodata: Annotated[float | None, typer.Option(help="Value that is missing, where the file does not say.")] = None,
    resolution: ResolutionOption = None,
    tile_grid: Annotated[bool, typer.Option("--tile-grid", help="Take the tile's own pixels instead.")] = False,
    start: Annotated[str, typer.Option(help="Interferograms from this date, YYYY-MM-DD.")] = "",
    end: Annotated[str, typer.Option(help="Interferograms up to this date.")] = "",
    max_days: Annotated[int | None, typer.Option(help="Interferograms of dates at most so far apart.")] = None,
) -> None:
    """Cut a scene into tiles, one file a tile (sartiles: chop, gunw, gssic).

    Writes <tile id>.tif from GeoTIFF and <tile id>.nc from NetCDF and Zarr, over exactly the tile's
    footprint. A folder of S1-GUNW-*.nc becomes interferograms stacked by date pair; a folder of GSSIC
    files (N48W090_winter_vv_AMP.tif) becomes seasonal amplitude, coherence and decay. Nothing is
    downloaded: get such files from ASF first.
    Tiles left out are named here and in left-out.csv, with the reason.
    """
    from sardino.tiles.table import read_table, tiles_in

    tiles = tiles_in(read_table(table))
    if source.is_dir() and source.suffix != ".zarr" and not (source / "zarr.json").exists():
        given = {"--lat": lat, "--lon": lon, "--crs": crs, "--group": group, "--variable": variable, "--kind": kind}
        if unused := [name for name, value in given.items() if value]:
            raise SardinoError(f"{', '.join(unused)} is of one scene, and {source} is a folder of them: leave it out")
        done = _chop_folder(source, tiles, out, resolution, _date(start), _date(end), max_days)
    else:
        from sardino.scenes.chopping.chop import chop as cut
        from sardino.scenes.chopping.gridded import open_gridded
        from sardino.scenes.chopping.pixel_meaning import kind_of

        scene = open_gridded(source, lat=lat, lon=lon, crs=crs, group=group)
        for name in variable or scene.names:
            if name in scene.names:
                typer.echo(f"{name}: cut as {kind or kind_of(scene.data[name])}")
        done = cut(
            scene,
            tiles,
            out,
            kind=kind or None,  # type: ignore[arg-type]  # chop refuses what is no kind
            nodata=nodata,
            resolution=resolution,
            tile_grid=tile_grid,
            variables=variable or (),
            progress=bar(len(tiles)),
        )
    reasons: dict[str, list[str]] = {}
    for tile, reason in done.left_out.items():
        reasons.setdefault(reason, []).append(tile)
    for reason, ids in reasons.items():
        name_tiles(ids, f"left out: {reason}")
    typer.echo(f"{len(done.written)} written, {len(done.kept)} kept, {len(done.left_out)} left out in {out}")


def bar(total: int | None, unit: str = "tile") -> Callable[[Iterable[Any]], Iterable[Any]]:
    """A progress bar around a loop; of what it wraps where no total is given."""
    from tqdm import tqdm

    return lambda items: tqdm(items, total=total, unit=unit)


def name_tiles(ids: list[str], what: str, things: str = "tiles") -> None:
    """Print how many tiles something befell, and the first of their ids."""
    if ids:
        more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
        typer.echo(f"{len(ids)} {things} {what}: {', '.join(ids[:_MOST_NAMED])}{more}")


def _chop_folder(
    folder: Path,
    tiles: Any,
    out: Path,
    resolution: float | None,
    start: date | None,
    end: date | None,
    max_days: int | None,
) -> Any:
    from sardino.scenes.chopping.gssic import cut_seasons
    from sardino.scenes.chopping.gunw import cut_interferograms, granules_in

    progress = bar(len(tiles))
    if any(folder.glob("S1-GUNW-*.nc")):
        granules = granules_in(folder, start, end, max_days)
        return cut_interferograms(granules, tiles, out, resolution=resolution, progress=progress)
    if start or end or max_days:
        raise SardinoError(f"--start, --end and --max-days are of interferograms, and {folder} holds no GUNW granule")
    return cut_seasons(folder, tiles, out, resolution=resolution, progress=progress)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise SardinoError(f"a date is written YYYY-MM-DD, not '{text}'") from error
