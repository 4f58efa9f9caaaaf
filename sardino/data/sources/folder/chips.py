"""The chips of a folder: which there are, and each one's backscatter, label and layers on one grid."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.rasters.doubts import Doubt, doubts_of, polarisation
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.raster import Raster, read_raster, read_square_raster
from sardino.data.rasters.warp import Kind
from sardino.data.sources.folder.derived_labels import derived_classes
from sardino.data.sources.folder.specification import FolderSpec, LabelNames, Layer
from sardino.data.sources.seasonal_composite import in_year, seasonal_channels, seasonal_means, with_difference
from sardino.data.sources.source import as_layer
from sardino.data.tiles.landcover import IGNORE, codes_in
from sardino.data.tiles.radiometry import SEASONS, to_db, to_power
from sardino.errors import SardinoError, first_line
from sardino.files import files_in

PLACES = ("chip", "part", "label", "band", "time")  # what a path template may hold in braces


def chip_names(folder: Path, spec: FolderSpec) -> list[str]:
    """Names of the chips in a folder, sorted; "part/chip" where the spec's template has parts.

    SardinoError where there is no folder, or no file fits the template.
    """
    if not folder.is_dir():
        raise SardinoError(f"there is no folder {folder}: name the folder that holds the chips of '{spec.name}'")
    found = (match for match, _ in _matches(folder, spec.backscatter.files))
    names = {"/".join(match[place] for place in ("part", "chip") if place in match) or spec.name for match in found}
    if not names:
        raise SardinoError(f"no file in {folder} fits '{spec.backscatter.files}': correct the folder or the template")
    return sorted(names)


@dataclass(frozen=True)
class ChipFiles:
    """The files of one chip; each part is read when it is asked for."""

    folder: Path
    spec: FolderSpec
    name: str
    warp: bool = False  # rasters of other grids
    size_m: float = 0.0  # of the pixels to warp to, in metres; about the chip's own by default

    @cached_property
    def grid(self) -> Raster:
        """The raster whose grid every other one of the chip must share."""
        variable, nodata = next(iter(self.spec.backscatter.variables.values()), ""), self.spec.backscatter.nodata
        kind, path = self._kind if self.warp else None, self._placed_file
        return read_square_raster(path, variable, kind, nodata, self.size_m, self.spec.placed)

    @cached_property
    def _placed_file(self) -> Path:
        """The first file of backscatter that says where it lies; the first one where none does."""
        paths = [path for _, path in self._files]
        for path in paths if self.spec.placed and len(paths) > 1 else ():
            with open_pixels(path, turned=True) as pixels:
                if pixels.crs:
                    return path
        return paths[0]

    @cached_property
    def backscatter_db(self) -> NDArray[np.float32]:
        """(C, H, W) float32 dB, NaN where missing, channels as the spec orders them."""
        spec, source = self.spec, self.spec.backscatter
        series, dates, months = self._series()
        if source.composite == "single":
            if len(months) != 1:
                raise SardinoError(f"chip {self.name} has {len(months)} dates, not one: set composite to seasonal")
            planes = with_difference({name: stack[0] for name, stack in series.items()})
            if absent := [name for name in spec.channels if name not in planes]:
                raise SardinoError(f"chip {self.name} of {self.folder} has no channel {', '.join(absent)}")
            return np.stack([planes[name] for name in spec.channels])
        chosen = np.ones(len(months), bool)
        if dates is not None and source.year is not None:
            chosen = in_year(dates, source.year)
        elif dates is not None and np.ptp(dates.astype("datetime64[D]").astype(int)) > 366:
            raise SardinoError(f"chip {self.name} of {self.folder} spans several years: set year in the spec")
        seasons = [s for s in SEASONS if any(c.startswith(f"{s}_") for c in spec.channels)]
        how: dict[str, Any] = {
            "needed": () if source.missing_season == "mask" else seasons,
            "source": f"chip {self.name}",
        }
        months = [month for month, take in zip(months, chosen, strict=True) if take]
        means = {name: seasonal_means(to_power(stack[chosen]), months, **how) for name, stack in series.items()}
        return seasonal_channels({name: to_db(mean) for name, mean in means.items()}, spec.channels)

    @cached_property
    def layers(self) -> dict[str, NDArray[Any]]:
        """Reference layers by name, on the chip's grid."""
        return {name: self._layer(name, layer) for name, layer in self.spec.layers.items()}

    @cached_property
    def label(self) -> NDArray[np.uint8]:
        """(H, W) class index, IGNORE where unlabelled."""
        if self.spec.labels.source == "derived":
            return derived_classes(self.layers["optical"])
        return np.full(self.grid.shape, IGNORE, np.uint8) if self.codes is None else self.spec.legend.encode(self.codes)

    @cached_property
    def codes(self) -> NDArray[Any] | None:
        """(H, W) codes of the label raster, NaN where missing; None without one."""
        labels = self.spec.labels
        if labels.source != "raster":
            return None
        if labels.names is not None and not self._names["label"]:
            if labels.required:
                told = f"is not in {labels.names.file}: complete the table, or set required = false"
                raise SardinoError(f"chip {self.name} {told}")
            return None
        path = self._path(labels.files)
        if not path.exists():
            if labels.required:
                raise SardinoError(f"chip {self.name} has no label file {path}: add it, or set required = false")
            return None
        raster = self._on_grid(path, "", "classes")
        if labels.band is not None and labels.band > len(raster.bands):
            raise SardinoError(f"{path} has {len(raster.bands)} bands, the spec '{self.spec.name}' wants {labels.band}")
        bands = slice(None) if labels.band is None else slice(labels.band - 1, labels.band)
        codes = codes_in(raster.codes[bands], path)
        known = raster.valid[bands][0] & ~np.isin(codes, labels.nodata)
        kept = codes.astype(np.float64)
        for code, new in labels.recode.items():
            kept[codes == code] = new
        return np.where(known, kept, np.nan)

    @cached_property
    def _names(self) -> dict[str, str]:
        """What stands at the places of the spec's templates."""
        part, _, chip = self.name.rpartition("/")
        names = {"part": part, "chip": chip}
        if self.spec.labels.names is not None:
            names["label"] = _labels_by_chip(self.folder, self.spec.labels.names).get(chip, "")
        return names

    @cached_property
    def _files(self) -> list[tuple[dict[str, str], Path]]:
        return _matches(self.folder, self.spec.backscatter.files, self._names)

    def _path(self, template: str) -> Path:
        """The one file of the chip that a template names; where it would lie if there is none."""
        found = [path for _, path in _matches(self.folder, template, self._names)] if "*" in template else []
        if len(found) > 1:
            raise SardinoError(f"chip {self.name} has two files, {found[0]} and {found[1]}: remove one")
        return found[0] if found else self.folder / template.format(**self._names)

    def _series(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.datetime64] | None, list[int]]:
        """Per polarisation the dates as (T, H, W) dB, and the date, where known, and month of each."""
        source = self.spec.backscatter
        if "{time}" not in source.files:
            return self._series_of_files()
        times = sorted({match.get("time", "") for match, _ in self._files})
        dated = [self._rasters(time) for time in times]
        for raster in (raster for rasters in dated for raster in rasters.values()):
            if len(dates := raster.by_date()) > 1:
                raise SardinoError(f"{raster.path} holds {len(dates)} dates, and its name tells one: split it")
        if source.composite == "single":
            return self._stacks(dated), None, [0] * len(times)
        read = [self._date(time, rasters.values()) for time, rasters in zip(times, dated, strict=True)]
        days = np.array([date for date, _ in read], "datetime64[s]")
        return self._stacks(dated), None if np.isnat(days).any() else days, [month for _, month in read]

    def _series_of_files(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.datetime64] | None, list[int]]:
        """`_series` of files that hold all dates themselves, on a time axis, or one date without."""
        source, path = self.spec.backscatter, self.grid.path
        if source.variables:
            rasters = {name: self._read(path, v, self._kind, source.nodata) for name, v in source.variables.items()}
            if any(raster.shape != self.grid.shape for raster in rasters.values()):
                raise SardinoError(f"the variables of {path} differ in size: correct the file")
        else:
            rasters = self._rasters("")
        parts = {place: raster.by_date() for place, raster in rasters.items()}
        first, *others = ([date for date, _ in part] for part in parts.values())
        if any(other != first for other in others):
            told = " and ".join(sorted({f"{place} of {rasters[place].path.name}" for place in rasters}))
            raise SardinoError(f"chip {self.name} has other dates for {told}: correct their time axes")
        if first == [None] and source.composite == "seasonal":
            remedy = "write time by CF, or set composite to single in the spec, or {time} in its template"
            raise SardinoError(f"{path} has no time axis for seasons: {remedy}")
        series = zip(*([raster for _, raster in part] for part in parts.values()), strict=True)
        dated = self._stacks(dict(zip(parts, each, strict=True)) for each in series)
        if first == [None]:
            return dated, None, [0]
        days = np.array(first, "datetime64[s]")
        return dated, days, pd.DatetimeIndex(days).month.tolist()

    def _stacks(self, dated: Iterable[dict[str, Raster]]) -> dict[str, NDArray[np.float32]]:
        """The bands that are wanted, by name, (T, H, W) in dB, from the rasters of each date."""
        planes = [self._planes(rasters) for rasters in dated]
        return {name: np.stack([bands[name] for bands in planes]) for name in planes[0]}

    def _rasters(self, time: str) -> dict[str, Raster]:
        """The files of one date, by what stands at {band}."""
        source = self.spec.backscatter
        files: dict[str, Path] = {}
        for match, path in self._files:
            if match.get("time", "") == time and (other := files.setdefault(match.get("band", ""), path)) != path:
                raise SardinoError(f"chip {self.name} has two files, {other} and {path}: remove one")
        rasters = {}
        for place in source.bands if "{band}" in source.files else [""]:
            if place not in files:
                wanted = source.files.format(**self._names, band=place, time=time)
                raise SardinoError(f"chip {self.name} lacks the file {self.folder / wanted}: add it")
            rasters[place] = self._on_grid(files[place], "", self._kind, source.nodata)
        return rasters

    def _planes(self, rasters: dict[str, Raster]) -> dict[str, NDArray[np.float32]]:
        """The bands of one date that are wanted, by name, in dB."""
        source = self.spec.backscatter
        planes: dict[str, NDArray[np.float32]] = {}
        for place, raster in rasters.items():
            named = zip(self._ordered([place] if place else source.bands, raster), self._decibels(raster), strict=True)
            planes |= {source.names.get(band, band): plane for band, plane in named if band}
        return planes

    def _ordered(self, bands: list[str], raster: Raster) -> list[str]:
        """The spec's bands in the file's order, which the file's own names tell where they name them all."""
        described = f"the spec '{self.spec.name}' describes"
        # A file with an alpha band has a band less than it seems to have, and the spec may count either way.
        listed = bands[: len(raster.bands)] if not any(bands[len(raster.bands) :]) else bands
        if len(raster.bands) != len(listed):
            remedy = f"{described} {len(bands)}: correct the file or the spec"
            raise SardinoError(f"{raster.path} has {len(raster.bands)} bands, {remedy}")
        named, wanted = [name.lower() for name in raster.names], [band.lower() for band in listed]
        if sorted(named) != sorted(wanted):  # else they are the same words
            meant, words = list(map(polarisation, named)), self.spec.backscatter.names
            # Where a file says VH of a band, one that it calls something else, an angle, is not VV.
            named = [of or (name if any(meant) else "") for of, name in zip(meant, named, strict=True)]
            wanted = [polarisation(words.get(band, band)) for band in listed]
        if all(not own or not name or name == own for own, name in zip(wanted, named, strict=True)):
            return listed
        if any(named.count(own) != 1 or wanted.count(own) != 1 for own in wanted if own):
            remedy = f"{described} {', '.join(listed)}: correct bands in the spec, or the names"
            raise SardinoError(f"{raster.path} names its bands {', '.join(raster.names)}, {remedy}")
        return [listed[wanted.index(name)] if name in wanted and name else "" for name in named]

    @property
    def _kind(self) -> Kind:
        """What backscatter is to the one who warps it."""
        kinds: dict[str, Kind] = {"db": "db", "power": "values"}
        return kinds.get(self.spec.backscatter.unit, "amplitude")

    def _read(self, path: Path, variable: str, kind: Kind, nodata: Sequence[float] = ()) -> Raster:
        """A raster where it lies, or warped to the chip's grid."""
        if not (self.warp and self.grid.crs):
            return read_square_raster(path, variable, placed=self.spec.placed)
        raster = read_raster(path, variable, turned=True)
        if not raster.crs:
            return raster
        if raster.grid.window_of(self.grid.grid) is None:
            raise SardinoError(f"{path} lies outside {self.grid.path}: correct its place, or its name")
        return raster.on(self.grid.grid, kind, nodata)

    def _on_grid(self, path: Path, variable: str, kind: Kind, nodata: Sequence[float] = ()) -> Raster:
        raster = self._read(path, variable, kind, nodata)
        self.grid.require_same_grid(raster)
        return raster

    def _decibels(self, raster: Raster) -> NDArray[np.float32]:
        """Stored numbers to dB by the spec's unit, refused where they cannot be of that unit."""
        unit, values = self.spec.backscatter.unit, raster.without(self.spec.backscatter.nodata)
        means = {"db": "db", "power": "linear"}.get(unit, "amplitude")
        if said := {band.unit for band in raster.bands} & {"db", "linear", "amplitude"} - {means}:
            raise SardinoError(f"{raster.path} says that it is in {min(said)}, not {unit}: correct unit in the spec")
        for doubt in doubts_of(values, means, unit):
            raise SardinoError(f"{raster.path} {doubt.said}: {_remedy(doubt, unit)}")
        if unit == "db":
            return values
        if unit == "power":
            return to_db(values)
        return to_db(values.astype(np.float64) ** 2) - np.float32(83 if unit == "dn-83" else 0)

    def _date(self, time: str, rasters: Iterable[Raster]) -> tuple[datetime | None, int]:
        """The date, or month alone, that the names of files tell, which none of the files contradicts."""
        source = self.spec.backscatter
        date: datetime | None = None
        if (month := source.months.get(time, 0)) == 0:
            try:
                date = datetime.strptime(time, source.time_format)
            except ValueError as error:
                form = f"neither in months nor of the form '{source.time_format}': correct the spec '{self.spec.name}'"
                raise SardinoError(f"the date '{time}' of chip {self.name} is {form}") from error
            month = date.month
        for raster in rasters:
            if (own := raster.by_date()[0][0]) is None:
                continue
            # A name may round an hour of the night to another day.
            of_day = date is not None and date.year > 1900 and re.search("%[djx]", source.time_format)
            days = abs((own - np.datetime64(date)) / np.timedelta64(1, "D")) if of_day else 0
            if days >= 2 or (not of_day and pd.Timestamp(own).month != month):
                says = f"says that it is of {str(own)[:10]}, and its name '{time}'"
                raise SardinoError(f"{raster.path} {says}: correct the one or the other")
        return date, month

    def _layer(self, name: str, layer: Layer) -> NDArray[Any]:
        path = self._path(layer.files)
        kind: Kind = "classes" if name == "landcover_300m" else "values"
        if layer.variables:
            rasters = [self._on_grid(path, variable, kind, layer.nodata) for variable in layer.variables]
            planes = np.stack([_at_date(raster, layer) for raster in rasters])
        else:
            raster = self._on_grid(path, "", kind, layer.nodata)
            if max(layer.bands) > len(raster.bands):
                raise SardinoError(f"{path} has {len(raster.bands)} bands, the layer '{name}' asks for {layer.bands}")
            planes = raster.without(layer.nodata)[[band - 1 for band in layer.bands]]
        if layer.stretch is not None:
            low, high = layer.stretch
            planes = np.clip((planes - low) / (high - low) * 254 + 1, 1, 255)
        if name == "optical" and len(planes) != 3:
            raise SardinoError(f"{path}: the layer 'optical' needs three bands, not {len(planes)}")
        return as_layer(name, planes)


