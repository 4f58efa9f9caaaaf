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
# # 06 Tables 1, 2 and 3
#
# **What did all arms score, how sure is that, and how does it stand beside the paper?**
#
# This notebook trains nothing. It reads the records of the runs before it: each cell is the mIoU of one confusion
# matrix summed over all test tiles, averaged over repetitions: draws of the labelled tiles and seeds. Its 95 % interval
# resamples geographic bands and, where there are several, mixes repetitions; both are few, hence the tails of Student's
# t. With one repetition it says nothing of other labels and trainings. The paper states no interval, and no floors:
# simple models of single pixels with the same labels (notebook 04), which stand below the networks.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from sardino.dino import recipe, vit
from sardino.reporting.figures.curves import draw_label_efficiency, draw_pretraining, draw_validation
from sardino.reporting.tables import cells, metrics, render, tables
from sardino.study.plan import planned_records
from sardino.study.run import open_run

run = open_run("tables", profile, data)
space, fractions = run.space, run.space.profile.fractions
records = planned_records(space, "data", "pretrain", "finetune", "baseline", "floors")
trained = cells.read_cells(records, space.runs)
# Table 3 and the curves show one pre-training an arm, that with the first seed.
pretrained = [r for r in records if r["kind"] == "pretrain" and r["seeds"] == space.profile.seeds[:1]]
titles = {arm: space.profile.arm(arm).title for arm in space.profile.arms}
print(f"{len(records)} records; {trained.provenance}; {trained.caution}")

# %% [markdown]
# ## Table 1: attention maps against tokens

# %%
first = tables.table1(trained, titles, fractions)
print(render.table1(first, trained))

# %% [markdown]
# ## Table 2: a supervised U-Net, without and with attention maps

# %%
second = tables.table2(trained, fractions)
print(render.table2(second, trained))

# %% [markdown]
# ## Table 3: how the ViTs were pre-trained
#
# The last columns are the paper's recipe and sizes as this code builds them. ViT-Base comes to the 88 M parameters
# of the paper's text; the 88.8 M of its table needs timm's classifier of 1000 classes besides (a note computes it).

# %%
sizes = {"tiny": vit.Architecture(192, 12, 3, 16, 12, 448), "base": vit.Architecture(768, 12, 12, 16, 12, 448)}
built = {
    name: {
        "architecture": {**shape.to_dict(), "parameters": vit.parameter_count(vit.build_vit(shape))},
        "recipe": {**recipe.PAPER.to_dict(), "learning_rate": recipe.PAPER.base_learning_rate},
    }
    for name, shape in sizes.items()
}
third = tables.table3(pretrained, built, recipe.DINO.to_dict())
print(render.table3(third, trained.provenance))

# %% [markdown]
# ## Other scores of the same matrices
#
# The headline is one matrix over all test tiles, averaged over the classes in the reference. Beside it: the mean over
# batches of 8 tiles, as the authors' later code scores; all classes of the legend, absent ones as 0; overall accuracy;
# macro F1; and IoU per class (metrics.csv).

# %%
legend = next(record for record in records if record["kind"] == "data")["results"]["legend"]
scores = metrics.metrics_table(trained, [each["name"] for each in legend["classes"]])
ours = ["miou", "miou_batches", "miou_all", "accuracy", "macro_f1"]
print(scores[["regions", "encoding", "initialisation", "fraction", *ours]].round(3).to_string(index=False))

# %% [markdown]
# ## Does pre-training help? Do attention maps?
#
# Differences of mIoU between arms with the same seeds, labels and test tiles; their intervals are paired. Last, each
# arm beside the strongest floor of its column.

# %%
differences = metrics.differences_table(trained)
shown = ["comparison", "regions", "encoding", "initialisation", "fraction", "difference", "low", "high"]
print(differences[[*shown, "paper_difference"]].round(3).to_string(index=False))

# %% [markdown]
# ## "A small improvement": how many labels is it worth?

# %%
efficiency = metrics.efficiency_table(trained)
print(metrics.render_efficiency(efficiency, trained))

# %%
figure = draw_label_efficiency(trained, titles, fractions)
run.save(figure, "label_efficiency")

# %% [markdown]
# ## Had the trainings ended?
#
# A cell whose last fifth of steps still gained on the validation tiles had not; the tables mark it.

# %%
figure = draw_validation(trained, titles, fractions)
run.save(figure, "validation")

# %% [markdown]
# ## Did the pre-trainings learn?

# %%
figure = draw_pretraining(pretrained)
run.save(figure, "pretraining")

# %% [markdown]
# ## Every cell was trained
#
# The training loss of each cell fell, and each frozen pre-trained cell beats always saying the most frequent class.

# %% tags=["nbval-check-output"]
rows = [row for record in records if record["kind"] != "floors" for row in record["results"].get("cells", [])]
fell = sum(row["loss_last"] < row["loss_first"] for row in rows)
frozen = [row for row in rows if row["initialisation"] == "frozen"]
counts = [len(tables.arms_and_floors(table)[0]) for table in (first, second)]
print(f"{counts[0]} cells of Table 1, {counts[1]} of Table 2, {len(rows)} trainings")

# %%
beaten = sum(row["miou"] > row["miou_majority"] for row in frozen)
print(f"training loss fell in {fell} of {len(rows)}; frozen beats the majority class in {beaten} of {len(frozen)}")

# %%
texts = {
    "table1.tex": render.table1(first, trained, "latex"),
    "table2.tex": render.table2(second, trained, "latex"),
    "table3.tex": render.table3(third, trained.provenance, "latex"),
    "table1.md": render.table1(first, trained, "markdown"),
    "table2.md": render.table2(second, trained, "markdown"),
    "table3.md": render.table3(third, trained.provenance, "markdown"),
    "label_efficiency.md": metrics.render_efficiency(efficiency, trained, "markdown"),
    "summary.txt": render.table1(first, trained) + "\n" + render.table2(second, trained),
}
frames = {"table1.csv": first, "table2.csv": second, "table3.csv": third, "metrics.csv": scores}
more = {"differences.csv": differences, "label_efficiency.csv": efficiency}
run.publish({**frames, **more, **texts}, records)
record = run.record(
    {
        "cells": sum(counts),
        "rising": sum(trained.rising(key) is True for key in trained.arms),
        "trainings": len(rows),
        "loss_fell": fell,
        "frozen_cells": len(frozen),
        "frozen_above_majority": beaten,
        "peak_memory_mb": max(each["peak_memory_mb"] for each in records),
    },
    data=records[0]["data"],
)
