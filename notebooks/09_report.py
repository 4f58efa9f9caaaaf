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
# # Report of a reproduction
#
# **What was asked, what came out, and where does each number come from?**
#
# *Exploring DINO: Emergent Properties and Limitations for Synthetic Aperture Radar Imagery* pre-trains Vision
# Transformers on seasonal Sentinel-1 backscatter without labels and asks what their attention maps and tokens are worth
# for a land-cover map. This page holds all that one profile of its reproduction found. It is read from the published
# results alone: every number was written by the run that made it.
#
# - [In short](#In-short)
# - [Tables](#Tables)
# - [Claims](#Claims)
# - [Figures](#Figures)
# - [Reasons](#Reasons)
# - [Origin](#Origin)

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from IPython.display import Image, Markdown, display

from sardino.reporting import pages
from sardino.reporting.record import read_records
from sardino.study.plan import plan
from sardino.study.run import open_run

run = open_run("report", profile, data)
space = run.space
notebooks = {each.name: each.notebook for each in plan(space.profile)}
records = [record for record in read_records(space.results / "runs") if record["name"] in notebooks]
records.sort(key=lambda record: list(notebooks).index(record["name"]))

# %% [markdown]
# ## In short

# %%
display(Markdown(f"**{space.profile.title}** (profile `{space.profile.name}`)\n\n{pages.outcome(space.results)}"))

# %% [markdown]
# ## Tables
#
# The paper's tables, filled by these runs, with the paper's own values beside.

# %%
shown = pages.tables(space.results)
for table in shown:
    display(Markdown(table))

# %% [markdown]
# ## Claims
#
# The paper's statements, each judged by the 95 % interval of a difference measured here. [Reasons](#Reasons) follow
# below.

# %%
display(Markdown(pages.claims(space.results)))

# %% [markdown]
# ## Figures

# %%
figures = pages.illustrations(space.figures)
for figure in figures:
    display(Image(data=figure.png, alt=figure.alt), Markdown(figure.caption))

# %% [markdown]
# ## Reasons
#
# What the paper's text says, what its tables give, and by which rule the verdict fell.

# %%
display(Markdown(pages.reasons(space.results)))

# %% [markdown]
# ## Origin
#
# Revisions and fingerprints are cut to ten characters; the records in `results/` hold them whole.

# %%
display(Markdown(pages.facts(records)))

# %% [markdown]
# ### Runs
#
# Each run is one execution of a notebook. A link opens one such execution, the notebook as it is published, where this
# file lies in the project's folder; where it lies elsewhere, the notebook's name and the revision say which one to look
# up, in `notebooks/`. After a reproduction `build/` holds the executed notebook of every run under the run's name.

# %%
executed = {path.stem for path in (space.root / "notebooks").glob("*.ipynb")}
display(Markdown(pages.runs(records, notebooks, executed)))

# %%
shown_here = {"runs": len(records), "tables": len(shown), "figures": [figure.stem for figure in figures]}
record = run.record(shown_here, data=records[0]["data"])