def _remedy(doubt: Doubt, unit: str) -> str:
    if doubt.remedy == "nodata":
        return f"if that means missing, set nodata = [{doubt.value:g}] in the spec"
    if doubt.remedy == "scale":
        return "hundredths of a decibel need their scale in the file (rio edit-info --help), or set another unit"
    return "set unit to power in the spec" if unit == "db" else "set unit to db, or nodata, in the spec"


def _at_date(raster: Raster, layer: Layer) -> NDArray[np.float32]:
    dates = [] if raster.dates is None else [str(date) for date in raster.dates]
    places = [place for place, date in enumerate(dates) if date.startswith(layer.date)]
    if len(places) != 1:
        raise SardinoError(f"{raster.path} has {len(places)} dates like '{layer.date}': set date in the spec")
    return raster.without(layer.nodata)[places[0]]


@lru_cache(maxsize=4)
def _labels_by_chip(folder: Path, names: LabelNames) -> dict[str, str]:
    """The label of each chip, by a table of the set."""
    path = folder / names.file
    if not path.is_file():
        raise SardinoError(f"there is no file {path}: it belongs to the set and names the label of each chip")
    try:
        table = pd.read_parquet(path, columns=[names.chip, names.label])
    except (ValueError, OSError) as error:
        wanted = f"is it the table with the columns {names.chip} and {names.label}? copy the file again"
        raise SardinoError(f"{path} cannot be read ({first_line(error)}): {wanted}") from error
    return dict(zip(table[names.chip].astype(str), table[names.label].astype(str), strict=True))


def _matches(folder: Path, template: str, names: Mapping[str, str] | None = None) -> list[tuple[dict[str, str], Path]]:
    """Files that fit a template, sorted by path, with the text found at each of its places, that of `names` or any."""
    pattern, glob, names = "", "", names or {}
    for text in re.split(rf"(\{{(?:{'|'.join(PLACES)})\}}|\*)", template):
        place = text[1:-1] if text.startswith("{") else ""
        if text == "*":
            pattern, glob = pattern + "[^/]*", glob + "*"
        elif place in PLACES:
            pattern += f"(?P={place})" if f"(?P<{place}>" in pattern else f"(?P<{place}>[^/]+)"
            glob += escape(names[place]) if place in names else "*"
        else:
            pattern, glob = pattern + re.escape(text), glob + escape(text)
    found = []
    for path in files_in(folder, re.sub(r"\*\*+", "*", glob)):
        match = re.fullmatch(pattern, path.relative_to(folder).as_posix())
        if match and all(names.get(place, text) == text for place, text in match.groupdict().items()):
            found.append((match.groupdict(), path))
    return found
