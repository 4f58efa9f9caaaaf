"""Two gloo ranks, with DDP and with FSDP2, against one process on the same global batch."""

import json
import shutil
import socket
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import rank
import torch
from safetensors.torch import load_file

from sardino.dino.parallel import Parallel, join
from sardino.errors import SardinoError

CPU = torch.device("cpu")
Start = Callable[[str, Path, int], dict[str, Any]]


@pytest.fixture(scope="module")
def start(forks: ForkServerContext) -> Start:
    """Runs the ranks as torchrun would, and returns what the first one wrote."""

    def start(job: str, folder: Path, world: int) -> dict[str, Any]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        folder.mkdir(exist_ok=True)
        shared |= {"WORLD_SIZE": str(world), "TQDM_DISABLE": "1"}
        environments = [shared | {"RANK": str(number), "LOCAL_RANK": str(number)} for number in range(world)]
        ranks = [forks.Process(target=rank.rank, args=(given, job, folder)) for given in environments]
        for each in ranks:
            each.start()
        for each in ranks:
            each.join(240)
        told = "".join(path.read_text()[-3000:] for path in sorted(folder.glob("rank-*.log")))
        assert [each.exitcode for each in ranks] == [0] * world, told
        weights = load_file(folder / "student.safetensors")
        return {"weights": weights, "history": json.loads((folder / "history.json").read_text())}

    return start


@pytest.fixture(
    scope="module", params=["ddp small", "fsdp small", "fsdp dino-masked", "fsdp pixels", "ddp filtered", "ddp dense"]
)
def pair(start: Start, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    strategy, recipe = request.param.split()
    folder = tmp_path_factory.mktemp(strategy)
    return start(request.param, folder, 2) | {"job": request.param, "folder": folder, "recipe": recipe}


@pytest.fixture(scope="module")
def alone(start: Start, pair: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return start(f"auto {pair['recipe']}", tmp_path_factory.mktemp("alone"), 1)


def stopped_before_the_end(pair: dict[str, Any], folder: Path) -> Path:
    """The pair's folder as it was after step 4 of 6."""
    shutil.copytree(pair["folder"], folder)
    shutil.rmtree(folder / "snapshots" / "step-00000006")
    return folder


def test_two_ranks_walk_the_path_of_one(pair: dict[str, Any], alone: dict[str, Any]) -> None:
    for column in {"loss", "distance", "gradient_norm", "centre_norm", "explained"} & alone["history"].keys():
        expected = torch.tensor(alone["history"][column])
        torch.testing.assert_close(torch.tensor(pair["history"][column]), expected, rtol=1e-3, atol=1e-5)
    for name, weight in alone["weights"].items():
        if "qkv.bias" not in name:  # the keys' bias has no gradient but rounding, which Adam blows up
            torch.testing.assert_close(pair["weights"][name], weight, rtol=1e-2, atol=1e-4)


def test_a_snapshot_of_two_ranks_goes_on_bit_for_bit(start: Start, pair: dict[str, Any], tmp_path: Path) -> None:
    again = start(pair["job"], stopped_before_the_end(pair, tmp_path / "again"), 2)
    assert again["history"]["loss"] == pair["history"]["loss"]
    assert all(torch.equal(again["weights"][name], pair["weights"][name]) for name in pair["weights"])


def test_a_snapshot_of_two_ranks_goes_on_alone(
    start: Start, pair: dict[str, Any], alone: dict[str, Any], tmp_path: Path
) -> None:
    if pair["job"].startswith("ddp"):
        pytest.skip("the same as with shards, where it is harder")
    found = start(f"auto {pair['recipe']}", stopped_before_the_end(pair, tmp_path / "alone"), 1)["history"]["loss"]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(alone["history"]["loss"]), rtol=1e-3, atol=1e-5)


def test_alone_nothing_is_asked_of_others() -> None:
    with join(CPU) as parallel:
        assert parallel == Parallel(CPU) and parallel.first and parallel.any(True) and not parallel.any(False)
        assert torch.equal(parallel.mean(torch.ones(2)), torch.ones(2))
        assert not parallel.shards(torch.nn.Linear(2, 2))


def test_size_decides_who_is_sharded() -> None:
    small = torch.nn.Linear(2, 2)
    large = torch.nn.Linear(8000, 8000, bias=False, device="meta")
    assert Parallel(CPU, 0, 2).shards(large) and not Parallel(CPU, 0, 2).shards(small)
    assert Parallel(CPU, 0, 2, "fsdp").shards(small) and not Parallel(CPU, 0, 2, "ddp").shards(large)


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(SardinoError, match="start the ranks with torchrun"), join(CPU):
        pass
