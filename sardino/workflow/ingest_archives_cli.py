"""`sardino ingest earthengine`, `m3leo`, `geetiles`: tiles from archives and from a user's own Earth Engine account."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sardino.errors import SardinoError
from sardino.workflow.ingest_cli import (
    AttemptsOption,
    DaskOption,
    LimitOption,
    OutArgument,
    OverwriteOption,
    RestartOption,
    StrictOption,
    TilesArgument,
    WorkersOption,
    app,
    run,
)

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
    from sardino.scenes.earthengine.session import initialise
    from sardino.scenes.earthengine.source import EarthEngineSource

    source = EarthEngineSource(
        project,
        year,
        orbit,
        composite,  # type: ignore[arg-type]
        erode_px,
        label_year or None,
        tuple(layer or ()),
        min_valid,
        requests,
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

    from sardino.scenes.archives.datasets import open_archive
    from sardino.scenes.archives.m3leo import DATASETS, Area, download

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
    from sardino.scenes.archives.datasets import open_archive
    from sardino.scenes.archives.layouts import open_layout

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
    from sardino.tiles.places.leakage import table_leakage
    from sardino.tiles.table import tile_table, write_table

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
