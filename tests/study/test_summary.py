import json
import os
import subprocess
import sys

import pytest

from sardino.reporting.record import write_record
from sardino.study.plan import plan
from sardino.study.reproduce import memory_mb, publish_summary
from sardino.study.workspace import Workspace


@pytest.fixture
def space(tmp_path):
    space = Workspace.open("smoke", root=tmp_path)
    data = {"source": "test", "fingerprint": "0"}
    write_record(
        space.record("report"),
        kind="report",
        profile="smoke",
        parameters={},
        seeds=[0],
        data=data,
        results={},
        started=0,
    )
    return space


def test_a_whole_session_is_summed_up(space):
    runs = plan(space.profile)
    publish_summary(space, runs, runs, 12.34, 1000.0)
    summary = json.loads((space.results / "run.json").read_text())
    assert summary["wall_s"] == 12.3 and summary["runs"] == len(runs) and summary["profile"] == "smoke"


def test_a_partial_session_leaves_the_last_summary(space):
    runs = plan(space.profile)
    publish_summary(space, runs, runs, 10.0, 1000.0)
    publish_summary(space, runs, runs[1:], 3.0, 10.0)
    assert json.loads((space.results / "run.json").read_text())["wall_s"] == 10.0


def test_children_count_towards_memory():
    code = "import sys; b = bytearray(80_000_000); print('ready', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    child.stdout.readline()
    own = memory_mb(os.getpid())
    child.stdin.close()
    child.wait()
    child.stdout.close()
    assert own - memory_mb(os.getpid()) > 60
