"""A tile store opened for reading: checked first, then read tile by tile."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import zarr
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.grid import Tile
from sardino.tiles.landcover import Legend
from sardino.tiles.radiometry import NODATA, unpack

FORMAT = "sardino-tiles"
VERSION = 1
SPLITS = ("train", "val", "test")
ARRAYS = "tiles.zarr"
INDEX = "tiles.parquet"
ATTRIBUTES = ("channels", "unit", "product", "legend", "synthetic", "tile_px", "layers", "fingerprint", "metadata")


class TileStore:
    """A tile store opened for reading; `open` checks it before anything is read.

    Attributes:
        index: one row a tile: id, region, crs, transform, split, band, share_<class code>
            (of labelled pixels), labelled_share, valid_share, geometry in EPSG:4326.
        channels, unit, product, legend, synthetic, tile_px, layers, fingerprint, metadata: as written.
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
        names = ["backscatter", "label", *(f"layer_{name}" for name in self.layers)]
        self._arrays: dict[str, zarr.Array[Any]] = {name: _array(path, group, name) for name in names}

    @classmethod
    def open(cls, path: Path) -> "TileStore":
        """Open the store in folder `path`; SardinoError names what is missing, half-written or foreign."""
        path = Path(path)
        if not path.exists():
            if path.with_name(path.name + ".partial").exists():
                raise SardinoError(f"{path} was only half written: run the data preparation again")
            raise SardinoError(f"there is no tile store {path}: run the data preparation first")
        for part in (ARRAYS, INDEX):
            if not (path / part).exists():
                raise SardinoError(f"{path} is not a whole tile store, {part} is missing: prepare the data again")
        try:
            group = zarr.open_group(path / ARRAYS, mode="r", use_consolidated=False)
            attributes = group.attrs.asdict()
        except Exception as error:
            raise SardinoError(f"{path / ARRAYS} cannot be read ({error}): prepare the data again") from error
        if attributes.get("format") != FORMAT:
            raise SardinoError(f"{path / ARRAYS} is a Zarr group but no {FORMAT} store: choose another folder")
        if attributes.get("version") != VERSION:
            raise SardinoError(
                f"{path} has format version {attributes.get('version')}, this sardino reads {VERSION}: prepare it again"
            )
        missing = [name for name in ATTRIBUTES if name not in attributes]
        if missing:
            raise SardinoError(f"{path / ARRAYS} lacks the attributes {', '.join(missing)}: prepare the data again")
        try:
            index = geopandas.read_parquet(path / INDEX)
            rows = len(index["id"]), len(index["split"]), len(index["region"])
        except Exception as error:
            raise SardinoError(f"{path / INDEX} cannot be read ({error}): prepare the data again") from error
        store = cls(path, group, index)
        shape = (rows[0], len(store.channels), store.tile_px, store.tile_px)
        if store._arrays["backscatter"].shape != shape or store._arrays["label"].shape != (shape[0], *shape[2:]):
            raise SardinoError(f"{path} contradicts itself, its arrays do not hold {shape}: prepare the data again")
        return store

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"TileStore({str(self.path)!r}, {len(self)} tiles of {self.tile_px} px, {len(self.channels)} channels)"

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {tile: row for row, tile in enumerate(self.index["id"])}

    def row(self, tile_id: str) -> int:
        """Place of a tile in the arrays."""
        if tile_id not in self._rows:
            raise SardinoError(f"{self.path} has no tile {tile_id}")
        return self._rows[tile_id]

    def ids(self, split: str | None = None, regions: Sequence[str] | None = None) -> list[str]:
        """Tile ids in store order, of one split and of some regions where asked; unknown names are refused."""
        chosen = self.index
        if split is not None:
            if split not in SPLITS:
                raise SardinoError(f"there is no split '{split}': choose {', '.join(SPLITS)}")
            chosen = chosen[chosen["split"] == split]
        if regions is not None:
            unknown = sorted(set(regions) - set(self.index["region"]))
            if unknown:
                raise SardinoError(
                    f"{self.path} has no region {', '.join(unknown)}: it holds {', '.join(self.regions)}"
                )
            chosen = chosen[chosen["region"].isin(list(regions))]
        return [str(tile) for tile in chosen["id"]]

    @property
    def regions(self) -> list[str]:
        """Regions in the order in which they were written."""
        return [str(region) for region in self.index["region"].unique()]

    def tile(self, tile_id: str) -> Tile:
        """Where a tile lies."""
        row = self.index.iloc[self.row(tile_id)]
        a, b, c, d, e, f = (float(v) for v in row["transform"])
        return Tile(str(row["region"]), str(row["crs"]), (a, b, c, d, e, f), (self.tile_px, self.tile_px))

    def read(self, ids: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Tiles by id: backscatter (N, C, H, W) float32 dB with NaN, and labels (N, H, W) uint8 class index."""
        size = (self.tile_px, self.tile_px)
        backscatter = np.empty((len(ids), len(self.channels), *size), np.float32)
        label = np.empty((len(ids), *size), np.uint8)
        for place, tile_id in enumerate(ids):
            counts = self._chunk("backscatter", tile_id)
            if (counts == NODATA).all():
                # The writer takes no empty tile, so this chunk was lost after writing.
                raise SardinoError(f"{self.path} has lost the pixels of tile {tile_id}: prepare the data again")
            backscatter[place] = unpack(counts)
            label[place] = self._chunk("label", tile_id)
        return backscatter, label

    def read_layer(self, name: str, ids: Sequence[str]) -> NDArray[Any]:
        """A reference layer of some tiles: (N, 3, H, W) uint8 for "optical", otherwise (N, H, W)."""
        if name not in self.layers:
            raise SardinoError(f"{self.path} has no layer '{name}': it holds {', '.join(self.layers) or 'none'}")
        array = self._arrays[f"layer_{name}"]
        values = np.empty((len(ids), *array.shape[1:]), array.dtype)
        for place, tile_id in enumerate(ids):
            values[place] = self._chunk(f"layer_{name}", tile_id)
        return values

    def _chunk(self, name: str, tile_id: str) -> NDArray[Any]:
        try:
            return np.asarray(self._arrays[name][self.row(tile_id)])
        except SardinoError:
            raise
        except Exception as error:
            raise SardinoError(
                f"{self.path / ARRAYS / name} is damaged at tile {tile_id} ({error}): prepare the data again"
            ) from error

    def require(
        self, channels: Sequence[str] | None = None, unit: str | None = None, tile_px: int | None = None
    ) -> None:
        """Refuse the store, by name, unless it has these channels, this unit and this tile size."""
        if channels is not None and list(channels) != self.channels:
            raise SardinoError(
                f"{self.path} holds the channels {', '.join(self.channels)}, needed are {', '.join(channels)}"
            )
        if unit is not None and unit != self.unit:
            raise SardinoError(f"{self.path} holds backscatter in {self.unit}, needed is {unit}")
        if tile_px is not None and tile_px != self.tile_px:
            raise SardinoError(f"{self.path} holds tiles of {self.tile_px} px, needed are {tile_px} px")

    def verify(self) -> None:
        """Read everything and refuse the store where it no longer matches its fingerprint."""
        head = {"channels": self.channels, "unit": self.unit, "legend": self.legend.to_dict(), "tile_px": self.tile_px}
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for tile_id, split, band in zip(self.index["id"], self.index["split"], self.index["band"], strict=True):
            digest.update(f"{tile_id},{split},{int(band)}".encode())
            for name in sorted(self._arrays):
                digest.update(np.ascontiguousarray(self._chunk(name, str(tile_id))).tobytes())
        if digest.hexdigest() != self.fingerprint:
            raise SardinoError(f"{self.path} was changed after it was written: prepare the data again")


def _array(path: Path, group: zarr.Group, name: str) -> "zarr.Array[Any]":
    try:
        array = group[name]
    except Exception as error:
        raise SardinoError(f"{path / ARRAYS} has lost its array '{name}': prepare the data again") from error
    if not isinstance(array, zarr.Array):
        raise SardinoError(f"{path / ARRAYS / name} is not an array: prepare the data again")
    return array
