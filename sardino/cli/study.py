"""The verbs of the study: plan a profile, make its tables and figures, show and publish them."""

from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Any

from pydantic import NonNegativeInt, PositiveFloat
from typer import Argument, Exit, Option, echo

from sardino.cli.flags import Texts, assignment, show_table, with_options
from sardino.errors import SardinoError
from sardino.files import write_csv, write_text
from sardino.options import Count, Flag
from sardino.study.cluster import Cluster, Kubernetes, Slurm
from sardino.study.workspace import Workspace, project_root

HEAD = ["run", "notebook", "arm", "encoding", "initialisation", "labels %", "seeds", "after"]
HEAD += ["TFLOP", "memory GB", "disk GB", "hours"]
COMPARED = ["run", "predicted s", "took s", "took/predicted", "predicted GB", "peak GB"]

Profile = Annotated[str, Argument(help="A profile's name (smoke, laptop, study, real, paper) or .toml file.")]
ProfileOption = Annotated[str, "What to run: smoke, laptop, study, real, paper, or a .toml file."]
Data = Annotated[str, "Folder of real chips; only the real profile needs one."]


@with_options(Slurm)
def reproduce(
    profile: Profile = "laptop",
    data: Data = "",
    cores: Annotated[Count | None, "CPU cores; all by default, one run on each."] = None,
    only: Annotated[Texts, "A run's name (see plan); with all it needs."] = None,
    retries: Annotated[NonNegativeInt, "How often a failed run is tried again."] = 1,
    until: Annotated[PositiveFloat | None, "Minutes after which runs stop, each at its next checkpoint."] = None,
    slurm: Annotated[bool, "Each run is a job of this SLURM cluster."] = False,
    kubernetes: Annotated[Path | None, "Runs are Kubernetes jobs, as this folder of `sardino kubernetes` says."] = None,
    **jobs: Any,
) -> None:
    """Make all tables and figures of a profile.

    Only what is stale runs: stop it with Ctrl-C whenever you like, the same command goes on from there.
    A run that fails leaves its notebook, with the traceback, in build/<profile>/failed/; the others finish.
    It is tried again first, unless its fault is one of the input, which another try would meet again.
    """
    from sardino.study.reproduce import reproduce as run_all

    cluster: Cluster | None = Slurm(**jobs) if slurm else None
    if kubernetes and not slurm:
        cluster = Kubernetes(folder=kubernetes, device=jobs["device"], hours=jobs["hours"])
    raise Exit(run_all(profile, data, cores, only or (), retries=retries, until=until, cluster=cluster))


def kubernetes(folder: Annotated[Path, "Where to; nothing there is overwritten."]) -> None:
    """Write a Snakemake profile that runs a sweep as Kubernetes jobs.

    Edit job.yaml in it: the image, and the volume claim that holds this project's folder with its .venv, mounted at the
    path it has here. Then start, where the volume is mounted too: sardino reproduce PROFILE --kubernetes FOLDER
    """
    from sardino.study.cluster import write_profile

    for path in write_profile(folder, project_root()):
        echo(path)


def plan(
    profile: Profile = "laptop",
    named: Annotated[str, "The same as the argument.", Flag("--profile")] = "",
    device: Annotated[str, "What a run gets: here (measured now), cpu-1, cpu-8, rtx4090, a100, h100."] = "here",
    csv: Annotated[Path | None, "Write the table to this file as well."] = None,
    compare: Annotated[bool, "Beside what the runs took."] = False,
) -> None:
    """List the runs of a profile with predicted operations, memory, disk and hours on a device.

    Nothing is run: operations are counted on the real networks at the profile's sizes.
    """
    from sardino.study import forecast
    from sardino.study.profile import Profile

    profile = named or profile
    loaded = Profile.load(profile)
    given = forecast.find_device(device, loaded.threads)
    rows = forecast.forecast(loaded, given)
    echo(f"{loaded.title}: {len(rows)} runs\non {given.title} ({given.source})")
    if compare:
        found = forecast.compare(Workspace.open(profile), rows)
        if found.empty:
            raise SardinoError(f"profile '{profile}' has no record to compare with: run `sardino reproduce {profile}`")
        values = found.drop(columns="device").itertuples(index=False)
        show_table([COMPARED, *([name, *(f"{v:.3g}" for v in numbers)] for name, *numbers in values)])
        took, predicted = found["took_s"].sum(), found["predicted_s"].sum()
        echo(f"together {took:.4g} s, predicted {predicted:.4g} s: {took / predicted:.2f} times")
    else:
        table = []
        for *texts, needs, tflop, memory, disk, hours in map(astuple, rows):
            after = needs if needs.count(" ") < 2 else f"{len(needs.split())} runs"
            table.append([*texts, after, *(f"{value:.3g}" for value in (tflop, memory, disk, hours))])
        show_table([HEAD, *table])
        tflop, disk, most = sum(r.tflop for r in rows), sum(r.disk_gb for r in rows), max(r.memory_gb for r in rows)
        how = f"with {given.at_once} at a time" if given.at_once > 1 else "in a row"
        hours = f"{forecast.together_h(rows, given.at_once):.3g} h {how}"
        echo(f"total {tflop:.3g} TFLOP, {hours}, {disk:.3g} GB of disk, {most:.3g} GB of memory")
        if large := [row.name for row in rows if row.memory_gb > given.memory_gb]:
            remedy = "bfloat16 takes about half, `accumulate` and `checkpointing` of a pre-training take less"
            echo(f"more than the device's {given.memory_gb:.3g} GB: {', '.join(large)}; {remedy}")
    if csv is not None:
        write_text(forecast.as_csv(found if compare else rows), csv)


