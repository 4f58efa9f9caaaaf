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
# # 05 Attention: what does each head see?
#
# **What do the heads of a pre-trained ViT attend to, is it more than chance, and how do maps predicted from attention
# look?**
#
# The paper (section 3, Figures 2 and 5) sees structures of the scene in the attention maps, finds them again in land
# cover and other products, and sees more detail in a land-cover map predicted from backscatter and attention together
# than in one predicted from attention alone. Here the looks come first, and then scores that a look cannot give.
#
# Nothing was picked by eye. The tiles were fixed before any result was seen (the first test tiles by hash with several
# classes); Figures 2 and 5 show the first three heads, and `fig2_heads` and `fig5_heads` show all.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

import numpy as np
import pandas as pd

from sardino.data.tiles.store import TileStore, describe
from sardino.evaluation.token_colours import token_pca
from sardino.files import write_csv, write_text
from sardino.reporting.figures.attention_scores import draw_attention_scores
from sardino.reporting.figures.places import PredictionRow, draw_comparison, draw_predictions
from sardino.reporting.figures.style import preview, save_figure
from sardino.reporting.record import provenance, read_record, write_record
from sardino.reporting.tables.attention import (
    attention_markdown,
    attention_outcome,
    attention_summary,
    attention_text,
)
from sardino.study.attention import (
    first_by_hash,
    gather,
    head_summary,
    land_cover_alignment,
    place_columns,
    score_heads,
    see,
)
from sardino.study.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
arm = space.profile.arms[0]
stores = {name: TileStore.open(space.build / each.store) for name, each in space.profile.pretraining.items()}
store = stores[arm]

# %% [markdown]
# ## Attention of the class token
#
# The last block's class token weighs every patch; each head has its own weights, and 1 is an even spread. Rollout
# follows the weights of all heads through all blocks. Tokens are what the ViT makes of each patch; the three directions
# in which those of many tiles differ most become red, green and blue, so that equal colours mean equal tokens.

# %%
runs = {name: f"{name}-unfrozen" for name in (f"finetune-{arm}-attention", "baseline-unet_attention")}
records = {name: read_record(space.record(run)) for name, run in runs.items()}
example_ids = records[f"finetune-{arm}-attention"]["results"]["example_ids"]
backscatter, label = store.read(example_ids)
seen = see(space, arm, store, backscatter)
summary = head_summary(seen.attention)
print(f"{seen.attention.shape[1]} heads, maps of {seen.attention.shape[2]} x {seen.attention.shape[3]} patches")
for head, row in enumerate(summary):
    print(
        f"head {head + 1}: top-60 % mass lies on {row['mass_share']:.0%} of the patches, peak {row['peak']:.1f} x even"
    )
rolled = seen.rollout / seen.rollout.mean((1, 2), keepdims=True)  # of what reaches the patches
print(f"rollout: peak {rolled.max():.1f} x even")
shares = token_pca(seen.tokens).explained
print(f"the tokens' first three directions hold {', '.join(f'{share:.0%}' for share in shares)} of their variance")

# %% [markdown]
# ## Figure 2: predictions from attention alone, and from backscatter with attention
#
# Both networks started from the pre-trained backbone and were fine-tuned, unfrozen, on the largest label
# fraction. Colours of a head are the same in all tiles: bright is more than even, dark is less. Numbers on the maps are
# those of the legend, for prints in grey.

# %%
key = f"example_{max(space.profile.fractions):g}_{space.profile.seeds[0]}"
maps = {name: np.load(space.runs / f"{run}.npz", allow_pickle=False)[key] for name, run in runs.items()}
panels = (backscatter, seen.attention, maps[f"finetune-{arm}-attention"], maps["baseline-unet_attention"], label)
placed = [bool(store.tile(tile).crs) for tile in example_ids]
rows = [PredictionRow(*each) for each in zip(*panels, placed, strict=True)]
gsd_m = store.gsd_m or store.tile(example_ids[0]).transform[0]
title = f"Predictions: {space.profile.title}"
figure = draw_predictions(rows, store.channels, store.legend, gsd_m, title)
save_figure(figure, space.figures, "fig2")
save_figure(
    draw_predictions(rows, store.channels, store.legend, gsd_m, f"{title}, all heads", heads=None),
    space.figures,
    "fig2_heads",
)
preview(figure)

