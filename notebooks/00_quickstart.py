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
# # 00 Quickstart
#
# **What does a network learn from radar images when nobody tells it what is on them?** The paper trains a
# Vision Transformer on unlabelled Sentinel-1 tiles with DINO and then looks at where its heads attend. This
# notebook does the same in a minute: it opens a few tiles, looks at them, trains a very small ViT for a few
# steps, and shows its attention.
#
# With the `smoke` and `laptop` profiles the tiles are synthetic: no pixel was ever measured.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

import torch

from sardino.models.vit import build_vit, encode_all, parameter_count
from sardino.reporting.comparison import ComparisonColumn, draw_comparison
from sardino.reporting.record import write_record
from sardino.reporting.style import preview
from sardino.tiles.description import describe
from sardino.tiles.examples import example_tiles
from sardino.tiles.normalisation import Normalisation
from sardino.training.parallel import Parallel
from sardino.training.pretrain import pretrain
from sardino.training.recipe import find_recipe
from sardino.training.run import Run
from sardino.training.store_tiles import open_tiles
from sardino.workflow.backbone import architecture_of
from sardino.workflow.preparation import open_or_prepare
from sardino.workflow.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
store = open_or_prepare(space)["store"]
arm = space.profile.arms[0]
print(f"{len(store)} tiles of {store.tile_px} x {store.tile_px} pixels, {store.product}")
print("channels:", ", ".join(store.channels))

# %% [markdown]
# ## What goes in
#
# The paper (section 2) stacks, for each of four seasons, the mean backscatter in VV and in VH and their
# difference in decibels: 12 channels. Each channel is brought to zero mean and unit variance with the
# statistics of the training tiles.

# %%
ids = store.ids("train", space.profile.pretraining[arm].regions)[:32]
normalisation = Normalisation.of_store(store, ids)
for name, mean, std in zip(normalisation.channels, normalisation.mean, normalisation.std, strict=True):
    print(f"{name:14s} mean {mean:7.2f} dB, standard deviation {std:5.2f} dB")

# %% [markdown]
# ## A network that teaches itself
#
# A student sees small and large crops, its moving average (the teacher) only the large ones; the student must
# say what the teacher says. Eight steps are enough to see the machinery move, not to learn.

# %%
architecture = architecture_of(space, arm, store)
recipe = find_recipe("small", hidden=64, bottleneck=32, prototypes=64, local_crops=2)
result = pretrain(
    open_tiles(store, ids, None),  # in dB: views are cut before they are normalised
    ids,
    normalisation,
    architecture,
    recipe,
    Run(steps=8, batch=8, watch_every=1),
    Parallel(torch.device("cpu")),
)
history = result.history
print(f"{parameter_count(build_vit(architecture)):,} parameters, loss {history.loss[0]:.3f} -> {history.loss[-1]:.3f}")
print(
    f"a teacher that says nothing has an entropy of ln K = {history.ln_k:.3f}; here {history.teacher_entropy[-1]:.3f}"
)

# %% [markdown]
# ## What it attends to
#
# Each head of the last block gives one map: how much the class token listens to each patch. 1 means as much as
# to every other patch. After eight steps these are nearly random; notebook 05 shows those of a trained network.

# %%
vit = build_vit(architecture)
vit.load_state_dict(result.teacher)
chosen = example_tiles(store, store.ids("test", space.profile.pretraining[arm].regions), 2)
backscatter, label = store.read(chosen)
attention = encode_all(vit, torch.from_numpy(normalisation.apply(backscatter))).attention.numpy()
columns = [
    ComparisonColumn(name, sar, maps, {}, reference, store.legend, tuple(store.channels))
    for name, sar, maps, reference in zip(chosen, backscatter, attention, label, strict=True)
]
figure = draw_comparison(columns, title=f"First look: {space.profile.title}")
preview(figure)

# %%
results = {"steps": 8, "loss_first": history.loss[0], "loss_last": history.loss[-1], "tiles": len(ids)}
record = write_record(
    space.record("quickstart"),
    kind="quickstart",
    profile=space.profile.name,
    parameters={"profile": profile, "data": data},
    seeds=[0],
    data=describe(store),
    results=results,
    started=started,
)
