"""The command line: one verb per thing to do; a fault of the input ends in one sentence and exit code 2."""

from typing import Any

import typer
from typer.core import TyperGroup

from sardino.cli import models, stores, study, tiles
from sardino.cli.flags import add_commands
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
app.add_typer(tiles.app, name="tiles")
app.add_typer(stores.app, name="ingest")
add_commands(app, models.pretrain, models.slurm, models.attend, models.map_, stores.world, stores.scene)
add_commands(app, study.plan, study.reproduce, study.kubernetes, study.show, study.verify, study.autopsy)
add_commands(app, study.report, study.gallery, study.notebook, stores.import_, study.doctor)


if __name__ == "__main__":
    app()
