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
# Europe). The world's overall VV and VH levels were set to those two means, so their agreement tests nothing.
#
# **Real chips** go beside the synthetic ones when their folder is named: `data = "FOLDER"` below, or
# `sardino notebook 08_realism --data FOLDER`. It may hold any of `terramesh`, `los-angeles`, `finland-biomass` and
# `belgium-monthly`; `sardino/data/sources/folder/specs/` says how their files are read. Without it, the world is
# compared with the published figures alone.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

import numpy as np

from sardino.data.sources.folder.chips import ChipFiles, chip_names
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.evaluation.realism import Images, eight_bit
from sardino.files import publish_records
from sardino.reporting.figures.realism import Pair, as_record, differences, draw_realism, labelled_table, realism_table
from sardino.reporting.figures.style import preview, save_figure
from sardino.reporting.record import write_record
from sardino.study.workspace import Workspace

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


def corner(images, height, width):
    """The same extent as the real images: correlation about an image's mean depends on it."""
    return Images(images.title, {band: s[:, :height, :width] for band, s in images.bands.items()}, images.gsd_m)


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
        theirs = real(name)
        pairs.append(Pair(f"Seasonal, {theirs.title}", corner(season, *theirs.bands["VH"].shape[1:]), theirs))
if not given & {"finland-biomass", "belgium-monthly"}:
    pairs.append(Pair("Seasonal means", season))
print("real chips:", ", ".join(sorted(given)) or "none were given")

# %% [markdown]
# ## Side by side
#
# Each picture is the image of median spread of its set: nobody chose it by eye. Red is VV, green VH, blue VV-VH, each
# stretched on its own; VH alone is grey. Looks are counted in windows of 7 x 7 pixels, correlation in images about
# their own mean. The bar over a histogram is a published mean and standard deviation.

# %%
source = "synthetic world and real chips" if given else "synthetic world"
figure = draw_realism(pairs, f"Synthetic and real Sentinel-1: {source}" if given else "The synthetic world, measured")
save_figure(figure, space.figures, "realism")
preview(figure)

# %% [markdown]
# ## In numbers
#
# Levels in dB; kurtosis is 0 for a normal distribution; `looks` is the most frequent number of looks, `looks_high`
# the 90 % quantile; `lag_rows` and `lag_columns` are correlations of neighbours; `length_m` is where correlation
# falls below 1/e; `coarse` is the share of variance between windows.

# %%
table = realism_table(pairs)
shown = table.round(2)
print((shown.T if len(shown) < 7 else shown).to_string(na_rep="-"))

# %% [markdown]
# ### Where they differ
#
# Computed, one sentence per comparison. A mean of three or of one real site says what that site is: at one place
# crops or water of another share move it by decibels.

# %%
sentences = differences(table)
print("\n".join(sentences))

# %% tags=["nbval-check-output"]
levels = table.xs(pairs[0].title)["mean"].unstack()
print((levels["synthetic"] - levels["published"]).abs().lt(1).to_string())

# %% [markdown]
# ## By land cover
#
# One date. Real labels, where there are any, are of another product (Impact Observatory); its rangeland stands
# beside grassland.

# %%
by_class = {images.title: labelled_table(images) for images, _ in pairs[0].sides}
for title, classes in by_class.items():
    print(f"{title}\n{classes.round(1).to_string()}\n")

# %% [markdown]
# ## How to read this
#
# - Los Angeles was stored as 8-bit amplitude without calibration and clipped at its 99 % quantile. The synthetic VH
#   beside it was treated alike, and shape, looks and correlation alone are compared: no level.
# - TerraMesh is gamma0, taken to sigma0 at 38 degrees.
# - The monthly files do not say how many dates a month holds; the world's seasons have 15 dates.
# - Finland and Belgium are one site each. Belgium is 1 km2.

# %%
record = write_record(
    space.record("realism"),
    kind="realism",
    profile=space.profile.name,
    parameters={"profile": profile, "data": data},
    seeds=[seed],
    data={"source": source, "real": sorted(given), "synthetic": World(seed).metadata()},
    results={
        "statistics": as_record(table),
        "differences": sentences,
        "classes": {title: classes.round(3).T.to_dict() for title, classes in by_class.items()},
        "figures": ["realism"],
    },
    started=started,
)
_ = publish_records([record], space.runs, space.results / "runs")
