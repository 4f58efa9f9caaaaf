"""Tiles from a folder laid out as by geetiles, sartiles or M3LEO: decoded, warped to metres, or left out by name."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.data.rasters.raster import Raster, read_raster
from sardino.data.rasters.warp import Grid, Kind, resample
from sardino.data.sources.archives.layout import MARKERS, Layout
from sardino.data.sources.archives.old_encodings import ENCODINGS, Decoded, decode, recognise
from sardino.data.sources.seasonal_composite import seasonal_channels
from sardino.data.sources.source import LeftOut, SourceChip, as_layer, missing_layer
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER, codes_in
from sardino.data.tiles.radiometry import CHANNELS, SEASONS
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

DIRECTIONS = {"asc": "ascending", "des": "descending"}
POLARISED = tuple(f"{season}_{pol}" for season in SEASONS for pol in ("vv", "vh"))
S1_BANDS = tuple(f"{band}{way}" for band in POLARISED for way in DIRECTIONS)  # of `s1grd-<year>`, in their order
CODES = ("official", "mapped")  # WorldCover as 10, 20 ... 100, or mapped by geetiles to 1 ... 11; 0 is nodata in both
SUSPECTS = ("missing", "keep")
# Layer and the data set that it is read from, named with its year behind it, or without.
LAYER_DATASETS = {"optical": "s2rgbm", "vegetation_percent": "modis44b006veg"}
LAYER_DATASETS |= {"biomass_t_ha": "biomass", "built_percent": "ghsbuilts"}
MODIS_WATER = 200
CELL_M2 = 10_000  # GHS-BUILT-S counts square metres per cell of 100 m
NAN = np.float32(np.nan)


def open_archive(
    layout: Layout,
    *,
    backscatter: str = "",
    label: str = "",
    other_year: bool = False,
    layers: bool = True,
    **choices: Any,
) -> "ArchiveSource":
    """Choose the data sets of a layout and find out how they are stored.

    Args:
        backscatter: a data set named s1grd-<year>; by default the only one.
        label: a data set named esaworldcover-<year>; by default the one of the same year.
        other_year: accept labels and layers of another year than the backscatter.
        layers: read the reference layers that the folder has.
        choices: fields of ArchiveSource; encoding and codes are stated where the files do not tell.

    SardinoError where a data set is missing or of another year, or the files do not tell how they are stored.
    """
    datasets = layout.datasets()

    def only(prefix: str) -> str:
        found = [name for name in datasets if name.rpartition("-")[0] == prefix]
        if len(found) != 1:
            there, needed = ", ".join(found) or "no data set", f"{prefix}-<year>, one is needed: name it"
            holds = ", ".join(datasets) or "nothing"
            raise SardinoError(f"{layout.folder} has {there} for {needed}; the folder holds {holds}")
        return found[0]

    backscatter = backscatter or only("s1grd")
    year = _year(layout.dataset(backscatter).name)
    same_year = f"esaworldcover-{year}"
    label = label or (same_year if same_year in datasets else only("esaworldcover"))
    if _year(layout.dataset(label).name) != year and not other_year:
        pair = f"the labels {label} and the backscatter {backscatter}"
        raise SardinoError(f"{pair} are of different years: choose labels of {year}, or allow another year")
    pairs = []
    for layer, prefix in LAYER_DATASETS.items() if layers else ():
        there = [name for name in datasets if name == prefix or name.rpartition("-")[0] == prefix]
        same = [name for name in there if name in (prefix, f"{prefix}-{year}")]
        if same or (there and other_year):
            pairs.append((layer, same[0] if same else there[-1]))
    names = tuple((tile.id, name) for tile, name in zip(layout.tiles, layout.identifiers, strict=True))
    source = ArchiveSource(layout.folder, names, backscatter, label, layers=tuple(pairs), **choices)
    source = source if source.encoding else replace(source, encoding=source.found_encoding())
    return source if source.codes else replace(source, codes=source.found_codes())


@dataclass(frozen=True)
class ArchiveSource:
    """Sentinel-1 seasons and WorldCover labels of the tiles of one folder; `open_archive` makes it."""

    folder: Path  # holds <data set>/<identifier>.tif or .nc
    names: tuple[tuple[str, str], ...]  # (tile id, identifier) of each tile
    backscatter: str  # name of its data set
    label: str  # name of its data set
    direction: str = "asc"  # or "des"; the two are never mixed
    encoding: str = ""  # how the decibels are stored, one of ENCODINGS; "" while unknown
    codes: str = ""  # one of CODES; "" while unknown
    suspects: str = "missing"  # what becomes of pixels that a wrap may have moved by 30 dB, one of SUSPECTS
    layers: tuple[tuple[str, str], ...] = ()  # (layer, data set) pairs
    min_valid: float = 0.0  # smallest share of pixels, 0 to 1, that every channel must have
    optical_month: int = 7  # calendar month of the optical layer

    channels = CHANNELS
    legend = WORLDCOVER
    product = "Sentinel-1 GRD sigma0, seasonal composites made in decibels by geetiles"
    synthetic = False

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS or self.suspects not in SUSPECTS or not 1 <= self.optical_month <= 12:
            raise SardinoError("choose the direction asc or des, suspects missing or keep, and a month from 1 to 12")
        if self.encoding not in ("", *ENCODINGS) or self.codes not in ("", *CODES):
            raise SardinoError(f"an encoding is {', '.join(ENCODINGS)}; label codes are {', '.join(CODES)}")

    @property
    def year(self) -> int:
        """Year of the backscatter."""
        return _year(self.backscatter)

    def chip(self, tile: Tile) -> SourceChip:
        """The 12 channels, the label and the layers of one tile on its own grid.

        LeftOut where a file is missing, marked as without data, damaged, constant, or does not cover the tile.
        """
        name = dict(self.names).get(tile.id)
        if name is None:
            raise LeftOut(f"the tile {tile.id} is not in the table of {self.folder}")
        raster = read_tile(self.folder / self.backscatter, name)
        decoded = self._decode(raster)
        notes, missing = [], self.suspects == "missing"
        if suspicious := int(decoded.suspect.sum()):
            kinds = ", ".join(f"{kind} {count}" for kind, count in decoded.evidence.items())
            many = f"{suspicious} of {decoded.db.size} values may be wrapped by 30 dB ({kinds})"
            notes.append(f"{name}: {many}, {'taken as missing' if missing else 'kept'}")
        db = _warped(np.where(decoded.suspect, NAN, decoded.db) if missing else decoded.db, raster, tile, "db")
        share = np.isfinite(db).mean((1, 2))
        if thin := [f"{b} {s:.0%}" for b, s in zip(POLARISED, share, strict=True) if s <= 0 or s < self.min_valid]:
            raise LeftOut(f"{raster.path} has too few valid pixels in {', '.join(thin)}: leave the tile out")
        layers: dict[str, NDArray[Any]] = {}
        for layer, dataset in self.layers:
            try:
                planes, there = self._planes(layer, self.folder / dataset, name)
                layers[layer] = as_layer(layer, _warped(planes, there, tile, "values"))
            except LeftOut as error:
                layers[layer] = missing_layer(layer, tile.shape)
                notes.append(f"{layer} is missing: {error}")
        stack = seasonal_channels({"vv": db[0::2], "vh": db[1::2]}, CHANNELS)
        return SourceChip(stack, self._label(name, tile), layers, None, tuple(notes))

    def metadata(self) -> dict[str, Any]:
        """Facts for the store, JSON values."""
        composite = "as delivered: seasonal mean or median of decibels, without the last day of each season"
        datasets = {"backscatter": self.backscatter, "label": self.label, **dict(self.layers)}
        facts: dict[str, Any] = {"source": f"archive folder {self.folder.name}", "datasets": datasets}
        facts |= {"orbit_pass": DIRECTIONS[self.direction], "quantity": "sigma0", "unit": "dB", "composite": composite}
        facts |= {"encoding": self.encoding, "label_codes": self.codes, "wrapped_pixels": self.suspects}
        facts |= {"min_valid": self.min_valid, "optical_month": self.optical_month, "labels": WORLDCOVER.name}
        return {**facts, "year": self.year, "identifiers": dict(self.names)}

    def found_encoding(self) -> str:
        """The encoding of the first tile that holds data."""
        for raster in self._readable(self.backscatter):
            with suppress(LeftOut):
                planes, _ = self._season_planes(raster)
                if not any(map(_is_constant, planes)):
                    return recognise(planes, self.backscatter)
        holds = f"holds complete {DIRECTIONS[self.direction]} data"
        raise SardinoError(f"no tile of {self.folder / self.backscatter} {holds}: try the other direction")

    def found_codes(self) -> str:
        """Official or mapped: 10 alone is tree cover in one and mangroves in the other, so other codes must tell."""
        folder = self.folder / self.label
        for raster in self._readable(self.label):
            if seen := set(np.unique(raster.codes[0][raster.valid[0]]).tolist()) - {0, 10, IGNORE}:
                if seen <= set(range(1, 12)):
                    return "mapped"
                if seen <= set(WORLDCOVER.codes):
                    return "official"
                raise SardinoError(f"{folder} holds the codes {sorted(seen)[:8]}, which are no WorldCover classes")
        raise SardinoError(f"{folder} holds no code but 0 and 10: state whether the label codes are official or mapped")

    def _readable(self, dataset: str) -> Iterator[Raster]:
        """The tiles of a data set that are there and whole."""
        for _, name in self.names:
            with suppress(LeftOut):
                yield read_tile(self.folder / dataset, name)

    def _season_planes(self, raster: Raster) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The 8 bands of the orbit direction in the order of POLARISED, as stored, and where they are valid."""
        names = [name.lower() for name in raster.names]
        order = names if set(S1_BANDS) <= set(names) else list(S1_BANDS)
        if len(raster.bands) != len(order):
            raise LeftOut(f"{raster.path} has {len(raster.bands)} bands, not {len(S1_BANDS)}: download it again")
        places = [order.index(band + self.direction) for band in POLARISED]
        planes, valid = raster.codes[places], raster.valid[places]
        if planes.dtype.kind == "f":
            return np.where(valid, planes, NAN), valid
        # Declared or not, a count is decibels or missing as the encoding has it.
        return planes, valid | np.isin(planes, raster.bands[places[0]].packing.missing)

    def _decode(self, raster: Raster) -> Decoded:
        wanted, valid = self._season_planes(raster)
        if flat := [band for band, plane in zip(POLARISED, wanted, strict=True) if _is_constant(plane)]:
            what = f"{'no' if len(flat) == len(POLARISED) else 'incomplete'} {DIRECTIONS[self.direction]} data"
            remedy = "choose the other direction or leave the tile out"
            raise LeftOut(f"{raster.path} has {what}, constant are {', '.join(flat)}: {remedy}")
        try:
            encoding = recognise(wanted, self.backscatter)
            if encoding != self.encoding:
                raise SardinoError(f"{raster.path} is stored as {encoding}, the others as {self.encoding}")
            decoded = decode(wanted, POLARISED, encoding, self.backscatter)
            return replace(decoded, db=np.where(valid, decoded.db, NAN), suspect=decoded.suspect & valid)
        except SardinoError as error:
            raise LeftOut(f"{raster.path}: {error}") from error

    def _label(self, name: str, tile: Tile) -> NDArray[np.uint8]:
        raster = read_tile(self.folder / self.label, name)
        codes, valid, mapped = codes_in(raster.codes, raster.path), raster.valid[0], self.codes == "mapped"
        known = set(range(12)) if mapped else {0, *WORLDCOVER.codes}
        if strange := sorted(set(np.unique(codes[valid]).tolist()) - known):
            raise LeftOut(f"{raster.path} holds the codes {strange[:5]}, no WorldCover classes ({self.codes})")
        index = WORLDCOVER.encode(codes)
        if mapped:  # the classes in their order, from 1
            index = np.where((codes >= 1) & (codes <= len(WORLDCOVER)), codes - 1, IGNORE).astype(np.uint8)
        index = np.where(valid, index, np.uint8(IGNORE))
        index = _warped(index[None], raster, tile, "classes")[0]
        if (index == IGNORE).all():
            raise LeftOut(f"{raster.path} has no label inside the tile: it lies elsewhere or is all nodata")
        return index.astype(np.uint8)

    def _planes(self, layer: str, folder: Path, identifier: str) -> tuple[NDArray[np.float32], Raster]:
        """The planes of a reference layer in the unit of a store, NaN where missing, on the file's grid."""
        raster = read_tile(folder, identifier, "agb" if layer == "biomass_t_ha" else "")
        values = raster.values
        if layer == "optical":
            bands = [_band(raster, f"{self.optical_month:02d}_{colour}") for colour in ("red", "green", "blue")]
            return np.where((values[bands] == 0).all(0), NAN, values[bands]), raster
        plane, most = values[0], np.inf
        if layer == "vegetation_percent":
            plane, most = values[_band(raster, f"Percent_Tree_Cover_{self.year}")], 100
            plane = np.where(plane == MODIS_WATER, np.float32(0), plane)  # where nothing grows; 253 is fill
        elif layer == "built_percent":
            plane, most = plane * np.float32(100 / CELL_M2), 100
        else:
            plane = np.where(plane >= 0, plane, NAN)
        return np.where(plane <= most, plane, NAN)[None], raster


