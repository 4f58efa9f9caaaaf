"""Tiles from a folder laid out as by geetiles, sartiles or M3LEO: decoded, warped to metres, or left out by name."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.scenes.archives.layers import read_layer
from sardino.scenes.archives.legacy import Decoded, decode, recognise
from sardino.scenes.archives.raster import ArchiveRaster, read_archive_raster, tile_file
from sardino.scenes.source import LeftOut, SourceChip
from sardino.tiles.contents.resampling import resample
from sardino.tiles.grid import Tile
from sardino.tiles.landcover import IGNORE, WORLDCOVER
from sardino.tiles.radiometry import CHANNELS, SEASONS

DIRECTIONS = {"asc": "ascending", "des": "descending"}
S1_BANDS = tuple(f"{season}_{pol}{way}" for season in SEASONS for pol in ("vv", "vh") for way in ("asc", "des"))
"""The 16 bands of `s1grd-<year>`, in their order."""
POLARISED = tuple(f"{season}_{pol}" for season in SEASONS for pol in ("vv", "vh"))
CODES = ("official", "mapped")
"""WorldCover as 10, 20 ... 95, 100, or mapped by geetiles to 1 ... 11; 0 is nodata in both."""
SUSPECTS = ("missing", "keep")


@dataclass(frozen=True)
class ArchiveSource:
    """Sentinel-1 seasons and WorldCover labels of the tiles of one folder; `open_archive` checks and makes it.

    Args:
        folder: holds <data set>/<identifier>.tif or .nc.
        names: (tile id, identifier) of each tile.
        backscatter, label: names of the data sets.
        direction: "asc" or "des"; the two are never mixed.
        encoding: how the decibels are stored, one of legacy.ENCODINGS.
        codes: "official" or "mapped".
        suspects: pixels that a wrap may have moved by 30 dB become "missing", or "keep" their reading.
        layers: (layer, data set) pairs.
        min_valid: smallest share of pixels, 0 to 1, that every channel must have.
        optical_month: calendar month of the optical layer.
    """

    folder: Path
    names: tuple[tuple[str, str], ...]
    backscatter: str
    label: str
    direction: str
    encoding: str
    codes: str
    suspects: str = "missing"
    layers: tuple[tuple[str, str], ...] = ()
    min_valid: float = 0.0
    optical_month: int = 7

    channels = CHANNELS
    legend = WORLDCOVER
    product = "Sentinel-1 GRD sigma0, seasonal composites made in decibels by geetiles"
    synthetic = False

    @cached_property
    def _identifiers(self) -> dict[str, str]:
        return dict(self.names)

    def identifier(self, tile: Tile) -> str:
        """The name that the archive gives a tile."""
        if tile.id not in self._identifiers:
            raise LeftOut(f"the tile {tile.id} is not in the table of {self.folder}")
        return self._identifiers[tile.id]

    def chip(self, tile: Tile) -> SourceChip:
        """The 12 channels, the label and the layers of one tile on its own grid.

        Raises:
            LeftOut: a file is missing, marked as without data, damaged, constant, or does not cover the tile.
        """
        name = self.identifier(tile)
        raster = read_archive_raster(tile_file(self.folder / self.backscatter, name))
        decoded = self._decode(raster)
        notes = []
        if suspicious := int(decoded.suspect.sum()):
            by_evidence = ", ".join(f"{kind} {count}" for kind, count in decoded.evidence.items())
            fate = "taken as missing" if self.suspects == "missing" else "kept"
            notes.append(
                f"{name}: {suspicious} of {decoded.db.size} values may be wrapped by 30 dB ({by_evidence}), {fate}"
            )
        db = decoded.without_suspects() if self.suspects == "missing" else decoded.db
        db = resample(db, raster.crs, raster.transform, tile.crs, tile.transform, tile.shape, "db")
        share = np.isfinite(db).mean((1, 2))
        if thin := [f"{b} {s:.0%}" for b, s in zip(POLARISED, share, strict=True) if s <= 0 or s < self.min_valid]:
            raise LeftOut(f"{raster.path} has too few valid pixels in {', '.join(thin)}: leave the tile out")
        layers: dict[str, NDArray[Any]] = {}
        for layer, dataset in self.layers:
            layers[layer], said = read_layer(layer, self.folder / dataset, name, tile, self.year, self.optical_month)
            notes += said
        vv, vh = db[0::2], db[1::2]
        stack = np.stack([vv, vh, vv - vh], axis=1).reshape(len(CHANNELS), *tile.shape)
        return SourceChip(stack.astype(np.float32), self._label(name, tile), layers, None, tuple(notes))

    @property
    def year(self) -> int:
        """Year of the backscatter."""
        return dataset_year(self.backscatter)

    def metadata(self) -> dict[str, Any]:
        """Facts for the store, JSON values."""
        return {
            "source": f"archive folder {self.folder.name}",
            "datasets": {"backscatter": self.backscatter, "label": self.label, **dict(self.layers)},
            "orbit_pass": DIRECTIONS[self.direction],
            "quantity": "sigma0",
            "unit": "dB",
            "composite": "as delivered: seasonal mean or median of decibels, without the last day of each season",
            "encoding": self.encoding,
            "label_codes": self.codes,
            "wrapped_pixels": self.suspects,
            "min_valid": self.min_valid,
            "optical_month": self.optical_month,
            "labels": WORLDCOVER.name,
            "year": self.year,
            "identifiers": dict(self.names),
        }

    def _decode(self, raster: ArchiveRaster) -> Decoded:
        wanted = season_planes(raster, self.direction)
        flat = [band for band, plane in zip(POLARISED, wanted, strict=True) if is_constant(plane)]
        if flat:
            what = "no" if len(flat) == len(POLARISED) else "incomplete"
            raise LeftOut(
                f"{raster.path} has {what} {DIRECTIONS[self.direction]} data, constant are {', '.join(flat)}: "
                f"choose the other direction or leave the tile out"
            )
        try:
            encoding = recognise(wanted, self.backscatter)
            if encoding != self.encoding:
                raise SardinoError(f"{raster.path} is stored as {encoding}, the others as {self.encoding}")
            if raster.nodata is not None and encoding == "db":
                wanted = np.where(wanted == raster.nodata, np.nan, wanted)
            return decode(wanted, POLARISED, encoding, self.backscatter)
        except SardinoError as error:
            raise LeftOut(f"{raster.path}: {error}") from error

    def _label(self, name: str, tile: Tile) -> NDArray[np.uint8]:
        raster = read_archive_raster(tile_file(self.folder / self.label, name))
        codes = raster.values[0]
        known = set(range(12)) if self.codes == "mapped" else {0, *WORLDCOVER.codes}
        if raster.nodata is not None:
            known.add(int(raster.nodata))
        if strange := sorted(set(np.unique(codes).tolist()) - known):
            raise LeftOut(
                f"{raster.path} holds the codes {strange[:5]}, which are no WorldCover classes ({self.codes})"
            )
        index = label_index(codes, self.codes)
        index = resample(index[None], raster.crs, raster.transform, tile.crs, tile.transform, tile.shape, "classes")[0]
        if (index == IGNORE).all():
            raise LeftOut(f"{raster.path} has no label inside the tile: it lies elsewhere or is all nodata")
        return index.astype(np.uint8)


def label_index(codes: NDArray[Any], kind: str) -> NDArray[np.uint8]:
    """WorldCover codes, any shape, to class indices; nodata, 0 in both kinds, becomes IGNORE and never class 0.

    Args:
        codes: "official": 10, 20 ... 100; "mapped": 1 ... 11.
        kind: one of CODES.
    """
    if kind == "official":
        return WORLDCOVER.encode(codes)
    values = np.asarray(codes).astype(np.int64)
    return np.where((values >= 1) & (values <= len(WORLDCOVER)), values - 1, IGNORE).astype(np.uint8)


def season_planes(raster: ArchiveRaster, direction: str) -> NDArray[Any]:
    """The 8 bands of one orbit direction in the order of POLARISED, as stored."""
    names = [name.lower() for name in raster.names]
    order = names if set(S1_BANDS) <= set(names) else list(S1_BANDS)
    if len(raster.values) != len(order):
        raise LeftOut(
            f"{raster.path} has {len(raster.values)} bands, the seasons need {len(S1_BANDS)}: download it again"
        )
    return raster.values[[order.index(band + direction) for band in POLARISED]]


def is_constant(plane: NDArray[Any]) -> bool:
    """Whether a band holds one value only, as an orbit direction without a pass does."""
    return bool((plane == plane.flat[0]).all()) or (plane.dtype.kind == "f" and not np.isfinite(plane).any())


def dataset_year(dataset: str) -> int:
    """The year behind a data set's name."""
    year = dataset.rpartition("-")[2]
    if not (year.isdigit() and len(year) == 4):
        raise SardinoError(f"the data set '{dataset}' does not end in its year, as in s1grd-2020: rename its folder")
    return int(year)
