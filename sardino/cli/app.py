"""The command line: one verb per thing to do; a fault of the input ends in one sentence and exit code 2."""

import logging
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from sardino.cli import explore, models, segmenters, stores, study, tiles
from sardino.cli.flags import add_commands
from sardino.errors import RunFailed, SardinoError, of_the_system
from sardino.study.extras import needed
from sardino.study.home import settled


class Verbs(TyperGroup):
    """The verbs; whatever a person can put right, or a failed run, becomes one sentence."""

    def invoke(self, ctx: Any) -> Any:
        # What libraries warn of, and nobody asked for by -W: what matters of it is told in sentences of ours.
        warnings.simplefilter("ignore", append=True)
        if logging.lastResort:
            logging.lastResort.addFilter(logging.Filter("sardino"))
        try:
            with settled():
                return super().invoke(ctx)
        except Exception as error:
            told = _sentence(error)
            if told is None:
                raise
            typer.echo(f"error: {told}", err=True)
            raise typer.Exit(told.exit_code) from error


def _sentence(error: Exception) -> SardinoError | RunFailed | None:
    """What a person is told; None for what the command line knows itself, and for faults of this package."""
    match error:
        case SardinoError() | RunFailed():
            return error
        case ModuleNotFoundError():
            return needed(error)
        case BrokenPipeError():  # a pager was left: typer ends quietly
            return None
        case OSError():
            return of_the_system(error)
    return None


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="DINO self-supervision on Sentinel-1, reproduced: `sardino doctor` checks this machine, "
    "`sardino reproduce smoke` runs everything small, `sardino reproduce laptop` makes the tables and figures; "
    "`sardino tiles` cuts an area into tiles, `sardino ingest` fills them from STAC, Earth Engine or archives, "
    "`sardino pretrain` trains a ViT on them, `sardino adopt` takes one over, `sardino finetune` trains a segmenter, "
    "`sardino evaluate` scores it, "
    "`sardino attend`, `sardino map` and `sardino embed` make maps and embeddings of whole scenes; "
    "`sardino explore` shows where a ViT looks.",
)
app.add_typer(tiles.app, name="tiles")
app.add_typer(stores.app, name="ingest")
add_commands(app, models.pretrain, models.adopt, models.slurm, segmenters.finetune, segmenters.evaluate)
add_commands(app, models.attend, models.map_, models.embed)
add_commands(app, explore.explore, stores.world, stores.scene)
add_commands(app, study.plan, study.reproduce, study.kubernetes, study.show, study.verify, study.autopsy)
add_commands(app, study.report, study.notebook, stores.import_, study.doctor)


if __name__ == "__main__":
    app()
