"""`sardino tiles` about what tiles hold: scenes cut, labels counted, mosaics, damage found, data sets shared."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Exit, Option, echo

from sardino.cli.flags import Overwrite, Texts, columns_and_rows, shown, tell_ranges
from sardino.errors import SardinoError
from sardino.files import read_text

MOST_NAMED = 20  # tiles whose ids are printed, of those that something befell
KINDS = Literal["classes", "db", "amplitude", "values"]
Kind = Annotated[KINDS | None, "What pixels mean, for warping; told from the file by default."]
Day = datetime | None


def chop(
    table: Annotated[Path, "Tile table (.parquet or .geojson) from `sardino tiles grid`."],
    source: Annotated[Path, "Scene: .tif, .nc or .zarr; or a folder of GUNW granules or of GSSIC files."],
    out: Annotated[Path, "Folder of the files to make; a run that was stopped goes on there."],
    lat: Annotated[str, "Name of the latitude (or y) coordinate, where CF does not tell."] = "",
    lon: Annotated[str, "Name of the longitude (or x) coordinate."] = "",
    crs: Annotated[str, "Of a scene that states none."] = "",
    group: Annotated[str, "Group inside a NetCDF file."] = "",
    variable: Annotated[Texts, "Of the scene, all by default; repeat for more."] = None,
    kind: Kind = None,
    nodata: Annotated[float | None, "Value that is missing, where the file does not say."] = None,
    resolution: Annotated[float | None, "Pixel size in units of the tile's CRS; about the source's by default."] = None,
    tile_grid: Annotated[bool, "Take the tile's own pixels instead."] = False,
    start: Annotated[Day, Option(formats=["%Y-%m-%d"], help="Interferograms from this date.")] = None,
    end: Annotated[Day, Option(formats=["%Y-%m-%d"], help="Interferograms up to this date.")] = None,
    max_days: Annotated[int | None, "Interferograms of dates at most so far apart."] = None,
) -> None:
    """Cut a scene into tiles, one file a tile (sartiles: chop, gunw, gssic).

    Writes <tile id>.tif from GeoTIFF and <tile id>.nc from NetCDF and Zarr, over exactly the tile's footprint. A folder
    of S1-GUNW-*.nc becomes interferograms stacked by date pair; a folder of GSSIC files (N48W090_winter_vv_AMP.tif)
    becomes seasonal amplitude, coherence and decay. Nothing is downloaded: get such files from ASF first.
    Tiles left out are named here and in left-out.csv, with the reason.
    """
    from sardino.data.rasters import chop, interferometry
    from sardino.data.rasters.doubts import doubts_of, sampled
    from sardino.data.rasters.open import open_pixels
    from sardino.data.tiles.table import read_table, tiles_in

    tiles = tiles_in(read_table(table))
    common: dict[str, Any] = {"resolution": resolution, "progress": shown("tiles")}
    of_scene = {"--lat": lat, "--lon": lon, "--crs": crs, "--group": group, "--variable": variable, "--kind": kind}
    if not source.is_dir() or source.suffix == ".zarr" or (source / "zarr.json").exists():
        scene = open_pixels(source, lat=lat, lon=lon, crs=crs, group=group)
        doubts, missing = list(scene.doubts), () if nodata is None else (nodata,)
        for name in variable or scene.placed().variables:
            echo(f"{name}: cut as {(meaning := kind or scene.kind(name))}")
            if meaning == "db":
                sample = sampled(partial(scene.values, scene.numbers(name), nodata=missing), scene.shape)
                said = [doubt.said for doubt in doubts_of(sample, "db")]
                doubts += [f"{source}: {name} {clause}: say --nodata or --kind" for clause in said]
        for doubt in doubts:
            echo(f"warning: {doubt}", err=True)
        common |= {"variables": variable or (), "nodata": nodata, "tile_grid": tile_grid}
        done = chop.chop(scene, tiles, out, kind=kind, **common)
    elif unused := [name for name, value in of_scene.items() if value]:
        raise SardinoError(f"{', '.join(unused)} is of one scene, and {source} is a folder of them: leave it out")
    elif any(source.glob("S1-GUNW-*.nc")):
        first, last = start and start.date(), end and end.date()
        granules = interferometry.granules_in(source, first, last, max_days)
        done = interferometry.cut_interferograms(granules, tiles, out, **common)
    elif start or end or max_days:
        raise SardinoError(f"--start, --end and --max-days are of interferograms, and {source} holds no GUNW granule")
    else:
        done = interferometry.cut_seasons(source, tiles, out, **common)
    tell_ranges(done.ranges)
    for reason in dict.fromkeys(done.left_out.values()):
        name_tiles([tile for tile, own in done.left_out.items() if own == reason], f"left out: {reason}")
    echo(f"{len(done.written)} written, {len(done.kept)} kept, {len(done.left_out)} left out in {out}")


def shares(
    table: Annotated[Path, "Tile table; or, with --labels, a file of polygons such as communes."],
    out: Annotated[Path, "File to write with the columns share_<code>: .parquet or .geojson."],
    labels: Annotated[list[Path] | None, "Label raster, or folder of them, in any CRS; repeat for more."] = None,
    store: Annotated[Path | None, "Tile store whose labels are counted."] = None,
    layer: Annotated[str, "Of the store: label, or landcover_300m."] = "label",
    foreign: Annotated[Path | None, "Coarser polygons with columns share_*, by area. --foreign_tiles_file."] = None,
    year: Annotated[int | None, "Refuse label rasters that state another year."] = None,
    nodata: Annotated[list[int] | None, "Code that means no label; repeat for more."] = None,
    prefix: Annotated[str, "In front of the new columns' names."] = "",
    overwrite: Annotated[bool, "Replace columns of these names."] = False,
) -> None:
    """Label shares of each tile or polygon (geetiles: lp.compute, lp.from_foreign).

    Counted on ESA WorldCover rasters (--labels), on a store's own labels (--store), or handed down from coarser
    polygons (--foreign), whose shares this verb counts as well. Pixels without a label are no class: shares are of the
    labelled pixels, labelled_share says how many those are.
    """
    from sardino.data.places.area import read_polygons
    from sardino.data.rasters import label_shares
    from sardino.data.tiles.store import TileStore
    from sardino.data.tiles.table import PLACES, read_table, tiles_in, write_table

    if sum(map(bool, (labels, store, foreign))) != 1:
        raise SardinoError("name one source of labels: --labels, --store or --foreign")
    rasters = label_shares.LabelRasters(labels, year=year, nodata=nodata or ()) if labels else None
    polygons = read_polygons(table) if rasters and table.is_file() else None
    if rasters and polygons is not None and not set(PLACES) <= set(polygons.columns):
        things, counted = "polygons", label_shares.shares_in_polygons(polygons, rasters, progress=shown("polygons"))
        label_shares.write_polygons(label_shares.with_shares(polygons, counted, prefix, overwrite), out)
    else:
        things, places = "tiles", read_table(table)
        if rasters:
            counted = label_shares.shares_in_rasters(tiles_in(places), rasters, shown("tiles"))
        elif store:
            counted = label_shares.shares_in_store(TileStore.open(store), layer, shown("tiles"))
        elif foreign:
            counted = label_shares.shares_from_polygons(tiles_in(places), read_polygons(foreign, "foreign polygons"))
        write_table(label_shares.with_shares(places, counted, prefix, overwrite), out)
        counted = counted.reindex(places["id"])
    # The last column says how much of each is labelled, or covered by polygons with shares.
    name_tiles(counted.index[counted.iloc[:, -1].fillna(0) == 0].map(str), "without a label", things)
    for name, share in counted.mean().items():
        echo(f"{prefix}{name:16} {share:7.3f}")


def mosaic(
    source: Annotated[Path, "Tile store; or a folder of .tif files; or a tile table, to show one of its columns."],
    out: Annotated[Path, "Cloud-Optimized GeoTIFF to write (.tif)."],
    band: Annotated[Texts, "Channels (winter_vv, repeat for more; channels: all), or label, or one layer."] = None,
    column: Annotated[str, "Of a table: one value a tile, such as split or share_50."] = "",
    split: Annotated[str, "Only tiles of train, val or test."] = "",
    kind: Kind = None,
    crs: Annotated[str, "Of the mosaic, such as EPSG:3035; needed where tiles lie in several."] = "",
    resolution: Annotated[float | None, "In units of the CRS; that of the tiles by default."] = None,
    overwrite: Overwrite = False,
) -> None:
    """Tiles back in one raster (geetiles: mosaic, mosaic.fromvals).

    Tiles on one grid are copied pixel by pixel. Others are warped: classes to the nearest pixel, backscatter in linear
    power. Band names, nodata and class colours are in the file.
    """
    from sardino.data.rasters import mosaic
    from sardino.data.tiles.store import ARRAYS, TileStore
    from sardino.data.tiles.table import read_table

    common: dict[str, Any] = {"crs": crs, "resolution": resolution, "overwrite": overwrite, "progress": shown("tiles")}
    if (source / ARRAYS).exists():
        if column:
            raise SardinoError(f"--column is of a tile table, and {source} is a store: name a --band")
        store = TileStore.open(source)
        bands = list(store.channels) if band == ["channels"] else band or ["label"]
        mosaic.mosaic(store, out, bands, ids=store.ids(split or None), **common)
    elif source.is_dir():
        if band or column or split:
            raise SardinoError(f"{source} is a folder of files: leave out --band, --column and --split")
        mosaic.mosaic_files(source, out, kind=kind, **common)
    else:
        if not column or band or split:
            raise SardinoError(f"{source} is a tile table: name the --column to show, and no --band or --split")
        for code, name in mosaic.mosaic_values(read_table(source), column, out, **common).items():
            echo(f"{code:3} {name}")
    echo(out)


def verify(
    path: Annotated[Path, "Tile store, or folder of .tif and .nc files."],
    size: Annotated[str, "Columns x rows that a raster must have; the usual by default."] = "",
) -> None:
    """Read every tile and name the damaged ones.

    Damaged or cut short, without a valid pixel, or of a wrong size; in a store, other than written. Exit code 1 where
    there is one. Nothing is changed; `sardino tiles clean` removes what is unreadable.
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
    shape = columns_and_rows(size, "--size", "448x448")[::-1] if size else None
    examined = examine_folder(path, shape, progress=shown("files"))
    found = [f"{finding.fault}: {finding.path}: {finding.reason}" for finding in examined.findings]
    echo("\n".join([*found, f"{examined.files} files read", *examined.summary()]))
    if found:
        raise Exit(1)


