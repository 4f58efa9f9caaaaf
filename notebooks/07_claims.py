# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 Claims
#
# **Which of the paper's statements hold, in its own tables and in our runs?**
#
# Each claim of sections 3 and 4 is first recomputed from the paper's own tables, because its text and its tables do not
# always agree. Then it is tested on this profile's runs: *supported* if the 95 % interval of the paired difference lies
# wholly on the claimed side of zero, *not supported* if it lies wholly on the other, *undecided* otherwise. A claim of
# several parts needs all of them. The interval holds other places (resampled bands) and, with several repetitions,
# other draws of the labels and other trainings; with one a verdict is on these alone. A verdict that rests on a cell
# that still rises, because its training had not ended, is marked.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
from sardino.reporting.record import read_record
from sardino.reporting.tables import cells, claims, contrasts
from sardino.study.plan import planned_records
from sardino.study.run import open_run

run = open_run("claims", profile, data)
records = planned_records(run.space, "finetune", "baseline", "floors")
trained = cells.read_cells(records, run.space.runs)
attention = read_record(run.space.record("attention"))

# %% [markdown]
# ## Verdicts
#
# Whether attention follows land cover was measured in notebook 05; all other claims rest on the tables' cells.

# %%
scores = attention["results"]["alignment"]
measured = {"attention-follows-land-cover": (scores["value"], scores["low"], scores["high"])}
table = claims.claims_table(trained, run.space.profile.arms, run.space.profile.fractions, measured)
print(claims.render_claims(table, trained))

# %% [markdown]
# ## The paper against itself
#
# These claims do not follow from the paper's own tables.

# %% tags=["nbval-check-output"]
for claim in table[table["paper_consistent"] == False].itertuples():  # noqa: E712  (None means "no number stated")
    print(f"{claim.id}: the text says {claim.paper_text_value}, the tables give {claim.paper_table_value}")

# %% [markdown]
# ## What the paper leaves open
#
# Is it the ViT that must be pre-trained, or what draws the map? Claims of ours, judged by the same rule; some need rows
# that the profile `study` alone has.

# %%
ours = claims.claims_table(trained, run.space.profile.arms, run.space.profile.fractions, claims=contrasts.OURS)
print(claims.render_claims(ours, trained))

# %%
tables = {"claims": table, "claims_ours": ours}
files = {f"{name}.csv": each for name, each in tables.items()}
files |= {f"{name}.md": claims.render_claims(each, trained, "markdown") for name, each in tables.items()}
run.publish(files, [attention])
verdicts = {str(row.id): str(row.verdict) for each in tables.values() for row in each.itertuples()}
record = run.record({"verdicts": verdicts}, data=records[0]["data"])
