"""Tile stores of real tiles (`sardino ingest`), of the synthetic world, and of chips in hand (`sardino import`)."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt
from typer import Typer, echo

from sardino.cli.flags import (
    Direction,
    Overwrite,
    Texts,
    add_commands,
    columns_and_rows,
    shown,
    tell_ranges,
    with_options,
)
from sardino.data.sources.passes import Method, Passes
from sardino.errors import SardinoError
from sardino.options import Count, Flag, Options, Share

app = Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a tile store of real scenes. TILES is a list from `sardino tiles grid` (or random, or select), with its "
    "splits from `sardino tiles split`; OUT is the store, read by every other command. Stop with Ctrl-C whenever you "
    "like: the same command goes on where it was, and no finished tile is fetched again.",
)

Store = Annotated[Path, "Folder of the tile store to make; must not exist."]
TilePx = Annotated[int, Field(ge=16), "Pixels per side of a tile; the paper's tiles have 448, of 10 m."]
Bands = Annotated[int, Field(ge=5), "Geographic bands of the 60/20/20 split; 60 in the paper."]
Tiles = Annotated[Path, "List of tiles (.parquet or .geojson), from `sardino tiles`."]
Out = Annotated[Path, "Folder of the tile store to make."]
Layer = Annotated[
    Texts,
    "Reference layer to add: optical, landcover_300m, biomass_t_ha, and from Earth Engine vegetation_percent, "
    "built_percent; repeat for more.",
]


class Making(Options):
    """How a store is made of a list of tiles, whatever their source."""

    dask: Annotated[
        str,
        "Where to compute: empty for threads of this process, 'local' for processes of this machine, or the address of "
        "a dask.distributed scheduler (tcp://host:8786); sardino must be installed on its workers.",
    ] = ""
    workers: Annotated[Count, "Tiles at once, without a --dask address."] = 2
    attempts: Annotated[Count, "Tries of a tile before it is left out."] = 3
    limit: Annotated[NonNegativeInt, "Only the first so many tiles, for a trial; 0 takes all."] = 0
    strict: Annotated[bool, "Make no store while a tile is missing: exit code 2, finished tiles are kept."] = False
    restart: Annotated[bool, "Throw away finished tiles of an interrupted run."] = False
    overwrite: Annotated[bool, "Replace a store that is already at OUT."] = False


class OfArchive(Options):
    """Tiles that others made."""

    tile_px: Annotated[
        Count,
        "Edge of a tile in pixels of 10 m, on its UTM zone's grid. The tools' 448 px are up to 3 % smaller: at 448 "
        "about 1 % along the rim stays empty; 432 lies inside, and neighbours do not overlap.",
    ] = 432
    direction: Annotated[
        str, "asc or des: which orbit direction's bands become the 12 channels; they are never mixed."
    ] = "asc"
    suspects: Annotated[
        str,
        "Eight-bit tiles wrap outside -30..0 dB. Pixels where neighbours, seasons or VV - VH betray it are taken as "
        "'missing', or 'keep' keeps them as the authors' own loader does. Both are counted and reported.",
    ] = "missing"
    codes: Annotated[str, "Label codes, where the files do not tell: official (10..100) or mapped (1..11)."] = ""
    layers: Annotated[bool, "Add the reference layers that are there.", Flag("--layers/--no-layers")] = True
    min_valid: Annotated[Share, "Share of a tile that every channel must cover."] = 0.5
    optical_month: Annotated[int, Field(ge=1, le=12), "Month of the optical layer (s2rgbm).", Flag("--month")] = 7


@with_options(Passes, year=2020)
def stac(
    tiles: Tiles,
    out: Out,
    url: Annotated[str, "STAC API; the Planetary Computer if empty."] = "",
    collection: Annotated[str, "Sentinel-1 collection, terrain-corrected."] = "sentinel-1-rtc",
    assets: Annotated[str, "Names of its VV and VH assets."] = "vv,vh",
    quantity: Annotated[str, "What it holds, in linear power: gamma0 or sigma0."] = "gamma0",
    labels: Annotated[str, "WorldCover collection; 'none' for tiles without labels."] = "esa-worldcover",
    layer: Layer = None,
    exclude: Annotated[Texts, "Id of a scene to do without; repeat for more."] = None,
    skip_season: Annotated[Texts, "A season that may be missing: winter, spring, summer or fall."] = None,
    sign: Annotated[bool, "Sign links to the Planetary Computer, never others.", Flag("--sign/--no-sign")] = True,
    threads: Annotated[Count, "Files read at once for one tile."] = 4,
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

    names = tuple(name.strip() for name in assets.split(","))
    if len(names) != 2 or not all(names):
        raise SardinoError(f"--assets takes the names of the VV and the VH asset, as in vv,vh, not '{assets}'")
    passes |= {"layers": tuple(layer or ()), "exclude": tuple(exclude or ())}
    passes |= {"catalogue": Catalogue(url or PLANETARY_COMPUTER, None if sign else False), "collection": collection}
    passes |= {"label_collection": "" if labels == "none" else labels, "assets": names, "quantity": quantity}
    if unknown := set(skip_season or ()) - set(SEASONS):
        raise SardinoError(f"--skip-season takes {', '.join(SEASONS)}, not '{min(unknown)}'")
    needed = tuple(season for season in SEASONS if season not in (skip_season or ()))
    make_store(StacSource(**passes, needed=needed, threads=threads), tiles, out, making)


@with_options(Passes, year=2020)
def earthengine(
    tiles: Tiles,
    out: Out,
    project: Annotated[str, "Google Cloud project registered for Earth Engine; geetiles' --ee_project."] = "",
    layer: Layer = None,
    requests: Annotated[Count, "Simultaneous requests of one tile; quotas are per project."] = 4,
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
    from sardino.data.sources.earthengine import EarthEngineSource, initialise

    source = EarthEngineSource(**passes, layers=tuple(layer or ()), project=project, requests=requests)
    initialise(project, source.endpoint)  # no access is said at once, not tile by tile
    make_store(source, tiles, out, making)


@with_options(OfArchive, "attempts")
def m3leo(
    area: Annotated[str, "china, conus, europe, middleeast, pakin or southamerica."],
    out: Out,
    cache: Annotated[Path, "Folder for the downloaded files, in the authors' own layout."] = Path("build/m3leo"),
    per_split: Annotated[NonNegativeInt, "So many tiles of each split; 0 takes all (5,000 tiles, tens of GB)."] = 0,
    tile: Annotated[Texts, "Identifier of a single tile; repeat for more."] = None,
    revision: Annotated[str, "Branch or commit; the first run notes the commit for later ones."] = "main",
    hub: Annotated[str, "Address of the hub or a mirror; HF_ENDPOINT or the public one if empty."] = "",
    downloads: Annotated[Count, "Files fetched at once."] = 4,
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

    wanted: dict[str, Any] = {"datasets": DATASETS if archive["layers"] else DATASETS[:2]}
    wanted["per_split"] = per_split or None
    wanted |= {"identifiers": tile, "tile_px": archive.pop("tile_px"), "revision": revision, "endpoint": hub or None}
    done = download(Area(area), cache / area, workers=downloads, progress=shown("files"), **wanted)
    echo(f"{done.fetched} files fetched, {done.present} were there, commit {done.revision[:12]}")
    for name in done.absent:
        echo(f"the hub does not hold {name}", err=True)
    _store_archive(done.layout, archive, out, making)


@with_options(OfArchive, "attempts")
def geetiles(
    folder: Annotated[Path, "<aoi>_partitions_<kind>_<hash>.geojson, or its folder, with the data sets beside it."],
    out: Out,
    splits: Annotated[Path | None, "CSV with identifier and split, if there are several."] = None,
    backscatter: Annotated[str, "Data set, s1grd-<year>; the only one if empty."] = "",
    labels: Annotated[str, "Data set, esaworldcover-<year>; of the same year if empty."] = "",
    bands: Annotated[NonNegativeInt, "Assign splits anew by so many geographic bands; 0 keeps those of the files."] = 0,
    angle: Annotated[float, "Direction in which these bands follow each other, degrees from east."] = 0.0,
    encoding: Annotated[str, "How decibels are stored, where the files do not tell: db, whole-db or byte-db."] = "",
    other_year: Annotated[bool, "Accept labels and layers of another year than the backscatter."] = False,
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

    layout = open_layout(folder, splits=splits, tile_px=archive.pop("tile_px"))
    archive |= {"backscatter": backscatter, "label": labels, "encoding": encoding, "other_year": other_year}
    _store_archive(layout.assigned(bands, angle) if bands else layout, archive, out, making)


def world(
    out: Store,
    region: Annotated[Texts, "europe, conus or china; repeat for more."] = None,
    tiles: Annotated[str, "Columns x rows of tiles per region."] = "8x8",
    tile_px: TilePx = 96,
    bands: Bands = 20,
    direction: Direction = 30.0,
    seed: Annotated[NonNegativeInt, "Another seed is another geography."] = 0,
    dates: Annotated[Count, "Of a season's composite; 1 has the speckle of one image."] = 15,
    composite: Annotated[Method, "Of a season's dates: mean of power, or median (slower)."] = "mean",
    gaps: Annotated[bool, "With frames and borders that a season lacks."] = False,
    zstd: Annotated[bool, "A smaller store that reads slower."] = False,
    workers: Annotated[Count, "Threads."] = 2,
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
    source = World(seed=seed, dates_per_season=dates, composite=composite, gaps=gaps)
    grid = [tile for name in region or ["europe"] for tile in source.tiles(name, tile_px, columns, rows)]
    splits, band = split_regions(grid, bands, direction)
    facts = source.metadata()
    made: dict[str, Any] = {"channels": CHANNELS, "legend": WORLDCOVER, "product": facts["product"], "metadata": facts}
    made |= {"synthetic": True, "bands": band, "compression": "zstd" if zstd else "none", "workers": workers}
    progress = shown("tiles")
    _tell(write_store(out, grid, splits, lambda number: source.chip(grid[number]), progress=progress, **made))


def scene(
    out: Annotated[Path, "GeoTIFF to make (.tif)."],
    size: Annotated[str, "Columns x rows of pixels of 10 m."] = "960x720",
    region: Annotated[str, "europe, conus or china."] = "europe",
    seed: Annotated[NonNegativeInt, "Another seed is another geography; the built-in model knows 0."] = 1,
    labels: Annotated[Path | None, "Also write the land cover that is there (.tif)."] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a scene of the synthetic world, to try `sardino attend`, `sardino map` and `sardino embed` on.

    Twelve seasonal channels in decibels, as a scene of yours must have them. No pixel was ever measured.
    """
    from sardino.data.sources.world.synthetic import World, write_scene

    columns, rows = columns_and_rows(size, "--size", "960x720")
    shape, progress = (rows, columns), shown(out.name)
    write_scene(World(seed=seed), region, out, shape, labels=labels, overwrite=overwrite, progress=progress)
    for path in (out, *([labels] if labels else [])):
        echo(path)


