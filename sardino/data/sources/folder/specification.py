"""The spec of a folder of chips: which file holds which channel, in which unit, and where labels come from."""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sardino.data.sources.folder.derived_labels import DERIVED
from sardino.data.tiles.landcover import WORLDCOVER, LandCoverClass, Legend
from sardino.data.tiles.tile import LAYERS
from sardino.errors import SardinoError
from sardino.files import read_toml

_BUILT_IN = Path(__file__).with_name("specs")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Origin(_Strict):
    """Where a public set comes from, for the table of docs/data.md."""

    url: str
    chips: int | None = None  # how many it has
    size: str  # of what is read of it
    licence: str


class Backscatter(_Strict):
    """Files of backscatter."""

    # Path template with {chip} (unless the folder is one), {part} where chips of two parts of the set have one name,
    # {band} and {time} where each is a file; * for what differs and says nothing.
    files: str
    # What each band of a file holds, in order, "" for one not wanted; the texts at {band} where it is in the template.
    bands: list[str]
    names: dict[str, str] = {}  # channel or polarisation of a band where its text is another, for example VV = "vv"
    variables: dict[str, str] = {}  # NetCDF variable of each band
    unit: Literal["db", "power", "amplitude", "dn-83"]  # "dn-83": dB = 20 log10(DN) - 83; "amplitude": uncalibrated
    nodata: list[float] = []  # values that mean missing, besides those that the file declares
    # "single" date, or "seasonal" means of a series, dated by {time} or else by the files' own time axis.
    composite: Literal["single", "seasonal"] = "single"
    months: dict[str, int] = {}  # calendar month of each {time}
    time_format: str = ""  # how to read {time} as a date where `months` is not given, for example "%Y%m%d"
    year: int | None = None  # year of seasons to take from a dated series, December of the year before to November
    missing_season: Literal["refuse", "drop", "mask"] = "drop"  # what becomes of a chip without one season

    @model_validator(mode="after")
    def _read_as_meant(self) -> "Backscatter":
        timed, seasonal = "{time}" in self.files, self.composite == "seasonal"
        if self.variables and (timed or "{band}" in self.files):
            raise ValueError("variables are of one file a chip: no {time} or {band} in files")
        if self.months and not timed:
            raise ValueError("months are of the texts at {time}, which files does not have")
        if self.year is not None and (self.months or not seasonal):
            raise ValueError("year chooses from a dated series: it goes with composite seasonal, and without months")
        if timed and seasonal and self.time_format and not re.search("%[mbBj]", self.time_format):
            raise ValueError(f"time_format '{self.time_format}' tells no month, which a season needs")
        return self


class Layer(_Strict):
    """One reference layer: path template, bands from 1 (or NetCDF variables at a date), nodata, stretch to 8 bits."""

    files: str
    bands: list[int] = [1]
    variables: list[str] = []
    date: str = ""
    nodata: list[float] = []
    stretch: tuple[float, float] | None = None


class LabelNames(_Strict):
    """A Parquet table of the set that says which label belongs to which chip; one that it does not list has none."""

    file: str
    chip: str  # column that holds what stands at {chip}
    label: str  # column that holds what stands at {label}


class Labels(_Strict):
    """Where labels come from: a raster with its own legend, classes derived from the optical layer, or nowhere."""

    source: Literal["none", "raster", "derived"] = "none"
    files: str = ""  # path template with the {chip} and {part} of the backscatter, or with a {label} that `names` gives
    names: LabelNames | None = None
    required: bool = True
    band: int | None = Field(default=None, ge=1)  # that holds the codes, where there are several
    nodata: list[float] = []  # codes that mean no label, besides those that the file declares
    recode: dict[int, int] = {}  # codes of the raster that become another; the rest stay
    legend: str = ""
    classes: list[LandCoverClass] = []  # not needed where the legend is ESA WorldCover

    @model_validator(mode="after")
    def _complete(self) -> "Labels":
        known = self.classes or self.legend == WORLDCOVER.name
        if self.source == "raster" and not (self.files and self.legend and known):
            raise ValueError("labels from a raster need files, legend and classes (code, name, color)")
        if ("{label}" in self.files) != (self.names is not None):
            raise ValueError("{label} in files and the table in names need each other")
        return self


class FolderSpec(_Strict):
    """A folder of chips as a TOML file describes it."""

    name: str  # for files
    title: str  # for captions
    product: str  # what was measured, in words
    channels: list[str] = Field(min_length=1)  # in store order; <season>_<polarisation> for a composite
    split: Literal["bands", "train"] = "bands"  # of whole chips; "train" where the place is too small to be split
    stride_px: int | None = Field(default=None, ge=1)  # step from tile to tile; the tile's own size where it is absent
    same_place: Literal["refuse", "drop"] = "refuse"  # what becomes of tiles where a chip before already has one
    placed: bool = True  # whether to believe what files say of their place; else chips lie side by side
    note: str = ""  # what a reader must know of these data
    origin: Origin | None = None  # of a public set
    backscatter: Backscatter
    layers: dict[str, Layer] = {}
    labels: Labels = Labels()

    @model_validator(mode="after")
    def _consistent(self) -> "FolderSpec":
        if unknown := set(self.layers) - set(LAYERS):
            raise ValueError(f"unknown layer {', '.join(sorted(unknown))}: use {', '.join(LAYERS)}")
        if self.labels.source == "derived" and "optical" not in self.layers:
            raise ValueError("derived labels need a layer 'optical'")
        return self

    @property
    def legend(self) -> Legend:
        """Legend of the labels; ESA WorldCover where there are none, all pixels unlabelled."""
        if self.labels.source == "derived":
            return DERIVED
        if not self.labels.classes:
            return WORLDCOVER
        return Legend(self.labels.legend, tuple(self.labels.classes))

    @classmethod
    def load(cls, name: str | Path) -> "FolderSpec":
        """A built-in spec by name, or one from a TOML file; SardinoError names the known specs or the wrong key."""
        known = built_in_specs()
        path = _BUILT_IN / f"{name}.toml" if str(name) in known else Path(name)
        if not path.is_file():
            raise SardinoError(f"there is no folder spec '{name}': use {', '.join(known)}, or the path of a TOML file")
        try:
            return cls.model_validate(read_toml(path))
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors())
            raise SardinoError(f"the folder spec {name} is wrong at {faults}") from error


def built_in_specs() -> list[str]:
    """Names of the specs that sardino brings along."""
    return sorted(path.stem for path in _BUILT_IN.glob("*.toml"))