def show(profile: Profile = "laptop") -> None:
    """Print the tables of a profile, beside the paper's, and where its figures lie."""
    from sardino.study.reproduce import show as print_results

    if not print_results(Workspace.open(profile)):
        raise SardinoError(f"profile '{profile}' has no results yet: run `sardino reproduce {profile}`")


def verify(profile: Profile = "laptop", exact: Annotated[bool, "Only what is equal passes."] = False) -> None:
    """Compare your own run of a profile with the published one.

    Cells, floors, tables and records are equal to the last digit, or a score is within its published interval, or not;
    the last line says what the records name that may be why. What you wrote over is in build/<profile>/published/.
    Exit code 1 if anything was not made here, or a score is outside its interval.
    """
    from sardino.study.verify import EQUAL, in_a_line, passes
    from sardino.study.verify import verify as compare

    found, reasons = compare(Workspace.open(profile))
    if unequal := [each for each in found if EQUAL not in each]:
        show_table([("kind", "name", "verdict", "here", "published"), *unequal])
    echo(in_a_line(found, reasons))
    raise Exit(0 if passes(found, exact) else 1)


def report(profile: Profile = "laptop", data: Data = "") -> None:
    """Write a profile's published results as one HTML file that can be sent.

    Tables, claims, figures and where they come from, in results/<profile>/report.html; nothing is trained.
    """
    from sardino.study.notebook import make_report

    echo(make_report(Workspace.open(profile, data)))


def notebook(
    name: Annotated[str, "A run of the plan (pretrain-europe) or a notebook (00_quickstart)."],
    profile: ProfileOption = "smoke",
    data: Data = "",
    threads: Annotated[Count, "CPU threads of its numerical libraries."] = 1,
    parameter: Annotated[Texts, "A parameter, as name=value; repeat for more.", Flag("--set -s")] = None,
    if_stale: Annotated[bool, "Keep the last record if code, settings and input are the same."] = False,
    attempt: Annotated[int, Option(min=1, hidden=True, help="Told by the scheduler.")] = 1,
) -> None:
    """Run one notebook, in a fresh kernel.

    The executed notebook lands in build/<profile>/notebooks/, its record in build/<profile>/runs/.
    A parameter the notebook does not have is refused, with the names it has.
    """
    from sardino.study.notebook import run_notebook, run_planned
    from sardino.study.plan import plan as make_plan

    workspace = Workspace.open(profile, data)
    extra = dict(map(assignment, parameter or ()))
    runs = {run.name: run for run in make_plan(workspace.profile)}
    source = workspace.root / "notebooks" / f"{Path(name).stem}.py"
    if name in runs:
        run_planned(workspace, runs[name], threads, extra, if_stale, attempt)
        echo(workspace.notebook(name))
    elif source.is_file():
        run_notebook(workspace, source, source.stem, {**workspace.given, **extra}, threads=threads)
        echo(workspace.notebook(source.stem))
    else:
        known = ", ".join([*runs, *(path.stem for path in sorted(source.parent.glob("[0-9]*.py")))])
        raise SardinoError(f"no run or notebook is named '{name}'; there are {known}")


def autopsy(
    profile: Annotated[str, Argument(help="autopsy, smoke, or a .toml file with [autopsy].")] = "autopsy",
    cores: Annotated[Count, "Cells at a time, each on a core of its own."] = 2,
) -> None:
    """Run the experiment of notebook 11: what each choice of a pre-training does to a backbone.

    Each cell is kept as it ends, in build/<profile>/autopsy/, or in results/<profile>/kept/ where the profile says so:
    commit that. Stop it with Ctrl-C, the same command goes on from there.

    Cells and effects land in results/<profile>/, their figure in figures/<profile>/.
    """
    from sardino.reporting.figures.effects import draw_effects
    from sardino.reporting.figures.style import save_figure
    from sardino.reporting.tables.effects import effects_table, render_effects
    from sardino.study.autopsy import CELLS, names_of, run_cells

    space = Workspace.open(profile)
    cells, factors = run_cells(space, cores), names_of(space)
    table = effects_table(cells, factors)
    write_csv(cells, space.results / CELLS)
    write_csv(table, space.results / "effects.csv")
    write_text(render_effects(cells, factors, table, "markdown"), space.results / "effects.md")
    save_figure(draw_effects(table, space.profile.title), space.figures, "effects")
    echo(render_effects(cells, factors, table))


def doctor() -> None:
    """Tell what this machine has, and what would stop a run: versions, cores, memory, disk, GPU.

    Ends with exit code 1 if something must be put right first; each fault comes with its remedy.
    """
    from sardino.study import doctor

    machine = doctor.examine()
    show_table(doctor.report(machine))
    if found := doctor.problems(machine):
        echo("\n" + "\n".join(found), err=True)
        raise Exit(1)
    echo("\nnothing stands in the way of a run")
