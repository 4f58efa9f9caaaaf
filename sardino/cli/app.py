"""The command line: one verb per thing to do; a fault of the input ends in one sentence and exit code 2."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sardino.cli.ingest import app as ingest
from sardino.cli.maps import attend, map_landcover
from sardino.cli.pretrain import pretrain, slurm
from sardino.cli.tiles import app as tiles
from sardino.cli.world import synthetic_scene, world
from sardino.errors import SardinoError

# `sardino reproduce`, on one machine or as jobs of a cluster, and `sardino kubernetes`.

DataOption = Annotated[str, typer.Option(help="Folder of real chips; only the real profile needs one.")]


def reproduce(
    profile: Annotated[str, typer.Argument(help="smoke, laptop, real, paper, or the path of a .toml file.")] = "laptop",
    data: DataOption = "",
    cores: Annotated[int | None, typer.Option(min=1, help="CPU cores; all by default, one run on each.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A run's name (see plan); with all it needs.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a failed run is tried again.")] = 1,
    slurm: Annotated[bool, typer.Option("--slurm", help="Each run is a job of this SLURM cluster.")] = False,
    partition: Annotated[str, typer.Option(help="SLURM partition; the cluster's default otherwise.")] = "",
    account: Annotated[str, typer.Option(help="SLURM account; your default otherwise.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="SLURM jobs at a time.")] = 20,
    device: Annotated[str, typer.Option(help="What a job runs on: its time and memory follow (see plan).")] = "cpu-1",
    hours: Annotated[float | None, typer.Option(help="The longest a SLURM job may ask for.")] = None,
    sbatch: Annotated[str, typer.Option(help="More for sbatch, as in '--gres=gpu:1'.")] = "",
    kubernetes: Annotated[
        Path | None, typer.Option(help="Each run is a Kubernetes job, as this folder says (sardino kubernetes).")
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
    raise typer.Exit(run_all(profile, data, cores, only or (), retries=retries, cluster=cluster))


def kubernetes_profile(
    folder: Annotated[Path, typer.Argument(help="Where to; nothing there is overwritten.")],
) -> None:
    """Write a Snakemake profile that runs a sweep as Kubernetes jobs.

    Edit job.yaml in it: the image, and the volume claim that holds this project's folder with its .venv, mounted at the
    path it has here. Then start, where the volume is mounted too: sardino reproduce PROFILE --kubernetes FOLDER
    """
    from sardino.study.kubernetes import write_profile
    from sardino.study.workspace import project_root

    for path in write_profile(folder, project_root()):
        typer.echo(path)


# `sardino plan`: the grid of runs as a table, what each is predicted to take, and what it took.

if TYPE_CHECKING:
    from sardino.study.forecast import Forecast


def plan(
    profile: Annotated[str, typer.Argument(help="A profile's name or .toml file.")] = "laptop",
    named: Annotated[str, typer.Option("--profile", help="The same as the argument.")] = "",
    device: Annotated[
        str, typer.Option(help="What a run gets: here (measured now), cpu-1, rtx4090, a100, h100.")
    ] = "here",
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file as well.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Beside what the runs took.")] = False,
) -> None:
    """List the runs of a profile with predicted operations, memory, disk and hours on a device.

    Nothing is run: operations are counted on the real networks at the profile's sizes.
    """
    from sardino.files import write_text
    from sardino.study.forecast import as_csv, find_device, forecast
    from sardino.study.profile import Profile

    loaded = Profile.load(named or profile)
    given = find_device(device, loaded.threads)
    rows = forecast(loaded, given)
    typer.echo(f"{loaded.title}: {len(rows)} runs\non {given.title} ({given.source})")
    if compare:
        _compare(named or profile, rows, csv)
        return
    if csv is not None:
        write_text(as_csv(rows), csv)
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


def _compare(profile: str, rows: "list[Forecast]", csv: Path | None) -> None:
    """Predicted beside actual, of the runs that have a record in build/ or results/."""
    from sardino.files import write_text
    from sardino.study.forecast import as_csv, compare
    from sardino.study.workspace import Workspace

    found = compare(Workspace.open(profile), rows)
    if not found:
        raise SardinoError(f"profile '{profile}' has no record to compare with: run `sardino reproduce {profile}`")
    head = ["run", "predicted s", "took s", "took/predicted", "predicted GB", "peak GB"]
    _table(
        [[t.name, *(f"{v:.3g}" for v in (t.predicted_s, t.took_s, t.ratio, t.predicted_gb, t.peak_gb))] for t in found],
        head,
    )
    took, predicted = sum(t.took_s for t in found), sum(t.predicted_s for t in found)
    typer.echo(f"together {took:.4g} s, predicted {predicted:.4g} s: {took / predicted:.2f} times")
    if csv is not None:
        write_text(as_csv(found), csv)


def _table(rows: list[list[str]], head: list[str]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Verbs(TyperGroup):
    """The verbs; a fault of the input, or what the system says of a file, becomes one sentence and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # of a pager that was left: typer ends quietly
        except (SardinoError, OSError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="DINO self-supervision on Sentinel-1, reproduced: `sardino doctor` checks this machine, "
    "`sardino reproduce smoke` runs everything small, `sardino reproduce laptop` makes the tables and figures; "
    "`sardino tiles` cuts an area into tiles, `sardino ingest` fills them from STAC, Earth Engine or archives, "
    "`sardino pretrain` trains a ViT on them, `sardino attend` and `sardino map` make maps of whole scenes.",
)
app.add_typer(tiles, name="tiles")
app.add_typer(ingest, name="ingest")
app.command()(pretrain)
app.command()(slurm)
app.command()(attend)
app.command("map")(map_landcover)
app.command()(world)
app.command("scene")(synthetic_scene)
app.command()(plan)
app.command()(reproduce)
app.command("kubernetes")(kubernetes_profile)

