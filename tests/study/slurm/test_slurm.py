"""The sweep and the pre-training script on a real SLURM of this machine: `make test-slurm`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from machine import cluster, missing

pytestmark = pytest.mark.skipif(
    os.environ.get("SARDINO_SLURM") != "1", reason="starts a SLURM of its own: make test-slurm"
)

RUNS = {"data", "pretrain-europe", "finetune-europe-tokens-scratch"}
ONLY = ["--only", "pretrain-europe", "--only", "finetune-europe-tokens-scratch"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if lacking := missing():
        pytest.fail(f"apt-get install slurmctld slurmd slurm-client munge: there is no {', '.join(lacking)}")
    with cluster(tmp_path_factory.mktemp("slurm").resolve()) as environment:
        yield environment


@pytest.fixture
def fresh(project, tmp_path):
    """Another project of toy notebooks, this test's own."""
    return type(project)(tmp_path.resolve())


def command(*options):
    return [sys.executable, "-m", "sardino.cli.app", "reproduce", "smoke", *ONLY, *options]


def reproduce(project, slurm, *options):
    done = subprocess.run(
        command("--slurm", *options), cwd=project.root, env=slurm, capture_output=True, text=True, timeout=500
    )
    return done.returncode, done.stdout + done.stderr


def queue(slurm, form="%i"):
    told = subprocess.run(["squeue", "-h", "-o", form], env=slurm, capture_output=True, text=True, check=True)
    return told.stdout.split()


def said(project):
    return {name: json.loads(record)["results"] for name, record in project.records().items()}


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def test_the_sweep_says_the_same_as_on_one_machine(fresh, slurm, project):
    subprocess.run(command("--cores", "1"), cwd=project.root, check=True, capture_output=True, timeout=500)
    code, printed = reproduce(fresh, slurm)
    assert code == 0, printed
    assert set(fresh.records()) == RUNS and said(fresh) == said(project)
    assert "3 runs executed" in printed
    before = fresh.records()
    code, printed = reproduce(fresh, slurm)
    assert code == 0 and fresh.records() == before and "everything was up to date" in printed


def test_a_job_that_is_preempted_is_queued_again_and_ends_well(fresh, slurm):
    body = """
mark = space.build / "began"
mark.open("a").write("x")
if mark.read_text() == "x":
    time.sleep(300)
"""
    fresh.notebook("02_pretraining", body=body)
    began = fresh.root / "build/smoke/began"
    with subprocess.Popen(
        command("--slurm"), cwd=fresh.root, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as sweep:
        wait_for(began.exists)
        wait_for(lambda: len(queue(slurm)) == 1)  # the other run has ended
        (job,) = queue(slurm)
        subprocess.run(["scontrol", "requeue", job], env=slurm, check=True)
        printed, _ = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, printed
    assert began.read_text() == "xx" and set(fresh.records()) == RUNS


def test_a_killed_sweep_leaves_no_job_beside_the_next(fresh, slurm):
    fresh.notebook("02_pretraining", body="(space.build / 'began').touch(); time.sleep(300)")
    sweep = subprocess.Popen(command("--slurm"), cwd=fresh.root, env=slurm, start_new_session=True)
    family = []
    try:
        wait_for((fresh.root / "build/smoke/began").exists)
    finally:
        family = [psutil.Process(sweep.pid), *psutil.Process(sweep.pid).children(recursive=True)]
        for process in family:
            process.kill()
        sweep.wait()
    assert queue(slurm)
    fresh.notebook("02_pretraining")
    code, printed = reproduce(fresh, slurm)
    assert code == 0, printed
    assert set(fresh.records()) == RUNS and not queue(slurm)


def test_stopping_the_sweep_cancels_its_jobs(fresh, slurm):
    fresh.notebook("02_pretraining", body="(space.build / 'began').touch(); time.sleep(300)")
    with subprocess.Popen(command("--slurm"), cwd=fresh.root, env=slurm) as sweep:
        wait_for((fresh.root / "build/smoke/began").exists)
        sweep.send_signal(signal.SIGINT)
        assert sweep.wait(timeout=60) == 130
    wait_for(lambda: not queue(slurm), 60)


def test_a_failing_job_is_told_with_its_traceback_and_the_others_finish(fresh, slurm):
    fresh.notebook("02_pretraining", body="raise ValueError('loss is not finite')")
    code, printed = reproduce(fresh, slurm, "--retries", "0")
    assert code == 1 and "pretrain-europe: ValueError: loss is not finite" in printed
    assert set(fresh.records()) == RUNS - {"pretrain-europe"}
    assert "loss is not finite" in (fresh.root / "build/smoke/failed/pretrain-europe.ipynb").read_text()


def test_pretraining_saves_before_its_time_is_up_queues_itself_again_and_ends(slurm, tmp_path):
    """`sardino slurm`, made small: one task, no GPU, a warning that SLURM sends one to two minutes
    before the end of four."""
    store, out = tmp_path / "store", tmp_path / "out"
    sardino = [sys.executable, "-m", "sardino"]
    world = ["world", str(store), "--tiles", "10x6", "--tile-px", "32", "--bands", "10"]
    subprocess.run([*sardino, *world], check=True, capture_output=True)
    script = subprocess.run([*sardino, "slurm"], check=True, capture_output=True, text=True).stdout
    for given, small in {
        "--ntasks-per-node=4": "--ntasks-per-node=1",
        "#SBATCH --gpus-per-node=4\n": "",
        "--cpus-per-task=8": "--cpus-per-task=1",
        "--time=12:00:00": "--time=4",
        "B:USR1@300": "B:USR1@90",
    }.items():
        assert given in script
        script = script.replace(given, small)
    batch = tmp_path / "pretrain.sbatch"
    batch.write_text(script)
    python = Path(shutil.which("python") or sys.executable).parent
    environment = {**slurm, "PATH": f"{Path(sys.executable).parent}:{python}:{slurm['PATH']}"}
    # Four minutes of a fast core, so that no machine is done before the warning.
    options = ["--vit", "tiny", "--batch", "8", "--steps", "3000", "--device", "cpu"]
    subprocess.run(["sbatch", str(batch), str(store), str(out), *options], cwd=tmp_path, env=environment, check=True)
    wait_for(lambda: not queue(slurm), 1800)
    (log,) = tmp_path.glob("pretrain-*.log")
    text = log.read_text()
    assert "Saved; queued again." in text and (out / "teacher.safetensors").is_file(), text
