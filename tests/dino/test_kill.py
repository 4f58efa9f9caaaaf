"""SIGKILL at random moments of a pre-training: started again each time, it ends with the same bits."""

import json
import random
import shutil
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import rank
from safetensors.torch import load_file
from torch import Tensor

from sardino.dino.batches import MemoryTiles

STEPS = 40


def train(recipe: str, folder: Path, begun: Any) -> None:
    """One process of it, which counts the steps that it begins; saves after every fourth step."""

    class Counted(MemoryTiles):
        def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
            begun.value += 1
            return super().read(numbers)

    rank.MemoryTiles = Counted  # type: ignore[misc]
    folder.mkdir(exist_ok=True)
    rank.main(f"auto {recipe}", folder, STEPS)


@pytest.mark.parametrize(("recipe", "least"), [("small", 20), ("dino-masked", 5), ("pixels", 5), ("filtered", 5)])
def test_killed_at_random_steps_and_started_again_it_ends_with_the_same_bits(
    tmp_path: Path, forks: ForkServerContext, recipe: str, least: int
) -> None:
    def start(folder: Path) -> tuple[ForkServerProcess, Any]:
        begun = forks.Value("i", 0)
        child = forks.Process(target=train, args=(recipe, folder, begun))
        child.start()
        return child, begun

    def finish(folder: Path) -> None:
        child, _ = start(folder)
        child.join()
        assert child.exitcode == 0

    finish(tmp_path / "whole")
    kills, places = 0, set()
    moments, folder = random.Random(5), tmp_path / "killed"
    while kills < least:
        child, begun = start(folder)
        steps = moments.randint(1, 14)
        while child.is_alive() and begun.value < steps:
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.02))  # anywhere in a step, or while its state is written
        if child.is_alive():
            child.kill()
            child.join()
            kills += 1
            places.update(path.name for path in (folder / "snapshots").glob("step-*"))
        else:  # it came through before the kill: compare, and start over
            assert child.exitcode == 0
            assert same(folder, tmp_path / "whole")
            shutil.rmtree(folder)
    assert len(places) >= min(3, least // 2), "the kills came too early to mean anything"
    finish(folder)
    assert same(folder, tmp_path / "whole")


def same(folder: Path, other: Path) -> bool:
    """Weights of the whole state and the watched losses, bit for bit."""
    losses = [json.loads((place / "history.json").read_text())["loss"] for place in (folder, other)]
    last = [place / "snapshots" / f"step-{STEPS:08d}" for place in (folder, other)]
    files = ("student", "teacher", "optimiser")
    states = [{f"{f}/{k}": v for f in files for k, v in load_file(p / f"{f}.safetensors").items()} for p in last]
    assert len(losses[0]) == STEPS and states[0].keys() == states[1].keys()
    return losses[0] == losses[1] and all(bool((states[0][k] == states[1][k]).all()) for k in states[0])
