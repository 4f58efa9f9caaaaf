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

import matplotlib.pyplot as plt

from sardino.reporting.record import write_record
from sardino.tiles.description import describe
from sardino.training.device import best_device
from sardino.workflow.cells import Experiment, save_confusions, train_cell
from sardino.workflow.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
regions = space.profile.arms[0]
experiment = Experiment.open(space, regions, encoding, initialisation, best_device())
store = experiment.store
print(f"labels: {store.metadata.get('labels', store.legend.name)}")
print(f"{len(experiment.train_ids)} training tiles, {len(experiment.test_ids)} test tiles, {len(store.legend)} classes")

# %% [markdown]
# ## The cells
#
# Labelled tiles, steps, learning rate and validation rule are those of notebook 03: the arms differ in their
# input alone.

# %%
cells = [train_cell(experiment, fraction, seed) for fraction in space.profile.fractions for seed in space.profile.seeds]

# %%
for cell in cells:
    row = cell.row
    print(
        f"{row['fraction']:>5g} % of labels ({row['labelled_tiles']} tiles), seed {row['seed']}: "
        f"loss {row['loss_first']:.3f} -> {row['loss_last']:.3f}, "
        f"mIoU {row['miou']:.3f} (predicting the majority class: {row['miou_majority']:.3f})"
    )

# %%
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
for cell in cells:
    axis.plot(cell.losses, lw=1, label=f"{cell.row['fraction']:g} %, seed {cell.row['seed']}")
axis.set(xlabel="step", ylabel="cross-entropy", title=f"{encoding}, {initialisation}: {space.profile.title}")
axis.legend(fontsize=7, frameon=False)
plt.show()

# %% [markdown]
# Each cell keeps one confusion matrix per test tile: from them come the mIoU over the whole test set and its
# interval.

# %%
run = f"baseline-{encoding}-{initialisation}"
save_confusions(space.runs / f"{run}.npz", cells)
record = write_record(
    space.record(run),
    kind="baseline",
    profile=space.profile.name,
    parameters={
        "profile": profile,
        "data": data,
        "encoding": encoding,
        "initialisation": initialisation,
    },
    seeds=space.profile.seeds,
    data=describe(store),
    results={
        "cells": [cell.row for cell in cells],
        "confusion_file": f"{run}.npz",
        "test_blocks": experiment.test_blocks,
        "example_ids": experiment.example_ids,
        "labels_name": store.legend.name,
        "derived": store.legend.derived,
    },
    started=started,
)
