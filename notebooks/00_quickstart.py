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
import time

import rasterio
import torch

from sardino.data.sources.world.scene import write_scene
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import describe
from sardino.dino.batches import open_tiles
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import pretrain
from sardino.dino.recipe import Run, find_recipe
from sardino.dino.vit import build_vit, parameter_count
from sardino.evaluation.scores import accuracy, confusion, majority, miou
from sardino.mapping.job import Job, make_map
from sardino.mapping.model import default_model
from sardino.reporting.figures.places import draw_scene
from sardino.reporting.figures.style import preview
from sardino.reporting.record import write_record
from sardino.study.arm import architecture_of
from sardino.study.preparation import open_or_prepare
from sardino.study.workspace import Workspace

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
ids = store.ids("train", space.profile.arm(arm).regions)[:32]
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
# ## What trained ones see
#
# Eight steps teach nothing. The networks that come with the package were trained for longer; their cards say on what,
# and how well they do. Here they meet a world of another seed: other mountains, fields and towns. The scene is written
# as a GeoTIFF, as a scene of yours would be, and mapped window by window, as `sardino attend` and `sardino map` do it.

# %%
folder = space.build / "quickstart"
folder.mkdir(parents=True, exist_ok=True)
scene, cover = folder / "scene.tif", folder / "reference.tif"
write_scene(World(seed=1), "europe", scene, (240, 320), labels=cover, overwrite=True)
alike = {"overwrite": True, "precision": "float32"}  # the same numbers on every machine
attend = Job(scene, folder / "attention.tif", "attention", default_model("backbone"), **alike)
classify = Job(scene, folder / "landcover.tif", "landcover", default_model("segmenter"), **alike)
rasters = {}
for name, job in (("attention", attend), ("landcover", classify)):
    make_map(job)
    with rasterio.open(job.out) as file:
        rasters[name] = file.read()
        print(f"{job.out.name}: {file.count} x {file.height} x {file.width}, {file.crs}, pixels of {file.res[0]:g} m")

# %% [markdown]
# Each head of the last block gives one map: how much the class token listens to each patch; 1 means as much as to any
# other patch. The land cover is the guess of a U-Net that was trained with labels. It is not right everywhere, and on
# real land nobody has tested it. Notebook 10 lets you click from patch to patch.

# %%
with rasterio.open(scene) as sar, rasterio.open(cover) as labels:
    backscatter, reference = sar.read(), WORLDCOVER.encode(labels.read(1))
mapped = WORLDCOVER.encode(rasters["landcover"][0])
title = "Synthetic land that the networks have not seen"
figure = draw_scene(backscatter, rasters["attention"], mapped, CHANNELS, WORLDCOVER, 10, title, reference)
preview(figure)

# %%
matrix = confusion(mapped, reference, len(WORLDCOVER))
scores = {"miou": float(miou(matrix)), "accuracy": float(accuracy(matrix)), "majority": float(miou(majority(matrix)))}
print(
    f"on this scene: mIoU {scores['miou']:.2f}, {scores['accuracy']:.0%} of the pixels right; "
    f"always the most frequent class: mIoU {scores['majority']:.2f}"
)

# %%
results = {"steps": 8, "loss_first": history.loss[0], "loss_last": history.loss[-1], "tiles": len(ids), "scene": scores}
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
