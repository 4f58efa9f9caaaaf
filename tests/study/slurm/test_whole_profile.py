"""The whole smoke profile, its real notebooks, as SLURM jobs: the same tables as on one machine, byte for byte."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machine import cluster, missing

from sardino.study.plan import plan
from sardino.study.profile import Profile

ROOT = Path(__file__).parents[3]
PARTS = ("sardino", "notebooks", "pyproject.toml", "requirements.lock")

pytestmark = pytest.mark.skipif(
    os.environ.get("SARDINO_SLURM") != "1", reason="starts a SLURM of its own: make test-slurm"
)


def copied(root: Path) -> Path:
    """A copy of the project without what can be made again."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
        else:
            root.mkdir(exist_ok=True)
            shutil.copy2(ROOT / part, root / part)
    return root


def tables(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "results/smoke").glob("*.csv")}


def test_every_run_as_a_job_gives_the_tables_of_one_machine(tmp_path: Path) -> None:
    if lacking := missing():
        pytest.fail(f"apt-get install slurmctld slurmd slurm-client munge: there is no {', '.join(lacking)}")
    here, there = copied(tmp_path / "here"), copied(tmp_path / "there")
    command = [sys.executable, "-m", "sardino.cli.app", "reproduce", "smoke"]
    subprocess.run(command, cwd=here, check=True, capture_output=True, timeout=1800)
    with cluster((tmp_path / "slurm").resolve()) as environment:
        done = subprocess.run(
            [*command, "--slurm"], cwd=there, env=environment, capture_output=True, text=True, timeout=1800
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(plan(Profile.load('smoke')))} runs executed" in done.stdout
    assert len(tables(here)) >= 5 and tables(there) == tables(here)
