"""A tile store opened for reading: checked first, then read tile by tile."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import geopandas
import numpy as np
import zarr
from numpy.typing import NDArray
from pyproj import CRS
from zarr.codecs import BytesCodec

from sardino.data.tiles.landcover import Legend, label_order
from sardino.data.tiles.radiometry import unpack
from sardino.data.tiles.tile import Progress, Tile
from sardino.data.tiles.value_ranges import ValueRanges
from sardino.errors import SardinoError, first_line

# Version 2: one digest a tile in the index; uncompressed unless asked otherwise.
FORMAT: dict[str, Any] = {"format": "sardino-tiles", "version": 2}
SPLITS = ("train", "val", "test")
UNUSED = "none"  # split of a tile that nobody learns on and nobody is judged on
ARRAYS = "tiles.zarr"
INDEX = "tiles.parquet"
LISTED = "listed.parquet"
HEAD = ("channels", "unit", "legend", "tile_px")  # what gives the pixels of a store their meaning
ATTRIBUTES = ("channels", "unit", "product", "legend", "synthetic", "tile_px", "layers", "fingerprint", "metadata")
_PLAIN = [(BytesCodec(endian=endian),) for endian in ("little", None)]  # bytes of one have no endian


class TileStore:
    """A tile store opened for reading; `open` checks it before anything is read.

    Its index has one row a tile: id, region, crs, transform, split, band, sha256, share_<class code> (of labelled
    pixels), labelled_share, valid_share, geometry in EPSG:4326. A tile without a valid pixel has the split "none". Of
    some regions more tiles may be listed than have pixels: see `listed`.
    """

    def __init__(self, path: Path, group: zarr.Group, index: geopandas.GeoDataFrame) -> None:
        attributes: dict[str, Any] = group.attrs.asdict()
        self.path = path
        self.index = index
        self.channels: list[str] = list(attributes["channels"])
        self.unit = str(attributes["unit"])
        self.product = str(attributes["product"])
        self.legend = Legend.from_dict(attributes["legend"])
        self.synthetic = bool(attributes["synthetic"])
        self.tile_px = int(attributes["tile_px"])
        self.layers: list[str] = list(attributes["layers"])
        self.fingerprint = str(attributes["fingerprint"])
        self.metadata: dict[str, Any] = dict(attributes["metadata"])
        self.ranges = ValueRanges(attributes.get("ranges"))  # of the channels, in the unit; empty in older stores
        self._lists = int(attributes.get("listed", 0))
        self._arrays: dict[str, Any] = {}
        self._plain: set[str] = set()
        passes = ["passes"] if attributes.get("passes") else []
        for name in ["backscatter", "label", *(f"layer_{layer}" for layer in self.layers), *passes]:
            with suppress(Exception):
                self._arrays[name] = group[name]
            array = self._arrays.get(name)
            if not isinstance(array, zarr.Array):
                raise SardinoError(f"{path / ARRAYS} has lost its array '{name}': prepare the data again")
            # An uncompressed Zarr chunk, a tile, is the array's bytes and nothing else. Reading its file costs what
            # the disk costs; the way through Zarr's codecs costs several times that. Compressed arrays take that way.
            codecs = array.metadata.codecs if array.metadata.zarr_format == 3 else ()
            if codecs in _PLAIN and array.chunks == (1, *array.shape[1:]):
                self._plain.add(name)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the store in folder `path`; SardinoError names what is missing, half-written or foreign."""
        path = Path(path)
        if not path.exists():
            half = path.with_name(path.name + ".partial").exists()
            what = f"{path} was only half written" if half else f"there is no tile store {path}"
            raise SardinoError(f"{what}: run the data preparation")
        for part in (ARRAYS, INDEX):
            if not (path / part).exists():
                raise SardinoError(f"{path} is not a whole tile store, {part} is missing: prepare the data again")
        try:
            group = zarr.open_group(path / ARRAYS, mode="r", use_consolidated=False)
            attributes = group.attrs.asdict()
        except Exception as error:
            raise SardinoError(f"{path / ARRAYS} cannot be read ({first_line(error)}): prepare it again") from error
        if attributes.get("format") != FORMAT["format"]:
            raise SardinoError(f"{path / ARRAYS} is a Zarr group, no {FORMAT['format']} store: choose another folder")
        if (version := attributes.get("version")) != (known := FORMAT["version"]):
            raise SardinoError(f"{path} has format version {version}, this code reads {known}: prepare it again")
        if missing := [name for name in ATTRIBUTES if name not in attributes]:
            raise SardinoError(f"{path / ARRAYS} lacks the attributes {', '.join(missing)}: prepare the data again")
        try:
            index = geopandas.read_parquet(path / INDEX)
            rows = len(index[["id", "split", "region", "sha256"]])
        except Exception as error:
            raise SardinoError(f"{path / INDEX} cannot be read ({first_line(error)}): prepare it again") from error
        store = cls(path, group, index)
        if store._lists and not (path / LISTED).exists():
            raise SardinoError(f"{path} is not a whole tile store, {LISTED} is missing: prepare the data again")
        shape = (rows, len(store.channels), store.tile_px, store.tile_px)
        if store._arrays["backscatter"].shape != shape or store._arrays["label"].shape != (rows, *shape[2:]):
            raise SardinoError(f"{path} contradicts itself, its arrays do not hold {shape}: prepare the data again")
        return store

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        count = f"{len(self)} of {self._lists} listed" if self._lists else f"{len(self)}"
        return f"TileStore({str(self.path)!r}, {count} tiles of {self.tile_px} px, {len(self.channels)} channels)"

    @cached_property
    def listed(self) -> geopandas.GeoDataFrame:
        """All tiles of the regions, those without pixels too; the index where all have some.

        Columns: id, region, crs, transform, split, band, labelled_share, geometry in EPSG:4326, and perhaps more.
        """
        if not self._lists:
            return self.index
        try:
            listed = geopandas.read_parquet(self.path / LISTED)
        except Exception as error:
            where = f"{self.path / LISTED} cannot be read"
            raise SardinoError(f"{where} ({first_line(error)}): prepare it again") from error
        if len(listed) != self._lists or not set(self.index["id"]) <= set(listed["id"]):
            raise SardinoError(f"{self.path / LISTED} is not the list of this store: prepare the data again")
        return listed

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {tile: row for row, tile in enumerate(self.index["id"])}

    def row(self, tile_id: str) -> int:
        """Place of a tile in the arrays."""
        if tile_id not in self._rows:
            raise SardinoError(f"{self.path} has no tile {tile_id}")
        return self._rows[tile_id]

    def ids(
        self, split: str | Sequence[str] | None = None, regions: Sequence[str] | None = None, listed: bool = False
    ) -> list[str]:
        """Tile ids in store order, of one split or several and of some regions where asked; unknown names are refused.

        Of tiles with pixels, or, where `listed`, of all.
        """
        chosen = self.listed if listed else self.index
        if regions is not None:
            if unknown := ", ".join(sorted(set(regions) - set(chosen["region"]))):
                raise SardinoError(f"{self.path} has no region {unknown}: it holds {', '.join(self.regions)}")
            chosen = chosen[chosen["region"].isin(list(regions))]
        if split is not None:
            wanted = [split] if isinstance(split, str) else list(split)
            if unknown := ", ".join(sorted(set(wanted) - set(SPLITS))):
                raise SardinoError(f"there is no split '{unknown}': choose {', '.join(SPLITS)}")
            chosen = chosen[chosen["split"].isin(wanted)]
        return [str(tile) for tile in chosen["id"]]

    def blocks(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) number of each tile's place and band: the unit that intervals resample."""
        index = self.index.set_index("id").loc[list(ids)]
        return index.groupby(["region", "crs", "band"], sort=True).ngroup().to_numpy(np.int64)

    @property
    def regions(self) -> list[str]:
        """Regions in the order in which they were written."""
        return [str(region) for region in self.index["region"].unique()]

    def tile(self, tile_id: str) -> Tile:
        """Where a tile lies."""
        row = self.index.iloc[self.row(tile_id)]
        a, b, c, d, e, f = (float(v) for v in row["transform"])
        return Tile(str(row["region"]), str(row["crs"]), (a, b, c, d, e, f), (self.tile_px, self.tile_px))

    @property
    def gsd_m(self) -> float | None:
        """Pixel spacing in metres: as written beside the tiles, else of the first tile's transform; None in degrees."""
        if self.metadata.get("gsd_m"):
            return float(self.metadata["gsd_m"])
        first = self.tile(str(self.index["id"].iloc[0]))
        return first.transform[0] if first.crs and CRS.from_user_input(first.crs).is_projected else None

    def __reduce__(self) -> tuple[Any, ...]:
        # Loader workers open the store themselves: file handles do not travel.
        return TileStore.open, (self.path,)

    def read(self, ids: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Tiles by id: backscatter (N, C, H, W) float32 dB with NaN, and labels (N, H, W) uint8 class index."""
        backscatter = np.empty((len(ids), len(self.channels), self.tile_px, self.tile_px), np.float32)
        counts = np.empty(backscatter.shape[1:], np.int16)
        for place, tile_id in enumerate(ids):
            self._read_into("backscatter", tile_id, counts)
            unpack(counts, out=backscatter[place])
        return backscatter, self.read_array("label", ids)

    def read_layer(self, name: str, ids: Sequence[str]) -> NDArray[Any]:
        """A reference layer of some tiles: (N, 3, H, W) uint8 for "optical", otherwise (N, H, W)."""
        if name not in self.layers:
            raise SardinoError(f"{self.path} has no layer '{name}': it holds {', '.join(self.layers) or 'none'}")
        return self.read_array(f"layer_{name}", ids)

    def read_array(self, name: str, ids: Sequence[str]) -> NDArray[Any]:
        """Some tiles of one array as they lie on disk.

        Of "backscatter" (N, C, H, W) int16 counts of 0.01 dB, NODATA where missing; of "label" (N, H, W) uint8; of
        "passes" (N, 4, H, W) uint8 passes in each season's composite, saturating at 255; of "layer_<name>" a layer.
        """
        if name not in self._arrays:
            raise SardinoError(f"{self.path} does not know '{name}': it holds {', '.join(self._arrays)}")
        array = self._arrays[name]
        values = np.empty((len(ids), *array.shape[1:]), array.dtype)
        for place, tile_id in enumerate(ids):
            self._read_into(name, tile_id, values[place])
        return values

    def _read_into(self, name: str, tile_id: str, out: NDArray[Any]) -> None:
        """Fill `out`, contiguous and of the array's shape and type, with a tile."""
        row = self.row(tile_id)
        file = f"{self.path}/{ARRAYS}/{name}/c/{row}{'/0' * out.ndim}"  # Zarr's default chunk key
        try:
            if name in self._plain:
                with open(file, "rb", buffering=0) as chunk:
                    if chunk.readinto(out.data.cast("B")) != out.nbytes or chunk.read(1):
                        raise ValueError(f"{file} does not hold the {out.nbytes} bytes of a tile")
            else:
                # Zarr fills a lost chunk with nodata; the writer writes every chunk, so absence is loss.
                os.stat(file)
                out[...] = self._arrays[name][row]
        except Exception as error:
            fault = f"{file} is missing" if isinstance(error, FileNotFoundError) else first_line(error)
            where = f"{self.path / ARRAYS / name} is damaged at tile {tile_id}"
            raise SardinoError(f"{where} ({fault}): prepare it again") from error

    def require(
        self, channels: Sequence[str] | None = None, unit: str | None = None, tile_px: int | None = None
    ) -> None:
        """Refuse the store, by name, unless it has these channels, this unit and this tile size."""
        if channels is not None and list(channels) != self.channels:
            held = ", ".join(self.channels)
            raise SardinoError(f"{self.path} holds the channels {held}, needed are {', '.join(channels)}")
        if unit is not None and unit != self.unit:
            raise SardinoError(f"{self.path} holds backscatter in {self.unit}, needed is {unit}")
        if tile_px is not None and tile_px != self.tile_px:
            raise SardinoError(f"{self.path} holds tiles of {self.tile_px} px, needed are {tile_px} px")

    def damaged(self, progress: Progress = iter) -> list[str]:
        """Read everything; ids of the tiles whose pixels are lost, cut short or no longer those written."""
        found = []
        for row, tile_id in enumerate(progress(self.ids())):
            try:
                digest = tile_digest({name: self.read_array(name, [tile_id])[0] for name in self._arrays})
            except SardinoError:
                digest = "unreadable"
            if digest != self.index["sha256"].iloc[row]:
                found.append(tile_id)
        return found

    def verify(self) -> None:
        """Read everything and refuse the store where it no longer matches its fingerprint."""
        head = {name: getattr(self, name) for name in HEAD} | {"legend": self.legend.to_dict()}
        if store_fingerprint(head, self.index, self.listed if self._lists else None) != self.fingerprint:
            raise SardinoError(f"the index of {self.path} was changed after it was written: prepare the data again")
        if found := self.damaged():
            where = f"at {len(found)} tiles, {found[0]} the first"
            raise SardinoError(f"{self.path} was changed after it was written, {where}: prepare the data again")


def describe(store: TileStore) -> dict[str, Any]:
    """What a record must say about its input."""
    return {
        "source": store.product,
        "synthetic": store.synthetic,
        "fingerprint": store.fingerprint,
        "labels": store.metadata.get("labels", store.legend.name),
        "derived": store.legend.derived,
        "channels": store.channels,
        "tile_px": store.tile_px,
        "tiles": len(store),
        "listed": len(store.listed),
    }


def example_tiles(store: TileStore, test_ids: Sequence[str], count: int) -> list[str]:
    """The test tiles that figures show: the first by hash among those with at least three classes of 5 % each.

    The rule reads labels, never a prediction, and is fixed before any result is seen.
    """
    shares = store.index.set_index("id")[[f"share_{code}" for code in store.legend.codes]]
    varied = [i for i in label_order(test_ids) if int((shares.loc[i] > 0.05).sum()) >= 3]
    return (varied + [i for i in label_order(test_ids) if i not in varied])[:count]


def tile_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of a tile's packed arrays, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def store_fingerprint(
    head: Mapping[str, Any], index: geopandas.GeoDataFrame, listed: geopandas.GeoDataFrame | None = None
) -> str:
    """SHA-256 over the HEAD, per tile in store order its id, split, band and digest, and all that is listed."""
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for tile_id, split, band, pixels in index[["id", "split", "band", "sha256"]].itertuples(index=False):
        digest.update(f"{tile_id},{split},{band},{pixels};".encode())
    if listed is not None:
        for tile_id, split, band in listed[["id", "split", "band"]].itertuples(index=False):
            digest.update(f"{tile_id},{split},{band};".encode())
    return digest.hexdigest()
