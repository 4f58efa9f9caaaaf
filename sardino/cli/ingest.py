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
    from sardino.data.sources.stac.catalogue import PLANETARY_COMPUTER, Catalogue
    from sardino.data.sources.stac.source import StacSource
    from sardino.data.tiles.radiometry import SEASONS

    vv, comma, vh = assets.partition(",")
    if not (comma and vv and vh) or "," in vh:
        raise SardinoError(f"--assets takes the names of the VV and the VH asset, as in vv,vh, not '{assets}'")
    if unknown := set(skip_season or ()) - set(SEASONS):
        raise SardinoError(f"--skip-season takes {', '.join(SEASONS)}, not '{min(unknown)}'")
    source = StacSource(
        year,
        catalogue=Catalogue(url or PLANETARY_COMPUTER, None if sign else False),
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

    from sardino.data.places.splits import UNUSED
    from sardino.data.sources.ingest import ingest
    from sardino.data.tiles.table import read_table, tiles_in

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


# `sardino ingest earthengine`, `m3leo`, `geetiles`: tiles from archives and from a user's own Earth Engine account.

DirectionOption = Annotated[
    str, typer.Option(help="asc or des: which orbit direction's bands become the 12 channels; they are never mixed.")
]
SuspectsOption = Annotated[
    str,
    typer.Option(
        help="Eight-bit tiles wrap outside -30..0 dB. Pixels where neighbours, seasons or VV - VH betray it are taken "
        "as 'missing', or 'keep' keeps them as the authors' own loader does. Both are counted and reported."
    ),
]
MinValidOption = Annotated[float, typer.Option(min=0, max=1, help="Share of a tile that every channel must cover.")]
OtherYearOption = Annotated[
    bool, typer.Option("--other-year", help="Accept labels and layers of another year than the backscatter.")
]
LayersOption = Annotated[bool, typer.Option("--layers/--no-layers", help="Add the reference layers that are there.")]
SizeOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Edge of a tile in pixels of 10 m, on its UTM zone's grid. The tools' 448 px are up to 3 % smaller: at "
        "448 about 1 % along the rim stays empty; 432 lies inside, and neighbours do not overlap.",
    ),
]
MonthOption = Annotated[int, typer.Option(min=1, max=12, help="Month of the optical layer (s2rgbm).")]
CodesOption = Annotated[
    str, typer.Option(help="Label codes, where the files do not tell: official (10..100) or mapped (1..11).")
]
EncodingOption = Annotated[
    str, typer.Option(help="How decibels are stored, where the files do not tell: db, whole-db or byte-db.")
]


