# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 Realism: the synthetic world beside Sentinel-1
#
# **Where does the synthetic world look like Sentinel-1, and where does it not?**
#
# What runs offline learns from a synthetic world. This notebook measures it: level, spread and tails of
# backscatter, looks, correlation from pixel to pixel, and what each land cover shows.
#
# The only published figures used here are the means and standard deviations of BigEarthNet-S1 (sigma0, one date,
# Europe). The world's overall VV and VH levels were set to those two means, so their agreement tests nothing;
# the standard deviations were not set.
#
# **Real chips** go beside the synthetic ones when their folder is named: `data = "FOLDER"` below, or
# `sardino notebook 08_realism --data FOLDER`. It may hold any of `terramesh`, `los-angeles`, `finland-biomass` and
# `belgium-monthly`; `sardino/scenes/specs/` says how their files are read. Without it, the world is compared with
# the published figures alone.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

import numpy as np

from sardino.evaluation.realism import Images, eight_bit
from sardino.reporting.realism import Pair, as_record, differences, draw_realism, labelled_table, realism_table
from sardino.reporting.record import write_record
from sardino.reporting.style import preview, save_figure
from sardino.scenes.chips import ChipFiles, chip_names
from sardino.scenes.spec import FolderSpec
from sardino.scenes.world import World
from sardino.tiles.landcover import WORLDCOVER
from sardino.workflow.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
seed = space.profile.data.seed
SIDE_PX, LATTICE, STEP = 224, 24, 19  # tiles that lie apart: every 19th of 24 x 24
GSD_M = {"terramesh": 10.0, "los-angeles": 8.3, "finland-biomass": 10.0, "belgium-monthly": 10.0}
TO_SIGMA0_DB = {"terramesh": float(10 * np.log10(np.cos(np.radians(38))))}  # from gamma0, at the middle of the swath
NAMES = {
    "Water": "Permanent water bodies",
    "Trees": "Tree cover",
    "Flooded vegetation": "Herbaceous wetland",
    "Crops": "Cropland",
    "Built area": "Built-up",
    "Bare ground": "Bare / sparse vegetation",
    "Rangeland": "Grassland",
}


# %% [markdown]
# ## Two kinds of images
#
# Speckle of one date and of a season's mean differ by an order of magnitude in looks. One date is compared with one
# date, and seasonal means with seasonal means (15 dates each in the world). The four seasons count as four images.


# %%
def seasons(stack, channels, band):
    """All planes of one band, (N, H, W)."""
    return np.concatenate([stack[:, i] for i, name in enumerate(channels) if name.rpartition("_")[2] == band.lower()])


def synthetic(region, dates, bands=("VV", "VH")):
    world = World(seed, dates_per_season=dates)
    tiles = world.tiles(region, SIDE_PX, LATTICE, LATTICE)[::STEP]
    chips = [world.chip(tile) for tile in tiles]
    stack, labels = np.stack([c.backscatter_db for c in chips]), np.stack([c.label for c in chips])
    planes = {band: seasons(stack, CHANNELS, band) for band in bands}
    return Images(f"Synthetic, {region.title()}", planes, 10.0, np.tile(labels, (4, 1, 1)), tuple(WORLDCOVER.names))


def real(name, bands=("VV", "VH"), most=16):
    spec = FolderSpec.load(name)
    names = chip_names(space.data / name, spec)
    chips = [ChipFiles(space.data / name, spec, n) for n in names[:: -(-len(names) // most)]]
    stack = np.stack([c.backscatter_db[:, :SIDE_PX, :SIDE_PX] for c in chips]) + TO_SIGMA0_DB.get(name, 0)
    planes = {band: seasons(stack, spec.channels, band) for band in bands}
    labels = np.stack([c.label[:SIDE_PX, :SIDE_PX] for c in chips]) if spec.labels.source == "raster" else None
    return Images(spec.title, planes, GSD_M[name], labels, tuple(NAMES.get(n, n) for n in spec.legend.names))


# %%
one_date, season = synthetic("europe", 1), synthetic("europe", 15)
given = {name for name in GSD_M if space.data is not None and (space.data / name).is_dir()}
first = real("terramesh") if "terramesh" in given else None
pairs = [Pair("One date, sigma0", one_date, first, published=True)]
if "los-angeles" in given:
    conus = synthetic("conus", 1, ("VH",))
    ours = Images(conus.title, {"VH": eight_bit(conus.bands["VH"])}, 10.0)
    pairs.append(Pair("One date, 8-bit VH", ours, real("los-angeles", ("VH",)), calibrated=False))
for name in ("finland-biomass", "belgium-monthly"):
    if name in given:
        pairs.append(Pair(f"Seasonal means {len(pairs) - 1}", season, real(name)))
if not given & {"finland-biomass", "belgium-monthly"}:
    pairs.append(Pair("Seasonal means", season))
print("real chips:", ", ".join(sorted(given)) or "none were given")
