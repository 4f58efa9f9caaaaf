"""`sardino ingest`: real tiles from where they are served, one command a kind of source."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typer import Argument, Option, Typer, echo

from sardino.cli.flags import shown, with_options
from sardino.errors import SardinoError
from sardino.options import Count, Flag, Options, Share

app = Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a tile store of real scenes. TILES is a list from `sardino tiles grid` (or random, or select), with its "
    "splits from `sardino tiles split`; OUT is the store, read by every other command. Stop with Ctrl-C whenever you "
    "like: the same command goes on where it was, and no finished tile is fetched again.",
)

TilesArgument = Annotated[Path, Argument(help="List of tiles (.parquet or .geojson), from `sardino tiles`.")]
OutArgument = Annotated[Path, Argument(help="Folder of the tile store to make.")]
AttemptsOption = Annotated[int, Option(min=1, help="Tries of a tile before it is left out.")]
LayerOption = Annotated[
    list[str] | None,
    Option(
        help="Reference layer to add: optical, landcover_300m, biomass_t_ha, and from Earth Engine vegetation_percent, "
        "built_percent; repeat for more."
    ),
]
SizeOption = Annotated[
    int,
    Option(
        min=1,
        help="Edge of a tile in pixels of 10 m, on its UTM zone's grid. The tools' 448 px are up to 3 % smaller: at "
        "448 about 1 % along the rim stays empty; 432 lies inside, and neighbours do not overlap.",
    ),
]


class Making(Options):
    """How a store is made of a list of tiles, whatever their source."""

    dask: Annotated[
        str,
        Field(
            description="Where to compute: empty for threads of this process, 'local' for processes of this machine, "
            "or the address of a dask.distributed scheduler (tcp://host:8786); sardino must be installed on its "
            "workers."
        ),
    ] = ""
    workers: Annotated[Count, Field(description="Tiles at once, without a --dask address.")] = 2
    limit: Annotated[int, Field(ge=0, description="Only the first so many tiles, for a trial; 0 takes all.")] = 0
    strict: Annotated[
        bool, Field(description="Make no store while a tile is missing: exit code 2, finished tiles are kept.")
    ] = False
    restart: Annotated[bool, Field(description="Throw away finished tiles of an interrupted run.")] = False
    overwrite: Annotated[bool, Field(description="Replace a store that is already at OUT.")] = False


class OfPasses(Options):
    """Seasonal composites of single passes."""

    year: Annotated[int, Field(description="Year of the four seasons; winter starts the December before.")] = 2020
    orbit: Annotated[str, Field(description="ascending or descending; a store never mixes them.")] = "ascending"
    composite: Annotated[
        str, Field(description="mean of linear power, or median, as geetiles takes (0.4 dB lower, noisier).")
    ] = "mean"
    erode_px: Annotated[int, Field(ge=0, description="Pixels taken off at scene borders.")] = 10
    label_year: Annotated[int, Field(description="WorldCover of 2020 or 2021; 0 for the scenes' year.")] = 0
    min_valid: Annotated[Share, Field(description="Share of a tile that each season must cover.")] = 0.5
    making: Making = Making()


class OfArchive(Options):
    """Tiles that others made."""

    direction: Annotated[
        str,
        Field(description="asc or des: which orbit direction's bands become the 12 channels; they are never mixed."),
    ] = "asc"
    suspects: Annotated[
        str,
        Field(
            description="Eight-bit tiles wrap outside -30..0 dB. Pixels where neighbours, seasons or VV - VH betray it "
            "are taken as 'missing', or 'keep' keeps them as the authors' own loader does. Both are counted and "
            "reported."
        ),
    ] = "missing"
    codes: Annotated[
        str, Field(description="Label codes, where the files do not tell: official (10..100) or mapped (1..11).")
    ] = ""
    layers: Annotated[
        bool, Field(description="Add the reference layers that are there."), Flag("--layers/--no-layers")
    ] = True
    min_valid: Annotated[Share, Field(description="Share of a tile that every channel must cover.")] = 0.5
    optical_month: Annotated[
        int, Field(ge=1, le=12, description="Month of the optical layer (s2rgbm)."), Flag("--month")
    ] = 7
    making: Making = Making()


@app.command()
@with_options(OfPasses)
def stac(
    tiles: TilesArgument,
    out: OutArgument,
    url: Annotated[str, Option(help="STAC API; the Planetary Computer if empty.")] = "",
    collection: Annotated[str, Option(help="Sentinel-1 collection, terrain-corrected.")] = "sentinel-1-rtc",
    assets: Annotated[str, Option(help="Names of its VV and VH assets.")] = "vv,vh",
    quantity: Annotated[str, Option(help="What it holds, in linear power: gamma0 or sigma0.")] = "gamma0",
    labels: Annotated[str, Option(help="WorldCover collection; 'none' for tiles without labels.")] = "esa-worldcover",
    layer: LayerOption = None,
    exclude: Annotated[list[str] | None, Option(help="Id of a scene to do without; repeat for more.")] = None,
    skip_season: Annotated[
        list[str] | None, Option(help="A season that may be missing: winter, spring, summer or fall.")
    ] = None,
    sign: Annotated[
        bool, Option("--sign/--no-sign", help="Sign links to the Planetary Computer; other URLs never are.")
    ] = True,
    threads: Annotated[int, Option(min=1, help="Files read at once for one tile.")] = 4,
    attempts: AttemptsOption = 3,
    *,
    making: Making,
    **passes: Any,
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
    passes["label_year"] = passes["label_year"] or None
    source = StacSource(
        **passes,
        catalogue=Catalogue(url or PLANETARY_COMPUTER, None if sign else False),
        collection=collection,
        assets=(vv.strip(), vh.strip()),
        quantity=quantity,
        needed=tuple(season for season in SEASONS if season not in (skip_season or ())),
        label_collection="" if labels == "none" else labels,
        layers=tuple(layer or ()),
        exclude=tuple(exclude or ()),
        threads=threads,
    )
    make_store(source, tiles, out, making, attempts)


@app.command()
@with_options(OfPasses)
def earthengine(
    tiles: TilesArgument,
    out: OutArgument,
    project: Annotated[
        str, Option(help="Google Cloud project registered for Earth Engine; geetiles' --ee_project.")
    ] = "",
    layer: LayerOption = None,
    requests: Annotated[int, Option(min=1, help="Simultaneous requests of one tile; quotas are per project.")] = 4,
    attempts: AttemptsOption = 3,
    *,
    making: Making,
    **passes: Any,
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

    passes["label_year"] = passes["label_year"] or None
    source = EarthEngineSource(**passes, layers=tuple(layer or ()), project=project, requests=requests)
    initialise(project, source.endpoint)  # no access is said at once, not tile by tile
    make_store(source, tiles, out, making, attempts)


@app.command()
@with_options(OfArchive)
def m3leo(
    area: Annotated[str, Argument(help="china, conus, europe, middleeast, pakin or southamerica.")],
    out: OutArgument,
    cache: Annotated[Path, Option(help="Folder for the downloaded files, in the authors' own layout.")] = Path(
        "build/m3leo"
    ),
    per_split: Annotated[
        int, Option(min=0, help="So many tiles of each split; 0 takes all (5,000 tiles, tens of GB).")
    ] = 0,
    tile: Annotated[list[str] | None, Option(help="Identifier of a single tile; repeat for more.")] = None,
    revision: Annotated[str, Option(help="Branch or commit; the first run notes the commit for later ones.")] = "main",
    hub: Annotated[str, Option(help="Address of the hub or a mirror; HF_ENDPOINT or the public one if empty.")] = "",
    tile_px: SizeOption = 432,
    downloads: Annotated[int, Option(min=1, help="Files fetched at once.")] = 4,
    *,
    making: Making,
    **archive: Any,
) -> None:
    """The public tiles of M3LEO, by the paper's authors, from the Hugging Face hub (M3LEO-miniset/<area>).

    Their identifiers and splits are kept; rasters are warped from degrees to metres. Backscatter in eight-bit decibels
    may have wrapped by 30 dB: such pixels are counted, and missing unless --suspects keep.

    The download resumes at the last byte, checks every file's hash, and takes all files from one commit.

    Not run against the live hub: tested against a local server that answers as the hub's client asks. Check
    the licence on the data set's card before you pass tiles on.

    Example: sardino ingest m3leo conus build/conus --per-split 5
    """
    from sardino.data.sources.archives.m3leo import DATASETS, Area, download
    from sardino.data.sources.archives.source import open_archive

    done = download(
        Area(area),
        cache / area,
        datasets=DATASETS if archive["layers"] else DATASETS[:2],
        per_split=per_split or None,
        identifiers=tile,
        tile_px=tile_px,
        revision=revision,
        endpoint=hub or None,
        workers=downloads,
        progress=shown("files"),
    )
    echo(f"{done.fetched} files fetched, {done.present} were there, commit {done.revision[:12]}")
    for name in done.absent:
        echo(f"the hub does not hold {name}", err=True)
    _store_archive(open_archive(done.layout, **archive), done.layout, out, making)


@app.command()
@with_options(OfArchive)
def geetiles(
    folder: Annotated[
        Path, Argument(help="<aoi>_partitions_<kind>_<hash>.geojson, or the folder that holds it beside its data sets.")
    ],
    out: OutArgument,
    splits: Annotated[Path | None, Option(help="CSV with identifier and split, if there are several.")] = None,
    backscatter: Annotated[str, Option(help="Data set, s1grd-<year>; the only one if empty.")] = "",
    labels: Annotated[str, Option(help="Data set, esaworldcover-<year>; of the same year if empty.")] = "",
    bands: Annotated[
        int, Option(min=0, help="Assign splits anew by so many geographic bands; 0 keeps those of the files.")
    ] = 0,
    angle: Annotated[float, Option(help="Direction in which these bands follow each other, degrees from east.")] = 0.0,
    encoding: Annotated[
        str, Option(help="How decibels are stored, where the files do not tell: db, whole-db or byte-db.")
    ] = "",
    other_year: Annotated[
        bool, Option("--other-year", help="Accept labels and layers of another year than the backscatter.")
    ] = False,
    tile_px: SizeOption = 432,
    *,
    making: Making,
    **archive: Any,
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
    layout = layout.assigned(bands, angle) if bands else layout
    archive |= {"backscatter": backscatter, "label": labels, "encoding": encoding, "other_year": other_year}
    _store_archive(open_archive(layout, **archive), layout, out, making)


def _store_archive(source: Any, layout: Any, out: Path, making: Making) -> None:
    """Write the list of tiles with its identifiers beside the store, and ingest it."""
    from sardino.data.places.leakage import table_leakage
    from sardino.data.tiles.table import tile_table, write_table

    chosen = layout.choose([row for row, split in enumerate(layout.splits) if split])
    if not chosen.tiles:
        raise SardinoError(f"{layout.table} has no splits and none lie beside it: assign them with --bands 60")
    if unused := len(layout.tiles) - len(chosen.tiles):
        echo(f"{unused} tiles have no split and are not used", err=True)
    listed = out.with_name(f"{out.name}.tiles.parquet")
    table = tile_table(
        chosen.tiles, identifier=list(chosen.identifiers), split=list(chosen.splits), band=list(chosen.bands)
    )
    write_table(table, listed)
    if overlaps := table_leakage(table).overlaps:
        echo(
            f"{overlaps} pairs of tiles of different splits overlap at their rims, which hold no pixels of each other: "
            f"a smaller --tile-px parts them",
            err=True,
        )
    echo(f"{source.backscatter} ({source.encoding}), {source.label} ({source.codes} codes), {source.direction}")
    make_store(source, listed, out, making, attempts=1)


def make_store(source: Any, tiles: Path, out: Path, making: Making, attempts: int) -> None:
    """Ingest the tiles of a table with progress, and say what was made and what was left out, tile by tile."""
    from sardino.data.places.splits import UNUSED
    from sardino.data.sources.ingest import ingest
    from sardino.data.tiles.table import read_table, tiles_in

    table = read_table(tiles)
    if "split" in table:
        table = table[table["split"] != UNUSED]  # dropped for overlap or by the buffer
    else:
        echo(f"{tiles} has no splits: all tiles go to train (`sardino tiles split` assigns them)", err=True)
        table = table.assign(split="train")
    table = table.iloc[: making.limit] if making.limit else table
    with cluster(making.dask, making.workers) as client:
        store = ingest(
            source,
            tiles_in(table),
            [str(split) for split in table["split"]],
            [int(band) for band in table["band"]] if "band" in table else [0] * len(table),
            out,
            client=client,
            workers=making.workers,
            attempts=attempts,
            strict=making.strict,
            restart=making.restart,
            overwrite=making.overwrite,
            progress=shown("tiles"),
        )
    echo(store)
    left_out = store.metadata["left_out"]
    for tile, reason in left_out.items():
        echo(f"left out {tile}: {reason}", err=True)
    if left_out:
        echo(f"{len(left_out)} of {len(table)} tiles were left out, see metadata['left_out']", err=True)


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
            local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            address = opened.enter_context(local).scheduler_address
        try:
            client = opened.enter_context(Client(address, timeout="20s", set_as_default=False))
        except (OSError, ValueError) as error:
            raise SardinoError(
                f"no Dask scheduler answers at '{address}' ({error}): give its address, or 'local'"
            ) from error
        yield client
