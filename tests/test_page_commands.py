"""Every command of README.md and docs/ that is cheap is run, in the order of its page, in a fresh clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, commands_of, is_whole, page_paths

NOT_RUN = {
    r"make |conda |pip |\.venv/": "makes or needs an environment of its own",
    r"sardino (reproduce|report|verify)\b": "runs notebooks or needs their runs; tests/study has small ones",
    r"sardino gallery ": "tests/study makes one; here it would rewrite a published page",
    r"sardino plan ": "counts every run of a profile: half a minute; tests/study counts small ones",
    r"sardino ingest stac build": "a STAC server, which tests/data has on the local machine",
    r"sardino tiles (leakage|mosaic) build/belgium": "needs that server's tiles; both run on the synthetic world",
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


@pytest.fixture(scope="module")
def environment(clone: Path) -> dict[str, str]:
    """PATH begins with a folder whose `sardino` is the clone's, with the interpreter of this test."""
    programs = clone.parent / "bin"
    programs.mkdir()
    wrapper = programs / "sardino"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error::SyntaxWarning -m sardino "$@"\n')
    wrapper.chmod(0o755)
    return os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(clone),
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.parametrize("name", [path.relative_to(ROOT).as_posix() for path in page_paths()])
def test_the_commands_of_a_page_run_one_after_the_other(name: str, clone: Path, environment: dict[str, str]) -> None:
    commands = commands_of((clone / name).read_text(encoding="utf-8"))
    for command in commands:
        if left_out(command) or (command.startswith("sardino ") and not is_whole(command)):
            continue
        done = subprocess.run(["bash", "-ec", command], cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == "", "a command of a page changed the checkout"


def test_each_reason_still_has_its_command() -> None:
    commands = [command for page in page_paths() for command in commands_of(page.read_text(encoding="utf-8"))]
    for pattern in NOT_RUN:
        assert any(re.match(pattern, command) for command in commands), f"no page says {pattern}"
