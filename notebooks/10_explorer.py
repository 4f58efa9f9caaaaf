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
# # 10 Explorer
#
# **What does the network look at from here?** Every patch of a tile asks every other one how much it matters, in each
# block and each head. Figures show a few of these maps; here you can see all of them: pick a tile, click a patch, and
# compare with what other products say is there.
#
# Start JupyterLab with `make lab`, open this notebook and choose *Run*, *Run All Cells*. On a code host you see
# pictures of it only. By default the network that comes with the package looks at the tiles of the smallest profile.
# After `make reproduce` set `profile = "laptop"` and `model = ""`: its tiles have more patches, and the network is your
# own.

# %% tags=["parameters"]
profile = "smoke"
data = ""
arm = ""  # a pre-training of the profile; "" for its first
model = "built-in"  # comes with the package; "" for the arm's own, or a folder that `sardino pretrain` wrote

# %%
from sardino.explorer import answers, view
from sardino.reporting.figures import exploration, style
from sardino.study.preparation import open_or_prepare
from sardino.study.workspace import Workspace

space = Workspace.open(profile, data=data)
arm = arm or space.profile.arms[0]
store = open_or_prepare(space)[space.profile.arm(arm).store]
network = answers.backbone_at_hand(space, arm, store, model)
explorer = answers.Explorer(store, network.vit, network.normalisation)
print(f"{space.profile.title}: {len(explorer.tiles)} test tiles of {store.product}")
print(f"{explorer.blocks} blocks of {explorer.heads} heads; {network.told}")

# %% [markdown]
# ## What the class token looks at
#
# The class token sums a tile up. Bright patches are those it listens to: 1 is as much as to any other patch, 2 twice
# that. The map in the middle is all that the last block takes from the tile; the one on the right is what a land-cover
# product says is there.

# %%
tile = explorer.tiles[0]
look = answers.Look(tile)
print("\n".join(explorer.words(look)))
style.preview(exploration.draw_exploration(explorer.see(look), exploration.empty_figure()))

# %% [markdown]
# ## What one patch looks at
#
# Each patch has an attention map of its own; the frame marks the patch that looks. Does it look at itself, at its
# neighbours, or at all that is alike?

# %%
middle = (explorer.grid[0] // 2, explorer.grid[1] // 2)
look = answers.Look(tile, answers.PATCH, block=0, head=0, patch=middle)
print("\n".join(explorer.words(look)))
style.preview(exploration.draw_exploration(explorer.see(look), exploration.empty_figure()))

# %% [markdown]
# ## Try it
#
# Click a patch in any of the three panels. Some things to look for:
#
# - Walk through the blocks from the same patch. From which block on does nearness no longer matter?
# - Two heads of a block on the same patch: do they differ?
# - Water and towns are easy for radar. Do heads find them? Compare with a network that has hardly learnt.
# - *Rollout* follows attention through all blocks. Is it sharper than the last block alone?
#
# The button writes the maps of all heads as a GeoTIFF in the tile's own coordinates, for a GIS.

# %%
view.ExplorerView(explorer, space.build / "explorer")
