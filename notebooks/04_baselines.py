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
# # 04 Baselines: the U-Net, and floors below it
#
# **What does a plain U-Net see, what do attention maps add, and how far does a pixel come without any network?**
#
# The paper's Table 2 puts a supervised U-Net on backscatter beside its ViTs, and gives the same U-Net the attention
# maps as further channels: 12 channels, and 12 + 3. Those rows are trained by notebook 03.
#
# This notebook adds what the paper lacks: **floors**. A regression on the surroundings of single pixels costs seconds.
# A network that does no better with the same labels has learnt nothing of shapes or places. Floors and networks stand
# side by side in Tables 1 and 2 (notebook 06).

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import pandas as pd

from sardino.evaluation import floors
from sardino.study.row import Experiment
from sardino.study.run import open_run

run = open_run("floors", profile, data)
chosen = run.space.profile
experiment = Experiment.open(run.space, chosen.arms[0], "unet", "scratch")
store = experiment.store
print(f"{len(experiment.train_ids)} training tiles, {len(experiment.test_ids)} test tiles, {len(store.legend)} classes")

# %% [markdown]
# ## The U-Net, with and without attention maps
#
# A row of Table 2 differs from another in its input alone: `unet` sees backscatter, `unet_attention` backscatter and
# the attention maps of a ViT that is random and trained along (from scratch), pre-trained and kept (frozen), or
# pre-trained and trained on (not frozen). The maps of all heads are enlarged to the tile and stand behind the channels.

# %% tags=["nbval-check-output"]
for encoding in ("unet", "unet_attention"):
    model = Experiment.open(run.space, chosen.arms[0], encoding, "scratch").segmenter(run.seeds[0])
    x, _ = experiment.test.read([0])
    joined = x if model.vit is None else model.join(x, model.encode(x))  # backscatter, then a map a head
    print(f"{encoding}: {tuple(joined.shape)} to logits {tuple(model.decode(joined, x.shape[-1]).shape)}")

# %% [markdown]
# ## The floors
#
# Three models of single pixels: always the most frequent class of the labelled pixels; logistic regression; a random
# forest. Each is told a pixel's channels, or these with their means over boxes about it and their deviation: what is
# near a pixel, and how rough it is there. They learn from the very tiles whose labels the cells of Tables 1 and 2 are
# granted, from a fixed number of pixels of each draw, weighed by class as those of the networks are, and are scored on
# the same test tiles.

# %%
granted = {
    fraction: {draw: experiment.labelled_ids(fraction, draw) for draw in range(draws)}
    for fraction, draws in zip(chosen.fractions, chosen.draws, strict=True)
}
cells, confusions = floors.floors(
    store.read, granted, experiment.test_ids, len(store.legend), chosen.finetuning.balance
)

# %%
for name, told in floors.FEATURES.items():
    print(f"{name}: {told}")
shown = ["encoding", "initialisation", "fraction", "draw", "labelled_tiles", "pixels", "miou"]
print(pd.DataFrame(cells)[shown].round(3).to_string(index=False))

# %%
results = {
    "cells": cells,
    "confusion_file": run.keep(confusions),
    "test_blocks": experiment.test_blocks,
    "labels_name": store.legend.name,
    "derived": store.legend.derived,
}
record = run.record(results)
