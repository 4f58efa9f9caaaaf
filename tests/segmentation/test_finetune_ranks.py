"""Two gloo ranks against one process on the same batches."""

import json
import socket
from multiprocessing.context import ForkServerContext
from pathlib import Path

import finetuning_rank
import pytest
import torch
from safetensors.torch import load_file


@pytest.mark.parametrize("job", ["unet unfrozen", "tokens unfrozen", "tokens frozen"])
def test_two_ranks_walk_the_path_of_one(job: str, forks: ForkServerContext, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    shared |= {"WORLD_SIZE": "2", "TQDM_DISABLE": "1"}
    environments = [shared | {"RANK": number, "LOCAL_RANK": number} for number in "01"]
    (tmp_path / "two").mkdir()
    ranks = [forks.Process(target=finetuning_rank.rank, args=(each, job, tmp_path / "two")) for each in environments]
    for each in ranks:
        each.start()
    (tmp_path / "one").mkdir()
    finetuning_rank.main(job, tmp_path / "one")
    for each in ranks:
        each.join(240)
    told = "".join(path.read_text()[-3000:] for path in sorted((tmp_path / "two").glob("rank-*.log")))
    assert [each.exitcode for each in ranks] == [0, 0], told

    one, first, second = (tmp_path / name for name in ("one/rank-0", "two/rank-0", "two/rank-1"))
    histories = [json.loads(path.with_suffix(".json").read_text()) for path in (one, first, second)]
    assert histories[1] == histories[2], "ranks never part"
    assert histories[1]["losses"] == pytest.approx(histories[0]["losses"], rel=1e-5)
    for look, other in zip(histories[0]["curve"], histories[1]["curve"], strict=True):
        assert look == pytest.approx(other, abs=0.01)
    weights, of_first, of_second = (load_file(path.with_suffix(".safetensors")) for path in (one, first, second))
    for name, weight in weights.items():
        assert torch.equal(of_first[name], of_second[name])
        if name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(of_first[name], weight, rtol=1e-2, atol=1e-3)
