"""What the runs of a reproduction took, beside what was predicted."""

from collections.abc import Iterable
from dataclasses import dataclass

from sardino.reporting.record import read_record
from sardino.workflow.forecast import Forecast
from sardino.workflow.workspace import Workspace


@dataclass(frozen=True)
class Taken:
    """One run.

    Args:
        predicted_s, took_s: seconds; `ratio` is what it took over what was predicted.
        predicted_gb, peak_gb: memory; the peak is of the run's own process.
    """

    name: str
    predicted_s: float
    took_s: float
    ratio: float
    predicted_gb: float
    peak_gb: float
    device: str


def taken(workspace: Workspace, rows: Iterable[Forecast]) -> list[Taken]:
    """The runs that have a record: the newest in build/, else the published one."""
    found = []
    for row in rows:
        places = (workspace.record(row.name), workspace.results / "runs" / f"{row.name}.json")
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            continue
        record = read_record(path)
        predicted, took = 3600 * row.hours, float(record["wall_s"])
        machine = record["hardware"]
        found.append(
            Taken(
                row.name,
                predicted,
                took,
                took / predicted,
                row.memory_gb,
                record["peak_memory_mb"] / 1e3,
                str(machine["gpu"] or machine["cpu"]),
            )
        )
    return found
