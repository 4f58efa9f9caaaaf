"""Images of the synthetic world and of real chips, alike in extent and channels, for notebook 08."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.sources.folder.chips import ChipFiles, chip_names
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.sources.world.synthetic import World
from sardino.data.sources.world.tables import YEAR
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, SEASONS
from sardino.evaluation.realism import Images, eight_bit
from sardino.reporting.figures.realism import Pair, labelled_table

SIDE_PX, LATTICE, STEP = 224, 24, 19  # tiles that lie apart: every 19th of 24 x 24
MOST_CHIPS = 16
# The folders of real chips that are compared, and their pixel spacing.
GSD_M = {"terramesh": 10.0, "los-angeles": 8.3, "finland-biomass": 10.0, "belgium-monthly": 10.0}
TO_SIGMA0_DB = {"terramesh": float(10 * np.log10(np.cos(np.radians(38))))}  # from gamma0, at the middle of the swath
# Impact Observatory's classes beside WorldCover's.
NAMES = {"Water": "Permanent water bodies", "Trees": "Tree cover", "Flooded vegetation": "Herbaceous wetland"}
NAMES |= {"Crops": "Cropland", "Built area": "Built-up", "Bare ground": "Bare / sparse vegetation"}
NAMES |= {"Rangeland": "Grassland"}


def realism_pairs(seed: int, season: Images, data: Path | None) -> tuple[list[Pair], list[str]]:
    """Synthetic images, each beside the real ones that it may be compared with; and which folders of `data` there are.

    The seed is the world's, `season` its seasonal means.
    """
    one_date = synthetic(seed, "europe", 1)
    given = {name: data / name for name in sorted(GSD_M) if data is not None and (data / name).is_dir()}
    terramesh = real(given["terramesh"]) if "terramesh" in given else None
    pairs = [Pair("One date, sigma0", one_date, terramesh, published=True)]
    if "los-angeles" in given:
        conus, theirs = synthetic(seed, "conus", 1, ("VH",)), real(given["los-angeles"], ("VH",))
        ours = Images(conus.title, {"VH": eight_bit(conus.bands["VH"])}, 10.0)
        pairs.append(Pair("One date, 8-bit VH", ours, theirs, calibrated=False))
    seasonal = [real(given[name]) for name in ("finland-biomass", "belgium-monthly") if name in given]
    for images in seasonal:
        # The same extent as the real images: correlation about an image's mean depends on it.
        height, width = images.bands["VH"].shape[1:]
        ours = Images(season.title, {band: s[:, :height, :width] for band, s in season.bands.items()}, season.gsd_m)
        pairs.append(Pair(f"Seasonal, {images.title}", ours, images))
    return pairs if seasonal else [*pairs, Pair("Seasonal means", season)], list(given)


def synthetic(seed: int, region: str, dates: int, bands: tuple[str, ...] = ("VV", "VH")) -> Images:
    """Tiles of a world whose seasons are means of so many dates."""
    world = World(seed, dates_per_season=dates)
    chips = [world.chip(tile) for tile in world.tiles(region, SIDE_PX, LATTICE, LATTICE)[::STEP]]
    stack, labels = np.stack([c.backscatter_db for c in chips]), np.stack([c.label for c in chips])
    planes = {band: seasons(stack, CHANNELS, band) for band in bands}
    return Images(f"Synthetic, {region.title()}", planes, 10.0, np.tile(labels, (4, 1, 1)), tuple(WORLDCOVER.names))


def class_seasons(images: Images) -> pd.DataFrame:
    """Mean dB of each class of seasonal images by season and over the year, in the rows and columns of `signatures`."""
    every, tables = len(images.bands["VV"]) // len(SEASONS), {}
    for number, season in enumerate(SEASONS):
        part = slice(number * every, (number + 1) * every)
        bands = {name: stack[part] for name, stack in images.bands.items()}
        labels = None if images.labels is None else images.labels[part]
        tables[season] = labelled_table(replace(images, bands=bands, labels=labels))[["VV mean", "VH mean"]]
    tables[YEAR] = pd.concat(tables).groupby(level=1).mean()
    return pd.concat(tables, names=["season", "class"]).swaplevel().set_axis(["vv", "vh"], axis=1)


def real(folder: Path, bands: tuple[str, ...] = ("VV", "VH")) -> Images:
    """Chips of a folder that bears its specification's name, spread evenly over it."""
    name = folder.name
    spec = FolderSpec.load(name)
    names = chip_names(folder, spec)
    chips = [ChipFiles(folder, spec, n) for n in names[:: -(-len(names) // MOST_CHIPS)]]
    stack = np.stack([c.backscatter_db[:, :SIDE_PX, :SIDE_PX] for c in chips]) + TO_SIGMA0_DB.get(name, 0)
    planes = {band: seasons(stack, spec.channels, band) for band in bands}
    labels = np.stack([c.label[:SIDE_PX, :SIDE_PX] for c in chips]) if spec.labels.source == "raster" else None
    return Images(spec.title, planes, GSD_M[name], labels, tuple(NAMES.get(n, n) for n in spec.legend.names))


def seasons(stack: NDArray[np.float32], channels: tuple[str, ...] | list[str], band: str) -> NDArray[np.float32]:
    """All planes of one band, (N, H, W): the four seasons count as four images."""
    return np.concatenate([stack[:, i] for i, name in enumerate(channels) if name.rpartition("_")[2] == band.lower()])
