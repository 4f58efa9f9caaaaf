"""`sardino tiles` about what tiles hold: scenes cut, labels counted, mosaics, damage found, data sets shared."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Exit, Option, echo

from sardino.cli.flags import OverwriteOption, columns_and_rows, shown
from sardino.errors import SardinoError

MOST_NAMED = 20
"""Tiles whose ids are printed, of those that something befell."""

KindOption = Annotated[
    Literal["classes", "db", "amplitude", "values"] | None,
    Option(help="What pixels mean, for warping; told from the file by default."),
]


def chop(
    table: Annotated[Path, Argument(help="Tile table (.parquet or .geojson) from `sardino tiles grid`.")],
    source: Annotated[
        Path, Argument(help="Scene: .tif, .nc or .zarr; or a folder of GUNW granules or of GSSIC files.")
    ],
    out: Annotated[Path, Argument(help="Folder of the files to make; a run that was stopped goes on there.")],
    lat: Annotated[str, Option(help="Name of the latitude (or y) coordinate, where CF does not tell.")] = "",
    lon: Annotated[str, Option(help="Name of the longitude (or x) coordinate.")] = "",
    crs: Annotated[str, Option(help="Of a scene that states none.")] = "",
    group: Annotated[str, Option(help="Group inside a NetCDF file.")] = "",
    variable: Annotated[list[str] | None, Option(help="Of the scene, all by default; repeat for more.")] = None,
    kind: KindOption = None,
    nodata: Annotated[float | None, Option(help="Value that is missing, where the file does not say.")] = None,
    resolution: Annotated[
        float | None, Option(help="Pixel size in units of the tile's CRS; about that of the source by default.")
    ] = None,
    tile_grid: Annotated[bool, Option("--tile-grid", help="Take the tile's own pixels instead.")] = False,
    start: Annotated[str, Option(help="Interferograms from this date, YYYY-MM-DD.")] = "",
    end: Annotated[str, Option(help="Interferograms up to this date.")] = "",
    max_days: Annotated[int | None, Option(help="Interferograms of dates at most so far apart.")] = None,
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
    common: dict[str, Any] = {"resolution": resolution, "progress": shown("tiles")}
    if not source.is_dir() or source.suffix == ".zarr" or (source / "zarr.json").exists():
        from sardino.data.rasters.chop import chop as cut
        from sardino.data.rasters.open import kind_of, open_gridded

        scene = open_gridded(source, lat=lat, lon=lon, crs=crs, group=group)
        for name in scene.names:
            if not variable or name in variable:
                echo(f"{name}: cut as {kind or kind_of(scene.data[name])}")
        common |= {"variables": variable or (), "nodata": nodata, "tile_grid": tile_grid}
        done = cut(scene, tiles, out, kind=kind, **common)
    else:
        given = {"--lat": lat, "--lon": lon, "--crs": crs, "--group": group, "--variable": variable, "--kind": kind}
        if unused := [name for name, value in given.items() if value]:
            raise SardinoError(f"{', '.join(unused)} is of one scene, and {source} is a folder of them: leave it out")
        first, last = _date(start), _date(end)
        if any(source.glob("S1-GUNW-*.nc")):
            from sardino.data.rasters.interferometry import cut_interferograms, granules_in

            done = cut_interferograms(granules_in(source, first, last, max_days), tiles, out, **common)
        elif first or last or max_days:
            raise SardinoError(
                f"--start, --end and --max-days are of interferograms, and {source} holds no GUNW granule"
            )
        else:
            from sardino.data.rasters.interferometry import cut_seasons

            done = cut_seasons(source, tiles, out, **common)
    for reason in dict.fromkeys(done.left_out.values()):
        name_tiles([tile for tile, own in done.left_out.items() if own == reason], f"left out: {reason}")
    echo(f"{len(done.written)} written, {len(done.kept)} kept, {len(done.left_out)} left out in {out}")


def shares(
    table: Annotated[Path, Argument(help="Tile table; or, with --labels, a file of polygons such as communes.")],
    out: Annotated[Path, Argument(help="File to write with the columns share_<code>: .parquet or .geojson.")],
    labels: Annotated[
        list[Path] | None, Option(help="Label raster, or folder of them, in any CRS; repeat for more.")
    ] = None,
    store: Annotated[Path | None, Option(help="Tile store whose labels are counted.")] = None,
    layer: Annotated[str, Option(help="Of the store: label, or landcover_300m.")] = "label",
    foreign: Annotated[
        Path | None,
        Option(help="Coarser polygons with columns share_*, weighted by area. geetiles: --foreign_tiles_file."),
    ] = None,
    year: Annotated[int | None, Option(help="Refuse label rasters that state another year.")] = None,
    nodata: Annotated[list[int] | None, Option(help="Code that means no label; repeat for more.")] = None,
    prefix: Annotated[str, Option(help="In front of the new columns' names.")] = "",
    overwrite: Annotated[bool, Option("--overwrite", help="Replace columns of these names.")] = False,
) -> None:
    """Label shares of each tile or polygon (geetiles: lp.compute, lp.from_foreign).

    Counted on ESA WorldCover rasters (--labels), on a store's own labels (--store), or handed down from
    coarser polygons (--foreign), whose shares this verb counts as well. Pixels without a label are no
    class: shares are of the labelled pixels, labelled_share says how many those are.
    """
    from sardino.data.places.area import read_polygons
    from sardino.data.rasters import label_shares
    from sardino.data.tiles.store import TileStore
    from sardino.data.tiles.table import PLACES, read_table, tiles_in, write_table

    if sum(source is not None for source in (labels or None, store, foreign)) != 1:
        raise SardinoError("name one source of labels: --labels, --store or --foreign")
    progress = shown("tiles")
    rasters = label_shares.LabelRasters(labels, year=year, nodata=nodata or ()) if labels else None
    polygons = read_polygons(table) if rasters and table.is_file() else None
    if rasters and polygons is not None and not set(PLACES) <= set(polygons.columns):
        counted = label_shares.shares_in_polygons(polygons, rasters, progress=shown("polygons"))
        label_shares.write_polygons(label_shares.with_shares(polygons, counted, prefix, overwrite), out)
    else:
        places = read_table(table)
        if rasters:
            counted = label_shares.shares_in_rasters(tiles_in(places), rasters, progress)
        elif store is not None:
            counted = label_shares.shares_in_store(TileStore.open(store), layer, progress)
        else:
            assert foreign is not None
            coarse = read_polygons(foreign, "foreign polygons")
            counted = label_shares.shares_from_polygons(tiles_in(places), coarse)
        write_table(label_shares.with_shares(places, counted, prefix, overwrite), out)
        counted, polygons = counted.reindex(places["id"]), None
    # The last column says how much of each is labelled, or covered by polygons with shares.
    unlabelled = counted.index[counted.iloc[:, -1].fillna(0) == 0]
    name_tiles(list(map(str, unlabelled)), "without a label", "tiles" if polygons is None else "polygons")
    for name, share in counted.mean().items():
        echo(f"{prefix}{name:16} {share:7.3f}")


def mosaic(
    source: Annotated[
        Path, Argument(help="Tile store; or a folder of .tif files; or a tile table, to show one of its columns.")
    ],
    out: Annotated[Path, Argument(help="Cloud-Optimized GeoTIFF to write (.tif).")],
    band: Annotated[
        list[str] | None, Option(help="Channels (winter_vv, repeat for more; channels: all), or label, or one layer.")
    ] = None,
    column: Annotated[str, Option(help="Of a table: one value a tile, such as split or share_50.")] = "",
    split: Annotated[str, Option(help="Only tiles of train, val or test.")] = "",
    kind: KindOption = None,
    crs: Annotated[str, Option(help="Of the mosaic, such as EPSG:3035; needed where tiles lie in several.")] = "",
    resolution: Annotated[float | None, Option(help="In units of the CRS; that of the tiles by default.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Tiles back in one raster (geetiles: mosaic, mosaic.fromvals).

    Tiles on one grid are copied pixel by pixel. Others are warped: classes to the nearest pixel,
    backscatter in linear power. Band names, nodata and class colours are in the file.
    """
    from sardino.data.rasters import mosaic as mosaics
    from sardino.data.tiles.store import ARRAYS, TileStore
    from sardino.data.tiles.table import read_table

    common: dict[str, Any] = {"crs": crs, "resolution": resolution, "overwrite": overwrite, "progress": shown("tiles")}
    if (source / ARRAYS).exists():
        if column:
            raise SardinoError(f"--column is of a tile table, and {source} is a store: name a --band")
        store = TileStore.open(source)
        bands = list(store.channels) if band == ["channels"] else band or ["label"]
        mosaics.mosaic(store, out, bands, ids=store.ids(split or None), **common)
    elif source.is_dir():
        if band or column or split:
            raise SardinoError(f"{source} is a folder of files: leave out --band, --column and --split")
        mosaics.mosaic_files(source, out, kind=kind, **common)
    else:
        if not column or band or split:
            raise SardinoError(f"{source} is a tile table: name the --column to show, and no --band or --split")
        for code, name in mosaics.mosaic_values(read_table(source), column, out, **common).items():
            echo(f"{code:3} {name}")
    echo(out)


