"""`sardino tiles`: where tiles lie, who learns on them and who judges; what they hold is in `sardino.cli.rasters`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option, Typer, echo

from sardino.cli import rasters
from sardino.cli.flags import Command, DirectionOption, show_table, shown
from sardino.errors import SardinoError

if TYPE_CHECKING:
    import geopandas

app = Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Cut an area into tiles, split them, check for leakage; chop scenes, count labels, mosaic, verify, pack.\n\n"
    "For users of geetiles: grid, random, select, aois, intersect and split are here under their own names; tiles "
    "keep 10 m pixels in the UTM zone they lie in, and splits never share ground.",
)
area_command = app.command(context_settings={"ignore_unknown_options": True})
"""Of a verb whose area may be a box such as -10,35,5,45: an argument, though it starts like an option."""

AoiArgument = Annotated[
    str,
    Argument(
        help="Area of interest: a file (GeoJSON, GPKG, Shapefile, GeoParquet, WKT in degrees), W,S,E,N in degrees "
        "or a name that `sardino tiles aois` lists. geetiles: --aoi_wkt_file, --aoi."
    ),
]
NewTableArgument = Annotated[Path, Argument(help="Tile table to write: .parquet or .geojson.")]
TableArgument = Annotated[Path, Argument(help="Tile table, .parquet or .geojson. geetiles: --tiles_file.")]
ChangedOption = Annotated[Path | None, Option(help="Table to write; the same file by default.")]
NameOption = Annotated[str, Option(help="Region's name in the table; the area's own by default. --aoi_name.")]
SizeOption = Annotated[int, Option(min=1, help="Pixels per side; the paper's tiles have 448.")]
SquareOption = Annotated[int | None, Option(min=1, help="Take a square of so many pixels in the middle of each.")]
GsdOption = Annotated[float, Option(help="Pixel size in metres. geetiles: --meters_per_pixel.")]
CrsOption = Annotated[str | None, Option(help="One CRS in metres for all tiles, not the UTM zone of each.")]
KeepOption = Annotated[
    Literal["within", "centre", "touching"],
    Option(help="Tiles to keep: within the area, centre in it, or touching it."),
]
SeedOption = Annotated[int, Option(min=0, help="Another seed is another draw.")]


@area_command
def grid(
    aoi: AoiArgument,
    out: NewTableArgument,
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
    from sardino.data.places.partitions import square_grid

    _write_tiles(square_grid(Aoi.load(aoi, name), size_px, gsd_m, crs, keep), out)


@area_command
def random(
    aoi: AoiArgument,
    out: NewTableArgument,
    largest_m: Annotated[float, Option(help="Longest side in metres. geetiles: --max_rectangle_size_meters.")] = 1e4,
    size_px: SquareOption = None,
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
    from sardino.data.places.partitions import random_rectangles

    _write_tiles(random_rectangles(Aoi.load(aoi, name), largest_m, size_px, gsd_m, crs, keep, seed), out)


@area_command
def select(
    aoi: AoiArgument,
    polygons: Annotated[Path, Argument(help="File of polygons. geetiles: --orig_shapefile.")],
    out: NewTableArgument,
    field: Annotated[str, Option(help="Attribute to keep as the column 'name', for example NUTS_ID.")] = "",
    size_px: SquareOption = None,
    name: NameOption = "",
    gsd_m: GsdOption = 10.0,
    crs: CrsOption = None,
) -> None:
    """Make a tile of each polygon that shares ground with an area, for example of communes (geetiles select).

    The tile is the polygon's bounding box in whole pixels. Such tiles may overlap; `sardino tiles split` keeps
    overlapping tiles out of different splits.
    """
    from sardino.data.places.area import Aoi, read_polygons
    from sardino.data.places.partitions import tiles_of_polygons

    cells = read_polygons(polygons)
    if field and field not in cells:
        raise SardinoError(f"{polygons} has no attribute '{field}': it has {', '.join(map(str, cells.columns[:-1]))}")
    tiles, rows = tiles_of_polygons(cells, Aoi.load(aoi, name), size_px, gsd_m, crs)
    _write_tiles(tiles, out, **({"name": [str(value) for value in cells[field].iloc[rows]]} if field else {}))


@area_command
def hexagons(
    aoi: AoiArgument,
    out: NewTableArgument,
    fit: Annotated[
        Literal["centred", "around"],
        Option(help="centred: squares inside hexagons, no overlap; around: they cover all, and overlap."),
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
    from sardino.data.places import partitions
    from sardino.data.places.area import Aoi

    tiles, outlines = partitions.hexagons(Aoi.load(aoi, name), size_px, gsd_m, crs, keep, fit)
    _write_tiles(tiles, out, cell=[outline.wkt for outline in outlines])


@app.command()
def aois(
    search: Annotated[str, Argument(help="Part of a name; all by default (geetiles: --showall).")] = "",
    extract: Annotated[
        Path | None, Option(help="Write the outline of the named area, .geojson or .wkt. geetiles: --extract.")
    ] = None,
) -> None:
    """List the areas that can be asked for by name, or write the outline of one (geetiles aois).

    Countries (name or ISO code), continents, UN subregions and World Bank regions after Natural Earth, simplified;
    and the paper's areas. "continent:europe" asks for one meaning
    where a name has several, "france in europe" for what two areas share (France alone has parts on five continents).
    """
    from sardino.data.places.area import Aoi, place_names

    if extract is not None:
        echo(Aoi.load(search).write(extract))
    elif found := place_names(search):
        show_table(found)
    else:
        raise SardinoError(f"no known area has '{search}' in its name: `sardino tiles aois` lists all")


@app.command()
def intersect(
    tiles: TableArgument,
    foreign: Annotated[Path, Argument(help="Another partition: any file of polygons. --foreign_tiles_file.")],
    name: Annotated[str, Option(help="Short name of that partition; its file's by default.")] = "",
    field: Annotated[str, Option(help="Its attribute with ids; id, identifier or the row by default.")] = "",
    out: ChangedOption = None,
) -> None:
    """Find for each tile the cell of another partition that covers most of it (geetiles intersect).

    Adds the columns foreignid_NAME and foreignshare_NAME, and foreignsplit_NAME where the partition has splits.
    """
    from sardino.data.places.area import read_polygons
    from sardino.data.places.splits import intersect_table
    from sardino.data.tiles.table import read_table

    table = read_table(tiles)
    _write(intersect_table(table, read_polygons(foreign, "a partition"), name or foreign.stem, field), out or tiles)


@app.command()
def split(
    tiles: TableArgument,
    kind: Annotated[
        Literal["bands", "blocks", "inherited"], Option(help="Inherited: from a foreign partition's splits.")
    ] = "bands",
    bands: Annotated[int, Option(help="Number of bands; 60 in the paper. geetiles: --nbands.")] = 60,
    direction: DirectionOption = 30.0,
    block_km: Annotated[float, Option(help="Edge of a block in kilometres.")] = 50.0,
    percent: Annotated[
        str, Option(help="Train/val/test shares of the tiles. --train_pct, --val_pct, --test_pct.")
    ] = "60/20/20",
    buffer_m: Annotated[
        float, Option(help="Metres between tiles of different splits; nearer ones get split 'none'.")
    ] = 0.0,
    seed: SeedOption = 0,
    foreign: Annotated[
        str | None, Option(help="Partition intersected before whose cells stay whole. geetiles: --foreign_tiles_name.")
    ] = None,
    drop: Annotated[bool, Option("--drop", help="Leave out tiles of split 'none'.")] = False,
    out: ChangedOption = None,
    bearing: Annotated[
        float | None, Option(hidden=True, help="The old name of --direction, degrees clockwise from north.")
    ] = None,
) -> None:
    """Share tiles out to train, val and test, region by region (geetiles split).

    Bands and blocks are balanced by number of tiles. No ground is ever in two splits: of two overlapping tiles the
    one used for learning is dropped. Look at `sardino tiles leakage` for the buffer that the pixels ask for.
    geetiles' --angle was in radians of the bounding box; --direction is in degrees on the ground.
    """
    from sardino.data.places.splits import UNUSED, split_table
    from sardino.data.tiles.store import SPLITS
    from sardino.data.tiles.table import read_table, write_table

    shares = percent.replace(",", "/").split("/")
    if len(shares) != 3 or not all(share.strip().isdecimal() for share in shares):
        raise SardinoError(f"--percent takes train/val/test in whole percent, for example 60/20/20, not '{percent}'")
    table = split_table(
        read_table(tiles),
        kind,
        bands=bands,
        direction_deg=direction if bearing is None else 90.0 - bearing,
        block_km=block_km,
        percent=[int(share) for share in shares],
        buffer_m=buffer_m,
        seed=seed,
        foreign=foreign,
    )
    counts = table["split"].value_counts().reindex([*SPLITS, UNUSED], fill_value=0)
    write_table(table[table["split"] != UNUSED].reset_index(drop=True) if drop else table, out or tiles)
    for name in SPLITS:
        echo(f"{name:5}  {counts[name]:>8,} tiles  {counts[name] / counts[list(SPLITS)].sum():6.1%}")
    if counts[UNUSED]:
        echo(f"{UNUSED:5}  {counts[UNUSED]:>8,} tiles  dropped: too near to another split")
    echo(out or tiles)


@app.command()
def leakage(
    source: Annotated[Path, Argument(help="Tile table with splits, or the folder of a tile store.")],
    channel: Annotated[str | None, Option(help="Channel to correlate; the store's first by default.")] = None,
    tiles: Annotated[int, Option(min=1, help="Tiles of the store to read, spread evenly over it.")] = 200,
) -> None:
    """Report what splits share: overlaps, smallest distance, and how far backscatter stays correlated.

    The distance of decorrelation needs pixels, so a tile store. Ends with exit code 1 if splits share ground.
    """
    from sardino.data.places.leakage import store_leakage, table_leakage
    from sardino.data.tiles.store import TileStore
    from sardino.data.tiles.table import read_table

    if source.is_dir():
        report = store_leakage(TileStore.open(source), channel, tiles, shown("tiles"))
    else:
        report = table_leakage(read_table(source))
    echo("\n".join(report.lines()))
    if report.overlaps:
        raise Exit(1)


OF_RASTERS: list[Command] = [rasters.chop, rasters.shares, rasters.mosaic, rasters.verify, rasters.clean]
OF_RASTERS += [rasters.pack, rasters.unpack]
for verb in OF_RASTERS:
    app.command()(verb)


def _write_tiles(tiles: Any, path: Path, **columns: Any) -> None:
    """Write the table of tiles, with further columns."""
    from sardino.data.tiles.table import tile_table

    _write(tile_table(tiles, **columns), path)


def _write(table: "geopandas.GeoDataFrame", path: Path) -> None:
    """Write a tile table and say what it holds."""
    from sardino.data.tiles.table import write_table

    write_table(table, path)
    zones = table["crs"].value_counts()
    listed = ", ".join(f"{crs} {count:,}" for crs, count in zones.items()) if len(zones) <= 4 else f"{len(zones)} CRSs"
    sizes = table[["columns", "rows"]].drop_duplicates()
    size = f"{sizes.iloc[0, 0]} x {sizes.iloc[0, 1]} px" if len(sizes) == 1 else f"{len(sizes)} sizes"
    echo(f"{len(table):,} tiles of {size} in {', '.join(table['region'].unique())} ({listed})")
    echo(path)
