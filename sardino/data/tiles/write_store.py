"""Writing a tile store: packed backscatter, labels and layers in Zarr, with a GeoParquet index beside them."""

import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.data.tiles.radiometry import NODATA, SCALE_DB, SEASONS, pack
from sardino.data.tiles.store import (
    ARRAYS,
    FORMAT,
    INDEX,
    SPLITS,
    VERSION,
    TileStore,
    head_of,
    store_fingerprint,
    tile_digest,
)
from sardino.data.tiles.table import check_unique, tile_table
from sardino.data.tiles.tile import LAYERS, Chip, Progress, Tile
from sardino.errors import SardinoError

_CODECS = {"none": None, "zstd": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")}
_LAYER_NODATA = {"optical": 0, "landcover_300m": IGNORE}
"""Of the layers in uint8; the others are float32 with NaN."""
_INNER_AXIS = {"backscatter": ("channel",), "layer_optical": ("rgb",), "passes": ("season",)}
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "backscatter": {"units": "dB", "scale_factor": SCALE_DB, "_FillValue": NODATA, "long_name": "Backscatter"},
    "label": {"long_name": f"Class index, {IGNORE} where unlabelled"},
    "passes": {"long_name": "Passes in the composite"},
    **{f"layer_{name}": {"long_name": title} for name, title in LAYERS.items()},
}


def write_store(
    path: Path,
    tiles: Sequence[Tile],
    splits: Sequence[str],
    chips: Callable[[int], Chip],
    *,
    channels: Sequence[str],
    legend: Legend,
    product: str,
    unit: str = "dB",
    synthetic: bool,
    metadata: dict[str, Any],
    bands: Sequence[int],
    workers: int = 1,
    compression: Literal["none", "zstd"] = "none",
    progress: Progress = iter,
    overwrite: bool = False,
) -> TileStore:
    """Write a tile store, whole or not at all, and open it.

    The arrays grow in a sibling folder `<name>.partial`, renamed at the end. The same tiles give the same
    bytes in every file. Backscatter is int16 counts of 0.01 dB with CF attributes, one chunk a tile, so that
    `xarray.open_zarr(path / "tiles.zarr")` shows decibels.

    Args:
        path: folder to create; holds tiles.zarr and tiles.parquet.
        tiles: square and of one size.
        splits, bands: "train", "val" or "test", and the geographic band, per tile.
        chips: the pixels of tile number i; called from `workers` threads at once.
        product: what was measured, for example "Sentinel-1 GRD sigma0, seasonal means".
        unit: of the backscatter; always told apart by name, never by value.
        synthetic: whether the pixels come from a simulation.
        metadata: further facts, JSON values.
        workers: chips computed in parallel; the result does not depend on it.
        compression: of backscatter and label: "none" reads as fast as the disk; "zstd" saves about 40 % of it and
            reads many times slower.

    Raises:
        SardinoError: the path is taken, tiles repeat, or a chip is without data or does not fit.
    """
    path = Path(path)
    ids = [tile.id for tile in tiles]
    _check_tiles(tiles, splits, bands, channels)
    check_unique(ids, "the list of tiles")
    _check_free(path, overwrite)
    partial = path.with_name(path.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)

    size_px = tiles[0].shape[0]
    arrays: dict[str, zarr.Array[Any]] = {}
    shares: list[dict[str, float]] = []
    group = zarr.create_group(partial / ARRAYS, zarr_format=3)
    digests: list[str] = []
    for number, chip in _in_order(chips, len(tiles), workers, progress):
        packed = _packed(chip, tiles[number], len(channels), len(legend))
        if not arrays:
            arrays = _create_arrays(group, len(tiles), packed, compression)
        if packed.keys() != arrays.keys():
            raise SardinoError(
                f"tile {ids[number]} holds {sorted(packed)} where the first holds {sorted(arrays)}: give every "
                f"chip the same layers, filled with nodata where they are missing"
            )
        for name in sorted(packed):
            arrays[name][number] = packed[name]
        digests.append(tile_digest(packed))
        shares.append(_shares(packed["backscatter"], packed["label"], legend))

    _write_coordinates(group, {"channel": channels, "tile": ids, "season": SEASONS}, size_px)
    head = head_of(channels, unit, legend, size_px)
    rows = zip(ids, splits, (int(band) for band in bands), digests, strict=True)
    group.attrs.update(
        head
        | {
            "format": FORMAT,
            "version": VERSION,
            "seasons": [s for s in SEASONS if any(c.startswith(s + "_") for c in channels)],
            "product": product,
            "synthetic": synthetic,
            "passes": "passes" in arrays,
            "layers": [name.removeprefix("layer_") for name in sorted(arrays) if name.startswith("layer_")],
            "fingerprint": store_fingerprint(head, rows),
            "metadata": metadata,
        }
    )
    with warnings.catch_warnings():
        # The Zarr 3 specification leaves consolidated metadata open; xarray warns readers without it.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(group.store)
    columns: dict[str, list[Any]] = {"split": [str(s) for s in splits], "band": [int(b) for b in bands]}
    columns |= {"sha256": digests} | {name: [share[name] for share in shares] for name in shares[0]}
    tile_table(tiles, **columns).drop(columns=["rows", "columns"]).to_parquet(partial / INDEX)
    _move_into_place(partial, path)
    return TileStore.open(path)


