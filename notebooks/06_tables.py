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
# matrix summed over all test tiles, with a 95 % interval that resamples geographic bands and, where there are
# several, mixes seeds; both are few, hence the tails of Student's t. With one seed it says nothing of other trainings.
# The paper states no interval.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

from sardino.dino.recipe import DINO, PAPER
from sardino.dino.vit import Architecture, build_vit, parameter_count
from sardino.files import publish_records, write_csv, write_text
from sardino.reporting.figures.curves import draw_pretraining
from sardino.reporting.figures.label_efficiency import draw_label_efficiency
from sardino.reporting.figures.style import preview, save_figure
from sardino.reporting.record import read_records, write_record
from sardino.reporting.tables.cells import read_cells
from sardino.reporting.tables.label_efficiency import efficiency_markdown, efficiency_table, efficiency_text
from sardino.reporting.tables.metrics import differences_table, metrics_table
from sardino.reporting.tables.render import (
    table1_latex,
    table1_markdown,
    table1_text,
    table2_latex,
    table2_markdown,
    table2_text,
    table3_latex,
    table3_markdown,
    table3_text,
)
from sardino.reporting.tables.tables import table1, table2, table3
from sardino.study.plan import plan
from sardino.study.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
planned = [run.name for run in plan(space.profile) if run.kind in ("data", "pretrain", "finetune", "baseline")]
records = [record for record in read_records(space.runs) if record["name"] in planned]
records.sort(key=lambda record: planned.index(record["name"]))
cells = read_cells(records, space.runs)
# Table 3 and the curves show one pre-training an arm, that with the first seed.
pretrained = [r for r in records if r["kind"] == "pretrain" and r["seeds"] == space.profile.seeds[:1]]
titles = {arm: space.profile.arm(arm).title for arm in space.profile.arms}
print(f"{len(records)} records; {cells.provenance}; {cells.caution}")

# %% [markdown]
# ## Table 1: attention maps against tokens

# %%
first = table1(cells, titles, space.profile.fractions)
print(table1_text(first, cells))

# %% [markdown]
# ## Table 2: a supervised U-Net, without and with attention maps

# %%
second = table2(cells, space.profile.fractions)
print(table2_text(second, cells))

# %% [markdown]
# ## Table 3: how the ViTs were pre-trained
#
# The last columns are the paper's recipe and sizes as this code builds them. ViT-Base comes to the 88 M parameters
# of the paper's text; the 88.8 M of its table needs timm's classifier of 1000 classes besides (a note computes it).

# %%
sizes = {"tiny": Architecture(192, 12, 3, 16, 12, 448), "base": Architecture(768, 12, 12, 16, 12, 448)}
built = {
    name: {
        "architecture": {**shape.to_dict(), "parameters": parameter_count(build_vit(shape))},
        "recipe": {**PAPER.to_dict(), "learning_rate": PAPER.base_learning_rate},
    }
    for name, shape in sizes.items()
}
third = table3(pretrained, built, DINO.to_dict())
print(table3_text(third, cells.provenance))

# %% [markdown]
# ## Other scores of the same matrices
#
# The headline is one matrix over all test tiles, averaged over the classes in the reference. Beside it: the mean over
# batches of 8 tiles, as the authors' later code scores; all classes of the legend, absent ones as 0; overall accuracy;
# macro F1; and IoU per class (metrics.csv).

# %%
legend = next(record for record in records if record["kind"] == "data")["results"]["legend"]
metrics = metrics_table(cells, [each["name"] for each in legend["classes"]])
ours = ["miou", "miou_batches", "miou_all", "accuracy", "macro_f1"]
print(metrics[["regions", "encoding", "initialisation", "fraction", *ours]].round(3).to_string(index=False))

# %% [markdown]
# ## Does pre-training help? Do attention maps?
#
# Differences of mIoU between arms with the same seeds, labels and test tiles; their intervals are paired.

# %%
differences = differences_table(cells)
shown = ["comparison", "regions", "encoding", "initialisation", "fraction", "difference", "low", "high"]
print(differences[[*shown, "paper_difference"]].round(3).to_string(index=False))

# %% [markdown]
# ## "A small improvement": how many labels is it worth?

# %%
efficiency = efficiency_table(cells)
print(efficiency_text(efficiency, cells))

# %%
figure = draw_label_efficiency(cells, titles, space.profile.fractions)
save_figure(figure, space.figures, "label_efficiency")
preview(figure)

# %% [markdown]
# ## Did the pre-trainings learn?

# %%
figure = draw_pretraining(pretrained)
save_figure(figure, space.figures, "pretraining")
preview(figure)

# %% [markdown]
# ## Every cell was trained
#
# The training loss of each cell fell, and each frozen pre-trained cell beats always saying the most frequent class.

# %% tags=["nbval-check-output"]
rows = [row for record in records for row in record["results"].get("cells", [])]
fell = sum(row["loss_last"] < row["loss_first"] for row in rows)
frozen = [row for row in rows if row["initialisation"] == "frozen"]
print(f"{len(first)} cells of Table 1, {len(second)} of Table 2, {len(rows)} trainings")

# %%
beaten = sum(row["miou"] > row["miou_majority"] for row in frozen)
print(f"training loss fell in {fell} of {len(rows)}; frozen beats the majority class in {beaten} of {len(frozen)}")

# %%
write_csv(first, space.results / "table1.csv")
write_csv(second, space.results / "table2.csv")
write_csv(third, space.results / "table3.csv")
write_csv(metrics, space.results / "metrics.csv")
write_csv(differences, space.results / "differences.csv")
write_csv(efficiency, space.results / "label_efficiency.csv")
write_text(efficiency_markdown(efficiency, cells), space.results / "label_efficiency.md")
write_text(table1_latex(first, cells), space.results / "table1.tex")
write_text(table2_latex(second, cells), space.results / "table2.tex")
write_text(table3_latex(third, cells.provenance), space.results / "table3.tex")
write_text(table1_markdown(first, cells), space.results / "table1.md")
write_text(table2_markdown(second, cells), space.results / "table2.md")
write_text(table3_markdown(third, cells.provenance), space.results / "table3.md")
write_text(table1_text(first, cells) + "\n" + table2_text(second, cells), space.results / "summary.txt")
publish_records(records, space.runs, space.results / "runs")
record = write_record(
    space.record("tables"),
    kind="tables",
    profile=space.profile.name,
    parameters={"profile": profile, "data": data},
    seeds=space.profile.seeds,
    data=records[0]["data"],
    results={
        "cells": len(first) + len(second),
        "trainings": len(rows),
        "loss_fell": fell,
        "frozen_cells": len(frozen),
        "frozen_above_majority": beaten,
        "peak_memory_mb": max(each["peak_memory_mb"] for each in records),
    },
    started=started,
)
