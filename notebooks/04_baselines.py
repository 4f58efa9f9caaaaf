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
# # 04 Baselines: one row of Table 2
#
# **Does a plain U-Net do as well, and do attention maps help it?**
#
# The paper's Table 2 puts a supervised U-Net on backscatter beside its ViTs, and then gives the same U-Net the
# attention maps as further channels: 12 channels, and 12 + 3.
#
# One run is one row: `unet` sees backscatter alone, `unet_attention` backscatter and the attention maps of a
# ViT that is random and trained along (scratch), pre-trained and kept (frozen), or pre-trained and trained on
# (unfrozen).

# %% tags=["parameters"]
profile = "smoke"
data = ""
encoding = "unet"
initialisation = "scratch"

# %%
import time

from sardino.dino.runtime import best_device
from sardino.reporting.figures.curves import draw_losses
from sardino.reporting.figures.style import preview
from sardino.study.row import Experiment, choose_rate, record_row, train_cell
from sardino.study.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
regions = space.profile.arms[0]
experiment = Experiment.open(space, regions, encoding, initialisation, best_device())
store = experiment.store
print(f"labels: {store.metadata.get('labels', store.legend.name)}")
print(f"{len(experiment.train_ids)} training tiles, {len(experiment.test_ids)} test tiles, {len(store.legend)} classes")

# %% [markdown]
# ## What the paper leaves open, and what is chosen here
#
# - **Which ViT.** That of Europe, pre-trained on all its training tiles. Its maps, one a head, are the further
#   channels: ViT-Tiny's three heads make 12 + 3.
# - **U-Net.** That of notebook 03: `unet_depth` levels down and as many up, widths doubling from `unet_width`.
# - Loss, tiles, steps, the rule for what is kept and the choice of the learning rate are those of notebook 03: the
#   arms differ in their input alone.
#
# The profile's numbers for this notebook:

# %%
for name, value in space.profile.finetuning:
    print(f"{name} = {value}")

# %% [markdown]
# ## The learning rate
#
# Chosen on validation tiles, once for this arm, where the profile gives a grid.

# %%
search = choose_rate(experiment)
print(search)

# %% [markdown]
# ## The cells
#
# One for each fraction of the labels and each seed.

# %%
pairs = [(fraction, seed) for fraction in space.profile.fractions for seed in space.profile.seeds]
cells = [train_cell(experiment, fraction, seed, search.chosen) for fraction, seed in pairs]

# %%
print(*cells, sep="\n")

# %%
losses = {f"{cell.row['fraction']:g} %, seed {cell.row['seed']}": cell.losses for cell in cells}
title = f"{encoding}, {initialisation}: {space.profile.title}"
preview(draw_losses(losses, space.profile.finetuning.loss, title))

# %% [markdown]
# Each cell keeps one confusion matrix per test tile: from them come the mIoU over the whole test set and its
# interval.

# %%
arm = {"encoding": encoding, "initialisation": initialisation}
record = record_row(experiment, {"profile": profile, "data": data, **arm}, search, cells, started)
