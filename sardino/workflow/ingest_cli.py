"""`sardino ingest`: real tiles from where they are served, one command a kind of source."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sardino.errors import SardinoError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a tile store of real scenes. TILES is a list from `sardino tiles grid` (or random, or select), with its "
    "splits from `sardino tiles split`; OUT is the store, read by every other command. Stop with Ctrl-C whenever you "
    "like: the same command goes on where it was, and no finished tile is fetched again.",
)

TilesArgument = Annotated[Path, typer.Argument(help="List of tiles (.parquet or .geojson), from `sardino tiles`.")]
OutArgument = Annotated[Path, typer.Argument(help="Folder of the tile store to make.")]
DaskOption = Annotated[
    str,
    typer.Option(
        help="Where to compute: empty for threads of this process, 'local' for processes of this machine, or the "
        "address of a dask.distributed scheduler (tcp://host:8786); sardino must be installed on its workers."
    ),
]
WorkersOption = Annotated[int, typer.Option(min=1, help="Tiles at once, without a --dask address.")]
AttemptsOption = Annotated[int, typer.Option(min=1, help="Tries of a tile before it is left out.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Make no store while a tile is missing: exit code 2, finished tiles are kept.")
]
RestartOption = Annotated[bool, typer.Option("--restart", help="Throw away finished tiles of an interrupted run.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a store that is already at OUT.")]
LimitOption = Annotated[int, typer.Option(min=0, help="Only the first so many tiles, for a trial; 0 takes all.")]


@app.command()
def stac(
    tiles: TilesArgument,
    out: OutArgument,
    year: Annotated[int, typer.Option(help="Year of the four seasons; winter starts the December before.")] = 2020,
    url: Annotated[str, typer.Option(help="STAC API; the Planetary Computer if empty.")] = "",
    orbit: Annotated[str, typer.Option(help="ascending or descending; a store never mixes them.")] = "ascending",
    composite: Annotated[
        str, typer.Option(help="mean of linear power, or median, as geetiles takes (0.4 dB lower, noisier).")
    ] = "mean",
    collection: Annotated[str, typer.Option(help="Sentinel-1 collection, terrain-corrected.")] = "sentinel-1-rtc",
    assets: Annotated[str, typer.Option(help="Names of its VV and VH assets.")] = "vv,vh",
    quantity: Annotated[str, typer.Option(help="What it holds, in linear power: gamma0 or sigma0.")] = "gamma0",
    erode_px: Annotated[int, typer.Option(min=0, help="Pixels taken off at scene borders.")] = 10,
    labels: Annotated[
        str, typer.Option(help="WorldCover collection; 'none' for tiles without labels.")
    ] = "esa-worldcover",
    label_year: Annotated[int, typer.Option(help="WorldCover of 2020 or 2021; 0 for the scenes' year.")] = 0,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Reference layer to add: optical, landcover_300m, biomass_t_ha; repeat for more."),
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Id of a scene to do without; repeat for more.")] = None,
    skip_season: Annotated[
        list[str] | None, typer.Option(help="A season that may be missing: winter, spring, summer or fall.")
    ] = None,
    min_valid: Annotated[float, typer.Option(min=0, max=1, help="Share of a tile each season must cover.")] = 0.5,
    sign: Annotated[
        bool, typer.Option("--sign/--no-sign", help="Sign links to the Planetary Computer; other URLs never are.")
    ] = True,
    threads: Annotated[int, typer.Option(min=1, help="Files read at once for one tile.")] = 4,
    dask: DaskOption = "",
    workers: WorkersOption = 2,
    attempts: AttemptsOption = 3,
    limit: LimitOption = 0,
    strict: StrictOption = False,
    restart: RestartOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Seasonal Sentinel-1 composites with WorldCover labels from a STAC API.

    Takes what geetiles' `s1grd` and `esaworldcover` sets hold: per season VV, VH and VV-VH in dB, twelve channels,
    of IW scenes of one orbit direction. Unlike them it averages in linear power, includes each season's last
    day, masks zero-filled borders, and never stores a scene it could not read as zeros or NaN: such a tile is
    left out, listed with its reason, and kept in the store's metadata.

    Example: sardino tiles grid --help; then sardino ingest stac tiles.parquet build/alps --year 2020 --workers 4
    """
    from sardino.scenes.stac.catalogue import PLANETARY_COMPUTER, Catalogue
    from sardino.scenes.stac.source import StacSource
    from sardino.tiles.radiometry import SEASONS

    vv, comma, vh = assets.partition(",")
    if not (comma and vv and vh) or "," in vh:
        raise SardinoError(f"--assets takes the names of the VV and the VH asset, as in vv,vh, not '{assets}'")
    if unknown := set(skip_season or ()) - set(SEASONS):
        raise SardinoError(f"--skip-season takes {', '.join(SEASONS)}, not '{min(unknown)}'")
    source = StacSource(
        year,
        Catalogue(url or PLANETARY_COMPUTER, None if sign else False),
        orbit=orbit,
        collection=collection,
        assets=(vv.strip(), vh.strip()),
        quantity=quantity,
        composite=composite,  # type: ignore[arg-type]
        erode_px=erode_px,
        needed=tuple(season for season in SEASONS if season not in (skip_season or ())),
        min_valid=min_valid,
        label_collection="" if labels == "none" else labels,
        label_year=label_year or None,
        layers=tuple(layer or ()),
        exclude=tuple(exclude or ()),
        threads=threads,
    )
    run(source, tiles, out, dask, workers, attempts, limit, strict, restart, overwrite)