def verify(
    path: Annotated[Path, Argument(help="Tile store, or folder of .tif and .nc files.")],
    size: Annotated[str, Option(help="Columns x rows that a raster must have; the usual by default.")] = "",
) -> None:
    """Read every tile and name the damaged ones.

    Damaged or cut short, without a valid pixel, or of a wrong size; in a store, other than written.
    Exit code 1 where there is one. Nothing is changed; `sardino tiles clean` removes what is unreadable.
    """
    from sardino.data.rasters.verify import examine_folder
    from sardino.data.tiles.store import ARRAYS, TileStore

    if (path / ARRAYS).exists():
        store = TileStore.open(path)
        if damaged := store.damaged(shown("tiles")):
            name_tiles(damaged, "damaged: prepare them again")
            raise Exit(1)
        store.verify()
        echo(f"{len(store)} tiles, whole: fingerprint {store.fingerprint}")
        return
    columns, rows = columns_and_rows(size, "--size", "448x448") if size else (0, 0)
    examined = examine_folder(path, (rows, columns) if size else None, progress=shown("files"))
    for finding in examined.findings:
        echo(f"{finding.fault}: {finding.path}: {finding.reason}")
    echo("\n".join([f"{examined.files} files read", *examined.summary()]))
    if examined.findings:
        raise Exit(1)


