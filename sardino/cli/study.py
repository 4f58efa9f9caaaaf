"""The verbs of the study: plan a profile, make its tables and figures, show and publish them."""

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option, echo

from sardino.cli.flags import show_table
from sardino.errors import SardinoError

if TYPE_CHECKING:
    from sardino.study.forecast import Forecast

HEAD = ["run", "notebook", "arm", "encoding", "initialisation", "labels %", "seeds", "after"]
HEAD += ["TFLOP", "memory GB", "disk GB", "hours"]
COMPARED = ["run", "predicted s", "took s", "took/predicted", "predicted GB", "peak GB"]

ProfileArgument = Annotated[str, Argument(help="A profile's name (smoke, laptop, real, paper) or .toml file.")]
ProfileOption = Annotated[str, Option(help="What to run: smoke, laptop, real, paper, or a .toml file.")]
DataOption = Annotated[str, Option(help="Folder of real chips; only the real profile needs one.")]


def reproduce(
    profile: ProfileArgument = "laptop",
    data: DataOption = "",
    cores: Annotated[int | None, Option(min=1, help="CPU cores; all by default, one run on each.")] = None,
    only: Annotated[list[str] | None, Option(help="A run's name (see plan); with all it needs.")] = None,
    retries: Annotated[int, Option(min=0, help="How often a failed run is tried again.")] = 1,
    slurm: Annotated[bool, Option("--slurm", help="Each run is a job of this SLURM cluster.")] = False,
    partition: Annotated[str, Option(help="SLURM partition; the cluster's default otherwise.")] = "",
    account: Annotated[str, Option(help="SLURM account; your default otherwise.")] = "",
    jobs: Annotated[int, Option(min=1, help="SLURM jobs at a time.")] = 20,
    device: Annotated[str, Option(help="What a job runs on: its time and memory follow (see plan).")] = "cpu-1",
    hours: Annotated[float | None, Option(help="The longest a SLURM job may ask for.")] = None,
    sbatch: Annotated[str, Option(help="More for sbatch, as in '--gres=gpu:1'.")] = "",
    kubernetes: Annotated[
        Path | None, Option(help="Each run is a Kubernetes job, as this folder says (sardino kubernetes).")
    ] = None,
) -> None:
    """Make all tables and figures of a profile.

    Only what is stale runs: stop it with Ctrl-C whenever you like, the same command goes on from there.
    A run that fails leaves its notebook, with the traceback, in build/<profile>/failed/; the others finish.
    It is tried again first, unless its fault is one of the input, which another try would meet again.
    """
    from sardino.study.cluster import Cluster, Kubernetes, Slurm
    from sardino.study.reproduce import reproduce as run_all

    cluster: Cluster | None = None
    if slurm:
        cluster = Slurm(device, hours, partition, account, jobs, sbatch)
    elif kubernetes:
        cluster = Kubernetes(device, hours, kubernetes)
    raise Exit(run_all(profile, data, cores, only or (), retries=retries, cluster=cluster))


def kubernetes(folder: Annotated[Path, Argument(help="Where to; nothing there is overwritten.")]) -> None:
    """Write a Snakemake profile that runs a sweep as Kubernetes jobs.

    Edit job.yaml in it: the image, and the volume claim that holds this project's folder with its .venv, mounted at the
    path it has here. Then start, where the volume is mounted too: sardino reproduce PROFILE --kubernetes FOLDER
    """
    from sardino.study.kubernetes import write_profile
    from sardino.study.workspace import project_root

    for path in write_profile(folder, project_root()):
        echo(path)


def plan(
    profile: ProfileArgument = "laptop",
    named: Annotated[str, Option("--profile", help="The same as the argument.")] = "",
    device: Annotated[str, Option(help="What a run gets: here (measured now), cpu-1, rtx4090, a100, h100.")] = "here",
    csv: Annotated[Path | None, Option(help="Write the table to this file as well.")] = None,
    compare: Annotated[bool, Option("--compare", help="Beside what the runs took.")] = False,
) -> None:
    """List the runs of a profile with predicted operations, memory, disk and hours on a device.

    Nothing is run: operations are counted on the real networks at the profile's sizes.
    """
    from sardino.files import write_text
    from sardino.study import forecast
    from sardino.study.profile import Profile
    from sardino.study.workspace import Workspace

    profile = named or profile
    loaded = Profile.load(profile)
    given = forecast.find_device(device, loaded.threads)
    rows = forecast.forecast(loaded, given)
    echo(f"{loaded.title}: {len(rows)} runs\non {given.title} ({given.source})")
    if compare:
        found = forecast.compare(Workspace.open(profile), rows)
        if not found:
            raise SardinoError(f"profile '{profile}' has no record to compare with: run `sardino reproduce {profile}`")
        values = [(t.name, t.predicted_s, t.took_s, t.ratio, t.predicted_gb, t.peak_gb) for t in found]
        show_table([COMPARED, *([name, *(f"{v:.3g}" for v in numbers)] for name, *numbers in values)])
        took, predicted = sum(t.took_s for t in found), sum(t.predicted_s for t in found)
        echo(f"together {took:.4g} s, predicted {predicted:.4g} s: {took / predicted:.2f} times")
    else:
        show_table([HEAD, *map(_cells, rows)])
        echo(
            f"total {sum(row.tflop for row in rows):.3g} TFLOP, {sum(row.hours for row in rows):.3g} h in a row, "
            f"{sum(row.disk_gb for row in rows):.3g} GB of disk, {max(row.memory_gb for row in rows):.3g} GB of memory"
        )
        if large := [row.name for row in rows if row.memory_gb > given.memory_gb]:
            echo(
                f"more than the device's {given.memory_gb:.3g} GB: {', '.join(large)}; bfloat16 takes about half, "
                "`accumulate` and `checkpointing` of a pre-training take less"
            )
    if csv is not None:
        write_text(forecast.as_csv(found if compare else rows), csv)