# %% [markdown]
# ## Figure 5: attention beside other views of the same place
#
# The paper's claim is that different heads pick out different things, and that these match other products.
#
# Rows exist where the data has them. Stores beside the main one (real profile: sites that are too few to fine-tune on)
# are shown with their own pre-trained ViT, one tile a place, the first by hash. Tiles of one ViT share a colour scale.

# %%
columns = place_columns(space, arm, store, example_ids)
for other in [name for name in space.profile.pretraining if name not in space.profile.arms]:
    columns += place_columns(space, other, stores[other], first_by_hash(stores[other]))
title = f"Attention and reference layers: {space.profile.title}"
figure = draw_comparison([column.without_tokens() for column in columns], title)
save_figure(figure, space.figures, "fig5")
preview(figure)

# %% [markdown]
# Every head of every backbone, its rollout and its tokens stand in `fig5_heads` (of the first arm) and
# `fig5_heads-<arm>`.

# %%
for name in space.profile.pretraining:
    ids = example_ids if name in space.profile.arms else first_by_hash(stores[name])
    where = f"{space.profile.arm(name).title} ({provenance(synthetic=stores[name].synthetic)})"
    figure = draw_comparison(place_columns(space, name, stores[name], ids), f"All heads, {where}", heads=None)
    save_figure(figure, space.figures, "fig5_heads" if name == arm else f"fig5_heads-{name}")

# %% [markdown]
# ## Scores instead of looks
#
# A look can deceive. Each head is scored on each test tile: does its map rank the patches of a class above the others
# (AUC, average precision), does it follow an amount (Spearman's rank correlation, mutual information), does the mask
# that holds 60 % of its mass cover the class (Jaccard)? A head may attend to a class in one tile and avoid it in the
# next: separation is the size of the rank correlation, whichever way. Each score stands beside three maps that cannot
# have seen the answer: the closest head of an untrained ViT, the reference moved round the tile, and the head's mean
# map over other geographic bands, which never looks at the tile at all. Intervals resample bands; with two bands, as on
# the smallest profile, hardly anything can lie beyond.

# %%
scored = {name: gather(space, name, stores[name]) for name in space.profile.pretraining}
scores = pd.concat(
    [score_heads(name, space.profile.arm(name).title, each, stores[name]) for name, each in scored.items()],
    ignore_index=True,
)
write_csv(scores, space.results / "attention_scores.csv")
write_text(attention_markdown(scores), space.results / "attention_scores.md")
print(attention_text(scores))

# %%
figure = draw_attention_scores(scores, f"What each head sees: {space.profile.title}")
save_figure(figure, space.figures, "attention_scores")
preview(figure)

# %% [markdown]
# ## Does attention follow land cover?
#
# One number for the first backbone: how much of a map's variance the patches' land cover explains, less what it
# explains when the label map is moved round the tile by random steps: chance then scores 0. The claims of notebook 07
# use it.

# %%
alignment, count = land_cover_alignment(scored[arm]), len(scored[arm].blocks)
for name, title in (("", "pre-trained"), ("random_", "random weights")):
    value, low, high = (alignment[name + key] for key in ("value", "low", "high"))
    print(f"{title}: explained beyond chance {value:+.3f} [{low:+.3f}, {high:+.3f}] over {count} tiles")

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
        "figures": ["fig2", "fig5", "attention_scores", "fig2_heads", "fig5_heads"],
        "token_variance": [float(share) for share in shares],
        "alignment": alignment,
        "outcome": attention_outcome(scores),
        "scores": attention_summary(scores),
    },
    started=started,
)
