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
from sardino.data.sources.world.synthetic import World
from sardino.reporting.figures import realism
from sardino.study.realism import realism_pairs
from sardino.study.run import open_run

run = open_run("realism", profile, data)
seed = run.space.profile.data.seed

# %% [markdown]
# ## Two kinds of images
#
# Speckle of one date and of a season's mean differ by an order of magnitude in looks. One date is compared with one
# date, and seasonal means with seasonal means (15 dates each in the world). The four seasons count as four images.

# %%
pairs, given = realism_pairs(seed, run.space.data)
print("real chips:", ", ".join(given) or "none were given")

# %% [markdown]
# ## Side by side
#
# Each picture is the image of median spread of its set: nobody chose it by eye. Red is VV, green VH, blue VV-VH, each
# stretched on its own; VH alone is grey. Looks are counted in windows of 7 x 7 pixels, correlation in images about
# their own mean. The bar over a histogram is a published mean and standard deviation.

# %%
source = "synthetic world and real chips" if given else "synthetic world"
title = f"Synthetic and real Sentinel-1: {source}" if given else "The synthetic world, measured"
figure = realism.draw_realism(pairs, title)
run.save(figure, "realism")

# %% [markdown]
# ## In numbers
#
# Levels in dB; kurtosis is 0 for a normal distribution; `looks` is the most frequent number of looks, `looks_high`
# the 90 % quantile; `lag_rows` and `lag_columns` are correlations of neighbours; `length_m` is where correlation
# falls below 1/e; `coarse` is the share of variance between windows.

# %%
table = realism.realism_table(pairs)
shown = table.round(2)
print((shown.T if len(shown) < 7 else shown).to_string(na_rep="-"))

# %% [markdown]
# ### Where they differ
#
# Computed, one sentence per comparison. A mean of three or of one real site says what that site is: at one place
# crops or water of another share move it by decibels.

# %%
sentences = realism.differences(table)
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
by_class = {images.title: realism.labelled_table(images) for images, _ in pairs[0].sides}
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
record = run.record(
    {
        "statistics": realism.as_record(table),
        "differences": sentences,
        "classes": {title: classes.round(3).T.to_dict() for title, classes in by_class.items()},
        "figures": ["realism"],
    },
    data={"source": source, "real": given, "synthetic": World(seed).metadata()},
)
run.publish({}, [record])