def show(profile: ProfileArgument = "laptop") -> None:
    """Print the tables of a profile, beside the paper's, and where its figures lie."""
    from sardino.study.reproduce import show as print_results
    from sardino.study.workspace import Workspace

    if not print_results(Workspace.open(profile)):
        raise SardinoError(f"profile '{profile}' has no results yet: run `sardino reproduce {profile}`")


def report(profile: ProfileArgument = "laptop", data: DataOption = "") -> None:
    """Write a profile's published results as one HTML file that can be sent.

    Tables, claims, figures and where they come from, in results/<profile>/report.html; nothing is trained.
    """
    from sardino.study.notebook import make_report
    from sardino.study.workspace import Workspace

    echo(make_report(Workspace.open(profile, data)))


def gallery(
    profile: Annotated[list[str] | None, Argument(help="Profiles to show; all that are published.")] = None,
) -> None:
    """Write the published figures of all profiles as one HTML page, results/gallery.html; nothing is run."""
    from sardino.study.gallery import make_gallery

    echo(make_gallery(profile or ()))


def notebook(
    name: Annotated[str, Argument(help="A run of the plan (pretrain-europe) or a notebook (00_quickstart).")],
    profile: ProfileOption = "smoke",
    data: DataOption = "",
    threads: Annotated[int, Option(min=1, help="CPU threads of its numerical libraries.")] = 1,
    parameter: Annotated[
        list[str] | None, Option("--set", "-s", help="A parameter, as name=value; repeat for more.")
    ] = None,
    if_stale: Annotated[
        bool, Option("--if-stale", help="Keep the last record if code, settings and input are the same.")
    ] = False,
    attempt: Annotated[int, Option(min=1, hidden=True, help="Told by the scheduler.")] = 1,
) -> None:
    """Run one notebook, in a fresh kernel.

    The executed notebook lands in build/<profile>/notebooks/, its record in build/<profile>/runs/.
    A parameter the notebook does not have is refused, with the names it has.
    """
    from sardino.study.notebook import run_notebook, run_planned
    from sardino.study.plan import plan as make_plan
    from sardino.study.workspace import Workspace

    workspace = Workspace.open(profile, data)
    extra = dict(map(_assignment, parameter or ()))
    runs = {run.name: run for run in make_plan(workspace.profile)}
    source = workspace.root / "notebooks" / f"{Path(name).stem}.py"
    if name in runs:
        run_planned(workspace, runs[name], threads, extra, if_stale, attempt)
        echo(workspace.notebook(name))
    elif source.is_file():
        given = {"profile": workspace.reference, "data": str(workspace.data or ""), **extra}
        output, failed = workspace.notebook(source.stem), workspace.failed(source.stem)
        run_notebook(source, given, output, root=workspace.root, failed=failed, threads=threads)
        echo(output)
    else:
        known = ", ".join([*runs, *(path.stem for path in sorted(source.parent.glob("[0-9]*.py")))])
        raise SardinoError(f"no run or notebook is named '{name}'; there are {known}")


def notebooks(
    profile: ProfileOption = "laptop",
    only: Annotated[list[str] | None, Option(help="A notebook's name; all by default.")] = None,
) -> None:
    """Publish the executed notebooks that readers see, from the runs of a profile.

    Each notebooks/NN_name.ipynb becomes one run of its source, as the last `sardino reproduce` of the profile left it;
    prose is today's. Where the source has other code than was executed, nothing is published. The smoke profile's runs
    go to tests/notebooks/ instead, where the tests compare new runs with them.
    """
    from sardino.study.publish import publish_notebook
    from sardino.study.workspace import Workspace

    workspace = Workspace.open(profile)
    sources = {path.stem: path for path in sorted((workspace.root / "notebooks").glob("[0-9]*.py"))}
    if not sources or not set(only or ()) <= sources.keys():
        raise SardinoError(f"notebooks are {', '.join(sources)}")
    for name, source in sources.items():
        if not only or name in only:
            echo(publish_notebook(workspace, source))


def doctor() -> None:
    """Tell what this machine has, and what would stop a run: versions, cores, memory, disk, GPU.

    Ends with exit code 1 if something must be put right first; each fault comes with its remedy.
    """
    from sardino.study.doctor import examine, problems
    from sardino.study.doctor import report as facts_of

    machine = examine()
    show_table(facts_of(machine))
    if found := problems(machine):
        echo("\n" + "\n".join(found), err=True)
        raise Exit(1)
    echo("\nnothing stands in the way of a run")


def _cells(row: "Forecast") -> list[str]:
    """A row of the plan under HEAD."""
    needs = row.needs.split()
    after = " ".join(needs) if len(needs) <= 2 else f"{len(needs)} runs"
    texts = [row.name, row.notebook, row.arm, row.encoding, row.initialisation, row.fractions, row.seeds, after]
    return texts + [f"{value:.3g}" for value in (row.tflop, row.memory_gb, row.disk_gb, row.hours)]


def _assignment(text: str) -> tuple[str, Any]:
    """'name=value' with the value read as a Python literal where it is one, as a text elsewhere."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SardinoError(f"--set takes name=value, not '{text}'")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
