"""`sardino tiles`: where tiles lie, who learns on them and who judges; what they hold is in `sardino.cli.rasters`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import NonNegativeInt
from typer import Argument, Exit, Typer, echo

from sardino.cli import rasters
from sardino.cli.flags import Direction, add_commands, show_table, shown, with_options
from sardino.errors import SardinoError
from sardino.options import Count, Options

app = Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Cut an area into tiles, split them, check for leakage; chop scenes, count labels, mosaic, verify, pack.\n\n"
    "For users of geetiles: grid, random, select, aois, intersect and split are here under their own names; tiles "
    "keep 10 m pixels in the UTM zone they lie in, and splits never share ground.",
)

Area = Annotated[
    str,
    "Area of interest: a file (GeoJSON, GPKG, Shapefile, GeoParquet, WKT in degrees), W,S,E,N in degrees or a name "
    "that `sardino tiles aois` lists. geetiles: --aoi_wkt_file, --aoi.",
]
NewTable = Annotated[Path, "Tile table to write: .parquet or .geojson."]
Table = Annotated[Path, "Tile table, .parquet or .geojson. geetiles: --tiles_file."]
Changed = Annotated[Path | None, "Table to write; the same file by default."]
Square = Annotated[Count | None, "Take a square of so many pixels in the middle of each."]
Keep = Literal["within", "centre", "touching"]
Fit = Literal["centred", "around"]
Seed = Annotated[NonNegativeInt, "Another seed is another draw."]


class Cutting(Options):
    """How an area is cut, whatever the shapes."""

    name: Annotated[str, "Region's name in the table; the area's own by default. --aoi_name."] = ""
    size_px: Annotated[Count, "Pixels per side; the paper's tiles have 448."] = 448
    gsd_m: Annotated[float, "Pixel size in metres. geetiles: --meters_per_pixel."] = 10.0
    crs: Annotated[str | None, "One CRS in metres for all tiles, not the UTM zone of each."] = None
    keep: Annotated[Keep, "Tiles to keep: within the area, centre in it, or touching it."] = "within"


@with_options(Cutting)
def grid(aoi: Area, out: NewTable, **cutting: Any) -> None:
    """Cut an area into square tiles side by side (geetiles grid; --chip_size_meters is size-px times gsd-m).

    Each tile lies in the UTM zone of its centre, so that 10 m are 10 m everywhere; where two zones meet, a sliver
    less than two tiles wide is left out. The same place has the same tile, and the same id, in every area.
    """
    from sardino.data.places import area, partitions

    _write(partitions.square_grid(area.Aoi.load(aoi, cutting.pop("name")), **cutting), out)


@with_options(Cutting)
def random(
    aoi: Area,
    out: NewTable,
    largest_m: Annotated[float, "Longest side in metres. geetiles: --max_rectangle_size_meters."] = 1e4,
    size_px: Square = None,
    seed: Seed = 0,
    **cutting: Any,
) -> None:
    """Cut an area into rectangles of random size (geetiles random).

    The bounding box is cut across its longer side, near the middle, until no side is too long. A tile store needs
    tiles of one size: ask for them with --size-px.
    """
    from sardino.data.places import area, partitions

    place = area.Aoi.load(aoi, cutting.pop("name"))
    _write(partitions.random_rectangles(place, largest_m, size_px, seed=seed, **cutting), out)


@with_options(Cutting, "keep")
def select(
    aoi: Area,
    polygons: Annotated[Path, "File of polygons. geetiles: --orig_shapefile."],
    out: NewTable,
    field: Annotated[str, "Attribute to keep as the column 'name', for example NUTS_ID."] = "",
    size_px: Square = None,
    **cutting: Any,
) -> None:
    """Make a tile of each polygon that shares ground with an area, for example of communes (geetiles select).

    The tile is the polygon's bounding box in whole pixels. Such tiles may overlap; `sardino tiles split` keeps
    overlapping tiles out of different splits.
    """
    from sardino.data.places import area, partitions

    cells = area.read_polygons(polygons)
    if field and field not in cells:
        raise SardinoError(f"{polygons} has no attribute '{field}': it has {', '.join(map(str, cells.columns[:-1]))}")
    tiles, rows = partitions.tiles_of_polygons(cells, area.Aoi.load(aoi, cutting.pop("name")), size_px, **cutting)
    _write(tiles, out, **({"name": cells[field].iloc[rows].map(str)} if field else {}))


@with_options(Cutting)
def hexagons(
    aoi: Area,
    out: NewTable,
    fit: Annotated[
        Fit, "centred: squares inside hexagons, no overlap; around: they cover all, and overlap."
    ] = "centred",
    **cutting: Any,
) -> None:
    """Lay tiles on a lattice of hexagons, all six neighbours equally far; geetiles has none.

    The column 'cell' holds each hexagon as WKT in degrees.
    """
    from sardino.data.places import area, partitions

    tiles, outlines = partitions.hexagons(area.Aoi.load(aoi, cutting.pop("name")), fit=fit, **cutting)
    _write(tiles, out, cell=[outline.wkt for outline in outlines])


def aois(
    search: Annotated[str, Argument(help="Part of a name; all by default (geetiles: --showall).")] = "",
    extract: Annotated[Path | None, "Write the area's outline to this .geojson or .wkt. geetiles: --extract."] = None,
) -> None:
    """List the areas that can be asked for by name, or write the outline of one (geetiles aois).

    Countries (name or ISO code), continents, UN subregions and World Bank regions after Natural Earth, simplified; and
    the paper's areas. "continent:europe" asks for one meaning where a name has several, "france in europe" for what two
    areas share (France alone has parts on five continents).
    """
    from sardino.data.places.area import Aoi, place_names

    if extract is not None:
        echo(Aoi.load(search).write(extract))
    elif found := place_names(search):
        show_table(found)
    else:
        raise SardinoError(f"no known area has '{search}' in its name: `sardino tiles aois` lists all")


def intersect(
    tiles: Table,
    foreign: Annotated[Path, "Another partition: any file of polygons. --foreign_tiles_file."],
    name: Annotated[str, "Short name of that partition; its file's by default."] = "",
    field: Annotated[str, "Its attribute with ids; id, identifier or the row by default."] = "",
    out: Changed = None,
) -> None:
    """Find for each tile the cell of another partition that covers most of it (geetiles intersect).

    Adds the columns foreignid_NAME and foreignshare_NAME, and foreignsplit_NAME where the partition has splits.
    """
    from sardino.data.places.area import read_polygons
    from sardino.data.places.splits import intersect_table
    from sardino.data.tiles.table import read_table

    table = read_table(tiles)
    _write(intersect_table(table, read_polygons(foreign, "a partition"), name or foreign.stem, field), out or tiles)


def split(
    tiles: Table,
    kind: Annotated[Literal["bands", "blocks", "inherited"], "Inherited: from a foreign partition's splits."] = "bands",
    bands: Annotated[int, "Number of bands; 60 in the paper. geetiles: --nbands."] = 60,
    direction: Direction = 30.0,
    block_km: Annotated[float, "Edge of a block in kilometres."] = 50.0,
    percent: Annotated[str, "Train/val/test shares of the tiles. --train_pct, --val_pct, --test_pct."] = "60/20/20",
    buffer_m: Annotated[float, "Metres between tiles of different splits; nearer ones get split 'none'."] = 0.0,
    seed: Seed = 0,
    foreign: Annotated[str | None, "Partition (see intersect) whose cells stay whole. --foreign_tiles_name."] = None,
    drop: Annotated[bool, "Leave out tiles of split 'none'."] = False,
    out: Changed = None,
) -> None:
    """Share tiles out to train, val and test, region by region (geetiles split).

    Bands and blocks are balanced by number of tiles. No ground is ever in two splits: of two overlapping tiles the
    one used for learning is dropped. Look at `sardino tiles leakage` for the buffer that the pixels ask for.
    geetiles' --angle was in radians of the bounding box; --direction is in degrees on the ground.
    """
    from sardino.data.places.splits import split_table
    from sardino.data.tiles.store import SPLITS, UNUSED
    from sardino.data.tiles.table import read_table, write_table

    shares = percent.replace(",", "/").split("/")
    if len(shares) != 3 or not all(share.strip().isdecimal() for share in shares):
        raise SardinoError(f"--percent takes train/val/test in whole percent, for example 60/20/20, not '{percent}'")
    options: dict[str, Any] = {"bands": bands, "block_km": block_km, "buffer_m": buffer_m, "seed": seed}
    options |= {"direction_deg": direction, "percent": list(map(int, shares)), "foreign": foreign}
    table = split_table(read_table(tiles), kind, **options)
    counts = table["split"].value_counts().reindex([*SPLITS, UNUSED], fill_value=0)
    write_table(table[table["split"] != UNUSED].reset_index(drop=True) if drop else table, out or tiles)
    for name in SPLITS:
        echo(f"{name:5}  {counts[name]:>8,} tiles  {counts[name] / counts[list(SPLITS)].sum():6.1%}")
    if counts[UNUSED]:
        echo(f"{UNUSED:5}  {counts[UNUSED]:>8,} tiles  dropped: too near to another split")
    echo(out or tiles)


def leakage(
    source: Annotated[Path, "Tile table with splits, or the folder of a tile store."],
    channel: Annotated[str | None, "Channel to correlate; the store's first by default."] = None,
    tiles: Annotated[Count, "Tiles of the store to read, spread evenly over it."] = 200,
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


# An area may be a box such as -10,35,5,45: an argument, though it starts like an option.
add_commands(app, grid, random, select, hexagons, context_settings={"ignore_unknown_options": True})
add_commands(app, aois, intersect, split, leakage, rasters.chop, rasters.shares, rasters.mosaic, rasters.verify)
add_commands(app, rasters.clean, rasters.single, rasters.pack, rasters.unpack)


def _write(tiles: Any, path: Path, **columns: Any) -> None:
    """Write tiles with further columns, or their table as it is, and say what it holds."""
    from sardino.data.tiles.table import tile_table, write_table

    table = tile_table(tiles, **columns) if isinstance(tiles, list) else tiles
    write_table(table, path)
    zones = table["crs"].value_counts()
    listed = ", ".join(f"{crs} {count:,}" for crs, count in zones.items()) if len(zones) <= 4 else f"{len(zones)} CRSs"
    sizes = table[["columns", "rows"]].drop_duplicates()
    size = f"{sizes.iloc[0, 0]} x {sizes.iloc[0, 1]} px" if len(sizes) == 1 else f"{len(sizes)} sizes"
    echo(f"{len(table):,} tiles of {size} in {', '.join(table['region'].unique())} ({listed})")
    echo(path)
