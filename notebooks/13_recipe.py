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
# # 13 What makes it large?
#
# **Which part of a recipe makes a map better than a U-Net's, how many labels is it worth, and what does it cost?**
#
# The paper ends with "small improvements" by pre-training, below a supervised U-Net. Notebook 11 asks what its recipe
# did to a backbone. Here the recipe is changed, one part after the other, on the profile `study`: several draws of the
# labels, three pre-trainings, trainings as long as pay off.
#
# What is pre-trained is what draws the map. A U-Net sees a ViT's tokens at its lowest level, and both learn without
# labels: boxes of pixels and whole seasons are hidden, and around each pixel the mean backscatter and its deviation are
# to be told (`sardino/dino/dense.py`). When a few labels have been learnt from, the network's own average labels other
# tiles where it is sure, and teaches what it says there (`sardino/segmentation/self_training.py`).

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from sardino.reporting.figures.effects import draw_parts
from sardino.reporting.figures.style import preview
from sardino.reporting.tables import cells, metrics, parts
from sardino.study.costs import costs, shown_study

space, records, folder = shown_study(profile, data)
trained = cells.read_cells(records, folder)
table = parts.parts_table(trained)

# %% [markdown]
# ## One part after the other
#
# Each row is the difference between two networks that share all but this part: draws of the labels, seeds, test tiles.
# Its 95 % interval is that of the paired difference. The opponent of the whole is a plain U-Net with at least as many
# parameters and as many steps.

# %% tags=["nbval-check-output"]
print(f"Profile {space.profile.name} ({trained.provenance}) has {table['part'].nunique()} of {len(parts.PARTS)} parts.")
print(trained.caution)

# %%
preview(draw_parts(table, f"What each part adds ({trained.provenance})"))

# %%
print(parts.render_parts(table, trained))

# %% [markdown]
# ## How many labels is it worth, and what does it cost?
#
# The last column is what a labelled tile costs when it is spared: minutes of a core, to be multiplied by what such a
# minute costs, and set beside what it costs to label a tile.

# %%
took = parts.costs_table(trained, *costs(space.profile, trained, records))
print(parts.render_costs(took, trained))

# %% [markdown]
# ## Against the arms of the paper
#
# What pre-training gains in each arm over the same arm from scratch, and U-Nets that see more over plain ones.

# %%
print(metrics.render_efficiency(metrics.efficiency_table(trained), trained))

# %% [markdown]
# ## What makes it large, then?
#
# This paragraph is written from the numbers. A gain or a loss is one whose interval leaves zero out; of one training
# it is said as that.

# %%
floors = {f: trained.miou(below[-1]) for f in space.profile.fractions if (below := trained.floors(f))}
print(parts.findings(table, took, floors))

# %% [markdown]
# ## How far this goes
#
# - One synthetic world: it says what a recipe can gain where season, speckle and texture tell land cover apart, and
#   nothing of how much on Earth.
# - Attention maps and the wide U-Net are alternatives; from tokens on, each part builds on the one before, and what it
#   would add alone is told of self-training only.
# - The highest score is read off the test tiles, and so a little flattered; no rate, step or recipe was chosen there.
