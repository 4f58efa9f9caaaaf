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
#
# Smaller tiles than the paper's are looked at with the land around them, 28 patches a side as in the paper: a ViT takes
# larger images than it learnt on. The synthetic world is simulated there; of a folder of chips, adjacent tiles are put
# together, and where a tile has no neighbours all are shown as they are. What lies around a test tile may have been
# trained on. The scores below are of the tiles alone: in each, one softmax, and no window to align.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import numpy as np

from sardino.reporting.figures import attention_scores, places
from sardino.reporting.record import provenance
from sardino.reporting.tables import attention as told
from sardino.study import attention
from sardino.study.run import open_run

run = open_run("attention", profile, data)
space, store, stores = run.space, run.store, run.stores
chosen, arm = space.profile, space.profile.arms[0]
example_ids = attention.example_ids(space, arm)
tiles, chips = attention.views(space, arm, store, example_ids)
backscatter = np.stack([chip.backscatter_db for chip in chips])
size = f"{tiles[0].shape[1]} x {tiles[0].shape[0]} px"
print(f"{len(tiles)} tiles of {store.tile_px} px, shown as {size}")

# %% [markdown]
# ## Attention, line by line
#
# A block of a ViT turns its tokens *z* into queries *q* and keys *k*, in each head by itself. Attention is
# softmax(*q k*ᵀ / √*d*): row *i* says how much token *i* takes from each other. The first row is the class token's,
# which sums the tile up; without its own column it is a map over the patches. Times their number, 1 is an even spread.

# %% tags=["attention"]
vit, card = attention.backbone(space, arm, store)
z = vit.norm_pre(vit._pos_embed(vit.patch_embed(attention.normalised(card, backscatter[:1]))))  # (1, 1 + n, D)
for block in vit.blocks[:-1]:
    z = block(z)
last = vit.blocks[-1]
q, k, _ = last.attn.qkv(last.norm1(z)).unflatten(-1, (3, last.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)  # (1, heads, 1 + n, 1 + n)
class_token = weights[0, :, 0, 1:] * (z.shape[1] - 1)  # (heads, n)
print(f"{len(class_token)} heads look at {class_token.shape[1]} patches; their largest weights are", end=" ")
print(", ".join(f"{head.max():.1f} x even" for head in class_token))

# %% [markdown]
# ## Attention of the class token
#
# The same for all examples. Rollout follows the weights of all heads through all blocks. Tokens are what the ViT makes
# of each patch; the three directions in which those of many tiles differ most become red, green and blue, so that equal
# colours mean equal tokens.

# %%
seen = attention.see(space, arm, store, backscatter)
summary = attention.head_summary(seen.attention)
print(f"{seen.attention.shape[1]} heads, maps of {seen.attention.shape[2]} x {seen.attention.shape[3]} patches")
for head, row in enumerate(summary):
    print(
        f"head {head + 1}: top-60 % mass lies on {row['mass_share']:.0%} of the patches, peak {row['peak']:.1f} x even"
    )
rolled = seen.rollout / seen.rollout.mean((1, 2), keepdims=True)  # of what reaches the patches
print(f"rollout: peak {rolled.max():.1f} x even")
shares = seen.token_variance
print(f"the tokens' first three directions hold {', '.join(f'{share:.0%}' for share in shares)} of their variance")

# %% [markdown]
# ## Figure 2: predictions from attention alone, and from backscatter with attention
#
# Both networks started from the pre-trained backbone and were fine-tuned, unfrozen, on the largest label fraction; they
# map in windows of the size of the tiles that they learnt on, which are blended. Colours of a head are the same in all
# tiles: bright is more than even, dark is less. Numbers on the maps are those of the legend, for prints in grey.

# %%
maps = attention.predicted(space, arm, backscatter)
panels = (backscatter, seen.attention, maps["attention"], maps["unet_attention"], [chip.label for chip in chips])
placed = [bool(tile.crs) for tile in tiles]
rows = [places.PredictionRow(*each) for each in zip(*panels, placed, strict=True)]
gsd_m = store.gsd_m or tiles[0].transform[0]
title = f"Predictions: {chosen.title}, {size}"
figure = places.draw_predictions(rows, store.channels, store.legend, gsd_m, f"{title}, all heads", heads=None)
run.save(figure, "fig2_heads")
figure = places.draw_predictions(rows, store.channels, store.legend, gsd_m, title)
run.save(figure, "fig2")

# %% [markdown]
# ## Figure 5: attention beside other views of the same place
#
# The paper's claim is that different heads pick out different things, and that these match other products.
#
# Rows exist where the data has them. Stores beside the main one (real profile: sites that are too few to fine-tune on)
# are shown with their own pre-trained ViT, one tile a place, the first by hash. Tiles of one ViT share a colour scale.

# %%
columns = attention.place_columns(space, arm, store, example_ids)
for other in [name for name in chosen.pretraining if name not in chosen.arms]:
    columns += attention.place_columns(space, other, stores[other], attention.first_by_hash(stores[other]))
title = f"Attention and reference layers: {chosen.title}"
figure = places.draw_comparison([column.without_tokens() for column in columns], title)
run.save(figure, "fig5")

# %% [markdown]
# Every head of every backbone, its rollout and its tokens stand in `fig5_heads` (of the first arm) and
# `fig5_heads-<arm>`.

# %%
for name in chosen.pretraining:
    ids = example_ids if name in chosen.arms else attention.first_by_hash(stores[name])
    where = f"{chosen.arm(name).title} ({provenance(synthetic=stores[name].synthetic)})"
    columns = attention.place_columns(space, name, stores[name], ids)
    figure = places.draw_comparison(columns, f"All heads, {where}", heads=None)
    run.save(figure, "fig5_heads" if name == arm else f"fig5_heads-{name}")

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
scored = {name: attention.gather(space, name, stores[name]) for name in chosen.pretraining}
scores = attention.score_arms(space, scored, stores)
run.publish({"attention_scores.csv": scores, "attention_scores.md": told.render_attention(scores, "markdown")})
print(told.render_attention(scores))

# %%
figure = attention_scores.draw_attention_scores(scores, f"What each head sees: {chosen.title}")
run.save(figure, "attention_scores")

# %% [markdown]
# ## Does attention follow land cover?
#
# One number for the first backbone: how much of a map's variance the patches' land cover explains, less what it
# explains when the label map is moved round the tile by random steps: chance then scores 0. The claims of notebook 07
# use it.

# %%
alignment, count = attention.land_cover_alignment(scored[arm]), len(scored[arm].blocks)
for name, title in (("", "pre-trained"), ("random_", "random weights")):
    value, low, high = (alignment[name + key] for key in ("value", "low", "high"))
    print(f"{title}: explained beyond chance {value:+.3f} [{low:+.3f}, {high:+.3f}] over {count} tiles")

# %%
record = run.record(
    {
        "heads": summary,
        "example_ids": example_ids,
        "shown_px": tiles[0].shape,
        "fraction": max(chosen.fractions),
        "figures": ["fig2", "fig5", "attention_scores", "fig2_heads", "fig5_heads"],
        "token_variance": shares,
        "alignment": alignment,
        "outcome": told.attention_outcome(scores),
        "scores": told.attention_summary(scores),
    }
)
