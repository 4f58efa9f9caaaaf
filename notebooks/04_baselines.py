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
# **Does a plain U-Net do as well, do attention maps help it, and how far does a pixel come without any network?**
#
# The paper's Table 2 puts a supervised U-Net on backscatter beside its ViTs, and gives the same U-Net the attention
# maps as further channels: 12 channels, and 12 + 3. Those rows are trained by notebook 03.
#
# This notebook adds what the paper lacks: **floors**. A forest on the channels of single pixels costs seconds. A
# network that does no better with the same labels has learnt nothing of shapes or places.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from sardino.evaluation import floors
from sardino.reporting.tables import cells, render, tables
from sardino.study.plan import planned_records
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
# forest. Each is told a pixel's channels, or these with the mean and the standard deviation of its surroundings. They
# learn from the very tiles whose labels the cells of Tables 1 and 2 are granted, from a fixed number of pixels drawn by
# the seed, and are scored on the same test tiles.

# %%
granted = {
    fraction: {seed: experiment.labelled_ids(fraction, seed) for seed in run.seeds} for fraction in chosen.fractions
}
found = floors.floors(store.read, granted, experiment.test_ids, experiment.test_blocks, len(store.legend))
print(found.round(3).to_string(index=False))

# %% [markdown]
# ## Side by side

# %%
records = planned_records(run.space, "baseline")
trained = cells.read_cells(records, run.space.runs)
unets = tables.table2(trained, chosen.fractions)
print(render.floors(found, unets, trained))

# %%
best = found.loc[found.groupby("fraction")["miou"].idxmax()]
for floor, unet in zip(best.itertuples(), unets[unets["encoding"] == "unet"].itertuples(), strict=True):
    print(f"{floor.fraction:g} % of labels: U-Net {unet.miou:.3f}, best floor {floor.miou:.3f} ({floor.model})")

# %%
record = run.record({"floors": found.to_dict("records"), "pixels": floors.PIXELS, "box_px": floors.BOX_PX})
run.publish({"floors.csv": found, "floors.md": render.floors(found, unets, trained, "markdown")}, [record])