ProfileOption = Annotated[str, typer.Option(help="What to run: smoke, laptop, real, paper, or a .toml file.")]


@app.command()
def show(profile: Annotated[str, typer.Argument(help="A profile's name or .toml file.")] = "laptop") -> None:
    """Print the tables of a profile, beside the paper's, and where its figures lie."""
    from sardino.study.reproduce import show as print_results
    from sardino.study.workspace import Workspace

    if not print_results(Workspace.open(profile)):
        raise SardinoError(f"profile '{profile}' has no results yet: run `sardino reproduce {profile}`")


@app.command()
def report(
    profile: Annotated[str, typer.Argument(help="A profile's name or .toml file.")] = "laptop",
    data: DataOption = "",
) -> None:
    """Write a profile's published results as one HTML file that can be sent.

    Tables, claims, figures and where they come from, in results/<profile>/report.html; nothing is trained.
    """
    from sardino.study.notebook import NotebookError, make_report
    from sardino.study.workspace import Workspace

    try:
        typer.echo(make_report(Workspace.open(profile, data)))
    except NotebookError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def gallery(
    profile: Annotated[list[str] | None, typer.Argument(help="Profiles to show; all that are published.")] = None,
) -> None:
    """Write the published figures of all profiles as one HTML page, results/gallery.html; nothing is run."""
    from sardino.study.report import make_gallery

    typer.echo(make_gallery(profile or ()))


@app.command()
def notebook(
    name: Annotated[str, typer.Argument(help="A run of the plan (pretrain-europe) or a notebook (00_quickstart).")],
    profile: ProfileOption = "smoke",
    data: DataOption = "",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of its numerical libraries.")] = 1,
    parameter: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="A parameter, as name=value; repeat for more.")
    ] = None,
    if_stale: Annotated[
        bool, typer.Option("--if-stale", help="Keep the last record if code, settings and input are the same.")
    ] = False,
    attempt: Annotated[int, typer.Option(min=1, hidden=True, help="Told by the scheduler.")] = 1,
) -> None:
    """Run one notebook, in a fresh kernel.

    The executed notebook lands in build/<profile>/notebooks/, its record in build/<profile>/runs/.
    A parameter the notebook does not have is refused, with the names it has.
    """
    from sardino.study.notebook import NotebookError, run_notebook, run_planned
    from sardino.study.plan import plan as make_plan
    from sardino.study.workspace import Workspace

    workspace = Workspace.open(profile, data)
    extra = dict(_assignment(text) for text in parameter or ())
    runs = {run.name: run for run in make_plan(workspace.profile)}
    source = workspace.root / "notebooks" / f"{Path(name).stem}.py"
    try:
        if name in runs:
            run_planned(workspace, runs[name], threads, extra, if_stale, attempt)
            output = workspace.notebook(name)
        elif source.is_file():
            given = {"profile": workspace.reference, "data": str(workspace.data or ""), **extra}
            output = workspace.notebook(source.stem)
            failed = workspace.failed(source.stem)
            run_notebook(source, given, output, root=workspace.root, failed=failed, threads=threads)
        else:
            known = ", ".join([*runs, *(path.stem for path in sorted(source.parent.glob("[0-9]*.py")))])
            raise SardinoError(f"no run or notebook is named '{name}'; there are {known}")
    except NotebookError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(output)


