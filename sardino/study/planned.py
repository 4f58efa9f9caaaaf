"""The records of a profile's plan."""

from typing import Any

from sardino.reporting.record import read_records
from sardino.study.plan import plan
from sardino.study.workspace import Workspace


def planned_records(space: Workspace, *kinds: str) -> list[dict[str, Any]]:
    """Records of the plan's runs of these kinds, in the plan's order; those of runs that it no longer has are left."""
    planned = [run.name for run in plan(space.profile) if run.kind in kinds]
    records = [record for record in read_records(space.runs) if record["name"] in planned]
    return sorted(records, key=lambda record: planned.index(record["name"]))
