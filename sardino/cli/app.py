"""The command line: one verb per thing to do; a fault of the input ends in one sentence and exit code 2."""

from typing import Any

import typer
from typer.core import TyperGroup

from sardino.cli import study
from sardino.cli.flags import Command
from sardino.cli.ingest import app as ingest
from sardino.cli.maps import attend, map_landcover
from sardino.cli.pretrain import pretrain, slurm
from sardino.cli.tiles import app as tiles
from sardino.cli.world import import_chips, synthetic_scene, world
from sardino.errors import RunFailed, SardinoError


class Verbs(TyperGroup):
    """The verbs; a fault of the input, what the system says of a file, or a failed run becomes one sentence."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # of a pager that was left: typer ends quietly
        except (SardinoError, RunFailed, OSError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(getattr(error, "exit_code", SardinoError.exit_code)) from error


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
VERBS: dict[str, Command] = {
    "pretrain": pretrain,
    "slurm": slurm,
    "attend": attend,
    "map": map_landcover,
    "world": world,
    "scene": synthetic_scene,
    "plan": study.plan,
    "reproduce": study.reproduce,
    "kubernetes": study.kubernetes,
    "show": study.show,
    "report": study.report,
    "gallery": study.gallery,
    "notebook": study.notebook,
    "notebooks": study.notebooks,
    "import": import_chips,
    "doctor": study.doctor,
}
for name, verb in VERBS.items():
    app.command(name)(verb)


if __name__ == "__main__":
    app()