def clean(
    folder: Annotated[Path, Argument(help="Folder of .tif and .nc files.")],
    remove: Annotated[bool, Option("--remove", help="Delete them; without it they are only named.")] = False,
) -> None:
    """Remove the files that cannot be read (geetiles: cleanup).

    Only files that fail a second time are deleted; empty ones, odd sizes and files that could not be
    opened for want of access stay.
    """
    from sardino.data.rasters.verify import examine_folder

    examined = examine_folder(folder, remove=remove, progress=shown("files"))
    unreadable = examined.of("unreadable")
    for path in unreadable:
        echo(f"{'removed' if path in examined.removed else 'unreadable'}: {path}")
    note = "" if remove or not unreadable else "; nothing was removed, say --remove"
    echo(f"{examined.files} files read, {len(unreadable)} unreadable, {len(examined.removed)} removed{note}")
    if kept := len(examined.findings) - len(unreadable):
        echo(f"{kept} more are empty or of another size: `sardino tiles verify` names them")


def pack(
    store: Annotated[Path, Argument(help="Tile store.")],
    archive: Annotated[Path, Argument(help="Package to write (.tar).")],
    title: Annotated[str, Option(help="One line that says what it is.")],
    licence: Annotated[str, Option(help="For example CC-BY-4.0.")],
    source: Annotated[str, Option(help="Where the pixels come from and whom to cite.")],
    notes: Annotated[Path | None, Option(help="Markdown file for the end of the README.")] = None,
    add: Annotated[list[Path] | None, Option(help="Further file, such as the tile table; repeat.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Package a dataset to share (geetiles: zip.dataset).

    Store, README, card and checksums in one .tar, the same bytes each time; the store is verified first.
    """
    from sardino.data.rasters.share_dataset import Sharing, pack_dataset
    from sardino.data.tiles.store import TileStore

    text = notes.read_text("utf-8") if notes else ""
    sharing = Sharing(title, licence, source, text, tuple(add or ()))
    card = pack_dataset(TileStore.open(store), archive, sharing, overwrite=overwrite, progress=shown("files"))
    echo(f"{archive}: {card['tiles']} tiles, {archive.stat().st_size / 1e6:.1f} MB, {card['licence']}")


def unpack(
    archive: Annotated[Path, Argument(help="Package (.tar) made by `sardino tiles pack`.")],
    folder: Annotated[Path, Argument(help="Folder to make; must not exist.")],
) -> None:
    """Unpack a shared dataset, checking every file.

    An archive with links, names that lead outside, more than it should hold, or a wrong checksum is
    refused, and nothing of it stays.
    """
    from sardino.data.rasters.share_dataset import STORE, unpack_dataset

    card = unpack_dataset(archive, folder, progress=shown("files"))
    echo(f"{card['title']}: {card['tiles']} tiles in {folder / STORE}, licence {card['licence']}")


def name_tiles(ids: list[str], what: str, things: str = "tiles") -> None:
    """Print how many tiles something befell, and the first of their ids."""
    if ids:
        more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
        echo(f"{len(ids)} {things} {what}: {', '.join(ids[:MOST_NAMED])}{more}")


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise SardinoError(f"a date is written YYYY-MM-DD, not '{text}'") from error