def import_(
    spec: Annotated[str, "What the files are: a built-in folder spec or a .toml file of yours."],
    folder: Annotated[Path, "Folder that holds the chips' files."],
    out: Store,
    tile_px: TilePx = 96,
    bands: Bands = 20,
    direction: Direction = 30.0,
    warp: Annotated[
        bool,
        "Warp chips of another grid (degrees, rotated, ground control points) to UTM, pixels of 1, 2, 5, 10, 20 ... m; "
        "layers and labels to the chip's grid.",
    ] = False,
) -> None:
    """Make a tile store of a folder of real chips.

    The spec says which file holds which channel, in which unit, and where labels come from;
    copy one of the built-in ones (sardino/data/sources/folder/specs/) to describe chips of your own.
    """
    from sardino.data.sources.folder.source import import_folder
    from sardino.data.sources.folder.specification import FolderSpec

    given = folder, FolderSpec.load(spec), out, tile_px, bands, direction
    _tell(import_folder(*given, warp=warp, progress=shown("tiles")))


add_commands(app, stac, earthengine, m3leo, geetiles)


def _store_archive(layout: Any, archive: dict[str, Any], out: Path, making: Making) -> None:
    """Write the list of a layout's tiles with their identifiers beside the store, and ingest it."""
    from sardino.data.places.leakage import table_leakage
    from sardino.data.sources.archives.source import open_archive
    from sardino.data.tiles.table import tile_table, write_table

    source = open_archive(layout, **archive)
    chosen = layout.choose([row for row, split in enumerate(layout.splits) if split])
    if not chosen.tiles:
        raise SardinoError(f"{layout.table} has no splits and none lie beside it: assign them with --bands 60")
    if unused := len(layout.tiles) - len(chosen.tiles):
        echo(f"{unused} tiles have no split and are not used", err=True)
    listed = out.with_name(f"{out.name}.tiles.parquet")
    table = tile_table(chosen.tiles, identifier=chosen.identifiers, split=chosen.splits, band=chosen.bands)
    write_table(table, listed)
    if overlaps := table_leakage(table).overlaps:
        what = f"{overlaps} pairs of tiles of different splits overlap at rims that hold no pixels of each other"
        echo(f"{what}: a smaller --tile-px parts them", err=True)
    echo(f"{source.backscatter} ({source.encoding}), {source.label} ({source.codes} codes), {source.direction}")
    make_store(source, listed, out, making)