def read_tile(folder: Path, identifier: str, variable: str = "") -> Raster:
    """The file of a tile in a data set's folder; the variable counts where it is NetCDF.

    LeftOut where there is none, a marker says that the tile has no data there, or it is damaged or has no place.
    """
    for suffix in (".tif", ".nc"):
        if (path := folder / f"{identifier}{suffix}").is_file():
            try:
                raster = read_raster(path, variable if suffix == ".nc" else "")
            except SardinoError as error:
                raise LeftOut(str(error)) from error
            if not raster.crs:
                raise LeftOut(f"{path} states no CRS: download it again")
            return raster
    for path in sorted(path for marker in MARKERS for path in folder.glob(f"{identifier}*{marker}")):
        said = path.read_text(errors="replace").strip()[:80]
        raise LeftOut(f"{path} marks the tile as without data{f' ({said})' if said else ''}")
    raise LeftOut(f"{folder} has no {identifier}.tif or .nc: download the tile")


def _is_constant(plane: NDArray[Any]) -> bool:
    """Whether a band holds one value only, as an orbit direction without a pass does."""
    return bool((plane == plane.flat[0]).all()) or (plane.dtype.kind == "f" and not np.isfinite(plane).any())


def _year(dataset: str) -> int:
    """The year behind a data set's name."""
    year = dataset.rpartition("-")[2]
    if not (year.isdigit() and len(year) == 4):
        raise SardinoError(f"the data set '{dataset}' does not end in its year, as in s1grd-2020: rename its folder")
    return int(year)


def _warped(values: NDArray[Any], raster: Raster, tile: Tile, kind: Kind) -> NDArray[Any]:
    return resample(values, raster.grid, Grid(tile.crs, tile.transform, tile.shape), kind)


def _band(raster: Raster, name: str) -> int:
    if name not in raster.names:
        there = ", ".join(filter(None, raster.names)) or "no names"
        raise LeftOut(f"{raster.path} has no band {name}, it holds {there}")
    return raster.names.index(name)
