"""`sardino pretrain` as people call it: alone, under torchrun, stopped by a signal, under a SLURM script."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from sardino.cli.app import app
from sardino.cli.flags import assignment
from sardino.cli.ranks import STOPPED
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.dino.recipe import Recipe
from sardino.dino.session import read_log

SIZE = 32
TILES = list(tile_grid("north", "EPSG:32631", (500_000, 5_500_000), SIZE, 10.0, 5, 4))
HEAD = ["--set", "hidden=32", "--set", "bottleneck=16", "--set", "prototypes=64", "--set", "local_crops=2"]
SMALL = ["--vit", "24x2x3", "--patch", "8", "--batch", "8", "--device", "cpu", "--watch-every", "1", *HEAD]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)

    def chip(number: int) -> Chip:
        db = rng.normal(-12, 3, (2, SIZE, SIZE)).astype(np.float32)
        return Chip(db, (db[0] > -12).astype(np.uint8))

    path = tmp_path_factory.mktemp("place") / "store"
    splits = ["train"] * 16 + ["val"] * 4
    channels = ["winter_vv", "winter_vh"]
    write_store(
        path, TILES, splits, chip, channels=channels, legend=WORLDCOVER, product="test", synthetic=True,
        metadata={}, bands=list(range(20)),
    )  # fmt: skip
    return path


def pretrain(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["pretrain", *map(str, arguments)])


def process(*arguments: object, before: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    command = [sys.executable, *before, "-m", "sardino", "pretrain", *map(str, arguments)]
    environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_it_writes_weights_a_card_a_page_and_a_log_and_only_opens_them_the_second_time(
    store: Path, tmp_path: Path
) -> None:
    options = [*SMALL, "--texture", "--steps", 4, "--probe-every", 2, "--looks", 4]
    done = pretrain(store, tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert "4 steps on 16 tiles" in done.output and "probe on validation tiles" in done.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"teacher.safetensors", "student.safetensors", "card.json", "README.md", "log.jsonl"} <= names
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["run"]["physics"]["looks"] == 4 and card["recipe"]["prototypes"] == 64
    assert card["architecture"]["texture"] and "the line to beat" in done.output
    assert [line["step"] for line in read_log(tmp_path / "out") if "loss" in line] == [0, 1, 2, 3]
    before = (tmp_path / "out" / "teacher.safetensors").read_bytes()
    assert pretrain(store, tmp_path / "out", *options).exit_code == 0
    assert (tmp_path / "out" / "teacher.safetensors").read_bytes() == before


def test_another_objective_is_a_recipe_by_name(store: Path, tmp_path: Path) -> None:
    plain = [option for option in SMALL if option not in HEAD]
    options = [*plain, "--steps", 2, "--recipe", "filtered", "--set", "decoder_width=32"]
    refused = pretrain(store, tmp_path / "out", *options)
    assert refused.exit_code == 2 and "set hide_seasons to 0" in refused.output, "a store of one season"
    refused = pretrain(store, tmp_path / "out", *options, "--looks", 4)
    assert refused.exit_code == 2 and "leave them off" in refused.output
    done = pretrain(store, tmp_path / "out", *options, "--set", "hide_seasons=0")
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["recipe"]["objective"] == "filtered" and "prototypes" not in card["recipe"]


def test_another_run_in_the_folder_is_refused_and_restart_takes_it(store: Path, tmp_path: Path) -> None:
    assert pretrain(store, tmp_path / "out", *SMALL, "--steps", 2).exit_code == 0
    refused = pretrain(store, tmp_path / "out", *SMALL, "--steps", 3)
    assert refused.exit_code == 2 and "steps: was 2, is 3" in refused.output
    assert pretrain(store, tmp_path / "out", *SMALL, "--steps", 3, "--restart").exit_code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--vit", "huge"], "a ViT is tiny, small, base, laptop or WIDTHxBLOCKSxHEADS"),
        (["--patch", "7"], "does not divide"),
        (["--batch", "64"], "lower the batch"),
        (["--set", "momentum"], "--set takes name=value"),
        (["--set", "moment=1"], "has no moment"),
        (["--set", "momentum=high"], "unable to parse string as a number, not high"),
        (["--precision", "half"], "Invalid value for '--precision'"),
        (["--recipe", "best"], "no recipe is named"),
        (["--recipe", "filtered"], "'filtered' does not read bottleneck, hidden, local_crops, prototypes"),
        (["--region", "atlantis"], "no region atlantis"),
        (["--orbit-swap", "0.5"], "orbit"),
    ],
)
def test_a_fault_ends_in_one_sentence(store: Path, tmp_path: Path, options: list[str], told: str) -> None:
    done = pretrain(store, tmp_path / "out", *SMALL, "--steps", 1, *options)
    assert done.exit_code == 2 and told in done.output and "Traceback" not in done.output


def test_the_same_command_under_torchrun_and_alone_after_a_signal(store: Path, tmp_path: Path) -> None:
    """Two ranks walk the path of one; SIGTERM saves, leaves with its code, and the same command goes on."""
    options = [*SMALL, "--steps", 12, "--save-every", 100, "--precision", "float32"]
    ranks = process(store, tmp_path / "two", *options, before=("-m", "torch.distributed.run", "--nproc-per-node", "2"))
    # Steps of this process are too quick to be stopped half way, so it is asked to as soon as it has begun.
    alone = process(store, tmp_path / "one", *[str(o).replace("12", "4000") for o in options])
    while not read_log(tmp_path / "one"):
        assert alone.poll() is None, alone.communicate()[1]
        time.sleep(0.05)
    alone.send_signal(signal.SIGTERM)
    _, error = alone.communicate(timeout=120)
    assert alone.returncode == STOPPED and "the same command goes on" in error
    (kept,) = (tmp_path / "one" / "snapshots").iterdir()
    assert 0 < int(kept.name.removeprefix("step-")) < 4000 and not (tmp_path / "one" / "card.json").exists()

    output, error = ranks.communicate(timeout=240)
    assert ranks.returncode == 0, error[-2000:]
    assert output.count("12 steps on 16 tiles") == 1
    assert pretrain(store, tmp_path / "straight", *options).exit_code == 0
    for line, other in zip(read_log(tmp_path / "two"), read_log(tmp_path / "straight"), strict=True):
        if "loss" in line:
            assert line["loss"] == pytest.approx(other["loss"], rel=1e-3)
    weights, others = (load_file(tmp_path / name / "student.safetensors") for name in ("two", "straight"))
    torch.testing.assert_close(weights["cls_token"], others["cls_token"], rtol=1e-2, atol=1e-4)


def test_the_slurm_script_queues_itself_again_only_when_told_to(tmp_path: Path) -> None:
    """The script's own logic, with stand-ins for srun and scontrol: a cluster is not at hand here."""
    script = tmp_path / "pretrain.sbatch"
    script.write_text(CliRunner().invoke(app, ["slurm"]).output)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "scontrol").write_text('#!/bin/bash\n[ "$1" = show ] && echo node1 || echo "$@" >> "$DIARY"\n')
    step = '#!/bin/bash\ntrap "exit 75" USR1\nsleep "${TAKES:-0}" &\nwait $!\nexit "${CODE:-0}"\n'
    (commands / "srun").write_text(step)
    for command in commands.iterdir():
        command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "DIARY": str(tmp_path / "diary"),
        **{"SLURM_NTASKS": "4", "SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "node1"},
    }

    def run(**changes: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["bash", str(script), "store", "out"], env=environment | changes)

    assert run().wait(30) == 0 and not (tmp_path / "diary").exists()
    assert run(CODE="2").wait(30) == 2 and not (tmp_path / "diary").exists()
    assert run(CODE="75").wait(30) == 0
    assert (tmp_path / "diary").read_text() == "requeue 17\n"
    job = run(TAKES="20")
    time.sleep(1)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(15) == 0 and (tmp_path / "diary").read_text() == "requeue 17\n" * 2


def test_settings() -> None:
    given = dict(map(assignment, ["clip=3", "momentum=0.9", "local_scale=0.1,0.4", "scale_learning_rate=true"]))
    changed = Recipe(scale_learning_rate=False).changed(**given)
    assert given["clip"] == 3 and isinstance(changed.clip, int) and changed.momentum == 0.9
    assert changed.local_scale == (0.1, 0.4) and changed.scale_learning_rate is True


def test_help_teaches() -> None:
    text = CliRunner().invoke(app, ["pretrain", "--help"]).output
    for word in ("torchrun", "ln K", "distance", "data_wait", "three seeds", "exit code 75"):
        assert word in " ".join(text.split())
