"""`sardino tiles`: where tiles lie, who learns on them and who judges."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

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
    from sardino.tiles.places.aoi import Aoi
    from sardino.tiles.places.partition import square_grid
    from sardino.tiles.table import tile_table

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
    from sardino.tiles.places.aoi import Aoi
    from sardino.tiles.places.rectangles import random_rectangles
    from sardino.tiles.table import tile_table

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
    from sardino.tiles.places.aoi import Aoi
    from sardino.tiles.places.cells import tiles_of_polygons
    from sardino.tiles.places.polygons import read_polygons
    from sardino.tiles.table import tile_table

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
    from sardino.tiles.places import cells
    from sardino.tiles.places.aoi import Aoi
    from sardino.tiles.table import tile_table

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
    from sardino.tiles.places.place_names import place_names

    if extract is not None:
        from sardino.tiles.places.aoi import Aoi

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
    from sardino.tiles.places.intersection import intersect_table
    from sardino.tiles.places.polygons import read_polygons
    from sardino.tiles.table import read_table

    table = read_table(tiles)
    _save(intersect_table(table, read_polygons(foreign, "a partition"), name or foreign.stem, field), out or tiles)


@app.command()
def split(
    tiles: TilesArgument,
    kind: Annotated[
        Literal["bands", "blocks", "inherited"], typer.Option(help="Inherited: from a foreign partition's splits.")
    ] = "bands",
    bands: Annotated[int, typer.Option(help="Number of bands; 60 in the paper. geetiles: --nbands.")] = 60,
    bearing: Annotated[
        float,
        typer.Option(
            help="Direction in which bands follow each other, degrees clockwise from north ON THE GROUND: 90 goes "
            "east, bands run north-south. geetiles' --angle was in radians of the bounding box."
        ),
    ] = 60.0,
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
) -> None:
    """Share tiles out to train, val and test, region by region (geetiles split).

    Bands and blocks are balanced by number of tiles. No ground is ever in two splits: of two overlapping tiles the
    one used for learning is dropped. Look at `sardino tiles leakage` for the buffer that the pixels ask for.
    """
    from sardino.tiles.places.assignment import split_table
    from sardino.tiles.table import read_table, write_table

    shares = percent.replace(",", "/").split("/")
    if len(shares) != 3 or not all(share.strip().isdecimal() for share in shares):
        raise SardinoError(f"--percent takes train/val/test in whole percent, for example 60/20/20, not '{percent}'")
    table = split_table(
        read_table(tiles),
        kind,
        bands=bands,
        bearing_deg=bearing,
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
    from sardino.tiles.places.leakage import store_leakage, table_leakage
    from sardino.tiles.table import read_table
    from sardino.tiles.tileset import TileStore

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
    from sardino.tiles.table import write_table

    write_table(table, path)
    zones = table["crs"].value_counts()
    shown = ", ".join(f"{crs} {count:,}" for crs, count in zones.items()) if len(zones) <= 4 else f"{len(zones)} CRSs"
    sizes = table[["columns", "rows"]].drop_duplicates()
    size = f"{sizes.iloc[0, 0]} x {sizes.iloc[0, 1]} px" if len(sizes) == 1 else f"{len(sizes)} sizes"
    typer.echo(f"{len(table):,} tiles of {size} in {', '.join(table['region'].unique())} ({shown})")
    typer.echo(path)
