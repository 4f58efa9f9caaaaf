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
# fractions and seeds. All rows use the same tiles, the same steps and the same rule for what is kept.

# %% tags=["parameters"]
profile = "smoke"
data = ""
regions = "europe"
encoding = "tokens"
initialisation = "unfrozen"

# %%
import time

from sardino.dino.runtime import best_device
from sardino.reporting.figures.curves import draw_losses
from sardino.reporting.figures.style import preview
from sardino.study.row import Experiment, choose_rate, record_row, train_cell
from sardino.study.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
experiment = Experiment.open(space, regions, encoding, initialisation, best_device())
store = experiment.store
print(f"labels: {store.metadata.get('labels', store.legend.name)}")
print(f"{len(experiment.train_ids)} training tiles, {len(experiment.test_ids)} test tiles, {len(store.legend)} classes")

# %% [markdown]
# ## What the paper leaves open, and what is chosen here
#
# - **Loss.** "Binary cross-entropy" cannot tell eleven classes apart. Cross-entropy over the classes is used, or,
#   with `loss = "one-vs-rest"`, a binary cross-entropy of each class. Pixels without data or label do not count.
# - **Attention maps.** The class token's row of the last block, one map a head, 1 where attention is even, enlarged
#   bilinearly to the tile; then a U-Net. Where the backbone is trained on, gradients flow through them.
# - **Tokens.** Those of the last block, normalised, without the class token; then convolutions, each followed by batch
#   norm, ReLU and a bilinear doubling, one per halving of the patch. No ReLU on the logits.
# - **U-Net.** 3x3 convolutions in pairs with batch norm and ReLU. The text counts 3 blocks down and 4 up, which do not
#   pair: `unet_depth` go down and as many come up.
# - **Frozen.** The whole ViT with its patch embedding, in evaluation mode. What it makes of the tiles is computed once
#   and kept on disk (`feature_cache_gb`).
# - **Backbone.** The student, as the paper says, or the teacher, as DINO does: `network` of the pre-training. Each seed
#   starts from the pre-training with the same seed.
# - **Normalisation.** Per channel, from the pre-training's training tiles; from scratch uses the same numbers.
# - **Optimiser.** AdamW, warm-up and cosine, gradients clipped per tensor. `backbone_lr / lr` is the backbone's share
#   of the learning rate.
#
# The profile's numbers for this notebook:

# %%
print(f"network = {space.profile.arm(regions).network}")
for name, value in space.profile.finetuning:
    print(f"{name} = {value}")

# %% [markdown]
# ## The learning rate
#
# One rate does not suit all arms. Where the profile gives a grid, this arm takes the rate that does best on
# validation tiles with the first seed at one fraction, and keeps it for all its cells. Test tiles have no say.

# %%
search = choose_rate(experiment)
print(search)

# %% [markdown]
# ## The cells
#
# The labelled tiles of a smaller fraction are among those of a larger one, and all arms with the same seed
# learn from the same ones. The state that does best on validation tiles is kept; the test tiles are looked at
# once, at the end.

# %%
pairs = [(fraction, seed) for fraction in space.profile.fractions for seed in space.profile.seeds]
cells = [train_cell(experiment, fraction, seed, search.chosen) for fraction, seed in pairs]

# %%
print(*cells, sep="\n")

# %%
losses = {f"{cell.row['fraction']:g} %, seed {cell.row['seed']}": cell.losses for cell in cells}
title = f"{regions}, {encoding}, {initialisation}: {space.profile.title}"
preview(draw_losses(losses, space.profile.finetuning.loss, title))

# %% [markdown]
# Each cell keeps one confusion matrix per test tile: from them come the mIoU over the whole test set and its
# interval.

# %%
arm = {"regions": regions, "encoding": encoding, "initialisation": initialisation}
record = record_row(experiment, {"profile": profile, "data": data, **arm}, search, cells, started)
