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
import pandas as pd

from sardino.data.places.leakage import store_leakage
from sardino.data.tiles.store import SPLITS, describe, example_tiles
from sardino.reporting.figures import pipeline, places
from sardino.study.preparation import prepare
from sardino.study.run import open_run

run = open_run("data", profile, data)
chosen = run.space.profile
stores = prepare(run.space)
store = stores["store"]
for name, made in stores.items():
    count = f"{len(made)} of {len(made.listed)} listed" if len(made) < len(made.listed) else f"{len(made)}"
    print(f"{name}: {count} tiles of {made.tile_px} px, {len(made.channels)} channels in {made.unit}, {made.product}")

# %% [markdown]
# ## The pipeline (Figure 1)
#
# Backscatter goes in, land cover comes out; between them stands a network that first taught itself.

# %%
figure = pipeline.draw_pipeline()
run.save(figure, "fig1")

# %% [markdown]
# ## The splits (Figure 3)
#
# Neighbouring tiles look alike. A random split would put near-copies of training tiles into the test set; bands
# across the region keep them apart. Each band holds equally many tiles.
#
# A region's list holds all its tiles, and a fraction of the labels is a fraction of all training tiles. Pixels are made
# of those that are used: the training tiles whose labels are granted and a pool for pre-training, some for validation,
# and whole bands to test on, spread evenly over the region. `[data]` of the profile says how many.

# %%
figure = places.draw_splits(store.listed, f"Splits by geographic bands: {chosen.title}", set(store.ids()))
run.save(figure, "fig3")

# %% tags=["nbval-check-output"]
tables = {"listed": store.listed, "with pixels": store.index}
counts = pd.concat({what: pd.crosstab(t["region"], t["split"]) for what, t in tables.items()}, axis=1)
counts = counts.reindex(store.regions, columns=pd.MultiIndex.from_product([tables, SPLITS])).fillna(0).astype(int)
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
test_ids = store.ids("test", chosen.arm(chosen.arms[0]).regions)
shown = example_tiles(store, test_ids, 2 * chosen.examples)
_, labels = store.read(shown)
gsd_m = store.metadata.get("gsd_m") or store.tile(shown[0]).transform[0]
figure = places.draw_landcover(labels, store.legend, gsd_m, f"Example land cover: {chosen.title}")
run.save(figure, "fig4")

# %%
shares = store.index.groupby("region", sort=False)[[f"share_{code}" for code in store.legend.codes]].mean() * 100
shares.columns = store.legend.names
print("share of labelled pixels, %")
print(shares.T.round(1).to_string())

# %%
tiles = {
    what: {region: {split: int(n) for split, n in row.items()} for region, row in counts[what].iterrows()}
    for what in tables
}
record = run.record(
    {
        "tiles": tiles,
        "channels": store.channels,
        "legend": store.legend.to_dict(),
        "fingerprint": store.fingerprint,
        "stores": {name: describe(made) for name, made in stores.items()},
        "metadata": {name: made.metadata for name, made in stores.items()},
        "leakage": {"overlaps": leakage.overlaps, "smallest_m": leakage.smallest_m, "verdict": leakage.sentence},
        "figures": ["fig1", "fig3", "fig4"],
    }
)
