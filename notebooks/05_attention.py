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
# # 05 Attention: Figures 2 and 5
#
# **What do the heads of a pre-trained ViT attend to, and how do maps predicted from attention look?**
#
# The paper (section 3, Figure 2) sees structures of the scene in the attention maps, and more detail in a land-
# cover map predicted from backscatter and attention together than in one predicted from attention alone.
#
# The tiles were fixed before any result was seen (the first test tiles by hash with several classes), and the
# heads are the first three, not the best three.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

import numpy as np

from sardino.reporting.comparison import ComparisonColumn, draw_comparison
from sardino.reporting.predictions import PredictionRow, draw_predictions
from sardino.reporting.record import read_record, write_record
from sardino.reporting.style import preview, save_figure
from sardino.tiles.description import describe
from sardino.tiles.tileset import TileStore
from sardino.workflow.attention import attention_of, attention_scores, head_summary
from sardino.workflow.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
arm = space.profile.arms[0]
store = TileStore.open(space.build / space.profile.pretraining[arm].store)

# %% [markdown]
# ## Attention of the class token
#
# The last block's class token weighs every patch; each head has its own weights. 1 is an even spread.

# %%
runs = {name: f"{name}-unfrozen" for name in (f"finetune-{arm}-attention", "baseline-unet_attention")}
records = {name: read_record(space.record(run)) for name, run in runs.items()}
example_ids = records[f"finetune-{arm}-attention"]["results"]["example_ids"]
backscatter, label = store.read(example_ids)
attention = attention_of(space, arm, store, backscatter)
summary = head_summary(attention)
print(f"{attention.shape[1]} heads, maps of {attention.shape[2]} x {attention.shape[3]} patches")
for head, row in enumerate(summary):
    print(
        f"head {head + 1}: top-60 % mass lies on {row['mass_share']:.0%} of the patches, peak {row['peak']:.1f} x even"
    )

# %% [markdown]
# ## Figure 2: predictions from attention alone, and from backscatter with attention
#
# Both networks started from the pre-trained backbone and were fine-tuned, unfrozen, on the largest label
# fraction.

# %%
key = f"example_{max(space.profile.fractions):g}_{space.profile.seeds[0]}"
maps = {name: np.load(space.runs / f"{run}.npz", allow_pickle=False)[key] for name, run in runs.items()}
rows = [
    PredictionRow(*panels)
    for panels in zip(
        backscatter, attention, maps[f"finetune-{arm}-attention"], maps["baseline-unet_attention"], label, strict=True
    )
]
gsd_m = store.metadata.get("gsd_m") or store.tile(example_ids[0]).transform[0]
figure = draw_predictions(rows, store.channels, store.legend, gsd_m, title=f"Predictions: {space.profile.title}")
save_figure(figure, space.figures, "fig2")
preview(figure)

# %% [markdown]
# ## Figure 5: attention beside other views of the same place
#
# The paper's claim is that different heads pick out different things, and that these match other products.
#
# Rows exist where the data has them. A store beside the main one (real profile: sites with all four seasons) is
# shown with its own pre-trained ViT.

# %%
columns = [
    ComparisonColumn(
        name=f"{store.tile(tile).region} {tile[:6]}",
        sar=backscatter[i],
        attention=attention[i],
        layers={name: store.read_layer(name, [tile])[0] for name in store.layers},
        reference=label[i],
        legend=store.legend,
        channels=tuple(store.channels),
        gsd_m=gsd_m,
    )
    for i, tile in enumerate(example_ids)
]
for other in [name for name in space.profile.pretraining if name not in space.profile.arms]:
    beside = TileStore.open(space.build / space.profile.pretraining[other].store)
    shown = [beside.ids(regions=[region])[0] for region in beside.regions]
    pixels, labels = beside.read(shown)
    for i, (tile, weights) in enumerate(zip(shown, attention_of(space, other, beside, pixels), strict=True)):
        layers = {name: beside.read_layer(name, [tile])[0] for name in beside.layers}
        place = beside.tile(tile).region
        columns.append(ComparisonColumn(place, pixels[i], weights, layers, None, None, tuple(beside.channels)))
figure = draw_comparison(columns, title=f"Attention and reference layers: {space.profile.title}")
save_figure(figure, space.figures, "fig5")
preview(figure)

# %% [markdown]
# ## Does attention follow land cover?
#
# A look can deceive. For each test tile we ask how much of a map's variance the patches' land cover explains,
# and subtract what it explains when the label map is moved round the tile by random steps: chance then scores
# 0. The interval resamples geographic bands.

# %%
test_ids = store.ids("test", space.profile.pretraining[arm].regions[:1])
scores = attention_scores(space, arm, store, test_ids)
for name, title in (("", "pre-trained"), ("random_", "random weights")):
    value, low, high = (scores[name + key] for key in ("value", "low", "high"))
    print(f"{title}: explained beyond chance {value:+.3f} [{low:+.3f}, {high:+.3f}] over {len(test_ids)} tiles")


# %%
record = write_record(
    space.record("attention"),
    kind="attention",
    profile=space.profile.name,
    parameters={"profile": profile, "data": data},
    seeds=space.profile.seeds[:1],
    data=describe(store),
    results={
        "heads": summary,
        "example_ids": example_ids,
        "fraction": max(space.profile.fractions),
        "figures": ["fig2", "fig5"],
        "alignment": scores,
    },
    started=started,
)
