"""Synthetic and measured radar images side by side, each with the statistics that tell them apart."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.realism import autocorrelation, by_class, histogram, level_db, looks, standardised
from sardino.scenes.chips import ChipFiles, chip_names
from sardino.scenes.spec import FolderSpec, built_in_specs
from sardino.scenes.world import REGIONS, World
from sardino.tiles.landcover import WORLDCOVER, Legend

LAGS = (1, 2, 3, 5, 8, 13, 21, 34)
EDGES = tuple(np.linspace(-4, 4, 33).tolist())
CHIPS = 3
"""At most so many chips of a folder, spread evenly over it."""


@dataclass(frozen=True)
class Image:
    """One image: VV and VH in dB where they exist, its labels, and what is known of its making."""

    name: str
    polarisations: dict[str, NDArray[np.float32]]
    label: NDArray[np.uint8]
    legend: Legend
    synthetic: bool
    calibrated: bool
    dates: str

    def statistics(self) -> dict[str, dict[str, Any]]:
        """By polarisation: looks, spatial correlation, standardised histogram; levels only where calibrated."""
        found: dict[str, dict[str, Any]] = {}
        for name, db in self.polarisations.items():
            found[name] = {
                "looks": looks(db),
                "lags_px": list(LAGS),
                "correlation_rows": autocorrelation(db, LAGS, 0),
                "correlation_columns": autocorrelation(db, LAGS, 1),
                "histogram": histogram(standardised(db), EDGES),
            }
            if self.calibrated:
                mean, deviation = level_db(db)
                classes = by_class(db, self.label, len(self.legend.codes))
                found[name] |= {"mean_db": mean, "std_db": deviation}
                found[name]["classes"] = {self.legend.names[index]: list(level) for index, level in classes.items()}
        return found


def synthetic_images(seed: int, size_px: int) -> list[Image]:
    """One summer composite and one single date of each region of the world."""
    images = []
    for dates, title in ((15, "composite"), (1, "single date")):
        world = World(seed, dates_per_season=dates)
        for region in REGIONS:
            chip = world.chip(world.tiles(region, size_px, 1, 1)[0])
            planes = {"vv": chip.backscatter_db[6], "vh": chip.backscatter_db[7]}
            images.append(Image(f"synthetic {region}", planes, chip.label, WORLDCOVER, True, True, title))
    return images


def measured_folder(data: Path | None) -> Path | None:
    """The folder of real chips: the one given, else the environment's SARDINO_DATA, else none."""
    folder = data or (Path(os.environ["SARDINO_DATA"]) if os.environ.get("SARDINO_DATA") else None)
    if folder is not None and not folder.is_dir():
        raise SardinoError(f"the data folder {folder} does not exist: correct data or SARDINO_DATA")
    return folder


def measured_images(folder: Path | None) -> list[Image]:
    """Real chips of the built-in folder specs whose folder, named as the spec, lies in `folder`."""
    images: list[Image] = []
    for name in built_in_specs() if folder is not None else []:
        if folder is None or not (folder / name).is_dir():
            continue
        spec = FolderSpec.load(name)
        chips = chip_names(folder / name, spec)
        for chip in chips[:: max(1, len(chips) // CHIPS)][:CHIPS]:
            images.append(_measured(ChipFiles(folder / name, spec, chip)))
    return images


def _measured(files: ChipFiles) -> Image:
    spec, planes = files.spec, {}
    seasonal = spec.backscatter.composite == "seasonal"
    for name in ("vv", "vh"):
        channel = f"summer_{name}" if seasonal else name
        if channel in spec.channels:
            planes[name] = files.backscatter_db[spec.channels.index(channel)]
    calibrated = spec.backscatter.unit != "amplitude"
    title = "composite" if seasonal else "single date"
    return Image(f"{spec.name} {files.name}", planes, files.label, spec.legend, False, calibrated, title)
