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
# # 01 Data preparation: Figures 3 and 4
#
# **Which tiles are there, who may learn from them, and what do their labels show?**
#
# The paper (section 2) cuts its regions into tiles of 448 x 448 pixels and gives whole geographic bands of them
# to training, validation and test: 60, 20 and 20 %. This notebook makes the tile store of a profile: from the
# synthetic world, or from folders of real chips.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

from sardino.data.places.leakage import store_leakage
from sardino.data.tiles.store import describe, example_tiles
from sardino.reporting.figures.pipeline import draw_pipeline
from sardino.reporting.figures.places import draw_landcover
from sardino.reporting.figures.splits import draw_splits
from sardino.reporting.figures.style import preview, save_figure
from sardino.reporting.record import write_record
from sardino.study.preparation import prepare
from sardino.study.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
stores = prepare(space)
store = stores["store"]
for name, made in stores.items():
    print(
        f"{name}: {len(made)} tiles of {made.tile_px} px, {len(made.channels)} channels in {made.unit}, {made.product}"
    )

# %% [markdown]
# ## The pipeline (Figure 1)
#
# Backscatter goes in, land cover comes out; between them stands a network that first taught itself.

# %%
figure = draw_pipeline()
save_figure(figure, space.figures, "fig1")
preview(figure)

# %% [markdown]
# ## The splits (Figure 3)
#
# Neighbouring tiles look alike. A random split would put near-copies of training tiles into the test set; bands
# across the region keep them apart. Each band holds equally many tiles.

# %%
counts = store.index.groupby(["region", "split"], sort=False).size().unstack(fill_value=0)[["train", "val", "test"]]
figure = draw_splits(store.index, f"Splits by geographic bands: {space.profile.title}")
save_figure(figure, space.figures, "fig3")
preview(figure)

# %% tags=["nbval-check-output"]
print(counts.to_string())

# %% [markdown]
# ### Do the splits leak?
#
# No two splits may share ground, and neighbours across a border are alike as far as backscatter stays correlated.
# The paper leaves no gap between its bands; a profile can ask for one with `buffer_m`.

# %%
leakage = store_leakage(store)
print("\n".join(leakage.lines()))

# %% [markdown]
# ## The labels (Figure 4)
#
# Land cover in the official codes and colours of its legend. Tiles are the first by hash among those with at
# least three classes: nobody chose them by eye.

# %%
arm = space.profile.arms[0]
test_ids = store.ids("test", space.profile.arm(arm).regions)
chosen = example_tiles(store, test_ids, 2 * space.profile.examples)
_, labels = store.read(chosen)
gsd_m = store.metadata.get("gsd_m") or store.tile(chosen[0]).transform[0]
figure = draw_landcover(labels, store.legend, gsd_m, f"Example land cover: {space.profile.title}")
save_figure(figure, space.figures, "fig4")
preview(figure)

# %%
shares = store.index.groupby("region", sort=False)[[f"share_{code}" for code in store.legend.codes]].mean() * 100
shares.columns = store.legend.names
print("share of labelled pixels, %")
print(shares.T.round(1).to_string())

# %%
table = {region: {split: int(n) for split, n in row.items()} for region, row in counts.iterrows()}
record = write_record(
    space.record("data"),
    kind="data",
    profile=space.profile.name,
    parameters={"profile": profile, "data": data},
    seeds=[space.profile.data.seed],
    data=describe(store),
    results={
        "tiles": table,
        "channels": store.channels,
        "legend": store.legend.to_dict(),
        "fingerprint": store.fingerprint,
        "stores": {name: describe(made) for name, made in stores.items()},
        "metadata": {name: made.metadata for name, made in stores.items()},
        "leakage": {"overlaps": leakage.overlaps, "smallest_m": leakage.smallest_m, "verdict": leakage.sentence},
        "figures": ["fig1", "fig3", "fig4"],
    },
    started=started,
)
