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
# Europe). Its patches hold the sea, which the world's Europe does not: the world's land lies above those means.
#
# **Real chips** go beside the synthetic ones when their folder is named: `data = "FOLDER"` below, or
# `sardino notebook 08_realism --data FOLDER`. It may hold any of `terramesh`, `los-angeles`, `finland-biomass` and
# `belgium-monthly`; `sardino/data/sources/folder/specs/` says how their files are read. Without it, the world is
# compared with the published figures alone.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from sardino.data.sources.world.synthetic import VERSION, World
from sardino.data.sources.world.tables import signatures
from sardino.evaluation.realism import to_correct
from sardino.reporting.figures import realism
from sardino.study.realism import class_seasons, realism_pairs, synthetic
from sardino.study.run import open_run

run = open_run("realism", profile, data)
seed = run.space.profile.data.seed

# %% [markdown]
# ## Two kinds of images
#
# Speckle of one date and of a season's mean differ by an order of magnitude in looks. One date is compared with one
# date, and seasonal means with seasonal means (15 dates each in the world). The four seasons count as four images.

# %%
season = synthetic(seed, "europe", 15)
pairs, given = realism_pairs(seed, season, run.space.data)
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
# ## By season, beside real fields
#
# `sardino/data/sources/world/signatures.csv` holds what Sentinel-1 shows of fields, grass and woods of France:
# points of WorldCereal's test data, whose land use is declared, in Corsica (2022) and in the west (2023). The file
# says where they come from; `tools/signatures.py` makes it from the points, none of which is kept here.
#
# Both sides are sigma0, and their seasons are the same months. Power is averaged over the dates of a season, then
# decibels over points or pixels. The real points were seen from one orbit direction for each place, at angles that
# are not recorded; the world averages over its whole swath. Real errors count the points of one site together.
#
# **The rule**, set before the means were compared. A real mean counts if its class is the same ground in both
# legends, if it stands on 100 points of two sites or more, and if its standard error is below 0.3 dB. Where the world
# is more than 2 dB off a mean that counts, it is corrected: first the level that all covers share, if that explains
# it; then the covers of a class or season that is still off. All else is kept, contrasts between seasons and classes
# above all.
#
# **What came of it.** Version 3 of the world added -1.7 dB in VV and -2.7 dB in VH to every cover, which gave it
# BigEarthNet's means without BigEarthNet's sea. Version 4 leaves that out, and no row of the covers' table changed.
# `before` is version 3, with the same seed as the profiles'.

# %%
fields, now = signatures(), class_seasons(season)
before = fields[["vv_before", "vh_before"]].set_axis(["vv", "vh"], axis=1)
print(fields.join(now.add_suffix("_now")).round(1).to_string())
for version, world in (("before", before), ("now", now)):
    off = [f"{row} {less:+.1f} dB" for row, less in to_correct(fields, world).items()]
    print(f"\nmore than 2 dB off a mean that counts, {version}: {'; '.join(off) or 'nothing'}")

# %%
figure = realism.draw_signatures(fields, {"Synthetic, version 3": before, f"Synthetic, version {VERSION}": now})
run.save(figure, "signatures")

# %% tags=["nbval-check-output"]
print("to correct:", ", ".join(to_correct(fields, now)) or "nothing")

# %% [markdown]
# ## How to read this
#
# - Los Angeles was stored as 8-bit amplitude without calibration and clipped at its 99 % quantile. The synthetic VH
#   beside it was treated alike, and shape, looks and correlation alone are compared: no level.
# - TerraMesh is gamma0, taken to sigma0 at 38 degrees: three sites on one date each, one of them under snow.
# - The monthly files do not say how many dates a month holds; the world's seasons have 15 dates.
# - Finland and Belgium are one site each. Belgium is 1 km2, and its autumn lacks November.
# - The fields of France are two years of a few places. By the rule most of what they show of crops counts, some of
#   grass, and nothing of woods: few points at two sites, whose small errors say little.

# %%
record = run.record(
    {
        "statistics": realism.as_record(table),
        "differences": sentences,
        "classes": {title: classes.round(3).T.to_dict() for title, classes in by_class.items()},
        "signatures": {"real": realism.as_record(fields), "synthetic": realism.as_record(now)},
        "figures": ["realism", "signatures"],
    },
    data={"source": source, "real": given, "synthetic": World(seed).metadata()},
)
run.publish({}, [record])