def clean(
    folder: Annotated[Path, "Folder of .tif and .nc files."],
    remove: Annotated[bool, "Delete them; without it they are only named."] = False,
) -> None:
    """Remove the files that cannot be read (geetiles: cleanup).

    Only files that fail a second time are deleted; empty ones, odd sizes and files that could not be opened for want of
    access stay.
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


def single(
    store: Annotated[Path, "Tile store with VV and VH of one season or of several."],
    out: Annotated[Path, "Folder of the tile store to make."],
    overwrite: Overwrite = False,
) -> None:
    """Make a store of VV and VH of one season a tile, for a network that takes one Sentinel-1 image.

    Each tile shows one of its seasons, drawn by its id; splits, labels and layers stay. `sardino pretrain` and
    `sardino finetune` on it make networks for scenes with the bands vv and vh. A season's mean has less speckle than
    one date: `sardino world --dates 1` has as much.
    """
    from sardino.data.tiles.store import TileStore
    from sardino.data.tiles.write_store import merge_stores

    made = merge_stores([TileStore.open(store)], out, overwrite, one_date=True, progress=shown("tiles"))
    echo(made)
    tell_ranges(made.ranges, made.unit)


def pack(
    store: Annotated[Path, "Tile store."],
    archive: Annotated[Path, "Package to write (.tar)."],
    *,
    title: Annotated[str, "One line that says what it is."],
    licence: Annotated[str, "For example CC-BY-4.0."],
    source: Annotated[str, "Where the pixels come from and whom to cite."],
    notes: Annotated[Path | None, "Markdown file for the end of the README."] = None,
    add: Annotated[list[Path] | None, "Further file, such as the tile table; repeat."] = None,
    overwrite: Overwrite = False,
) -> None:
    """Package a dataset to share (geetiles: zip.dataset).

    Store, README, card and checksums in one .tar, the same bytes each time; the store is verified first.
    """
    from sardino.data.rasters.share_dataset import Sharing, pack_dataset
    from sardino.data.tiles.store import TileStore

    sharing = Sharing(title, licence, source, read_text(notes) if notes else "", tuple(add or ()))
    card = pack_dataset(TileStore.open(store), archive, sharing, overwrite=overwrite, progress=shown("files"))
    echo(f"{archive}: {card['tiles']} tiles, {archive.stat().st_size / 1e6:.1f} MB, {card['licence']}")


def unpack(
    archive: Annotated[Path, "Package (.tar) made by `sardino tiles pack`."],
    folder: Annotated[Path, "Folder to make; must not exist."],
) -> None:
    """Unpack a shared dataset, checking every file.

    An archive with links, names that lead outside, more than it should hold, or a wrong checksum is refused, and
    nothing of it stays.
    """
    from sardino.data.rasters.share_dataset import STORE, unpack_dataset

    card = unpack_dataset(archive, folder, progress=shown("files"))
    echo(f"{card['title']}: {card['tiles']} tiles in {folder / STORE}, licence {card['licence']}")


def name_tiles(ids: Sequence[str], what: str, things: str = "tiles") -> None:
    """Print how many tiles something befell, and the first of their ids."""
    if len(ids):
        more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
        echo(f"{len(ids)} {things} {what}: {', '.join(ids[:MOST_NAMED])}{more}")