@app.command()
def earthengine(
    tiles: TilesArgument,
    out: OutArgument,
    project: Annotated[
        str, typer.Option(help="Google Cloud project registered for Earth Engine; geetiles' --ee_project.")
    ] = "",
    year: Annotated[int, typer.Option(help="Year of the four seasons; winter starts the December before.")] = 2020,
    orbit: Annotated[str, typer.Option(help="ascending or descending; a store never mixes them.")] = "ascending",
    composite: Annotated[
        str, typer.Option(help="mean of linear power, or median, as geetiles takes (0.4 dB lower, noisier).")
    ] = "mean",
    erode_px: Annotated[int, typer.Option(min=0, help="Pixels taken off at scene borders.")] = 10,
    label_year: Annotated[int, typer.Option(help="WorldCover of 2020 or 2021; 0 for the scenes' year.")] = 0,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Reference layer to add: optical, landcover_300m, vegetation_percent, biomass_t_ha, built_percent; "
            "repeat for more."
        ),
    ] = None,
    min_valid: MinValidOption = 0.5,
    requests: Annotated[
        int, typer.Option(min=1, help="Simultaneous requests of one tile; quotas are per project.")
    ] = 4,
    dask: DaskOption = "",
    workers: WorkersOption = 2,
    attempts: AttemptsOption = 3,
    limit: LimitOption = 0,
    strict: StrictOption = False,
    restart: RestartOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Seasonal Sentinel-1 composites with WorldCover labels from Google Earth Engine (what `geet download` does).

    Reads COPERNICUS/S1_GRD_FLOAT, sigma0 in linear power, on exactly the tile's grid: IW only, both polarisations, one
    orbit direction, every season with its last day, averaged in linear power. That is ellipsoid sigma0: never put it
    into one data set with the terrain-corrected gamma0 of `ingest stac`.

    Needs an account: run `earthengine authenticate` once, and register a Cloud project for Earth Engine.

    Not run against the live service: the requests are checked as the expressions that the official client sends, and
    the answers on recorded shapes. Try a few tiles with --limit first.

    Example: sardino ingest earthengine tiles.parquet build/alps --project my-project --year 2020 --limit 3
    """
    from sardino.data.sources.earthengine.session import initialise
    from sardino.data.sources.earthengine.source import EarthEngineSource

    source = EarthEngineSource(
        year,
        orbit,
        composite,  # type: ignore[arg-type]
        erode_px,
        label_year or None,
        tuple(layer or ()),
        min_valid,
        project=project,
        requests=requests,
    )
    initialise(project, source.endpoint)  # no access is said at once, not tile by tile
    run(source, tiles, out, dask, workers, attempts, limit, strict, restart, overwrite)


@app.command()
def m3leo(
    area: Annotated[str, typer.Argument(help="china, conus, europe, middleeast, pakin or southamerica.")],
    out: OutArgument,
    cache: Annotated[Path, typer.Option(help="Folder for the downloaded files, in the authors' own layout.")] = Path(
        "build/m3leo"
    ),
    per_split: Annotated[
        int, typer.Option(min=0, help="So many tiles of each split; 0 takes all (5,000 tiles, tens of GB).")
    ] = 0,
    tile: Annotated[list[str] | None, typer.Option(help="Identifier of a single tile; repeat for more.")] = None,
    revision: Annotated[
        str, typer.Option(help="Branch or commit; the first run notes the commit for later ones.")
    ] = "main",
    hub: Annotated[
        str, typer.Option(help="Address of the hub or a mirror; HF_ENDPOINT or the public one if empty.")
    ] = "",
    direction: DirectionOption = "asc",
    suspects: SuspectsOption = "missing",
    codes: CodesOption = "",
    min_valid: MinValidOption = 0.5,
    tile_px: SizeOption = 432,
    month: MonthOption = 7,
    layers: LayersOption = True,
    downloads: Annotated[int, typer.Option(min=1, help="Files fetched at once.")] = 4,
    dask: DaskOption = "",
    workers: WorkersOption = 2,
    strict: StrictOption = False,
    restart: RestartOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """The public tiles of M3LEO, by the paper's authors, from the Hugging Face hub (M3LEO-miniset/<area>).

    Their identifiers and splits are kept; rasters are warped from degrees to metres. Backscatter in eight-bit decibels
    may have wrapped by 30 dB: such pixels are counted, and missing unless --suspects keep.

    The download resumes at the last byte, checks every file's hash, and takes all files from one commit.

    Not run against the live hub: tested against a local server that answers as the hub's client asks. Check
    the licence on the data set's card before you pass tiles on.

    Example: sardino ingest m3leo conus build/conus --per-split 5
    """
    from tqdm import tqdm

    from sardino.data.sources.archives.m3leo import DATASETS, Area, download
    from sardino.data.sources.archives.source import open_archive

    done = download(
        Area(area),
        cache / area,
        datasets=DATASETS if layers else DATASETS[:2],
        per_split=per_split or None,
        identifiers=tile,
        tile_px=tile_px,
        revision=revision,
        endpoint=hub or None,
        workers=downloads,
        progress=lambda numbers, total: tqdm(numbers, total=total, unit="file", disable=None),
    )
    typer.echo(f"{done.fetched} files fetched, {done.present} were there, commit {done.revision[:12]}")
    for name in done.absent:
        typer.echo(f"the hub does not hold {name}", err=True)
    source = open_archive(
        done.layout,
        direction=direction,
        suspects=suspects,
        codes=codes,
        layers=layers,
        min_valid=min_valid,
        optical_month=month,
    )
    _store(source, done.layout, out, dask, workers, 0, strict, restart, overwrite)


@app.command()
def geetiles(
    folder: Annotated[
        Path,
        typer.Argument(
            help="<aoi>_partitions_<kind>_<hash>.geojson, or the folder that holds it beside its data sets."
        ),
    ],
    out: OutArgument,
    splits: Annotated[Path | None, typer.Option(help="CSV with identifier and split, if there are several.")] = None,
    backscatter: Annotated[str, typer.Option(help="Data set, s1grd-<year>; the only one if empty.")] = "",
    labels: Annotated[str, typer.Option(help="Data set, esaworldcover-<year>; of the same year if empty.")] = "",
    bands: Annotated[
        int, typer.Option(min=0, help="Assign splits anew by so many geographic bands; 0 keeps those of the files.")
    ] = 0,
    angle: Annotated[float, typer.Option(help="Degrees, direction in which these bands follow each other.")] = 0.0,
    direction: DirectionOption = "asc",
    suspects: SuspectsOption = "missing",
    encoding: EncodingOption = "",
    codes: CodesOption = "",
    other_year: OtherYearOption = False,
    min_valid: MinValidOption = 0.5,
    tile_px: SizeOption = 432,
    month: MonthOption = 7,
    layers: LayersOption = True,
    dask: DaskOption = "",
    workers: WorkersOption = 2,
    limit: LimitOption = 0,
    strict: StrictOption = False,
    restart: RestartOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Tiles that geetiles or sartiles downloaded, or M3LEO's, from a folder in their layout.

    Reads s1grd-<year> in its three encodings (float decibels; whole decibels, wrapped through uint16 or not; eight-bit
    decibels), esaworldcover-<year> in official or mapped codes (0 is nodata, never tree cover), and as layers
    s2rgbm, modis44b006veg, biomass and ghsbuilts. Tiles marked .nodata or .skipped, damaged files and orbit
    directions without data leave a tile out, by name.

    Identifiers are kept: OUT.tiles.parquet and the store's metadata list them beside the tiles' ids.

    Example: sardino ingest geetiles data/conus_partitions_aschips_293d95e3ee589.geojson build/conus --direction des
    """
    from sardino.data.sources.archives.layout import open_layout
    from sardino.data.sources.archives.source import open_archive

    layout = open_layout(folder, splits=splits, tile_px=tile_px)
    if bands:
        layout = layout.assigned(bands, angle)
    source = open_archive(
        layout,
        backscatter=backscatter,
        label=labels,
        direction=direction,
        encoding=encoding,
        codes=codes,
        suspects=suspects,
        other_year=other_year,
        layers=layers,
        min_valid=min_valid,
        optical_month=month,
    )
    _store(source, layout, out, dask, workers, limit, strict, restart, overwrite)


