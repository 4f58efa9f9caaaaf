"""Every command of README.md and docs/ that is cheap is run, in the order of its page, in a fresh clone."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from pages import ROOT, commands_of, is_whole, page_paths
from typer.testing import CliRunner

from sardino.cli.app import app

NOT_RUN = {
    r"make |conda |pip |\.venv/": "makes or needs an environment of its own",
    r"sardino (reproduce|report|verify|autopsy)\b": "runs notebooks or needs their runs; tests/study has small ones",
    r"sardino explore\b": "starts JupyterLab; tests/explorer runs what it opens",
    r"sardino plan ": "counts every run of a profile: half a minute; tests/study counts small ones",
    r"sardino import (my-chips|mapinwild|sen1floods11|ssl4eo|terramesh)": "chips of the reader; tests/data has some",
    r"tar -xf ": "a shard that the reader downloads",
    r"sardino ingest stac build": "a STAC server, which tests/data has on the local machine",
    r"sardino tiles (leakage|mosaic) build/belgium": "needs that server's tiles; both run on the synthetic world",
    r"sardino adopt ": "weights that the reader fetches; tests/cli has small ones",
    r"sardino pretrain STORE |torchrun |sbatch ": "GPUs, a cluster or minutes; STORE and OUT are the reader's",
}
"""Pattern of a command that the test leaves out: why."""


def left_out(command: str) -> bool:
    return any(re.match(pattern, command) for pattern in NOT_RUN)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the checkout, in which no command was ever run."""
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    done = subprocess.run(["git", "clone", "-q", ROOT, folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout, which alone can be cloned")
    return folder


def run(command: str) -> tuple[int, str]:
    """Exit code and output of a command: of the package's own in this process, of any other in a shell."""
    words, _, out = command.partition(">")
    if not words.startswith("sardino "):
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr
    told = CliRunner().invoke(app, shlex.split(words)[1:], prog_name="sardino")
    if out:
        Path(out.strip()).write_text(told.stdout)
    return told.exit_code, told.output


@pytest.mark.parametrize("name", [path.relative_to(ROOT).as_posix() for path in page_paths()])
def test_the_commands_of_a_page_run_one_after_the_other(
    name: str, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    commands = commands_of((clone / name).read_text(encoding="utf-8"))
    for command in (part.strip() for line in commands for part in line.split("&&")):
        if left_out(command) or (command.startswith("sardino ") and not is_whole(command)):
            continue
        code, told = run(command)
        assert code == 0, f"{command}\n{told[-3000:]}"
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == "", "a command of a page changed the checkout"


def test_each_reason_still_has_its_command() -> None:
    commands = [command for page in page_paths() for command in commands_of(page.read_text(encoding="utf-8"))]
    for pattern in NOT_RUN:
        assert any(re.match(pattern, command) for command in commands), f"no page says {pattern}"
