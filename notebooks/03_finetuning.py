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
# # 03 Fine-tuning: one row of Table 1
#
# **Is a pre-trained backbone worth having when labels are few?**
#
# The paper's Table 1 asks it three ways: with attention maps or with tokens as the encoding; with a backbone
# that starts from scratch, is pre-trained and kept, or is pre-trained and trained on; with 0.1, 1 or 10 % of
# the labels.
#
# One run is one row: the regions of the pre-training, the encoding, the initialisation; its cells are the label
# fractions. All rows use the same tiles, steps, learning rate and validation rule.

# %% tags=["parameters"]
profile = "smoke"
data = ""
regions = "europe"
encoding = "tokens"
initialisation = "unfrozen"

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
experiment = Experiment.open(space, regions, encoding, initialisation, best_device())
store = experiment.store
print(f"labels: {store.metadata.get('labels', store.legend.name)}")
print(f"{len(experiment.train_ids)} training tiles, {len(experiment.test_ids)} test tiles, {len(store.legend)} classes")

# %% [markdown]
# ## The cells
#
# The labelled tiles of a smaller fraction are among those of a larger one, and all arms with the same seed
# learn from the same ones. The state that does best on validation tiles is kept; the test tiles are looked at
# once, at the end.

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
axis.set(xlabel="step", ylabel="cross-entropy", title=f"{regions}, {encoding}, {initialisation}: {space.profile.title}")
axis.legend(fontsize=7, frameon=False)
plt.show()

# %% [markdown]
# Each cell keeps one confusion matrix per test tile: from them come the mIoU over the whole test set and its
# interval.

# %%
run = f"finetune-{regions}-{encoding}-{initialisation}"
save_confusions(space.runs / f"{run}.npz", cells)
record = write_record(
    space.record(run),
    kind="finetune",
    profile=space.profile.name,
    parameters={
        "profile": profile,
        "data": data,
        "regions": regions,
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
