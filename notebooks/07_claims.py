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
# # 07 Claims
#
# **Which of the paper's statements hold, in its own tables and in our runs?**
#
# Each claim of sections 3 and 4 is first recomputed from the paper's own tables, because its text and its tables do not
# always agree. Then it is tested on this profile's runs: *supported* if the 95 % interval of the paired difference lies
# wholly on the claimed side of zero, *not supported* if it lies wholly on the other, *undecided* otherwise. A claim of
# several parts needs all of them. The interval holds other places (resampled bands) and, with several seeds,
# other trainings; with one seed a verdict is on these trainings alone.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

from sardino.files import publish_records, write_csv, write_text
from sardino.reporting.record import read_record, read_records, write_record
from sardino.reporting.tables.cells import read_cells
from sardino.reporting.tables.claims import claims_markdown, claims_table, claims_text
from sardino.study.plan import plan
from sardino.study.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
planned = [run.name for run in plan(space.profile) if run.kind in ("finetune", "baseline")]
records = [record for record in read_records(space.runs) if record["name"] in planned]
cells = read_cells(records, space.runs)
attention = read_record(space.record("attention"))

# %% [markdown]
# ## Verdicts
#
# Whether attention follows land cover was measured in notebook 05; all other claims rest on the tables' cells.

# %%
scores = attention["results"]["alignment"]
measured = {"attention-follows-land-cover": (scores["value"], scores["low"], scores["high"])}
claims = claims_table(cells, space.profile.arms, space.profile.fractions, measured)
print(claims_text(claims, cells))

# %% [markdown]
# ## The paper against itself
#
# These claims do not follow from the paper's own tables.

# %% tags=["nbval-check-output"]
for claim in claims[claims["paper_consistent"] == False].itertuples():  # noqa: E712  (None means "no number stated")
    print(f"{claim.id}: the text says {claim.paper_text_value}, the tables give {claim.paper_table_value}")

# %%
write_csv(claims, space.results / "claims.csv")
write_text(claims_markdown(claims, cells), space.results / "claims.md")
publish_records([attention], space.runs, space.results / "runs")
record = write_record(
    space.record("claims"),
    kind="claims",
    profile=space.profile.name,
    parameters={"profile": profile, "data": data},
    seeds=space.profile.seeds,
    data=records[0]["data"],
    results={"verdicts": {str(row.id): str(row.verdict) for row in claims.itertuples()}},
    started=started,
)
