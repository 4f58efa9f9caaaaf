"""`sardino finetune` as people call it: to a model that maps, stopped at each snapshot, and refused in one sentence."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from sardino.cli.app import app
from sardino.data.sources.world.synthetic import World, write_scene
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.dino.parallel import Parallel
from sardino.errors import SardinoError
from sardino.mapping.model import PRETRAINED
from sardino.study.profile import Finetuning
from sardino.study.segmenter import finetune_on

SIZE, HISTORY = 32, "finetuning.json"
TILES = list(tile_grid("north", "EPSG:32631", (500_000, 5_500_000), SIZE, 10.0, 5, 4))
SPLITS = ["train"] * 10 + ["val"] * 4 + ["test"] * 6
QUICK = ["--steps", 10, "--growth", 0, "--batch", 2, "--looks", 5, "--unet-width", 4, "--unet-depth", 2]
QUICK += ["--decoder-width", 16, "--device", "cpu"]
ONE = [*QUICK, "--lr", 0.02]
PRETRAIN = ["--vit", "24x2x3", "--patch", 8, "--batch", 4, "--steps", 1, "--device", "cpu", "--set", "hidden=32"]
PRETRAIN += ["--set", "bottleneck=16", "--set", "prototypes=32", "--set", "local_crops=1"]


def sardino(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def make(path: Path, channels: tuple[str, ...] = CHANNELS, classes: int = 3, splits: list[str] = SPLITS) -> Path:
    """A store whose classes differ in brightness; with no class its tiles are unlabelled."""
    rng = np.random.default_rng(0)

    def chip(number: int) -> Chip:
        label = np.full((SIZE, SIZE), 255, np.uint8)
        if classes:
            label = rng.integers(0, classes, (4, 4)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        db = rng.normal(-15, 1, (len(channels), SIZE, SIZE)) + 3 * (label % 255)
        return Chip(db.astype(np.float32), label)

    write_store(
        path, TILES, splits, chip, channels=channels, legend=WORLDCOVER, product="test", synthetic=True,
        metadata={}, bands=[number // 2 for number in range(20)],
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    assert sardino("pretrain", make(folder / "store"), folder / "backbone", *PRETRAIN).exit_code == 0
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_makes_a_model_that_map_takes_with_a_card_and_a_page(place: Path, tmp_path: Path) -> None:
    options = [*QUICK, "--lr", 0.01, "--lr", 0.02, "--encoding", "hybrid", "--backbone", place / "backbone"]
    done = sardino("finetune", place / "store", tmp_path / "model", *options)
    assert done.exit_code == 0, done.output
    assert "10 steps on 10 labelled tiles" in done.output and "validation mIoU of 0.01: 0." in done.output
    assert "learning rate 0.02, kept, as no other is clearly better" in done.output
    assert content(tmp_path / "model").keys() == {"segmenter.safetensors", "segmenter.json", "README.md", HISTORY}
    card = json.loads((tmp_path / "model" / "segmenter.json").read_text())
    assert card["channels"] == list(CHANNELS) and card["trained_on"]["synthetic"] and card["training"]["steps"] == 10
    assert card["normalisation"] == json.loads((place / "backbone" / "card.json").read_text())["normalisation"]
    page = (tmp_path / "model" / "README.md").read_text()
    assert (
        "Trained on a synthetic world" in page
        and "- labels: ESA WorldCover\n" in page
        and "backbone_synthetic: yes" in page
    )
    low, high = card["intervals"]["IoU of Shrubland"]
    assert low <= card["measured"]["IoU of Shrubland"] <= high and "IoU of Mangroves" not in card["measured"]
    assert f"[{low:.3f}, {high:.3f}]" in page and "the spread over 3 geographic blocks of 6 test tiles" in page
    told = json.loads((tmp_path / "model" / HISTORY).read_text())
    assert [look["step"] for look in told["curve"]] == [2, 4, 6, 8, 10] and len(told["losses"]) == 10
    before = content(tmp_path / "model")
    assert sardino("finetune", place / "store", tmp_path / "model", *options).stdout == done.stdout, "opened only"
    assert content(tmp_path / "model") == before

    scene, land = tmp_path / "scene.tif", tmp_path / "land.tif"
    write_scene(World(seed=1), "europe", scene, (64, 96))
    mapped = sardino("map", scene, "-o", land, "--model", tmp_path / "model", "--device", "cpu")
    assert mapped.exit_code == 0 and land.is_file(), mapped.output


def test_tiles_without_labels_are_shown_beside_few_with(place: Path, tmp_path: Path) -> None:
    given = [*ONE, "--labels", 20, "--unlabelled", 3]
    done = sardino("finetune", place / "store", tmp_path / "model", *given, "--encoding", "unet")
    assert done.exit_code == 0 and "10 steps on 2 labelled tiles" in done.output, done.output
    assert json.loads((tmp_path / "model" / "segmenter.json").read_text())["training"]["unlabelled"] == 3
    refused = {
        "8 tiles give no 9 beside each batch": ["--encoding", "unet", "--unlabelled", 9],
        "leave frozen and torchrun out": ["--backbone", place / "backbone", "--frozen"],
    }
    for number, (told, more) in enumerate(refused.items()):
        failed = sardino("finetune", place / "store", tmp_path / str(number), *given, *more)
        assert failed.exit_code == 2 and told in failed.output
        assert not (tmp_path / str(number) / "finetuning.json").exists(), "so that the corrected command can begin"


@pytest.mark.parametrize(
    "options",
    [
        ["--encoding", "unet", "--keep", "best"],
        ["--encoding", "tokens", "--ema", 0],
        ["--encoding", "unet_attention", "--frozen", "--lr", 0.04],
    ],
    ids=lambda options: options[1],
)
def test_stopped_at_each_snapshot_it_ends_with_the_same_bytes(
    place: Path, tmp_path: Path, options: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*ONE, *options, *([] if "unet" in options else ["--backbone", place / "backbone"])]
    whole = sardino("finetune", place / "store", tmp_path / "whole", *given)
    assert whole.exit_code == 0, whole.output
    monkeypatch.setenv("SARDINO_UNTIL", "0")
    stops = 0
    while (done := sardino("finetune", place / "store", tmp_path / "stopped", *given)).exit_code:
        assert "the same command goes on" in done.output, done.output
        if stops == 1:  # a kill while a snapshot is written leaves it half
            newest = max((tmp_path / "stopped" / "snapshots").rglob("state.json"))
            newest.unlink()
        stops += 1
        assert stops < 20
    assert stops >= 5, "each look but the last, and the one that was lost"
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_other_options_than_those_of_the_kept_run_are_named_and_restart_takes_them(place: Path, tmp_path: Path) -> None:
    given = ["finetune", place / "store", tmp_path / "model", *ONE, "--encoding", "unet"]
    assert sardino(*given).exit_code == 0
    refused = sardino(*given, "--seed", 1, "--clip", 2)
    assert refused.exit_code == 2 and "clip: was 3.0, is 2.0; seed: was 0, is 1" in refused.output
    before = (tmp_path / "model" / "segmenter.safetensors").read_bytes()
    assert sardino(*given, "--seed", 1, "--restart").exit_code == 0
    assert (tmp_path / "model" / "segmenter.safetensors").read_bytes() != before
    (tmp_path / "model" / "segmenter.safetensors").write_bytes(before)
    assert sardino(*given, "--seed", 1).exit_code == 0, "weights of another run are found out, and made anew"
    assert (tmp_path / "model" / "segmenter.safetensors").read_bytes() != before


def test_labels_that_cannot_be_learnt_from_are_refused(tmp_path: Path) -> None:
    def told(store: Path) -> str:
        done = sardino("finetune", store, tmp_path / "model", *ONE, "--encoding", "unet")
        assert done.exit_code == 2 and done.output.startswith("error: ") and "Traceback" not in done.output
        return done.output

    assert "0 training, 0 validation and 0 test tiles with labels" in told(make(tmp_path / "none", classes=0))
    assert "'Tree cover': a map needs two classes" in told(make(tmp_path / "one", classes=1))
    unjudged = make(tmp_path / "unjudged", splits=["train"] * 14 + ["test"] * 6)
    assert "14 training, 0 validation and 6 test tiles with labels" in told(unjudged)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--backbone", "store"], "holds no finished pre-training (card.json is missing)"),
        (["--backbone", "cut"], "teacher.safetensors is missing or damaged"),
        (["--backbone", "other"], "was trained on channels vv, vh, and the data holds winter_vv"),
        (["--backbone", PRETRAINED / "world-backbone"], "was trained on tiles of 96 px, and the data holds tiles of"),
        ([], "the built-in backbone does not fit"),
        (["--encoding", "unet", "--backbone", "backbone"], "the encoding 'unet' has no backbone"),
        (["--encoding", "unet", "--frozen"], "the encoding 'unet' has no backbone"),
        (["--backbone", "backbone", "--region", "south"], "no region south"),
        (["--encoding", "words"], "Invalid value for '--encoding'"),
        (["--encoding", "unet", "--lr", 0], "greater than 0"),
        (["--encoding", "unet", "--labels", 0], "a percentage in (0, 100]"),
    ],
)
def test_a_fault_ends_in_one_sentence(place: Path, tmp_path: Path, options: list[object], told: str) -> None:
    if "other" in options:
        store = make(tmp_path / "two-channels", channels=("vv", "vh"))
        assert sardino("pretrain", store, place / "other", *PRETRAIN).exit_code == 0
    if "cut" in options:
        shutil.copytree(place / "backbone", place / "cut")
        weights = place / "cut" / "teacher.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    given = [place / word if word in ("store", "cut", "other", "backbone") else word for word in options]
    done = sardino("finetune", place / "store", tmp_path / "out", *QUICK, *given)
    assert done.exit_code == 2 and told in done.output and "Traceback" not in done.output
    assert not (tmp_path / "out").exists(), "what is refused leaves nothing behind"


def test_a_folder_of_another_model_is_refused(place: Path) -> None:
    given = ["finetune", place / "store", place / "backbone", *ONE, "--encoding", "unet"]
    before = content(place / "backbone")
    for more in ([], ["--restart"]):
        refused = sardino(*given, *more)
        assert refused.exit_code == 2 and "holds another model (card.json)" in refused.output
    assert content(place / "backbone") == before


def test_ranks_that_do_not_divide_the_batch_are_refused(place: Path, tmp_path: Path) -> None:
    store, three = TileStore.open(place / "store"), Parallel(torch.device("cpu"), 0, 3)
    with pytest.raises(SardinoError, match="a batch of 8 does not divide into 3 ranks: choose a multiple of 3"):
        finetune_on(store, store.regions, "unet", Finetuning(), tmp_path / "out", three)
    assert not (tmp_path / "out").exists()


def test_the_same_command_under_torchrun_after_a_signal_and_alone(place: Path, tmp_path: Path) -> None:
    """Two ranks walk the path of one process; SIGTERM saves, and the same command ends with the same bytes."""
    options = [*ONE, "--steps", 200, "--frozen", "--backbone", place / "backbone", "--precision", "float32"]

    def ranks(out: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
        command += ["-m", "sardino", "finetune", place / "store", out, *options]
        environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*map(str, command)], env=environment, **pipes)

    stopped, whole = ranks(tmp_path / "stopped"), ranks(tmp_path / "whole")
    while not any(tmp_path.glob("stopped/snapshots/fine-tuning/step-*")):
        assert stopped.poll() is None, stopped.communicate()[1]
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    _, error = stopped.communicate(timeout=120)
    assert error.count("the same command goes on") == 1 and not (tmp_path / "stopped" / "segmenter.json").exists()
    shutil.copytree(tmp_path / "stopped", tmp_path / "on alone")
    assert sardino("finetune", place / "store", tmp_path / "on alone", *options).exit_code == 0
    for run in (whole, ranks(tmp_path / "stopped")):
        output, error = run.communicate(timeout=240)
        assert run.returncode == 0, error[-2000:]
        assert output.count("200 steps on 10 labelled tiles") == 1
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")
    assert sardino("finetune", place / "store", tmp_path / "alone", *options).exit_code == 0
    names = ("whole", "alone", "on alone")
    told, alone, on_alone = (json.loads((tmp_path / name / HISTORY).read_text())["losses"] for name in names)
    assert told[:20] == pytest.approx(alone[:20], rel=1e-4)
    assert on_alone[:40] == told[:40] and len(on_alone) == 200, "it went on from the snapshot of two"


def test_a_hybrid_goes_on_with_the_unet_that_was_pretrained_with_its_backbone(place: Path, tmp_path: Path) -> None:
    dense = ["--vit", "24x2x3", "--patch", 8, "--batch", 4, "--steps", 2, "--device", "cpu", "--recipe", "dense"]
    dense += ["--set", "unet_width=4", "--set", "unet_depth=2"]
    assert sardino("pretrain", place / "store", tmp_path / "backbone", *dense).exit_code == 0
    files = {path.name for path in (tmp_path / "backbone").glob("*.safetensors")}
    assert files == {f"{network}{part}.safetensors" for network in ("teacher", "student") for part in ("", "-unet")}
    given = [*ONE, "--encoding", "hybrid", "--backbone", tmp_path / "backbone"]
    assert sardino("finetune", place / "store", tmp_path / "model", *given).exit_code == 0
    refused = sardino("finetune", place / "store", tmp_path / "other", *given, "--unet-width", 8)
    assert refused.exit_code == 2 and "pre-trained with a U-Net of unet_width = 4 and unet_depth = 2" in refused.output
    (tmp_path / "backbone" / "teacher-unet.safetensors").write_bytes(b"torn")
    torn = sardino("finetune", place / "store", tmp_path / "third", *given)
    assert torn.exit_code == 2 and "teacher-unet.safetensors is missing or damaged" in torn.output
