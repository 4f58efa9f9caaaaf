"""What one training of each cell took: operations counted on its network, minutes as its records tell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sardino.reporting.record import read_records
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import CellKey
from sardino.reporting.tables.parts import Work
from sardino.study.forecast import one_training
from sardino.study.plan import plan
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace

PUBLISHED = ("study", "laptop")  # profiles whose cells readers are shown, the first that is published
Costs = dict[CellKey, Work]


def shown_study(profile: str, data: str = "") -> tuple[Workspace, list[dict[str, Any]], Path]:
    """Published records, with their workspace and their folder; where there are none, a profile's own."""
    spaces = [Workspace.open(name) for name in PUBLISHED]
    own = Workspace.open(profile, data)
    places = [*((space, space.results / "runs") for space in spaces), (own, own.runs)]
    space, folder = next((place for place in places if any(place[1].glob("baseline-*.json"))), places[-1])
    return space, read_records(folder), folder


def costs(profile: Profile, cells: Cells, records: Sequence[Mapping[str, Any]]) -> tuple[Costs, Costs]:
    """One fine-tuning of each cell of Tables 1 and 2, and the pre-training that it starts from, where it has one.

    Minutes are means over repetitions, and of one core where a run has one thread, as in the profiles.

    `records`: of the pre-trainings; the minutes of one that is not among them are NaN.
    """
    minutes = {record["name"]: _minutes(record["results"]) for record in records if record["kind"] == "pretrain"}
    begins = {run.name: [name for name in run.needs if name.startswith("pretrain-")] for run in plan(profile)}
    operations = {fraction: one_training(profile, fraction) for fraction in {key.fraction for key in cells.arms}}
    trained: Costs = {}
    pretrained: Costs = {}
    for key in cells.arms:
        counted, before = operations[key.fraction], begins[key.run]
        taken = float(np.mean([each["wall_s"] for each in cells.told[key]])) / 60
        trained[key] = Work(counted[key.run], taken)
        if before:
            known = [minutes[name] for name in before if name in minutes]
            pretrained[key] = Work(counted[before[0]], float(np.mean(known)) if known else np.nan)
    return trained, pretrained


def _minutes(results: Mapping[str, Any]) -> float:
    """Of the steps alone, at their usual pace."""
    return float(results["steps"] * results["batch"] / np.median(results["curves"]["images_per_s"]) / 60)
