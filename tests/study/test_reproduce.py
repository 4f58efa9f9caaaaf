"""Snakemake runs what is stale and nothing else; the tests follow one project through its life, in this order."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from sardino.errors import SardinoError
from sardino.study.reproduce import reproduce

WANTED = ["pretrain-europe", "finetune-europe-tokens-scratch"]
ALL = {"data", *WANTED}


@pytest.fixture
def again(project, capsys):
    """Reproduce the wanted runs; returns exit code, names of the runs executed, and what was printed."""

    def execute(retries=1):
        before = project.records()
        code = reproduce("smoke", cores=2, only=WANTED, root=project.root, retries=retries)
        after = project.records()
        printed = capsys.readouterr()
        return code, {name for name in after if after[name] != before.get(name)}, printed.out + printed.err

    return execute


@pytest.fixture(scope="module", autouse=True)
def _training_code(project):
    """The toy pre-training depends on a module that the others do not import, and draws with another."""
    (project.root / "sardino/reporting/toy_curves.py").write_text("COLOUR = 'red'\n")
    imports = "from sardino.reporting.toy_curves import COLOUR\nimport sardino.data.tiles.radiometry"
    project.notebook("02_pretraining", imports=imports)


def test_everything_wanted_runs_on_one_thread_each(again, project):
    code, executed, printed = again()
    assert code == 0 and executed == ALL
    assert "3 runs executed" in printed
    results = [json.loads(record)["results"] for record in project.records().values()]
    assert results == [{"threads": "1"}] * 3
    assert sorted(path.name for path in project.root.iterdir()) == [
        "build",
        "notebooks",
        "pyproject.toml",
        "requirements.lock",
        "sardino",
    ]
    assert (project.root / "build/smoke/notebooks/data.ipynb").is_file()


def test_a_second_time_nothing_runs_whatever_is_touched_or_edited_elsewhere(again, project):
    (project.root / "sardino/reporting/unrelated.py").write_text("x = 2\n")
    (project.root / "sardino/reporting/toy_curves.py").write_text("COLOUR = 'blue'\n")
    module = project.root / "sardino/data/tiles/radiometry.py"
    module.write_text(module.read_text() + "\n# a comment\n")
    for path in (project.root / "notebooks").iterdir():
        os.utime(path)
    shutil.copytree(project.root / "build/smoke/runs", project.root / "results/smoke/runs")  # as others publish them
    code, executed, printed = again()
    assert code == 0 and executed == set()
    assert "everything was up to date" in printed
    assert printed.splitlines()[-1] == "beside what was published: 3 of 3 records equal"


def test_editing_an_imported_file_runs_its_dependants_alone(again, project):
    module = project.root / "sardino/data/tiles/radiometry.py"
    module.write_text(module.read_text() + "\nADDED = 1\n")
    code, executed, _ = again()
    assert code == 0 and executed == {"pretrain-europe"}


def test_a_run_whose_needs_say_the_same_as_before_keeps_its_record(again, project):
    """Drawing Figure 3 anew executes the data notebook, not the trainings behind it."""
    project.notebook("01_data_preparation", body="print('another colour')")
    before = {name: json.loads(record) for name, record in project.records().items()}
    code, executed, printed = again()
    assert code == 0 and executed == {"data"} and "1 runs executed, 2 the same" in printed
    after = {name: json.loads(record) for name, record in project.records().items()}
    assert all(after[name] == before[name] for name in WANTED)
    assert after["data"] != before["data"]


def test_another_lock_runs_everything_again(again, project):
    (project.root / "requirements.lock").write_text("numpy==3\n")
    code, executed, _ = again()
    assert code == 0 and executed == ALL


def test_a_record_from_elsewhere_is_not_taken_for_a_run(again, project):
    """As a notebook leaves it that somebody executed before its run was ever planned."""
    shutil.rmtree(project.root / "build/smoke/kept/pretrain-europe")
    code, executed, _ = again()
    assert code == 0 and executed == {"pretrain-europe"}


def test_a_failing_run_leaves_the_others_finished_and_says_why(again, project):
    project.notebook("02_pretraining", body="raise ValueError('loss is not finite')")
    project.notebook("03_finetuning", body="print('edited')")
    code, executed, printed = again(retries=0)
    assert code == 1 and executed == {"finetune-europe-tokens-scratch"}
    assert "pretrain-europe: ValueError: loss is not finite" in printed
    traceback = project.root / "build/smoke/failed/pretrain-europe.ipynb"
    assert "loss is not finite" in traceback.read_text() and str(traceback) in printed
    assert "pretrain-europe" not in project.records()


def test_a_run_is_tried_again_but_not_where_its_input_is_at_fault(again, project):
    """The first try dies of the moment, as a full disk does; a SardinoError would come again."""
    count = "tries = space.build / 'tries'\ntries.open('a').write('x')\n"
    project.notebook("02_pretraining", body=count + "if tries.read_text() == 'x': os._exit(1)")
    tries = project.root / "build/smoke/tries"
    code, executed, printed = again()
    assert code == 0 and "pretrain-europe" in executed and tries.read_text() == "xx"
    assert "FAILED pretrain-europe" in printed and "done   pretrain-europe" in printed
    tries.unlink()
    fault = "from sardino.errors import SardinoError; raise SardinoError('no chips')"
    project.notebook("02_pretraining", body=count + fault)
    code, _, printed = again()
    assert code == 1 and tries.read_text() == "x" and "pretrain-europe: no chips" in printed


def test_a_repaired_run_goes_on_past_a_dead_lock_but_not_beside_a_living_reproduction(again, project):
    """A Snakemake whose parent was killed is alive: it was given the file of the lock."""
    path = project.root / "build/smoke/reproduce.lock"
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write("123")
        lock.flush()
        orphan = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()])
    try:
        with pytest.raises(SardinoError, match="running as process 123: wait for it"):
            again()
    finally:
        orphan.kill()
        orphan.wait()
    locks = project.root / "build/smoke/.snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.output.lock").write_text(str(project.root / "build/smoke/runs/data.json"))
    assert (project.root / "build/smoke/failed/pretrain-europe.ipynb").exists()
    project.notebook("02_pretraining")
    code, executed, _ = again()
    assert code == 0 and executed == {"pretrain-europe"}
    assert not (project.root / "build/smoke/failed/pretrain-europe.ipynb").exists()


def test_stopping_ends_every_process_and_leaves_no_half_result(again, project):
    project.notebook("03_finetuning", body="time.sleep(600)")
    command = [sys.executable, "-m", "sardino.cli.app", "reproduce", "smoke", "--only", WANTED[1]]
    process = subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        beat = project.root / f"build/smoke/progress/{WANTED[1]}.json"
        deadline = time.time() + 120
        kernel: list[psutil.Process] = []
        while not kernel and time.time() < deadline:
            time.sleep(0.2)
            family = psutil.Process(process.pid).children(recursive=True)
            kernel = [child for child in family if beat.exists() and "ipykernel_launcher" in " ".join(child.cmdline())]
        assert kernel, "the run never started"
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and "the same command goes on" in printed
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert WANTED[1] not in project.records()
    project.notebook("03_finetuning")
    code, executed, _ = again()
    assert code == 0 and WANTED[1] in executed


def test_a_missing_notebook_is_told_before_anything_runs(project):
    with pytest.raises(SardinoError, match="no run is named 'nothing'"):
        reproduce("smoke", only=["nothing"], root=project.root)
    (project.root / "notebooks/07_claims.py").unlink()
    with pytest.raises(SardinoError, match="run 'claims' has no notebook"):
        reproduce("smoke", root=project.root)