def _store(
    source: Any,
    layout: Any,
    out: Path,
    dask: str,
    workers: int,
    limit: int,
    strict: bool,
    restart: bool,
    overwrite: bool,
) -> None:
    """Write the list of tiles with its identifiers beside the store, and ingest it."""
    from sardino.data.places.leakage import table_leakage
    from sardino.data.tiles.table import tile_table, write_table

    rows = [row for row, split in enumerate(layout.splits) if split]
    if not rows:
        raise SardinoError(f"{layout.table} has no splits and none lie beside it: assign them with --bands 60")
    if len(rows) < len(layout.splits):
        typer.echo(f"{len(layout.splits) - len(rows)} tiles have no split and are not used", err=True)
    chosen = layout.choose(rows)
    listed = out.with_name(f"{out.name}.tiles.parquet")
    listed.parent.mkdir(parents=True, exist_ok=True)
    table = tile_table(
        chosen.tiles, identifier=list(chosen.identifiers), split=list(chosen.splits), band=list(chosen.bands)
    )
    write_table(table, listed)
    if overlaps := table_leakage(table).overlaps:
        typer.echo(
            f"{overlaps} pairs of tiles of different splits overlap at their rims, which hold no pixels of each other: "
            f"a smaller --tile-px parts them",
            err=True,
        )
    typer.echo(f"{source.backscatter} ({source.encoding}), {source.label} ({source.codes} codes), {source.direction}")
    run(source, listed, out, dask, workers, 1, limit, strict, restart, overwrite)
