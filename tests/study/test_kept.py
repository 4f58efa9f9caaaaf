"""A row that is killed goes on with its next cell; a fresh clone goes on from what is committed."""

import json
import os
import shutil
import signal
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import torch
from minute_world import PROFILE

from sardino.errors import Paused
from sardino.files import files_in
from sardino.reporting.record import read_record, substance
from sardino.study import kept
from sardino.study.arm import pretrain_arm
from sardino.study.plan import plan
from sardino.study.reproduce import reproduce
from sardino.study.row import Experiment, choose_rate, record_row, train_cell
from sardino.study.run import OpenRun
from sardino.study.workspace import Workspace

CPU, ROW = torch.device("cpu"), "finetune-europe-tokens-unfrozen"
PARTS = 2 + 3 * 2  # rates and cells of the row
LONG = {"pretrain-europe", "finetune-europe-tokens-scratch"}


def row(space: Workspace, folder: Path, last: int, after: bool) -> None:
    """One process of a row, killed at its part of this number, before or after that has its name."""
    os.environ[kept.CELLS] = str(folder)
    write, written = kept.np.savez_compressed, []

    def killed(path, **arrays):
        write(path, **arrays)
        if path.parent != folder:
            return
        written.append(path)
        if len(written) == last and not after:
            os.kill(os.getpid(), signal.SIGKILL)

    def stop():
        if len(written) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    kept.np.savez_compressed, kept.stop_in_time = killed, stop
    chosen = space.profile
    experiment = Experiment.open(space, "europe", "tokens", "unfrozen", CPU)
    search = choose_rate(experiment)
    trainings = [(fraction, *each) for fraction in chosen.fractions for each in chosen.repetitions(fraction)]
    cells = [train_cell(experiment, *each, search.chosen) for each in trainings]
    record_row(OpenRun(space, "finetune", ROW, {"regions": "europe"}, chosen.seeds, 0.0), experiment, search, cells)


@pytest.fixture
def space(minute):
    tuning = minute.profile.finetuning.changed(lr_grid=[1e-3, 1e-2])
    for seed in minute.profile.seeds:
        pretrain_arm(minute, "europe", CPU, seed)
    return replace(minute, profile=minute.profile.model_copy(update={"finetuning": tuning}))


def test_a_row_killed_again_and_again_ends_with_the_same_record(space, tmp_path, forks: ForkServerContext):
    def start(*arguments):
        child = forks.Process(target=row, args=(space, *arguments))
        child.start()
        child.join()
        return child.exitcode

    def result():
        record = read_record(space.record(ROW))
        (network,) = space.segmenter(ROW).glob("*.safetensors")
        return substance(record), (space.runs / f"{ROW}.npz").read_bytes(), network.read_bytes()

    assert start(tmp_path / "whole", 0, False) == 0
    whole = result()
    shutil.rmtree(space.segmenter(ROW))
    space.record(ROW).unlink()
    there = []
    for last, after in [(1, False), (1, True), (3, True), (4, True)]:
        assert start(tmp_path / "killed", last, after) == -signal.SIGKILL
        there.append(len(files_in(tmp_path / "killed", "*.npz")))
    assert there == [0, 1, 4, 8] and not space.record(ROW).exists()
    assert start(tmp_path / "killed", 0, False) == 0
    assert result() == whole
    # A cell whose network is gone, or another by now, is trained again; the others are not.
    (network,) = space.segmenter(ROW).glob("*.safetensors")
    times = {path: path.stat().st_mtime_ns for path in files_in(tmp_path / "killed", "*.npz")}
    network.write_bytes(b"another")
    assert start(tmp_path / "killed", 0, False) == 0 and result() == whole and len(times) == PARTS
    assert [path.name for path, time in times.items() if path.stat().st_mtime_ns != time] == ["cell_100_0_0.npz"]


def test_cells_of_other_code_or_settings_are_left(tmp_path, minute, capsys):
    run = next(run for run in plan(minute.profile) if run.name == ROW)
    known = {"code": "a", "settings": "b"}
    folder = Path(kept.begin_cells(minute, run, known)[kept.CELLS])
    (folder / "cell_1_0_0.npz").touch()
    (folder / ".cell_1_0_1.7.partial.npz").touch()
    assert kept.begin_cells(minute, run, known) == {kept.CELLS: str(folder)}
    assert {path.name for path in folder.iterdir()} == {kept.DEPENDENCIES, "cell_1_0_0.npz"}
    assert not capsys.readouterr().out
    kept.begin_cells(minute, run, known | {"code": "c"})
    assert not (folder / "cell_1_0_0.npz").exists()
    assert "made from other code, all" in capsys.readouterr().out