def merge_stores(stores: Sequence[TileStore], out: Path, overwrite: bool = False) -> TileStore:
    """Write the tiles of all stores into a new one, in order, so that small sites are learnt from together.

    A layer that a store lacks is all nodata there.

    Raises:
        SardinoError: the stores differ in channels, unit, tile size, legend, or in being synthetic.
    """
    first = stores[0]
    for other in stores[1:]:
        other.require(first.channels, first.unit, first.tile_px)
        if other.legend != first.legend or other.synthetic != first.synthetic:
            raise SardinoError(f"{other.path} and {first.path} differ in legend or origin and cannot be one store")
    places = [(store, tile_id) for store in stores for tile_id in store.ids()]
    names = list(dict.fromkeys(name for store in stores for name in store.layers))

    def layer(store: TileStore, name: str, tile_id: str) -> NDArray[Any]:
        if name in store.layers:
            return store.read_layer(name, [tile_id])[0]
        size = (first.tile_px, first.tile_px)
        return np.full((3, *size) if name == "optical" else size, _LAYER_NODATA.get(name, np.nan), _layer_type(name))

    def chip(number: int) -> Chip:
        store, tile_id = places[number]
        backscatter, label = store.read([tile_id])
        return Chip(backscatter[0], label[0], {name: layer(store, name, tile_id) for name in names})

    def column(name: str) -> list[Any]:
        return [value for store in stores for value in store.index[name]]

    labels = sorted({str(store.metadata.get("labels", store.legend.name)) for store in stores})
    return write_store(
        out,
        [store.tile(tile_id) for store, tile_id in places],
        column("split"),
        chip,
        channels=first.channels,
        legend=first.legend,
        product="; ".join(dict.fromkeys(store.product for store in stores)),
        unit=first.unit,
        synthetic=first.synthetic,
        metadata={"labels": ", ".join(labels), "parts": [store.metadata for store in stores]},
        bands=column("band"),
        overwrite=overwrite,
    )


def _check_tiles(tiles: Sequence[Tile], splits: Sequence[str], bands: Sequence[int], channels: Sequence[str]) -> None:
    if not tiles or not channels:
        raise SardinoError("a tile store needs at least one tile and one channel")
    if not len(tiles) == len(splits) == len(bands):
        raise SardinoError(f"{len(tiles)} tiles, {len(splits)} splits and {len(bands)} bands do not match")
    if set(splits) - set(SPLITS):
        raise SardinoError(f"unknown split {sorted(set(splits) - set(SPLITS))}: use {', '.join(SPLITS)}")
    if len(set(channels)) != len(channels):
        raise SardinoError(f"channel names repeat in {', '.join(channels)}")
    rows, columns = tiles[0].shape
    if rows != columns or any(tile.shape != tiles[0].shape for tile in tiles):
        raise SardinoError(f"a tile store needs square tiles of one size, not {sorted({t.shape for t in tiles})}")


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise SardinoError(f"{path} exists already: remove it, or ask to overwrite it")
    if path.exists() and not (path / ARRAYS).exists():
        raise SardinoError(f"{path} is not a tile store and is left alone: choose another folder")


