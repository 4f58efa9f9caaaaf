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
# notebook does the same in a minute: it opens a few tiles, trains a very small ViT for a few steps, and then lets the
# small trained networks that come with the package map land that they have never seen.
#
# The tiles of the `smoke` and `laptop` profiles are synthetic, and so is the land that those networks know: no pixel
# was ever measured.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from sardino.data.tiles.normalisation import Normalisation
from sardino.evaluation.scores import accuracy, confusion, majority, miou
from sardino.reporting.figures import places, style
from sardino.study import arm, preparation, quickstart
from sardino.study.run import open_run

run = open_run("quickstart", profile, data)
store = preparation.open_or_prepare(run.space)["store"]
first = run.space.profile.arms[0]
print(f"{len(store)} tiles of {store.tile_px} x {store.tile_px} pixels, {store.product}")
print("channels:", ", ".join(store.channels))

# %% [markdown]
# ## What goes in
#
# The paper (section 2) stacks, for each of four seasons, the mean backscatter in VV and in VH and their
# difference in decibels: 12 channels. Each channel is brought to zero mean and unit variance with the
# statistics of the training tiles.

# %%
ids = store.ids("train", run.space.profile.arm(first).regions)[:32]
normalisation = Normalisation.of_store(store, ids)
for name, mean, std in zip(normalisation.channels, normalisation.mean, normalisation.std, strict=True):
    print(f"{name:14s} mean {mean:7.2f} dB, standard deviation {std:5.2f} dB")

# %% [markdown]
# ## A network that teaches itself
#
# A student sees small and large crops, its moving average (the teacher) only the large ones; the student must
# say what the teacher says. Eight steps are enough to see the machinery move, not to learn.

# %%
steps = 8
architecture = arm.architecture_of(run.space, first, store)
history = quickstart.learn_a_little(store, ids, normalisation, architecture, steps).history
print(f"a ViT of {architecture.depth} blocks, loss {history.loss[0]:.3f} -> {history.loss[-1]:.3f}")
print(
    f"a teacher that says nothing has an entropy of ln K = {history.ln_k:.3f}; here {history.teacher_entropy[-1]:.3f}"
)

# %% [markdown]
# ## What trained ones see
#
# Eight steps teach nothing. The networks that come with the package were trained for longer; their cards say on what,
# and how well they do. Here they meet a world of another seed: other mountains, fields and towns. The scene is written
# as a GeoTIFF, as a scene of yours would be, and mapped window by window, as `sardino attend` and `sardino map` do it.

# %%
scene = quickstart.map_unseen_land(run.space.build / "quickstart")
print(f"a scene of {scene.mapped.shape[0]} x {scene.mapped.shape[1]} pixels, {len(scene.attention)} attention maps")
print("written:", ", ".join(path.name for path in scene.files))

# %% [markdown]
# Each head of the last block gives one map: how much the class token listens to each patch; 1 means as much as to any
# other patch. The land cover is the guess of a U-Net that was trained with labels. It is not right everywhere, and on
# real land nobody has tested it. Notebook 10 lets you click from patch to patch.

# %%
title = "Synthetic land that the networks have not seen"
maps = (scene.backscatter, scene.attention, scene.mapped)
style.preview(places.draw_scene(*maps, scene.channels, scene.legend, 10, title, scene.reference))

# %%
matrix = confusion(scene.mapped, scene.reference, len(scene.legend))
scores = {"miou": float(miou(matrix)), "accuracy": float(accuracy(matrix)), "majority": float(miou(majority(matrix)))}
print(
    f"on this scene: mIoU {scores['miou']:.2f}, {scores['accuracy']:.0%} of the pixels right; "
    f"always the most frequent class: mIoU {scores['majority']:.2f}"
)

# %%
learnt = {"steps": steps, "loss_first": history.loss[0], "loss_last": history.loss[-1], "tiles": len(ids)}
record = run.record({**learnt, "scene": scores})