def make_store(source: Any, tiles: Path, out: Path, making: Making) -> None:
    """Ingest the tiles of a table with progress, and say what was made and what was left out, tile by tile."""
    from sardino.data.places.leakage import table_leakage
    from sardino.data.sources.ingest import ingest
    from sardino.data.tiles.store import UNUSED
    from sardino.data.tiles.table import read_table, tiles_in

    table = read_table(tiles)
    if "split" not in table:
        echo(f"{tiles} has no splits: all tiles go to train (`sardino tiles split` assigns them)", err=True)
        table = table.assign(split="train")
    table = table[table["split"] != UNUSED]  # dropped for overlap or by the buffer
    table = table.iloc[: making.limit] if making.limit else table
    # Tiles of others, which bear their identifiers, overlap at rims that hold no pixels of each other.
    if "identifier" not in table and (overlaps := table_leakage(table).overlaps):
        leak = f"{overlaps} pairs of tiles of different splits in {tiles} share ground"
        raise SardinoError(f"{leak}: part them with `sardino tiles split`")
    table = table if "band" in table else table.assign(band=0)
    with cluster(making.dask, making.workers) as client:
        given = (source, tiles_in(table), table["split"].astype(str).tolist(), table["band"].astype(int).tolist(), out)
        store = ingest(*given, client=client, progress=shown("tiles"), **making.model_dump(exclude={"dask", "limit"}))
    _tell(store)
    left_out = store.metadata["left_out"]
    for tile, reason in left_out.items():
        echo(f"left out {tile}: {reason}", err=True)
    if left_out:
        echo(f"{len(left_out)} of {len(table)} tiles were left out, see metadata['left_out']", err=True)


def _tell(store: Any) -> None:
    """Say what a new store holds, and what may be wrong with it."""
    echo(store)
    tell_ranges(store.ranges, store.unit)
    for doubt in store.metadata.get("doubts", ()):
        echo(f"warning: {doubt}", err=True)


def cluster(address: str, workers: int) -> AbstractContextManager[Any]:
    """A Dask client for --dask, to be closed at the end; none for threads; refused where no scheduler answers."""
    if not address:
        return nullcontext()
    from distributed import Client

    local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    where = local if address == "local" else {"address": address, "timeout": "20s"}
    try:
        return Client(**where, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SardinoError(f"no Dask scheduler answers at '{address}' ({error}): give its own or 'local'") from error
