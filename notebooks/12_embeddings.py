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
# # 12 Embeddings: a map from ten clicks
#
# **How far do ten labelled patches carry, on tokens that were learnt without labels?** The paper fine-tunes with 0.1 %
# of the labels and more. Here labels are as few as somebody clicks in a minute, and nothing is fine-tuned: a frozen
# backbone turns a scene into tokens, once, and a logistic regression does the rest.
#
# The scene is of a synthetic world, of another seed than the backbone learnt on: other mountains, fields and towns, and
# no pixel was ever measured. With a scene of yours, the first step is the command below.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from sklearn.linear_model import LogisticRegression

from sardino.evaluation import patches, scores
from sardino.reporting.figures import few_labels, style
from sardino.study import clicks
from sardino.study.run import open_run

run = open_run("embeddings", profile, data)

# %% [markdown]
# ## From a scene to tokens
#
# `sardino embed scene.tif -o embeddings.tif` is what runs here: window by window, a pixel a patch, a band for each
# dimension of its token. It is an ordinary raster: any GIS opens it.

# %%
scene = clicks.embed_unseen_land(run.space.build / "embeddings")
rows, columns, width = scene.tokens.shape
print("written:", ", ".join(path.name for path in scene.files))
print(
    f"{scene.backscatter.shape[1]} x {scene.backscatter.shape[2]} pixels, {rows} x {columns} patches of {width} numbers"
)

# %% [markdown]
# ## Ten clicks
#
# Two on each of the five classes that are most common. Chance clicks, not an eye that knows the answer; as a person
# would, it stays away from edges.

# %%
where = scene.clicks(seed=0)
for row, column in zip(*where, strict=True):
    print(f"row {row:2d}, column {column:2d}: {scene.legend.names[scene.truth[row, column]]}")

# %% [markdown]
# ## A map
#
# Ten tokens and their labels fit the regression; all other tokens are then asked.

# %%
classifier = LogisticRegression(max_iter=1000)
classifier.fit(scene.tokens[where], scene.truth[where])
mapped = classifier.predict(scene.tokens.reshape(-1, width)).reshape(rows, columns)

# %%
colours = patches.token_pca(scene.tokens[None]).colours(scene.tokens)
place = (scene.backscatter, colours, mapped, scene.truth, where, scene.channels, scene.legend, 10)
style.preview(few_labels.draw_clicks(*place, "Synthetic land that the backbone has not seen"))

# %% [markdown]
# ## Is it the tokens?
#
# The same clicks, with the mean backscatter of each patch instead of its token: what a regression knows without any
# network. Ten clicks are a matter of luck, so both are asked again with other clicks. A patch counts as right where the
# map shows the class that most of it is; patches of rarer classes, which nobody clicked, are always wrong.

# %%
found = {"tokens": [], "mean backscatter": []}
for seed in range(20):
    where = scene.clicks(seed)
    for name, features in zip(found, (scene.tokens, scene.levels), strict=True):
        answers = classifier.fit(features[where], scene.truth[where]).predict(features.reshape(rows * columns, -1))
        matrix = scores.confusion(answers.reshape(rows, columns), scene.truth, len(scene.legend))
        found[name].append(float(scores.accuracy(matrix)))
for name, values in found.items():
    middle = sorted(values)[len(values) // 2]
    print(f"{name}: {middle:.0%} of the patches right, {min(values):.0%} to {max(values):.0%} over {len(values)} draws")
better = sum(ours > theirs for ours, theirs in zip(*found.values(), strict=True))
print(f"tokens are better in {better} of {len(values)} draws")
print(f"always the most frequent class: {scene.most_frequent:.0%}")

# %% [markdown]
# ## What to do next
#
# - Click where the map is wrong, and fit again: it takes no time, since tokens stay as they are.
# - `sardino embed STORE -o embeddings.parquet --per patch` writes tokens of tiles as a table, for nearest neighbours.
# - For measured scenes give a backbone of yours with `--backbone`: the built-in one knows the synthetic world alone.
# - A patch is the finest that tokens tell. For maps of pixels fine-tune a segmenter (notebook 03).

# %%
record = run.record({"accuracy": found, "better": better, "draws": len(values)}, data={"source": "synthetic world"})