@app.command()
def notebooks(
    profile: ProfileOption = "laptop",
    only: Annotated[list[str] | None, typer.Option(help="A notebook's name; all by default.")] = None,
) -> None:
    """Publish the executed notebooks that readers see, from the runs of a profile.

    Each notebooks/NN_name.ipynb becomes one run of its source, as the last `sardino reproduce` of the profile left it;
    prose is today's. Where the source has other code than was executed, nothing is published. The smoke profile's runs
    go to tests/notebooks/ instead, where the tests compare new runs with them.
    """
    from sardino.study.notebook import NotebookError
    from sardino.study.publish import publish_notebook
    from sardino.study.workspace import Workspace

    workspace = Workspace.open(profile)
    sources = sorted((workspace.root / "notebooks").glob("[0-9]*.py"))
    chosen = [source for source in sources if not only or source.stem in only]
    if not chosen or (only and len(chosen) < len(set(only))):
        raise SardinoError(f"notebooks are {', '.join(source.stem for source in sources)}")
    for source in chosen:
        try:
            typer.echo(publish_notebook(workspace, source))
        except NotebookError as error:
            typer.echo(f"error: {source.name}: {error}", err=True)
            raise typer.Exit(1) from error


@app.command("import")
def import_chips(
    spec: Annotated[str, typer.Argument(help="What the files are: a built-in folder spec or a .toml file of yours.")],
    folder: Annotated[Path, typer.Argument(help="Folder that holds the chips' files.")],
    out: Annotated[Path, typer.Argument(help="Folder of the tile store to make; must not exist.")],
    tile_px: Annotated[int, typer.Option(min=16, help="Pixels per side of a tile.")] = 96,
    bands: Annotated[int, typer.Option(min=5, help="Geographic bands of the 60/20/20 split.")] = 20,
    angle: Annotated[float, typer.Option(help="Direction of the bands, degrees from east.")] = 30.0,
) -> None:
    """Make a tile store of a folder of real chips.

    The spec says which file holds which channel, in which unit, and where labels come from;
    copy one of the built-in ones (sardino/scenes/folders/specs/) to describe chips of your own.
    """
    from tqdm import tqdm

    from sardino.data.sources.folder.source import import_folder
    from sardino.data.sources.folder.specification import FolderSpec

    described = FolderSpec.load(spec)
    if not folder.is_dir():
        raise SardinoError(f"there is no folder {folder}: give the one that holds the chips of '{described.name}'")
    typer.echo(import_folder(folder, described, out, tile_px, bands, angle, progress=lambda n: tqdm(n, unit="tile")))


@app.command()
def doctor() -> None:
    """Tell what this machine has, and what would stop a run: versions, cores, memory, disk, GPU.

    Ends with exit code 1 if something must be put right first; each fault comes with its remedy.
    """
    from sardino.study.doctor import examine, problems, report

    machine = examine()
    rows = report(machine)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{name:{width}}  {value}")
    if found := problems(machine):
        typer.echo("\n" + "\n".join(found), err=True)
        raise typer.Exit(1)
    typer.echo("\nnothing stands in the way of a run")


def _assignment(text: str) -> tuple[str, Any]:
    """'name=value' with the value read as a Python literal where it is one, as a text elsewhere."""
    import ast

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SardinoError(f"--set takes name=value, not '{text}'")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    app()
