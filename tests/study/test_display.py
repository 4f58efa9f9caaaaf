"""The display reads the files of runs: nothing of a former session, nothing of a broken heartbeat."""

import io
import os
import time

import pytest

from sardino.study.display import Progress, duration
from sardino.study.kept import cells_folder
from sardino.study.plan import Run
from sardino.study.workspace import Workspace

RUNS = [Run("data", "01", "data"), Run("a", "02", "pretrain"), Run("b", "03", "finetune")]
EXPECTED_S = {"data": 10.0, "a": 30.0, "b": 60.0}


@pytest.fixture
def progress(tmp_path):
    (tmp_path / "notebooks").mkdir()
    space = Workspace.open("smoke", root=tmp_path)
    for folder in ("runs", "progress", "failed", "notebooks"):
        (space.build / folder).mkdir(parents=True)
    return Progress(space, RUNS, EXPECTED_S, io.StringIO(), time.time() - 50)


def test_each_end_is_told_once_with_its_count(progress):
    space = progress.workspace
    space.progress("data").write_text("{}")
    progress.update()
    space.record("data").write_text("{}")
    progress.update()
    assert not progress.of("done", "same"), "its notebook is still at work"
    space.progress("data").unlink()
    space.notebook("data").write_text("{}")
    space.record("b").write_text("{}")
    space.failed("a").with_suffix(".txt").write_text("it broke\n")
    progress.update()
    progress.update()
    lines = progress.out.getvalue().splitlines()
    ends = [line for line in lines if line.endswith("/3")]
    assert [line.split()[:2] for line in ends] == [["done", "data"], ["FAILED", "a"], ["same", "b"]]
    assert [line.split()[-1] for line in ends] == ["1/3", "2/3", "3/3"]
    assert progress.of("done") == RUNS[:1]
    assert progress.message(RUNS[1]) == "it broke"


def test_files_of_a_former_session_do_not_count(progress):
    space = progress.workspace
    for path in (space.record("data"), space.progress("b"), space.failed("a").with_suffix(".txt")):
        path.write_text("{}")
        os.utime(path, (progress.started - 100,) * 2)
    assert progress.of("waiting") == RUNS


def test_a_run_that_vanishes_without_a_record_has_failed(progress):
    beat = progress.workspace.progress("a")
    beat.write_text("{}")
    progress.update()
    beat.unlink()
    assert [run.name for run in progress.of("FAILED")] == ["a"]
    assert "want of memory" in progress.message(RUNS[1])


def test_time_left_shrinks_with_work_done_and_steps_taken(progress):
    space = progress.workspace
    before = progress.time_left_s()
    space.progress("b").write_text('{"label": "training", "done": 1, "total": 2}')
    half = progress.time_left_s()
    assert "training 1/2" in progress._line(RUNS[2])
    space.record("a").write_text("{}")
    assert before > half > progress.time_left_s() > 0


def test_a_row_is_as_far_as_its_finished_cells(progress):
    folder = cells_folder(progress.workspace, RUNS[2])
    folder.mkdir(parents=True)
    progress.workspace.progress("b").write_text('{"label": "training", "done": 1, "total": 2}')
    shares = [progress._share(RUNS[2])]
    for name in ("cell_0.1_0_0", "cell_1_0_0", "cell_10_0_0"):
        (folder / f"{name}.npz").touch()
        shares.append(progress._share(RUNS[2]))
    assert 0 < shares[0] < 1 / 3 and sorted(set(shares)) == shares and shares[-1] == 1


def test_out_of_time_a_run_waits_and_has_not_failed(progress):
    beat = progress.workspace.progress("a")
    beat.write_text("{}")
    progress.update()
    beat.unlink()
    progress.until = time.time()
    assert progress.state(RUNS[1]) == "waiting"
    progress.workspace.failed("a").with_suffix(".txt").write_text("it broke\n")
    assert progress.state(RUNS[1]) == "FAILED"


@pytest.mark.parametrize("beat", ["", "{", "[]", '{"done": 1}', '{"label": "x", "done": "?", "total": 2}'])
def test_a_broken_heartbeat_is_no_heartbeat(progress, beat):
    progress.workspace.progress("b").write_text(beat)
    assert progress._share(RUNS[2]) == 0.0


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89.4, "89 s"), (185, "3 min"), (7800, "2 h 10 min")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
