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
# # 11 Why is the gain so small?
#
# **Which choices of the paper's recipe decide what a backbone learns, and does it learn at all?**
#
# Table 1 says that pre-training adds a little, and Table 3 how it was done: a learning rate of 0.000001, a teacher
# temperature of 0.001, patches of 16 pixels. The authors' tools kept the input as whole decibels or as wrapped bytes.
# Any of these may be why. One change at a time would miss that two choices work together, so all are switched at once,
# in a designed experiment on the synthetic world: each cell pre-trains one backbone, and is judged beside the same
# backbone before it was pre-trained.
#
# Three questions are asked of a cell. How far did the weights move? How much more does a linear probe find in the
# frozen tokens? How much better are maps fine-tuned with 1 % of the labels?

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from sardino.evaluation.factorial import interactions
from sardino.reporting.figures import effects as figures
from sardino.reporting.figures.style import preview
from sardino.reporting.tables import effects
from sardino.study import autopsy
from sardino.study.run import open_run

run = open_run("autopsy", profile, data)

# %% [markdown]
# ## The experiment
#
# `sardino autopsy` runs it, in an hour and a half of two cores, and publishes its cells in `results/autopsy/`. They are
# read here; where there are none, the smoke profile's own four are run, whose numbers mean nothing.
#
# The first level of each factor is the paper's. Of three levels, each seed takes one of the two that are not the
# reference: whole decibels and views of one season with the first, wrapped bytes and speckle with the second. What
# Table 3 leaves open is as in the laptop's pre-training, and nothing was chosen by a test tile.

# %%
space, cells = autopsy.published_or_run(run.space)

# %% tags=["nbval-check-output"]
factors = autopsy.names_of(space)
for factor, levels in factors.items():
    print(f"{factor}: {', '.join(levels)}")
print(f"{len(cells)} cells of {autopsy.design_of(space).combinations} combinations, seeds {sorted(set(cells['seed']))}")

# %% [markdown]
# Where not all combinations are run, some effects of two factors share their runs: of those that stand in one line
# only the sum is known. An effect of one factor shares its runs with effects of three factors and more, which are
# taken to be small.

# %% tags=["nbval-check-output"]
shared = [group for group in interactions(autopsy.design_of(space).signs) if len(group) > 1]
names = [[f"{list(factors)[a]} with {list(factors)[b]}" for a, b in group] for group in shared]
print("\n".join(" = ".join(group) for group in names) or "no effects of two factors share their runs")

# %% [markdown]
# ## Effects
#
# A filled point is an effect whose 95 % interval leaves zero out. Above the line, what one switch does on average over
# all others; below it the largest effects of two: how much more one switch does where the other is on.

# %%
table = effects.effects_table(cells, factors)
preview(figures.draw_effects(table, space.profile.title))

# %%
print(effects.render_effects(cells, factors, table))

# %% [markdown]
# ## What the recipe did, and what it did not
#
# This paragraph is written from the numbers.

# %%
findings = effects.findings(cells, factors, table)
print(findings)

# %% [markdown]
# ## How far this goes
#
# - Minutes of pre-training on a few hundred synthetic tiles: at the paper's length small rates move further, and what
#   is a matter of steps here may be none there. `steps` says how much four times as many change.
# - Fine-tuning is short and the same for all, with the rates of a pre-trained backbone.
# - Intervals hold other seeds and draws of the labels, on the same world and test tiles.
# - The probe judges the smallest patches of the experiment, so that all backbones answer the same question.

# %%
_ = run.record(
    {"profile": space.profile.name, "cells": len(cells), "effects": table.to_dict("records"), "findings": findings},
    data={"source": "synthetic world", "code": sorted(set(cells["code_revision"]))},
)
