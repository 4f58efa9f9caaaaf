"""Mosaics: the tiles of a store back in one georeferenced raster, tile by tile."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from sardino.errors import SardinoError
from sardino.tiles.contents.geotiff import GeoTiff, write_geotiff
from sardino.tiles.contents.mosaic_grid import mosaic_grid, window_of
from sardino.tiles.contents.resampling import Kind, resample, window_on
from sardino.tiles.grid import Tile
from sardino.tiles.landcover import IGNORE
from sardino.tiles.tileset import TileStore

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def mosaic(
    store: TileStore,
    path: Path,
    bands: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    crs: str = "",
    resolution: float | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> None:
    """Write tiles of a store as one Cloud-Optimized GeoTIFF, one tile in memory at a time.

    Tiles that share one grid are copied pixel by pixel; others are warped: classes to the nearest
    pixel, backscatter in linear power.

    Args:
        store: holds the tiles.
        path: .tif file to make.
        bands: channels of the store (float32 dB, NaN where missing), or "label" (uint8 codes of the
            product with its colours, 0 where unlabelled), or one reference layer.
        ids: tiles wanted, all by default.
        crs: of the mosaic; needed where the tiles lie in several.
        resolution: of the mosaic in units of its CRS; that of the tiles by default.
        overwrite: replace a file that is already there.
        progress: wraps the loop over tiles, for example `tqdm`.

    Raises:
        SardinoError: unknown or mixed bands, tiles of several CRS and none named, or an unwritable path.
    """
    tiles = [store.tile(tile) for tile in (store.ids() if ids is None else ids)]
    to_crs, transform, shape = mosaic_grid(tiles, crs, resolution)
    content = _content(store, list(bands))
    what = GeoTiff(
        to_crs, transform, shape, content.bands, content.dtype, content.nodata, content.colors, _facts(store),
        stepped=isinstance(content, _Channels),
    )  # fmt: skip
    with write_geotiff(path, what, overwrite) as canvas:
        for tile in progress(tiles):
            place = window_on(tile.transform, tile.shape, transform) if CRS(tile.crs) == CRS(to_crs) else None
            if place:
                canvas.lay(content.read(tile), *place)
            else:
                row, column, size, corner = window_of(tile, to_crs, transform)
                canvas.lay(content.warp(tile, to_crs, corner, size), row, column)


@dataclass(frozen=True)
class _Content:
    """What the bands of a mosaic are, and how one tile of them is read."""

    kind: Kind
    read: Callable[[Tile], NDArray[Any]]
    bands: Sequence[str]
    dtype: str
    nodata: float
    colors: dict[int, str] = field(default_factory=dict)

    def warp(self, tile: Tile, crs: str, transform: Any, shape: tuple[int, int]) -> NDArray[Any]:
        return resample(self.read(tile), tile.crs, tile.transform, crs, transform, shape, self.kind, nodata=self.nodata)


@dataclass(frozen=True)
class _Channels(_Content):
    """Channels; a difference of decibels is taken anew after warping, from the two powers."""

    store: TileStore | None = None

    def warp(self, tile: Tile, crs: str, transform: Any, shape: tuple[int, int]) -> NDArray[Any]:
        assert self.store is not None
        names = self.store.channels
        parts = {name: _parts(name, names) for name in self.bands}
        needed = list(dict.fromkeys(part for both in parts.values() for part in both))
        source = self.store.read([tile.id])[0][0][[names.index(name) for name in needed]]
        warped = resample(source, tile.crs, tile.transform, crs, transform, shape, self.kind)
        plane = dict(zip(needed, warped, strict=True))
        return np.stack([plane[a] - plane[b[0]] if b else plane[a] for a, *b in parts.values()])


def _parts(channel: str, channels: Sequence[str]) -> tuple[str, ...]:
    """The channels that a channel is made of: "winter_vv-vh" is the difference of winter_vv and winter_vh."""
    season, _, pair = channel.rpartition("_")
    parts = tuple(f"{season}_{pol}" if season else pol for pol in pair.split("-"))
    return parts if len(parts) == 2 and set(parts) <= set(channels) else (channel,)


def _content(store: TileStore, bands: list[str]) -> _Content:
    legend, size = store.legend, len(bands)
    unlabelled = 0 if 0 not in legend.codes else IGNORE
    colors = dict(zip(legend.codes, legend.colors, strict=True))
    if size and size == len(set(bands)) and set(bands) <= set(store.channels):
        places = [store.channels.index(name) for name in bands]
        kind: Kind = "db" if store.unit == "dB" else "values"
        return _Channels(kind, lambda t: store.read([t.id])[0][0][places], bands, "float32", math.nan, store=store)
    if bands == ["label"]:
        return _Content(
            "classes", lambda t: legend.decode(store.read([t.id])[1], unlabelled), bands, "uint8", unlabelled, colors
        )
    if size != 1 or bands[0] not in store.layers:
        raise SardinoError(
            f"'{', '.join(bands)}' cannot be one mosaic: take channels ({', '.join(store.channels)}), or label, "
            f"or one layer ({', '.join(store.layers) or 'none'})"
        )
    name = bands[0]
    if name == "optical":
        return _Content("classes", lambda t: store.read_layer(name, [t.id])[0], ["red", "green", "blue"], "uint8", 0)
    if name == "landcover_300m":
        return _Content(
            "classes",
            lambda t: legend.decode(store.read_layer(name, [t.id]), unlabelled),
            bands,
            "uint8",
            unlabelled,
            colors,
        )
    return _Content("values", lambda t: store.read_layer(name, [t.id]), bands, "float32", math.nan)


def _facts(store: TileStore) -> dict[str, str]:
    return {
        "product": store.product,
        "unit": store.unit,
        "synthetic": str(store.synthetic).lower(),
        "fingerprint": store.fingerprint,
        "classes": "; ".join(f"{c.code} {c.name}" for c in store.legend.classes),
    }
