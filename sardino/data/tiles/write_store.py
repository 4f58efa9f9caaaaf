"""Writing a tile store: packed backscatter, labels and layers in Zarr, with a GeoParquet index beside them."""

import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import geopandas
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.data.tiles.radiometry import NODATA, SCALE_DB, SEASONS, one_season, pack
from sardino.data.tiles.store import (
    ARRAYS,
    FORMAT,
    INDEX,
    LISTED,
    SPLITS,
    UNUSED,
    TileStore,
    store_fingerprint,
    tile_digest,
)
from sardino.data.tiles.table import check_unique, tile_table
from sardino.data.tiles.tile import LAYERS, Chip, Progress, Tile
from sardino.data.tiles.value_ranges import ValueRanges
from sardino.errors import SardinoError
from sardino.files import writing

_CODECS = {"none": None, "zstd": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")}
# The other layers are float32 with NaN.
_NODATA = {"backscatter": NODATA, "label": IGNORE, "passes": 0, "layer_optical": 0, "layer_landcover_300m": IGNORE}
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
    listed_only: geopandas.GeoDataFrame | None = None,
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
        splits, bands: "train", "val" or "test", and the geographic band, per tile; "none" of one without a valid pixel.
        listed_only: tiles of the same regions that get no pixels, with the columns that `TileStore.listed` needs.
        chips: the pixels of tile number i; called from `workers` threads at once, which changes no result.
        product: what was measured, for example "Sentinel-1 GRD sigma0, seasonal means".
        unit: of the backscatter; always told apart by name, never by value.
        synthetic: whether the pixels come from a simulation.
        metadata: further facts, JSON values.
        compression: of backscatter and label: "none" reads as fast as the disk; "zstd" saves about 40 % of it and
            reads many times slower.

    Raises:
        SardinoError: the path is taken, tiles repeat, or a chip is without data or does not fit.
    """
    ids = [tile.id for tile in tiles]
    _check(tiles, splits, bands, channels)
    check_unique(ids, "the list of tiles")
    if path.exists() and not overwrite:
        raise SardinoError(f"{path} exists already: remove it, or ask to overwrite it")
    if path.exists() and not (path / ARRAYS).exists():
        raise SardinoError(f"{path} is not a tile store and is left alone: choose another folder")
    partial, old = (path.with_name(path.name + ending) for ending in (".partial", ".old"))
    if partial.exists():
        shutil.rmtree(partial)
    with writing(path):
        partial.mkdir(parents=True)

    group = zarr.create_group(partial / ARRAYS, zarr_format=3)
    arrays: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    ranges = ValueRanges()
    for number, chip in _in_order(chips, len(tiles), workers, progress):
        packed = _packed(chip, tiles[number], splits[number], len(channels), len(legend))
        arrays = arrays or _create_arrays(group, len(tiles), packed, compression)
        if packed.keys() != arrays.keys():
            differ = f"tile {ids[number]} holds {sorted(packed)} where the first holds {sorted(arrays)}"
            raise SardinoError(f"{differ}: give every chip the same layers, nodata where they are missing")
        with writing(path):
            for name in sorted(packed):
                arrays[name][number] = packed[name]
        for channel, plane in zip(channels, chip.backscatter_db, strict=True):
            ranges.add(channel, plane)
        row = {"split": str(splits[number]), "band": int(bands[number]), "sha256": tile_digest(packed)}
        rows.append(row | _shares(packed["backscatter"], packed["label"], legend))
    index = tile_table(tiles, **pd.DataFrame(rows).to_dict("list")).drop(columns=["rows", "columns"])
    index.to_parquet(partial / INDEX)
    listed = None
    if listed_only is not None and len(listed_only):
        listed = pd.concat([index, listed_only], ignore_index=True, join="inner")
        check_unique(listed["id"], "the list of tiles")
        listed.to_parquet(partial / LISTED)

    # Names along the axes, so that xarray selects by channel and by tile id.
    for name, values in {"channel": channels, "tile": ids, "season": SEASONS}.items():
        axis = group.create_array(name, shape=(len(values),), dtype=str, dimension_names=(name,))
        axis[:] = np.array(values, dtype=object)
    size_px = tiles[0].shape[0]
    for name in ("y", "x"):
        axis = group.create_array(name, shape=(size_px,), dtype="int32", dimension_names=(name,))
        axis[:] = np.arange(size_px, dtype=np.int32)
        axis.attrs["long_name"] = "Pixel from the upper left corner"
    head: dict[str, Any] = {"channels": list(channels), "unit": unit, "legend": legend.to_dict(), "tile_px": size_px}
    facts = FORMAT | {
        "seasons": [s for s in SEASONS if any(c.startswith(s + "_") for c in channels)],
        "product": product,
        "synthetic": synthetic,
        "passes": "passes" in arrays,
        "layers": [name.removeprefix("layer_") for name in sorted(arrays) if name.startswith("layer_")],
        "fingerprint": store_fingerprint(head, index, listed),
        "ranges": ranges.rows,
        "metadata": metadata,
    }
    if listed is not None:
        facts["listed"] = len(listed)
    group.attrs.update(head | facts)
    with warnings.catch_warnings():
        # The Zarr 3 specification leaves consolidated metadata open; xarray warns readers without it.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(group.store)

    if path.exists():
        # A folder cannot be replaced in one step: the old store steps aside first and goes last.
        if old.exists():
            shutil.rmtree(old)
        os.replace(path, old)
        os.replace(partial, path)
        shutil.rmtree(old)
    else:
        os.replace(partial, path)
    return TileStore.open(path)


def merge_stores(
    stores: Sequence[TileStore],
    out: Path,
    overwrite: bool = False,
    choose: Callable[[pd.DataFrame], NDArray[np.bool_]] = lambda index: np.ones(len(index), bool),
    *,
    one_date: bool = False,
    progress: Progress = iter,
) -> TileStore:
    """Write the tiles of all stores into a new one, in order, so that small sites are learnt from together.

    A layer that a store lacks is all nodata there. `choose` says of each row of their indices whether the tile's pixels
    are taken, or it is only listed. With `one_date` each tile has the channels vv and vh of one of its seasons, which
    its id draws.

    Raises:
        SardinoError: the stores differ in channels, unit, tile size, legend, or in being synthetic.
    """
    first = stores[0]
    for other in stores[1:]:
        other.require(first.channels, first.unit, first.tile_px)
        if (other.legend, other.synthetic) != (first.legend, first.synthetic):
            raise SardinoError(f"{other.path} and {first.path} differ in legend or origin and cannot be one store")
    rows = pd.concat([store.index for store in stores], ignore_index=True, join="inner")
    taken = choose(rows)
    every = [(store, tile_id) for store in stores for tile_id in store.ids()]
    places = [place for place, here in zip(every, taken, strict=True) if here]
    names = list(dict.fromkeys(name for store in stores for name in store.layers))

    def layer(store: TileStore, name: str, tile_id: str) -> NDArray[Any]:
        if name in store.layers:
            return store.read_layer(name, [tile_id])[0]
        shape = (3,) * (name == "optical") + (first.tile_px, first.tile_px)
        return np.full(shape, _NODATA.get(f"layer_{name}", np.nan), _layer_type(name))

    def chip(number: int) -> Chip:
        store, tile_id = places[number]
        backscatter, label = store.read([tile_id])
        shown = one_season(store.channels, backscatter[0], int(tile_id, 16)) if one_date else backscatter[0]
        return Chip(shown, label[0], {name: layer(store, name, tile_id) for name in names})

    labels = sorted({str(store.metadata.get("labels", store.legend.name)) for store in stores})
    return write_store(
        out,
        [store.tile(tile_id) for store, tile_id in places],
        rows.loc[taken, "split"].tolist(),
        chip,
        channels=("vv", "vh") if one_date else first.channels,
        legend=first.legend,
        product="; ".join(dict.fromkeys(store.product for store in stores)) + ", one season a tile" * one_date,
        unit=first.unit,
        synthetic=first.synthetic,
        metadata={"labels": ", ".join(labels), "parts": [store.metadata for store in stores]},
        bands=rows.loc[taken, "band"].tolist(),
        listed_only=rows[~taken],
        progress=progress,
        overwrite=overwrite,
    )


def _check(tiles: Sequence[Tile], splits: Sequence[str], bands: Sequence[int], channels: Sequence[str]) -> None:
    if not tiles or not channels:
        raise SardinoError("a tile store needs at least one tile and one channel")
    if not len(tiles) == len(splits) == len(bands):
        raise SardinoError(f"{len(tiles)} tiles, {len(splits)} splits and {len(bands)} bands do not match")
    if unknown := sorted(set(splits) - {*SPLITS, UNUSED}):
        raise SardinoError(f"unknown split {unknown}: use {', '.join(SPLITS)}, or {UNUSED} of a tile without pixels")
    if len(set(channels)) != len(channels):
        raise SardinoError(f"channel names repeat in {', '.join(channels)}")
    rows, columns = tiles[0].shape
    if rows != columns or any(tile.shape != tiles[0].shape for tile in tiles):
        raise SardinoError(f"a tile store needs square tiles of one size, not {sorted({t.shape for t in tiles})}")


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


def _packed(chip: Chip, tile: Tile, split: str, channels: int, classes: int) -> dict[str, NDArray[Any]]:
    """The chip's arrays as they lie on disk, refused where they do not fit the store."""
    if chip.backscatter_db.shape != (channels, *tile.shape):
        shape = f"backscatter of shape {chip.backscatter_db.shape}"
        raise SardinoError(f"tile {tile.id} has {shape}, needed is {(channels, *tile.shape)}")
    if split != UNUSED and not np.isfinite(chip.backscatter_db).any():
        raise SardinoError(f"tile {tile.id} of {tile.region} has no valid pixel: drop it from the list of tiles")
    if ((chip.label >= classes) & (chip.label != IGNORE)).any():
        raise SardinoError(f"tile {tile.id} has labels outside the {classes} classes of the legend")
    packed: dict[str, NDArray[Any]] = {"backscatter": pack(chip.backscatter_db), "label": chip.label.astype(np.uint8)}
    packed |= {f"layer_{name}": np.asarray(layer, _layer_type(name)) for name, layer in chip.layers.items()}
    if chip.counts is not None:
        packed["passes"] = np.clip(chip.counts, 0, 255).astype(np.uint8)
    return packed


def _layer_type(name: str) -> type[np.uint8] | type[np.float32]:
    return np.uint8 if f"layer_{name}" in _NODATA else np.float32


def _create_arrays(group: zarr.Group, tiles: int, packed: dict[str, NDArray[Any]], compression: str) -> dict[str, Any]:
    return {
        name: group.create_array(
            name,
            shape=(tiles, *values.shape),
            chunks=(1, *values.shape),
            dtype=values.dtype,
            fill_value=_NODATA.get(name, np.nan),
            # What training does not read is always compressed.
            compressors=_CODECS[compression if name in ("backscatter", "label") else "zstd"],
            # A chunk that is not there is then always a chunk that was lost.
            config={"write_empty_chunks": True},
            dimension_names=("tile", *_INNER_AXIS.get(name, ()), "y", "x"),
            attributes=_ATTRIBUTES[name],
        )
        for name, values in packed.items()
    }


def _shares(counts: NDArray[np.int16], label: NDArray[np.uint8], legend: Legend) -> dict[str, float]:
    labelled = int((label != IGNORE).sum())
    pixels = np.bincount(label.ravel(), minlength=256)[: len(legend)]
    shares = {f"share_{code}": float(n) / max(labelled, 1) for code, n in zip(legend.codes, pixels, strict=True)}
    return shares | {"labelled_share": labelled / label.size, "valid_share": float((counts != NODATA).mean())}
