"""`sardino tiles`, the verbs about what tiles hold: shares, mosaics, cutting scenes, verifying, sharing."""

from pathlib import Path
from typing import Annotated

import typer

from sardino.errors import SardinoError
from sardino.workflow.tiles_chop_cli import bar, name_tiles
from sardino.workflow.tiles_cli import app

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
    from sardino.tiles.contents.label_rasters import LabelRasters
    from sardino.tiles.contents.polygon_shares import shares_from_polygons, shares_in_polygons, write_polygons
    from sardino.tiles.contents.shares import shares_in_rasters, shares_in_store, with_shares
    from sardino.tiles.places.polygons import read_polygons
    from sardino.tiles.table import PLACES, read_table, tiles_in, write_table
    from sardino.tiles.tileset import TileStore

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
    from sardino.tiles.contents.mosaic import mosaic as write_mosaic
    from sardino.tiles.contents.mosaic_files import mosaic_files
    from sardino.tiles.contents.mosaic_values import mosaic_values
    from sardino.tiles.table import read_table
    from sardino.tiles.tileset import ARRAYS, TileStore

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
    from sardino.tiles.contents.integrity import damaged_tiles, examine_folder, summary
    from sardino.tiles.tileset import ARRAYS

    if (path / ARRAYS).exists():
        store, damaged = damaged_tiles(path, bar(None))
        if damaged:
            name_tiles(damaged, "damaged: prepare them again")
            raise typer.Exit(1)
        store.verify()
        typer.echo(f"{len(store)} tiles, whole: fingerprint {store.fingerprint}")
        return
    examined = examine_folder(path, _size(size), progress=bar(None))
    for finding in examined.findings:
        typer.echo(f"{finding.fault}: {finding.path}: {finding.reason}")
    typer.echo("\n".join([f"{examined.files} files read", *summary(examined)]))
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
    from sardino.tiles.contents.integrity import examine_folder

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
    from sardino.tiles.contents.dataset_card import Sharing
    from sardino.tiles.contents.package import pack_dataset
    from sardino.tiles.tileset import TileStore

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
    from sardino.tiles.contents.dataset_card import STORE
    from sardino.tiles.contents.unpacking import unpack_dataset

    card = unpack_dataset(archive, folder, progress=bar(None, "file"))
    typer.echo(f"{card['title']}: {card['tiles']} tiles in {folder / STORE}, licence {card['licence']}")


def _size(text: str) -> tuple[int, int] | None:
    columns, _, rows = text.partition("x")
    if text and not (columns.isdecimal() and rows.isdecimal()):
        raise SardinoError(f"--size takes columns x rows, for example 448x448, not '{text}'")
    return (int(rows), int(columns)) if text else None
