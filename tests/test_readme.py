"""What README.md says to type exists, what it links to is there, and its numbers are those of results/."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from sardino.cli.app import app
from sardino.data.sources.folder.specification import FolderSpec
from sardino.reporting.pages.readme import rendered

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
FENCED = [
    line.split("#")[0] for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()
]
INLINE = re.findall(r"`((?:make|sardino) [^`]+)`", TEXT)
COMMANDS = [part.strip() for line in [*FENCED, *INLINE] for part in line.split("&&") if part.strip()]
MAKES = sorted({command for command in COMMANDS if command.startswith("make ")})
VERBS = sorted({command for command in COMMANDS if re.match(r"(?:\.venv/bin/)?sardino ", command)})
LINKS = re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", TEXT)

GROUP = typer.main.get_command(app)


def test_readme_shows_the_two_commands() -> None:
    assert {"make reproduce", "make test"} <= set(MAKES)
    assert VERBS


@pytest.mark.parametrize("command", MAKES)
def test_make_target_exists(command: str) -> None:
    """A dry run with every file taken as new enough: the commands are resolved, none is executed."""
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("command", VERBS)
def test_sardino_verb_and_its_options_exist(command: str) -> None:
    _, *arguments = command.split()
    found: Any = GROUP
    while hasattr(found, "commands") and arguments and not arguments[0].startswith("--"):
        assert arguments[0] in found.commands, f"known: {sorted(found.commands)}"
        found, arguments = found.commands[arguments[0]], arguments[1:]
    known = {name for option in found.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in arguments if word.startswith("--")} <= known | {"--help"}


def test_makefile_calls_verbs_and_options_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for verb, rest in re.findall(r"\$\(BIN\)/sardino ([a-z]+)(.*)", makefile):
        assert verb in GROUP.commands
        known = {name for option in GROUP.commands[verb].params for name in option.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= known


def test_every_makefile_target_has_its_line_of_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in phony.split():
        assert re.search(rf"^  make {target} +\S", shown, re.MULTILINE), target


@pytest.mark.parametrize("link", [link for link in LINKS if "://" not in link])
def test_relative_link_exists(link: str) -> None:
    path, _, anchor = link.partition("#")
    assert (ROOT / path).exists(), link
    if anchor and not path:
        titles = [
            re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", TEXT, re.M)
        ]
        assert anchor in titles


@pytest.mark.parametrize(
    "name", sorted({name for name in re.findall(r"`((?:tests|notebooks|sardino)/[\w./]+\w)`", TEXT)})
)
def test_named_file_exists(name: str) -> None:
    assert "NN" in name or (ROOT / name).exists()


def test_folder_specification_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "my-chips.toml"
    path.write_text(example)
    spec = FolderSpec.load(path)
    assert spec.channels == ["vv", "vh"]
    assert len(spec.legend.classes) == 2


def test_numbers_are_those_of_the_results() -> None:
    assert rendered(TEXT, ROOT / "results") == TEXT, "run 'make readme'"
