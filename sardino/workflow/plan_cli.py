"""`sardino plan`: the grid of runs as a table, what each is predicted to take, and what it took."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sardino.errors import SardinoError

if TYPE_CHECKING:
    from sardino.workflow.forecast import Forecast


def plan(
    profile: Annotated[str, typer.Argument(help="A profile's name or .toml file.")] = "laptop",
    named: Annotated[str, typer.Option("--profile", help="The same as the argument.")] = "",
    device: Annotated[
        str, typer.Option(help="What a run gets: here (measured now), cpu-1, rtx4090, a100, h100.")
    ] = "here",
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file as well.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="With what the runs took, and write forecast.csv.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Take cpu-1's speed from what the published trainings took.")
    ] = False,
) -> None:
    """List the runs of a profile with predicted operations, memory, disk and hours on a device.

    Nothing is run: operations are counted on the real networks at the profile's sizes.
    """
    from sardino.reporting.publish import write_text
    from sardino.workflow.devices import find_device
    from sardino.workflow.forecast import Forecast, as_csv, forecast
    from sardino.workflow.profile import Profile

    loaded = Profile.load(named or profile)
    if calibrate:
        _calibrate(named or profile)
        return
    given = find_device(device, loaded.threads)
    rows = forecast(loaded, given)
    typer.echo(f"{loaded.title}: {len(rows)} runs\non {given.title} ({given.source})")
    if csv is not None:
        write_text(as_csv(rows, Forecast), csv)
    if compare:
        _compare(named or profile, rows)
        return
    _table([_cells(row) for row in rows], HEAD)
    typer.echo(
        f"total {sum(row.tflop for row in rows):.3g} TFLOP, {sum(row.hours for row in rows):.3g} h in a row, "
        f"{sum(row.disk_gb for row in rows):.3g} GB of disk, {max(row.memory_gb for row in rows):.3g} GB of memory"
    )
    if large := [row.name for row in rows if row.memory_gb > given.memory_gb]:
        typer.echo(
            f"more than the device's {given.memory_gb:.3g} GB: {', '.join(large)}; bfloat16 takes about half, "
            "`accumulate` and `checkpointing` of a pre-training take less"
        )


HEAD = ["run", "notebook", "arm", "encoding", "initialisation", "labels %", "seeds", "after"]
HEAD += ["TFLOP", "memory GB", "disk GB", "hours"]


def _cells(row: "Forecast") -> list[str]:
    needs = row.needs.split()
    after = " ".join(needs) if len(needs) <= 2 else f"{len(needs)} runs"
    texts = [row.name, row.notebook, row.arm, row.encoding, row.initialisation, row.fractions, row.seeds, after]
    return texts + [f"{value:.3g}" for value in (row.tflop, row.memory_gb, row.disk_gb, row.hours)]


def _compare(profile: str, rows: "list[Forecast]") -> None:
    """Predicted beside actual, of the runs that have a record in build/ or results/."""
    from sardino.reporting.publish import write_text
    from sardino.workflow.forecast import as_csv
    from sardino.workflow.taken import Taken, taken
    from sardino.workflow.workspace import Workspace

    workspace = Workspace.open(profile)
    found = taken(workspace, rows)
    if not found:
        raise SardinoError(f"profile '{profile}' has no record to compare with: run `sardino reproduce {profile}`")
    head = ["run", "predicted s", "took s", "took/predicted", "predicted GB", "peak GB"]
    _table(
        [[t.name, *(f"{v:.3g}" for v in (t.predicted_s, t.took_s, t.ratio, t.predicted_gb, t.peak_gb))] for t in found],
        head,
    )
    took, predicted = sum(t.took_s for t in found), sum(t.predicted_s for t in found)
    typer.echo(f"together {took:.4g} s, predicted {predicted:.4g} s: {took / predicted:.2f} times")
    path = workspace.results / "forecast.csv"
    write_text(as_csv(found, Taken), path)
    typer.echo(path)


def _calibrate(profile: str) -> None:
    from sardino.workflow.calibration import calibrate
    from sardino.workflow.workspace import Workspace

    speed = calibrate(Workspace.open(profile))
    typer.echo(
        f"cpu-1: {speed.matrix_gflops:.3g} GFLOP/s in products, {speed.convolution_gflops:.3g} in convolutions, from "
        f"{speed.runs} trainings of `{speed.profile}` on {speed.cpu}"
    )


def _table(rows: list[list[str]], head: list[str]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