def _in_order(chips: Callable[[int], Chip], count: int, workers: int, progress: Progress) -> Iterator[tuple[int, Chip]]:
    """Chips in tile order, `workers` computed at a time and few waiting, so that memory stays bounded."""
    if workers <= 1:
        for number in progress(range(count)):
            yield number, chips(number)
        return
    ahead = 2 * workers
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(chips, number) for number in range(min(ahead, count)))
        try:
            for number in progress(range(count)):
                chip = waiting.popleft().result()
                if number + ahead < count:
                    waiting.append(pool.submit(chips, number + ahead))
                yield number, chip
        finally:
            pool.shutdown(cancel_futures=True)


def _packed(chip: Chip, tile: Tile, channels: int, classes: int) -> dict[str, NDArray[Any]]:
    """The chip's arrays as they lie on disk, refused where they do not fit the store."""
    if chip.backscatter_db.shape != (channels, *tile.shape):
        raise SardinoError(
            f"tile {tile.id} has backscatter of shape {chip.backscatter_db.shape}, needed is {(channels, *tile.shape)}"
        )
    if not np.isfinite(chip.backscatter_db).any():
        raise SardinoError(f"tile {tile.id} of {tile.region} has no valid pixel: drop it from the list of tiles")
    if ((chip.label >= classes) & (chip.label != IGNORE)).any():
        raise SardinoError(f"tile {tile.id} has labels outside the {classes} classes of the legend")
    packed: dict[str, NDArray[Any]] = {"backscatter": pack(chip.backscatter_db), "label": chip.label.astype(np.uint8)}
    packed |= {f"layer_{name}": np.asarray(layer, _layer_type(name)) for name, layer in chip.layers.items()}
    if chip.counts is not None:
        packed["passes"] = np.clip(chip.counts, 0, 255).astype(np.uint8)
    return packed


def _layer_type(name: str) -> type[np.uint8] | type[np.float32]:
    return np.uint8 if name in _LAYER_NODATA else np.float32


def _create_arrays(
    group: zarr.Group, tiles: int, packed: dict[str, NDArray[Any]], compression: str
) -> dict[str, "zarr.Array[Any]"]:
    arrays = {}
    for name, values in packed.items():
        layer_nodata = _LAYER_NODATA.get(name.removeprefix("layer_"), np.nan)
        fill: float = {"backscatter": NODATA, "label": IGNORE, "passes": 0}.get(name, layer_nodata)
        arrays[name] = group.create_array(
            name,
            shape=(tiles, *values.shape),
            chunks=(1, *values.shape),
            dtype=values.dtype,
            fill_value=fill,
            # What training does not read is always compressed.
            compressors=_CODECS[compression if name in ("backscatter", "label") else "zstd"],
            # A chunk that is not there is then always a chunk that was lost.
            config={"write_empty_chunks": True},
            dimension_names=("tile", *_INNER_AXIS.get(name, ()), "y", "x"),
            attributes=_ATTRIBUTES[name],
        )
    return arrays


def _write_coordinates(group: zarr.Group, named: dict[str, Sequence[str]], size_px: int) -> None:
    """Names along the axes, so that xarray selects by channel and by tile id."""
    for name, values in named.items():
        axis = group.create_array(name, shape=(len(values),), dtype=str, dimension_names=(name,))
        axis[:] = np.array(values, dtype=object)
    for name in ("y", "x"):
        axis = group.create_array(name, shape=(size_px,), dtype="int32", dimension_names=(name,))
        axis[:] = np.arange(size_px, dtype=np.int32)
        axis.attrs["long_name"] = "Pixel from the upper left corner"


def _shares(counts: NDArray[np.int16], label: NDArray[np.uint8], legend: Legend) -> dict[str, float]:
    labelled = int((label != IGNORE).sum())
    pixels = np.bincount(label.ravel(), minlength=256)[: len(legend)]
    shares = {f"share_{code}": float(n) / max(labelled, 1) for code, n in zip(legend.codes, pixels, strict=True)}
    return shares | {"labelled_share": labelled / label.size, "valid_share": float((counts != NODATA).mean())}


def _move_into_place(partial: Path, path: Path) -> None:
    if not path.exists():
        os.replace(partial, path)
        return
    # A folder cannot be replaced in one step: the old store steps aside first and goes last.
    old = path.with_name(path.name + ".old")
    if old.exists():
        shutil.rmtree(old)
    os.replace(path, old)
    os.replace(partial, path)
    shutil.rmtree(old)
