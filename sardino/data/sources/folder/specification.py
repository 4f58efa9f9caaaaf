"""The spec of a folder of chips: which file holds which channel, in which unit, and where labels come from."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sardino.data.sources.folder.derived_labels import DERIVED
from sardino.data.tiles.landcover import WORLDCOVER, LandCoverClass, Legend
from sardino.data.tiles.tile import LAYERS
from sardino.errors import SardinoError

_BUILT_IN = resources.files("sardino.data.sources.folder") / "specs"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backscatter(_Strict):
    """Files of backscatter.

    Args:
        files: path template inside the folder, with {chip} (unless the folder is one chip), {band} where a
            band is a file, and {time} where a date is a file.
        bands: what each band of a file holds, in file order, "" for one not wanted. With {band} in the
            template, the texts that stand there.
        names: channel or polarisation of a band where its text is another, for example VV = "vv".
        variables: NetCDF variable of each band.
        unit: of the stored numbers; "dn-83" means dB = 20 log10(DN) - 83, "amplitude" is uncalibrated.
        nodata: values that mean missing, besides those that the file declares.
        composite: "single" date, or "seasonal" means of a series.
        months: calendar month of each {time}.
        time_format: how to read {time} as a date where `months` is not given, for example "%Y%m%d".
        year: year of seasons to take from a dated series, December of the year before to November.
        missing_season: what becomes of a chip without one season.
    """

    files: str
    bands: list[str]
    names: dict[str, str] = {}
    variables: dict[str, str] = {}
    unit: Literal["db", "power", "amplitude", "dn-83"]
    nodata: list[float] = []
    composite: Literal["single", "seasonal"] = "single"
    months: dict[str, int] = {}
    time_format: str = ""
    year: int | None = None
    missing_season: Literal["refuse", "drop", "mask"] = "drop"


class Layer(_Strict):
    """One reference layer: path template, bands from 1 (or NetCDF variables at a date), nodata, stretch to 8 bits."""

    files: str
    bands: list[int] = [1]
    variables: list[str] = []
    date: str = ""
    nodata: list[float] = []
    stretch: tuple[float, float] | None = None


class Labels(_Strict):
    """Where labels come from: a raster with its own legend, classes derived from the optical layer, or nowhere."""

    source: Literal["none", "raster", "derived"] = "none"
    files: str = ""
    required: bool = True
    legend: str = ""
    classes: list[dict[str, int | str]] = []

    @model_validator(mode="after")
    def _complete(self) -> "Labels":
        if self.source == "raster" and not (self.files and self.legend and self.classes):
            raise ValueError("labels from a raster need files, legend and classes (code, name, color)")
        return self


class FolderSpec(_Strict):
    """A folder of chips as a TOML file describes it.

    Args:
        name, title: for files and for captions.
        product: what was measured, in words.
        channels: in store order; those of `backscatter`, or <season>_<polarisation> for a composite.
        split: "bands" of whole chips, or all tiles for "train" where the place is too small to be split.
        stride_px: step from tile to tile; the tile's own size where it is absent.
        note: what a reader must know of these data.
    """

    name: str
    title: str
    product: str
    channels: list[str] = Field(min_length=1)
    split: Literal["bands", "train"] = "bands"
    stride_px: int | None = Field(default=None, ge=1)
    note: str = ""
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
        """Legend of the labels; ESA WorldCover, all pixels unlabelled, where there are none."""
        if self.labels.source == "derived":
            return DERIVED
        if self.labels.source == "none":
            return WORLDCOVER
        classes = (LandCoverClass(int(c["code"]), str(c["name"]), str(c["color"])) for c in self.labels.classes)
        return Legend(self.labels.legend, tuple(classes))

    @classmethod
    def load(cls, name: str | Path) -> "FolderSpec":
        """A built-in spec by name, or one from a TOML file; SardinoError names the known specs or the wrong key."""
        known = built_in_specs()
        path = _BUILT_IN / f"{name}.toml" if str(name) in known else Path(name)
        if not path.is_file():
            raise SardinoError(f"there is no folder spec '{name}': use {', '.join(known)}, or the path of a TOML file")
        try:
            return cls.model_validate(tomllib.loads(path.read_text("utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SardinoError(f"the folder spec {name} is not valid TOML: {error}") from error
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors())
            raise SardinoError(f"the folder spec {name} is wrong at {faults}") from error


def built_in_specs() -> list[str]:
    """Names of the specs that sardino brings along."""
    return sorted(entry.name.removesuffix(".toml") for entry in _BUILT_IN.iterdir() if entry.name.endswith(".toml"))
