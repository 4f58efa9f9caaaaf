"""SIGKILL at twenty random moments of a pre-training: started again each time, it ends with the same bits."""

import json
import multiprocessing
import random
import shutil
import time
from pathlib import Path

import rank
from safetensors.torch import load_file

KILLS, STEPS = 20, 40


def train(folder: Path) -> None:
    """One process of it; saves after every fourth step."""
    folder.mkdir(exist_ok=True)
    rank.main("auto", folder, STEPS)


def test_killed_at_random_steps_and_started_again_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["rank", "sardino.training.pretrain", "sardino.training.session"])

    def start(folder: Path) -> multiprocessing.process.BaseProcess:
        child = forks.Process(target=train, args=(folder,))
        child.start()
        return child

    for name in ("warm-up", "whole"):  # the second tells how long a run takes once everything is loaded
        started = time.monotonic()
        child = start(tmp_path / name)
        child.join()
        assert child.exitcode == 0
    span, kills, places = time.monotonic() - started, 0, set()
    moments, folder = random.Random(5), tmp_path / "killed"
    while kills < KILLS:
        child = start(folder)
        child.join(moments.uniform(0.1, 0.8) * span)
        if child.is_alive():
            child.kill()
            child.join()
            kills += 1
            places.update(path.name for path in (folder / "snapshots").glob("step-*"))
        else:  # it came through before the kill: compare, and start over
            assert child.exitcode == 0
            assert same(folder, tmp_path / "whole")
            shutil.rmtree(folder)
    assert len(places) >= 3, "the kills came too early to mean anything"
    child = start(folder)
    child.join()
    assert child.exitcode == 0 and same(folder, tmp_path / "whole")


def same(folder: Path, other: Path) -> bool:
    """Weights of the whole state and the watched losses, bit for bit."""
    losses = [json.loads((place / "history.json").read_text())["loss"] for place in (folder, other)]
    last = [place / "snapshots" / f"step-{STEPS:08d}" for place in (folder, other)]
    files = ("student", "teacher", "optimiser")
    states = [{f"{f}/{k}": v for f in files for k, v in load_file(p / f"{f}.safetensors").items()} for p in last]
    assert len(losses[0]) == STEPS and states[0].keys() == states[1].keys()
    return losses[0] == losses[1] and all(bool((states[0][k] == states[1][k]).all()) for k in states[0])
