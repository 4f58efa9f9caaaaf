"""The command line: one verb per thing to do; a fault of the input ends in one sentence and exit code 2."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sardino.errors import SardinoError
from sardino.workflow import ingest_archives_cli, tiles_chop_cli, tiles_content_cli
from sardino.workflow.ingest_cli import app as ingest
from sardino.workflow.plan_cli import plan
from sardino.workflow.pretrain_cli import pretrain, slurm
from sardino.workflow.reproduce_cli import DataOption, kubernetes_profile, reproduce
from sardino.workflow.scene_cli import attend, map_landcover
from sardino.workflow.tiles_cli import app as tiles
from sardino.workflow.world_cli import synthetic_scene, world

__all__ = ["app", "ingest_archives_cli", "tiles_chop_cli", "tiles_content_cli"]


class Verbs(TyperGroup):
    """The verbs; a SardinoError in any of them becomes its sentence."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SardinoError as error:
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
    from sardino.workflow.reproduce import show as print_results
    from sardino.workflow.workspace import Workspace

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
    from sardino.workflow.notebook import NotebookError
    from sardino.workflow.report import make_report
    from sardino.workflow.workspace import Workspace

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
    from sardino.workflow.gallery import make_gallery

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
    from sardino.workflow.notebook import NotebookError, run_notebook, run_planned
    from sardino.workflow.plan import plan as make_plan
    from sardino.workflow.workspace import Workspace

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
    cores: Annotated[int | None, typer.Option(min=1, help="CPU cores for the smoke runs before.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A notebook's name; all by default.")] = None,
) -> None:
    """Execute the notebooks anew and rewrite the .ipynb files that readers see.

    The smoke profile is brought up to date first, because later notebooks read earlier ones' records.
    """
    from sardino.workflow.notebook import NotebookError, commit_notebook
    from sardino.workflow.reproduce import reproduce as run_all
    from sardino.workflow.workspace import Workspace

    workspace = Workspace.open("smoke")
    sources = sorted((workspace.root / "notebooks").glob("[0-9]*.py"))
    chosen = [source for source in sources if not only or source.stem in only]
    if not chosen or (only and len(chosen) < len(set(only))):
        raise SardinoError(f"notebooks are {', '.join(source.stem for source in sources)}")
    if code := run_all("smoke", cores=cores):
        raise typer.Exit(code)
    for source in chosen:
        try:
            typer.echo(commit_notebook(source, workspace.root, workspace.failed(source.stem)))
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

    from sardino.scenes.folders.folder import import_folder
    from sardino.scenes.folders.spec import FolderSpec

    described = FolderSpec.load(spec)
    if not folder.is_dir():
        raise SardinoError(f"there is no folder {folder}: give the one that holds the chips of '{described.name}'")
    typer.echo(import_folder(folder, described, out, tile_px, bands, angle, progress=lambda n: tqdm(n, unit="tile")))


@app.command()
def doctor() -> None:
    """Tell what this machine has, and what would stop a run: versions, cores, memory, disk, GPU.

    Ends with exit code 1 if something must be put right first; each fault comes with its remedy.
    """
    from sardino.workflow.doctor import examine, problems, report

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