def run(
    source: Any,
    tiles: Path,
    out: Path,
    dask: str = "",
    workers: int = 1,
    attempts: int = 3,
    limit: int = 0,
    strict: bool = False,
    restart: bool = False,
    overwrite: bool = False,
) -> None:
    """Ingest the tiles of a table with progress, and say what was made and what was left out, tile by tile."""
    from tqdm import tqdm

    from sardino.scenes.ingest import ingest
    from sardino.tiles.places.separation import UNUSED
    from sardino.tiles.table import read_table, tiles_in

    table = read_table(tiles)
    if "split" in table:
        table = table[table["split"] != UNUSED]  # dropped for overlap or by the buffer
    table = table.iloc[:limit] if limit else table
    splits = [str(split) for split in table["split"]] if "split" in table else ["train"] * len(table)
    bands = [int(band) for band in table["band"]] if "band" in table else [0] * len(table)
    if "split" not in table:
        typer.echo(f"{tiles} has no splits: all tiles go to train (`sardino tiles split` assigns them)", err=True)
    with cluster(dask, workers) as client:
        store = ingest(
            source,
            tiles_in(table),
            splits,
            bands,
            out,
            client=client,
            workers=workers,
            attempts=attempts,
            strict=strict,
            restart=restart,
            overwrite=overwrite,
            progress=lambda numbers, total: tqdm(numbers, total=total, unit="tile", disable=None),
        )
    typer.echo(store)
    left_out = store.metadata["left_out"]
    for tile, reason in left_out.items():
        typer.echo(f"left out {tile}: {reason}", err=True)
    if left_out:
        typer.echo(f"{len(left_out)} of {len(table)} tiles were left out, see metadata['left_out']", err=True)


@contextmanager
def cluster(address: str, workers: int) -> Iterator[Any]:
    """A Dask client for --dask, closed at the end; None for threads.

    Raises:
        SardinoError: no scheduler answers at the address.
    """
    if not address:
        yield None
        return
    from distributed import Client, LocalCluster

    with ExitStack() as opened:
        if address == "local":
            address = opened.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            ).scheduler_address
        try:
            client = opened.enter_context(Client(address, timeout="20s", set_as_default=False))
        except (OSError, ValueError) as error:
            raise SardinoError(
                f"no Dask scheduler answers at '{address}' ({error}): give its address, or 'local'"
            ) from error
        yield client
