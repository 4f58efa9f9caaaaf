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
# **What does the network look at from here?** Every patch asks every other one how much it matters, in each block and
# each head. Figures show a few of these maps; here you can see all of them: pick a place, click a patch, and compare
# with what other products say is there.
#
# Start JupyterLab with `make lab`, open this notebook and choose *Run*, *Run All Cells*. On a code host you see
# pictures of it only. It opens on tiles of 448 px of synthetic land, the paper's size, which are made once and which
# the network that comes with the package has never seen: 56 x 56 patches of 8 px. A scene or a tile store of yours, and
# another network, are named below; `sardino explore SCENE --backbone FOLDER` does the same from a terminal.

# %% tags=["parameters"]
profile = "smoke"
data = ""
what = ""  # "" for synthetic land; a scene's file, or a tile store such as "build/laptop/store"
backbone = ""  # "" comes with the package; else a folder of `sardino pretrain`, `sardino adopt` or a segmenter

# %%
from sardino.explorer import answers, view
from sardino.reporting.figures import exploration, style
from sardino.study.workspace import Workspace

space = Workspace.open(profile, data=data)
kept = space.build / "explorer"
explorer = answers.open_explorer(kept, what and space.root / what, backbone and space.root / backbone)
print(explorer.told)
print(f"{explorer.blocks} blocks of {explorer.heads} heads; {explorer.grid[0]} x {explorer.grid[1]} patches")

# %% [markdown]
# ## What the class token looks at
#
# The class token sums a place up. Bright patches are those it listens to: 1 is as much as to any other patch, 2 twice
# that. The map in the middle is all that the last block takes from the place; the one on the right is what a land-cover
# product says is there.

# %%
place = explorer.places.first
look = answers.Look(place)
print("\n".join(explorer.words(look)))
style.preview(exploration.draw_exploration(explorer.see(look), exploration.empty_figure()))

# %% [markdown]
# ## What one patch looks at
#
# Each patch has an attention map of its own; the frame marks the patch that looks. Does it look at itself, at its
# neighbours, or at all that is alike?

# %%
middle = (explorer.grid[0] // 2, explorer.grid[1] // 2)
look = answers.Look(place, answers.PATCH, block=0, head=0, patch=middle)
print("\n".join(explorer.words(look)))
style.preview(exploration.draw_exploration(explorer.see(look), exploration.empty_figure()))

# %% [markdown]
# ## What is like one patch
#
# Attention says where a patch asks; its token, in the last block, says what the network made of it. The map is the
# cosine of each token with that of the framed patch: 1 is the same direction. Is what is alike the same land cover?

# %%
look = answers.Look(place, answers.ALIKE, patch=middle)
print("\n".join(explorer.words(look)))
style.preview(exploration.draw_exploration(explorer.see(look), exploration.empty_figure()))

# %% [markdown]
# ## Try it
#
# Click a patch in any of the three panels. Below them is a map of all tiles, or of the whole scene: click it to go
# elsewhere, or type part of a tile's id, or row and column. Some things to look for:
#
# - Walk through the blocks from the same patch. From which block on does nearness no longer matter?
# - Two heads of a block on the same patch: do they differ?
# - Water and towns are easy for radar. Do heads find them? Compare with a network that has hardly learnt.
# - *Rollout* follows attention through all blocks. Is it sharper than the last block alone?
#
# The button writes the maps of all heads as a GeoTIFF in the tile's own coordinates, for a GIS.

# %%
view.ExplorerView(explorer, kept / "maps")