def test_of_a_hybrid_that_was_pretrained_whole_the_u_net_is_kept_too(minute):
    whole = {"recipe": "dense", "overrides": {}, "network": "teacher", "encodings": ["hybrid"]}
    arms = {**minute.profile.pretraining, "dense": minute.profile.arm("europe").model_copy(update=whole)}
    space = replace(minute, profile=minute.profile.model_copy(update={"keep": True, "pretraining": arms}))
    run = next(run for run in plan(space.profile) if run.name == "pretrain-dense")
    weights = space.pretrain("dense")
    files = [weights / name for name in ("teacher.safetensors", "teacher-unet.safetensors", "card.json")]
    for path in (*files, space.notebook(run.name), space.record(run.name)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    kept.set_aside(space, run, {})
    shutil.rmtree(weights)
    assert kept.bring_back(space, run, {}) and all(path.read_text() == path.name for path in files)


def test_a_notebook_opened_by_hand_keeps_nothing(monkeypatch):
    monkeypatch.delenv(kept.CELLS, raising=False)
    made = []
    for _ in range(2):
        kept.once("a", lambda: made.append(1) or {"b": 1})
    assert len(made) == 2


def test_a_part_that_is_damaged_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.CELLS, str(tmp_path))
    made, rng = [], np.random.default_rng(0)

    def make():
        made.append(1)
        return {"scores": np.arange(40.0)}

    kept.once("cell", make)
    sound = (tmp_path / "cell.npz").read_bytes()
    for number in range(60):
        content = bytearray(sound)
        content[rng.integers(len(content))] ^= rng.integers(1, 256)
        (tmp_path / "cell.npz").write_bytes(content[: rng.integers(len(content))] if number % 3 == 0 else content)
        np.testing.assert_array_equal(kept.once("cell", make)["scores"], np.arange(40.0))
    assert len(made) > 40


def test_out_of_time_a_pre_training_stops_at_a_snapshot_and_ends_with_the_same_weights(minute, monkeypatch):
    whole = pretrain_arm(minute, "all", CPU)["weights_sha256"]
    shutil.rmtree(minute.pretrain("all"))
    monkeypatch.setenv("SARDINO_UNTIL", "0")
    for _ in range(2):  # of three steps, each of which is saved
        with pytest.raises(Paused, match="the same command goes on"):
            pretrain_arm(minute, "all", CPU)
    assert pretrain_arm(minute, "all", CPU)["weights_sha256"] == whole


WEIGHTS = """
folder = space.pretrain(arm)
folder.mkdir(parents=True, exist_ok=True)
[(folder / name).write_text(arm) for name in ("student.safetensors", "teacher.safetensors", "card.json")]
"""
ARRAYS = """
space.runs.mkdir(parents=True, exist_ok=True)
(space.runs / f"{run}.npz").write_bytes(b"matrices")
"""


def test_a_fresh_clone_goes_on_from_what_is_committed(project, tmp_path, capsys):
    profile = PROFILE.replace("examples = 2", "examples = 2\nkeep = true").replace("seeds = [0, 1]", "seeds = [0]")
    (project.root / "sardino/study/profiles/minute.toml").write_text(profile)
    (project.root / "minute.toml").write_text(profile)
    project.notebook("02_pretraining", WEIGHTS, "import sardino.data.tiles.radiometry")
    project.notebook("03_finetuning", ARRAYS)

    def executed(root):
        assert reproduce(str(root / "minute.toml"), cores=2, only=LONG, root=root) == 0
        notebooks = root / "build/minute/notebooks"
        began = (root / "build/minute/snakemake.json").stat().st_mtime
        return {path.stem for path in notebooks.iterdir() if path.stat().st_mtime > began}

    def clone(name):
        root = shutil.copytree(project.root, tmp_path / name, ignore=shutil.ignore_patterns("build"))
        for path in root.glob("results/minute/kept/**/*"):
            os.utime(path, (1e9, 1e9))
        return root

    assert executed(project.root) == {"data", *LONG} and executed(project.root) == set()
    files = {str(path.relative_to(project.root / "build/minute")) for path in project.root.glob("build/minute/*/**/*")}
    second = clone("second")
    capsys.readouterr()
    assert executed(second) == {"data"}
    told = capsys.readouterr().out
    assert "2 the same as before" in told and "published" not in told
    for name in (f"runs/{run}.json" for run in LONG):
        records = [json.loads((root / "build/minute" / name).read_text()) for root in (project.root, second)]
        assert records[0] == records[1]
    for name in ("pretrain/europe/student.safetensors", "runs/finetune-europe-tokens-scratch.npz"):
        assert name in files and (second / "build/minute" / name).is_file()
    assert not (second / "build/minute/pretrain/europe/teacher.safetensors").exists()
    assert not list(second.glob("build/minute/kept/pretrain-*"))

    third = clone("third")
    shutil.rmtree(third / "results/minute/kept/finetune-europe-tokens-scratch")
    module = third / "sardino/data/tiles/radiometry.py"
    module.write_text(module.read_text() + "\nADDED = 1\n")
    capsys.readouterr()
    assert executed(third) == {"data", *LONG}
    assert "they run anew: pretrain-europe (code)" in capsys.readouterr().out


def test_out_of_time_a_run_stops_at_its_next_checkpoint_and_nothing_has_failed(project, capsys):
    profile, name = str(project.root / "minute.toml"), "finetune-europe-tokens-scratch"
    body = "from sardino.progress import stop_in_time\nfor _ in range(600):\n    time.sleep(0.1)\n    stop_in_time()"
    project.notebook("03_finetuning", body)
    assert reproduce(profile, cores=1, only=[name], root=project.root, until=0.2) == 130
    told = capsys.readouterr()
    assert "no more time: 1 of 2 runs are finished" in told.out and "FAILED" not in told.out + told.err
    assert not (project.root / f"build/minute/runs/{name}.json").exists()
    assert not list((project.root / "build/minute/failed").glob("*"))
    project.notebook("03_finetuning", ARRAYS)
    assert reproduce(profile, cores=1, only=[name], root=project.root) == 0
