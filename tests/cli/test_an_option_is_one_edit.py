"""A field added to a class of options is a key of profiles and an option of the command, without another edit."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from sardino.cli.app import app
from sardino.cli.flags import with_options
from sardino.cli.stores import Making
from sardino.data.sources.passes import Passes
from sardino.dino.recipe import Physics, Run, Training
from sardino.errors import SardinoError
from sardino.mapping.job import Job
from sardino.options import Count, Flag, Options, Share
from sardino.segmentation.settings import Settings
from sardino.study.profile import Finetuning, Pretraining
from sardino.weights.adoption import Adoption


class More(Training):
    koleo: Annotated[Share, "Weight of the KoLeo term."] = 0.0


@pytest.fixture
def command():
    made, given = Typer(), {}

    @made.command()
    @with_options(More, steps=3, batch=2)
    def train(**options: Any) -> None:
        given.update(options)

    return made, given


def test_a_new_field_is_an_option_with_its_type_range_default_and_description(command):
    made, given = command
    told = " ".join(CliRunner().invoke(made, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert "--koleo" in told and "Weight of the KoLeo term." in told
    assert CliRunner().invoke(made, []).exit_code == 0 and given["koleo"] == 0.0
    assert CliRunner().invoke(made, ["--koleo", "0.1"]).exit_code == 0 and More(**given).koleo == 0.1
    assert CliRunner().invoke(made, ["--koleo", "2"]).exit_code == 2


def test_a_new_field_is_checked_where_a_profile_gives_it():
    with pytest.raises(SardinoError, match=r"'koleo'.*less than or equal to 1.*2"):
        More(steps=3, batch=2, koleo=2)


def flags(declared: type[Options]) -> set[str]:
    """What a command calls the fields of a class, those of its parts too."""
    found = set()
    for name, field in declared.model_fields.items():
        if isinstance(field.default, Options):
            found |= flags(type(field.default))
        else:
            named = [each.name for each in field.metadata if isinstance(each, Flag)]
            found.add(named[0].split("/")[0] if named else "--" + name.replace("_", "-"))
    return found


@pytest.mark.parametrize(
    ("commands", "declared", "said_by_the_command"),
    [
        (["pretrain"], Run, set()),
        (["adopt"], Adoption, set()),
        (["finetune"], Finetuning, {"--recipe", "--lr-grid", "--lr-fraction", "--backbone-lr"}),
        (["map", "attend", "embed"], Job, {"--kind", "--scene"}),
    ],
)
def test_every_field_is_an_option_of_its_command(commands, declared, said_by_the_command):
    told = [CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output for name in commands]
    assert {flag for flag in flags(declared) if not any(flag in each for each in told)} == said_by_the_command


@pytest.mark.parametrize(("inherits", "declared"), [(Pretraining, Training), (Finetuning, Settings), (Run, Training)])
def test_a_profile_takes_the_fields_as_they_are(inherits, declared):
    assert {name: inherits.model_fields[name].metadata for name in declared.model_fields} == {
        name: field.metadata for name, field in declared.model_fields.items()
    }
    assert inherits.model_fields.keys() >= declared.model_fields.keys()
    assert declared is Settings or Pretraining.model_fields["physics"].annotation is Physics


def test_a_field_of_a_dataclass_is_an_option_too():
    @dataclass(frozen=True)
    class Later(Passes):
        most_passes: Annotated[Count | None, "Passes of a season to take."] = None

    made, given = Typer(), {}

    @made.command()
    @with_options(Later, year=2021)
    def ingest(making: Making, **passes: Any) -> None:
        given.update(passes, making=making)

    told = " ".join(CliRunner().invoke(made, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert "--most-passes" in told and "Passes of a season to take." in told and "--workers" in told
    assert CliRunner().invoke(made, ["--orbit", "descending", "--workers", "3"]).exit_code == 0
    assert given.pop("making") == Making(workers=3) and Later(**given) == Later(2021, "descending")
    assert CliRunner().invoke(made, ["--most-passes", "0"]).exit_code == 2
