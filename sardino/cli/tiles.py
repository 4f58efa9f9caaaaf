"""`sardino tiles`: where tiles lie, who learns on them and who judges."""

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sardino.cli.flags import DirectionOption
from sardino.errors import SardinoError

if TYPE_CHECKING:
    import geopandas

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Cut an area into tiles, split them, check for leakage; chop scenes, count labels, mosaic, verify, pack.\n\n"
    "For users of geetiles: grid, random, select, aois, intersect and split are here under their own names; tiles "
    "keep 10 m pixels in the UTM zone they lie in, and splits never share ground.",
)

_PLAIN = {"ignore_unknown_options": True}
"""A box such as -10,35,5,45 is an argument, though it starts like an option."""

AoiArgument = Annotated[
    str,
    typer.Argument(
        help="Area of interest: a file (GeoJSON, GPKG, Shapefile, GeoParquet, WKT in degrees), W,S,E,N in degrees "
        "or a name that `sardino tiles aois` lists. "
        "geetiles: --aoi_wkt_file, --aoi."
    ),
]
OutArgument = Annotated[Path, typer.Argument(help="Tile table to write: .parquet or .geojson.")]
TilesArgument = Annotated[Path, typer.Argument(help="Tile table, .parquet or .geojson. geetiles: --tiles_file.")]
NameOption = Annotated[str, typer.Option(help="Region's name in the table; the area's own by default. --aoi_name.")]
SizeOption = Annotated[int, typer.Option(min=1, help="Pixels per side; the paper's tiles have 448.")]
GsdOption = Annotated[float, typer.Option(help="Pixel size in metres. geetiles: --meters_per_pixel.")]
CrsOption = Annotated[str | None, typer.Option(help="One CRS in metres for all tiles, not the UTM zone of each.")]
KeepOption = Annotated[
    Literal["within", "centre", "touching"],
    typer.Option(help="Tiles to keep: within the area, centre in it, or touching it."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Another seed is another draw.")]


@app.command(context_settings=_PLAIN)
def grid(
    aoi: AoiArgument,
    out: OutArgument,
    name: NameOption = "",
    size_px: SizeOption = 448,
    gsd_m: GsdOption = 10.0,
    crs: CrsOption = None,
    keep: KeepOption = "within",
) -> None:
    """Cut an area into square tiles side by side (geetiles grid; --chip_size_meters is size-px times gsd-m).

    Each tile lies in the UTM zone of its centre, so that 10 m are 10 m everywhere; where two zones meet, a sliver
    less than two tiles wide is left out. The same place has the same tile, and the same id, in every area.
    """
    from sardino.data.places.area import Aoi
    from sardino.data.places.square_grid import square_grid
    from sardino.data.tiles.table import tile_table

    _save(tile_table(square_grid(Aoi.load(aoi, name), size_px, gsd_m, crs, keep)), out)


@app.command(context_settings=_PLAIN)
def random(
    aoi: AoiArgument,
    out: OutArgument,
    largest_m: Annotated[
        float, typer.Option(help="Longest side in metres. geetiles: --max_rectangle_size_meters.")
    ] = 10_000.0,
    size_px: Annotated[
        int | None, typer.Option(min=1, help="Take a square of so many pixels from the middle of each.")
    ] = None,
    name: NameOption = "",
    gsd_m: GsdOption = 10.0,
    crs: CrsOption = None,
    keep: KeepOption = "within",
    seed: SeedOption = 0,
) -> None:
    """Cut an area into rectangles of random size (geetiles random).

    The bounding box is cut across its longer side, near the middle, until no side is too long. A tile store needs
    tiles of one size: ask for them with --size-px.
    """
    from sardino.data.places.area import Aoi
    from sardino.data.places.other_shapes import random_rectangles
    from sardino.data.tiles.table import tile_table

    area = Aoi.load(aoi, name)
    _save(tile_table(random_rectangles(area, largest_m, size_px, gsd_m, crs, keep, seed)), out)


@app.command(context_settings=_PLAIN)
def select(
    aoi: AoiArgument,
    polygons: Annotated[Path, typer.Argument(help="File of polygons. geetiles: --orig_shapefile.")],
    out: OutArgument,
    field: Annotated[str, typer.Option(help="Attribute to keep as the column 'name', for example NUTS_ID.")] = "",
    size_px: Annotated[
        int | None, typer.Option(min=1, help="Square of so many pixels around each centre, not the bounding box.")
    ] = None,
    name: NameOption = "",
    gsd_m: GsdOption = 10.0,
    crs: CrsOption = None,
) -> None:
    """Make a tile of each polygon that shares ground with an area, for example of communes (geetiles select).

    The tile is the polygon's bounding box in whole pixels. Such tiles may overlap; `sardino tiles split` keeps
    overlapping tiles out of different splits.
    """
    from sardino.data.places.area import Aoi, read_polygons
    from sardino.data.places.other_shapes import tiles_of_polygons
    from sardino.data.tiles.table import tile_table

    cells = read_polygons(polygons)
    if field and field not in cells:
        raise SardinoError(f"{polygons} has no attribute '{field}': it has {', '.join(map(str, cells.columns[:-1]))}")
    tiles, rows = tiles_of_polygons(cells, Aoi.load(aoi, name), size_px, gsd_m, crs)
    _save(tile_table(tiles, **({"name": [str(v) for v in cells[field].iloc[rows]]} if field else {})), out)


@app.command(context_settings=_PLAIN)
def hexagons(
    aoi: AoiArgument,
    out: OutArgument,
    fit: Annotated[
        Literal["centred", "around"],
        typer.Option(help="centred: squares inside hexagons, no overlap; around: they cover all, and overlap."),
    ] = "centred",
    name: NameOption = "",
    size_px: SizeOption = 448,
    gsd_m: GsdOption = 10.0,
    crs: CrsOption = None,
    keep: KeepOption = "within",
) -> None:
    """Lay tiles on a lattice of hexagons, all six neighbours equally far; geetiles has none.

    The column 'cell' holds each hexagon as WKT in degrees.
    """
    from sardino.data.places import other_shapes as cells
    from sardino.data.places.area import Aoi
    from sardino.data.tiles.table import tile_table

    tiles, outlines = cells.hexagons(Aoi.load(aoi, name), size_px, gsd_m, crs, keep, fit)
    _save(tile_table(tiles, cell=[outline.wkt for outline in outlines]), out)


@app.command()
def aois(
    search: Annotated[str, typer.Argument(help="Part of a name; all by default (geetiles: --showall).")] = "",
    extract: Annotated[
        Path | None, typer.Option(help="Write the outline of the named area, .geojson or .wkt. geetiles: --extract.")
    ] = None,
) -> None:
    """List the areas that can be asked for by name, or write the outline of one (geetiles aois).

    Countries (name or ISO code), continents, UN subregions and World Bank regions after Natural Earth, simplified;
    and the paper's areas. "continent:europe" asks for one meaning
    where a name has several, "france in europe" for what two areas share (France alone has parts on five continents).
    """
    from sardino.data.places.area import place_names

    if extract is not None:
        from sardino.data.places.area import Aoi

        typer.echo(Aoi.load(search).write(extract))
        return
    found = place_names(search)
    if not found:
        raise SardinoError(f"no known area has '{search}' in its name: `sardino tiles aois` lists all")
    width = max(len(kind) for kind, _ in found)
    for kind, known in found:
        typer.echo(f"{kind:{width}}  {known}")


@app.command()
def intersect(
    tiles: TilesArgument,
    foreign: Annotated[Path, typer.Argument(help="Another partition: any file of polygons. --foreign_tiles_file.")],
    name: Annotated[str, typer.Option(help="Short name of that partition; its file's by default.")] = "",
    field: Annotated[str, typer.Option(help="Its attribute with ids; id, identifier or the row by default.")] = "",
    out: Annotated[Path | None, typer.Option(help="Table to write; the same file by default.")] = None,
) -> None:
    """Find for each tile the cell of another partition that covers most of it (geetiles intersect).

    Adds the columns foreignid_NAME and foreignshare_NAME, and foreignsplit_NAME where the partition has splits.
    """
    from sardino.data.places.area import read_polygons
    from sardino.data.places.foreign_partition import intersect_table
    from sardino.data.tiles.table import read_table

    table = read_table(tiles)
    _save(intersect_table(table, read_polygons(foreign, "a partition"), name or foreign.stem, field), out or tiles)


@app.command()
def split(
    tiles: TilesArgument,
    kind: Annotated[
        Literal["bands", "blocks", "inherited"], typer.Option(help="Inherited: from a foreign partition's splits.")
    ] = "bands",
    bands: Annotated[int, typer.Option(help="Number of bands; 60 in the paper. geetiles: --nbands.")] = 60,
    direction: DirectionOption = 30.0,
    block_km: Annotated[float, typer.Option(help="Edge of a block in kilometres.")] = 50.0,
    percent: Annotated[
        str, typer.Option(help="Train/val/test shares of the tiles. --train_pct, --val_pct, --test_pct.")
    ] = "60/20/20",
    buffer_m: Annotated[
        float, typer.Option(help="Metres between tiles of different splits; nearer ones get split 'none'.")
    ] = 0.0,
    seed: SeedOption = 0,
    foreign: Annotated[
        str | None,
        typer.Option(help="Partition intersected before whose cells stay whole. geetiles: --foreign_tiles_name."),
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Leave out tiles of split 'none'.")] = False,
    out: Annotated[Path | None, typer.Option(help="Table to write; the same file by default.")] = None,
    bearing: Annotated[
        float | None, typer.Option(hidden=True, help="The old name of --direction, degrees clockwise from north.")
    ] = None,
) -> None:
    """Share tiles out to train, val and test, region by region (geetiles split).

    Bands and blocks are balanced by number of tiles. No ground is ever in two splits: of two overlapping tiles the
    one used for learning is dropped. Look at `sardino tiles leakage` for the buffer that the pixels ask for.
    geetiles' --angle was in radians of the bounding box; --direction is in degrees on the ground.
    """
    from sardino.data.places.splits import direction_of_bearing, split_table
    from sardino.data.tiles.table import read_table, write_table

    shares = percent.replace(",", "/").split("/")
    if len(shares) != 3 or not all(share.strip().isdecimal() for share in shares):
        raise SardinoError(f"--percent takes train/val/test in whole percent, for example 60/20/20, not '{percent}'")
    table = split_table(
        read_table(tiles),
        kind,
        bands=bands,
        direction_deg=direction if bearing is None else direction_of_bearing(bearing),
        block_km=block_km,
        percent=[int(share) for share in shares],
        buffer_m=buffer_m,
        seed=seed,
        foreign=foreign,
    )
    counts = table["split"].value_counts()
    table = table[table["split"] != "none"].reset_index(drop=True) if drop else table
    write_table(table, out or tiles)
    used = counts.drop("none", errors="ignore").sum()
    for name in ("train", "val", "test"):
        typer.echo(f"{name:5}  {counts.get(name, 0):>8,} tiles  {counts.get(name, 0) / used:6.1%}")
    if counts.get("none", 0):
        typer.echo(f"none   {counts['none']:>8,} tiles  dropped: too near to another split")
    typer.echo(out or tiles)


@app.command()
def leakage(
    source: Annotated[Path, typer.Argument(help="Tile table with splits, or the folder of a tile store.")],
    channel: Annotated[str | None, typer.Option(help="Channel to correlate; the store's first by default.")] = None,
    tiles: Annotated[int, typer.Option(min=1, help="Tiles of the store to read, spread evenly over it.")] = 200,
) -> None:
    """Report what splits share: overlaps, smallest distance, and how far backscatter stays correlated.

    The distance of decorrelation needs pixels, so a tile store. Ends with exit code 1 if splits share ground.
    """
    from sardino.data.places.leakage import store_leakage, table_leakage
    from sardino.data.tiles.store import TileStore
    from sardino.data.tiles.table import read_table

    if source.is_dir():
        from tqdm import tqdm

        report = store_leakage(TileStore.open(source), channel, tiles, lambda n: tqdm(n, unit="tile"))
    else:
        report = table_leakage(read_table(source))
    typer.echo("\n".join(report.lines()))
    if report.overlaps:
        raise typer.Exit(1)


def _save(table: "geopandas.GeoDataFrame", path: Path) -> None:
    """Write a tile table and say what it holds."""
    from sardino.data.tiles.table import write_table

    write_table(table, path)
    zones = table["crs"].value_counts()
    shown = ", ".join(f"{crs} {count:,}" for crs, count in zones.items()) if len(zones) <= 4 else f"{len(zones)} CRSs"
    sizes = table[["columns", "rows"]].drop_duplicates()
    size = f"{sizes.iloc[0, 0]} x {sizes.iloc[0, 1]} px" if len(sizes) == 1 else f"{len(sizes)} sizes"
    typer.echo(f"{len(table):,} tiles of {size} in {', '.join(table['region'].unique())} ({shown})")
    typer.echo(path)


# `sardino tiles chop`: scenes, interferograms and seasonal coherence cut into tiles, from files in hand.

TableArgument = Annotated[Path, typer.Argument(help="Tile table (.parquet or .geojson) from `sardino tiles grid`.")]
ChoppedArgument = Annotated[
    Path, typer.Argument(help="Folder of the files to make; a run that was stopped goes on there.")
]
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
    out: ChoppedArgument,
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
    from sardino.data.tiles.table import read_table, tiles_in

    tiles = tiles_in(read_table(table))
    if source.is_dir() and source.suffix != ".zarr" and not (source / "zarr.json").exists():
        given = {"--lat": lat, "--lon": lon, "--crs": crs, "--group": group, "--variable": variable, "--kind": kind}
        if unused := [name for name, value in given.items() if value]:
            raise SardinoError(f"{', '.join(unused)} is of one scene, and {source} is a folder of them: leave it out")
        done = _chop_folder(source, tiles, out, resolution, _date(start), _date(end), max_days)
    else:
        from sardino.data.rasters.chop import chop as cut
        from sardino.data.rasters.open import kind_of, open_gridded

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
    from sardino.data.rasters.interferograms import cut_interferograms, granules_in
    from sardino.data.rasters.seasonal_coherence import cut_seasons

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


# `sardino tiles`, the verbs about what tiles hold: shares, mosaics, cutting scenes, verifying, sharing.

OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is already there.")]


@app.command()
def shares(
    table: Annotated[Path, typer.Argument(help="Tile table; or, with --labels, a file of polygons such as communes.")],
    out: Annotated[Path, typer.Argument(help="File to write with the columns share_<code>: .parquet or .geojson.")],
    labels: Annotated[
        list[Path] | None, typer.Option(help="Label raster, or folder of them, in any CRS; repeat for more.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Tile store whose labels are counted.")] = None,
    layer: Annotated[str, typer.Option(help="Of the store: label, or landcover_300m.")] = "label",
    foreign: Annotated[
        Path | None,
        typer.Option(help="Coarser polygons with columns share_*, weighted by area. geetiles: --foreign_tiles_file."),
    ] = None,
    year: Annotated[int | None, typer.Option(help="Refuse label rasters that state another year.")] = None,
    nodata: Annotated[list[int] | None, typer.Option(help="Code that means no label; repeat for more.")] = None,
    prefix: Annotated[str, typer.Option(help="In front of the new columns' names.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace columns of these names.")] = False,
) -> None:
    """Label shares of each tile or polygon (geetiles: lp.compute, lp.from_foreign).

    Counted on ESA WorldCover rasters (--labels), on a store's own labels (--store), or handed down from
    coarser polygons (--foreign), whose shares this verb counts as well. Pixels without a label are no
    class: shares are of the labelled pixels, labelled_share says how many those are.
    """
    from sardino.data.places.area import read_polygons
    from sardino.data.rasters.label_shares import (
        LabelRasters,
        shares_from_polygons,
        shares_in_polygons,
        shares_in_rasters,
        shares_in_store,
        with_shares,
        write_polygons,
    )
    from sardino.data.tiles.store import TileStore
    from sardino.data.tiles.table import PLACES, read_table, tiles_in, write_table

    if sum(source is not None for source in (labels or None, store, foreign)) != 1:
        raise SardinoError("name one source of labels: --labels, --store or --foreign")
    rasters = LabelRasters(labels, year=year, nodata=nodata or ()) if labels else None
    polygons = read_polygons(table) if rasters and table.is_file() else None
    if rasters and polygons is not None and not set(PLACES) <= set(polygons.columns):
        counted = shares_in_polygons(polygons, rasters, progress=bar(len(polygons)))
        taken = [name for name in counted.add_prefix(prefix).columns if name in polygons]
        if taken and not overwrite:
            raise SardinoError(f"{table} has {', '.join(taken[:3])} already: choose a --prefix, or --overwrite")
        write_polygons(polygons.drop(columns=taken).join(counted.add_prefix(prefix)), out)
        unlabelled = [str(number) for number in counted.index[counted["labelled_share"] == 0]]
        name_tiles(unlabelled, "without a label", "polygons")
    else:
        places = read_table(table)
        if rasters:
            counted = shares_in_rasters(tiles_in(places), rasters, bar(len(places)))
        elif store is not None:
            opened = TileStore.open(store)
            counted = shares_in_store(opened, layer, bar(len(opened)))
        else:
            assert foreign is not None
            counted = shares_from_polygons(tiles_in(places), read_polygons(foreign, "foreign polygons"))
        write_table(with_shares(places, counted, prefix, overwrite), out)
        known = counted.iloc[:, -1].reindex(places["id"]).fillna(0).to_numpy()
        name_tiles(list(places["id"][known == 0]), "without a label")
    for name, share in counted.mean().items():
        typer.echo(f"{prefix}{name:16} {share:7.3f}")


@app.command()
def mosaic(
    source: Annotated[
        Path, typer.Argument(help="Tile store; or a folder of .tif files; or a tile table, to show one of its columns.")
    ],
    out: Annotated[Path, typer.Argument(help="Cloud-Optimized GeoTIFF to write (.tif).")],
    band: Annotated[
        list[str] | None,
        typer.Option(help="Channels (winter_vv, repeat for more; channels: all), or label, or one layer."),
    ] = None,
    column: Annotated[str, typer.Option(help="Of a table: one value a tile, such as split or share_50.")] = "",
    split: Annotated[str, typer.Option(help="Only tiles of train, val or test.")] = "",
    kind: Annotated[
        str, typer.Option(help="What pixels of files mean, for warping: classes, db, amplitude or values.")
    ] = "",
    crs: Annotated[str, typer.Option(help="Of the mosaic, such as EPSG:3035; needed where tiles lie in several.")] = "",
    resolution: Annotated[float | None, typer.Option(help="In units of the CRS; that of the tiles by default.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Tiles back in one raster (geetiles: mosaic, mosaic.fromvals).

    Tiles on one grid are copied pixel by pixel. Others are warped: classes to the nearest pixel,
    backscatter in linear power. Band names, nodata and class colours are in the file.
    """
    from sardino.data.rasters.mosaic import mosaic as write_mosaic
    from sardino.data.rasters.mosaic import mosaic_files, mosaic_values
    from sardino.data.tiles.store import ARRAYS, TileStore
    from sardino.data.tiles.table import read_table

    if source.is_dir() and not (source / ARRAYS).exists():
        if band or column or split:
            raise SardinoError(f"{source} is a folder of files: leave out --band, --column and --split")
        mosaic_files(
            source,
            out,
            kind=kind or None,  # type: ignore[arg-type]  # mosaic_files refuses what is no kind
            crs=crs,
            resolution=resolution,
            overwrite=overwrite,
            progress=bar(None, "file"),
        )
    elif source.is_dir():
        if column:
            raise SardinoError(f"--column is of a tile table, and {source} is a store: name a --band")
        store = TileStore.open(source)
        ids = store.ids(split or None)
        write_mosaic(
            store,
            out,
            list(store.channels) if band == ["channels"] else band or ["label"],
            ids=ids,
            crs=crs,
            resolution=resolution,
            overwrite=overwrite,
            progress=bar(len(ids)),
        )
    else:
        if not column or band or split:
            raise SardinoError(f"{source} is a tile table: name the --column to show, and no --band or --split")
        table = read_table(source)
        names = mosaic_values(
            table, column, out, crs=crs, resolution=resolution, overwrite=overwrite, progress=bar(len(table))
        )
        for code, name in names.items():
            typer.echo(f"{code:3} {name}")
    typer.echo(out)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="Tile store, or folder of .tif and .nc files.")],
    size: Annotated[str, typer.Option(help="Columns x rows that a raster must have; the usual by default.")] = "",
) -> None:
    """Read every tile and name the damaged ones.

    Damaged or cut short, without a valid pixel, or of a wrong size; in a store, other than written.
    Exit code 1 where there is one. Nothing is changed; `sardino tiles clean` removes what is unreadable.
    """
    from sardino.data.rasters.verify import examine_folder
    from sardino.data.tiles.store import ARRAYS, TileStore

    if (path / ARRAYS).exists():
        store = TileStore.open(path)
        if damaged := store.damaged(bar(None)):
            name_tiles(damaged, "damaged: prepare them again")
            raise typer.Exit(1)
        store.verify()
        typer.echo(f"{len(store)} tiles, whole: fingerprint {store.fingerprint}")
        return
    examined = examine_folder(path, _size(size), progress=bar(None))
    for finding in examined.findings:
        typer.echo(f"{finding.fault}: {finding.path}: {finding.reason}")
    typer.echo("\n".join([f"{examined.files} files read", *examined.summary()]))
    if examined.findings:
        raise typer.Exit(1)


@app.command()
def clean(
    folder: Annotated[Path, typer.Argument(help="Folder of .tif and .nc files.")],
    remove: Annotated[bool, typer.Option("--remove", help="Delete them; without it they are only named.")] = False,
) -> None:
    """Remove the files that cannot be read (geetiles: cleanup).

    Only files that fail a second time are deleted; empty ones, odd sizes and files that could not be
    opened for want of access stay.
    """
    from sardino.data.rasters.verify import examine_folder

    examined = examine_folder(folder, remove=remove, progress=bar(None))
    unreadable = examined.of("unreadable")
    for path in unreadable:
        typer.echo(f"{'removed' if path in examined.removed else 'unreadable'}: {path}")
    kept = len(examined.findings) - len(unreadable)
    note = "" if remove or not unreadable else "; nothing was removed, say --remove"
    typer.echo(f"{examined.files} files read, {len(unreadable)} unreadable, {len(examined.removed)} removed{note}")
    if kept:
        typer.echo(f"{kept} more are empty or of another size: `sardino tiles verify` names them")


@app.command()
def pack(
    store: Annotated[Path, typer.Argument(help="Tile store.")],
    archive: Annotated[Path, typer.Argument(help="Package to write (.tar).")],
    title: Annotated[str, typer.Option(help="One line that says what it is.")],
    licence: Annotated[str, typer.Option(help="For example CC-BY-4.0.")],
    source: Annotated[str, typer.Option(help="Where the pixels come from and whom to cite.")],
    notes: Annotated[Path | None, typer.Option(help="Markdown file for the end of the README.")] = None,
    add: Annotated[list[Path] | None, typer.Option(help="Further file, such as the tile table; repeat.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Package a dataset to share (geetiles: zip.dataset).

    Store, README, card and checksums in one .tar, the same bytes each time; the store is verified first.
    """
    from sardino.data.rasters.share_dataset import Sharing, pack_dataset
    from sardino.data.tiles.store import TileStore

    if notes is not None and not notes.is_file():
        raise SardinoError(f"there is no file {notes}")
    text = notes.read_text("utf-8") if notes else ""
    sharing = Sharing(title, licence, source, text, tuple(add or ()))
    card = pack_dataset(TileStore.open(store), archive, sharing, overwrite=overwrite, progress=bar(None, "file"))
    typer.echo(f"{archive}: {card['tiles']} tiles, {archive.stat().st_size / 1e6:.1f} MB, {card['licence']}")


@app.command()
def unpack(
    archive: Annotated[Path, typer.Argument(help="Package (.tar) made by `sardino tiles pack`.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
) -> None:
    """Unpack a shared dataset, checking every file.

    An archive with links, names that lead outside, more than it should hold, or a wrong checksum is
    refused, and nothing of it stays.
    """
    from sardino.data.rasters.share_dataset import STORE, unpack_dataset

    card = unpack_dataset(archive, folder, progress=bar(None, "file"))
    typer.echo(f"{card['title']}: {card['tiles']} tiles in {folder / STORE}, licence {card['licence']}")


def _size(text: str) -> tuple[int, int] | None:
    columns, _, rows = text.partition("x")
    if text and not (columns.isdecimal() and rows.isdecimal()):
        raise SardinoError(f"--size takes columns x rows, for example 448x448, not '{text}'")
    return (int(rows), int(columns)) if text else None
