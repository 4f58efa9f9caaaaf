"""One image of VV and VH, as practitioners have it: the commands that train for it, and maps of it, real chips too."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from made import read, write_scene
from real_chips import DATA, record
from typer.testing import CliRunner

from sardino.cli.app import app
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.mapping.model import PRETRAINED

REAL = Path(os.environ.get("DATA", "")) / "terramesh"  # `make test DATA=...` passes the folder of real chips on


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backbone and a segmenter, each of two steps on a store of one season a tile."""
    place = tmp_path_factory.mktemp("one-date")
    run("world", place / "year", "--tiles", "5x2", "--tile-px", 32, "--bands", 5, "--dates", 1)
    run("tiles", "single", place / "year", place / "single")
    few = ["--steps", 2, "--device", "cpu"]
    small = ["--vit", "24x2x3", "--patch", 8, "--batch", 4, "--probe-every", 0, "--set", "prototypes=32"]
    run("pretrain", place / "single", place / "backbone", *small, *few)
    run("finetune", place / "single", place / "segmenter", "--backbone", place / "backbone", "--lr", 0.01, *few)
    return place


def answered(scene: Path, trained: Path, folder: Path, *words: str) -> None:
    """Attention, tokens and land cover of a whole scene."""
    made = {}
    for verb, model in (("attend", "backbone"), ("embed", "backbone"), ("map", "segmenter")):
        run(verb, scene, "-o", folder / f"{verb}.tif", "--model", trained / model, "--device", "cpu", *words)
        made[verb] = read(folder / f"{verb}.tif")
    assert made["attend"].shape == (3, *made["embed"].shape[1:]) and len(made["embed"]) == 24
    assert np.isfinite(made["attend"]).all() and made["embed"].std((1, 2)).min() > 0
    assert set(np.unique(made["map"])) <= {*WORLDCOVER.codes}


def test_numbers_of_real_chips_say_by_which_weights_and_code_they_were_made():
    told = json.loads(json.dumps(record()))
    cards = {name: json.loads((PRETRAINED / name).read_text())["sha256"]
             for name in ("one-date-backbone/card.json", "one-date-segmenter/segmenter.json")}  # fmt: skip
    weights = told["weights_sha256"]
    assert weights["one-date-backbone/teacher.safetensors"] == cards["one-date-backbone/card.json"]["teacher"]
    assert weights["one-date-segmenter/segmenter.safetensors"] == cards["one-date-segmenter/segmenter.json"]
    assert told["code_revision"] and told["data"] == [*DATA]


def test_an_image_of_another_world_is_answered(trained, tmp_path):
    world = World(seed=1, dates_per_season=1)
    chip = world.chip(world.tiles("europe", 64, 1, 1)[0])
    answered(write_scene(tmp_path / "image.tif", chip.backscatter_db[3:5], names=("vv", "vh")), trained, tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real chips: make test DATA=FOLDER")
def test_real_chips_are_answered_and_trained_on(trained, tmp_path):
    """TerraMesh: its files name neither bands nor unit; a store of them is one of VV and VH of one date already."""
    scene = min(REAL.glob("*/S1RTC.tif"))
    answered(scene, trained, tmp_path, "--channels", "vv,vh", "--unit", "db")
    run("import", "terramesh", REAL, tmp_path / "chips", "--tile-px", 32)
    run("embed", tmp_path / "chips", "-o", tmp_path / "chips.parquet", "--model", trained / "backbone")
    run("tiles", "single", tmp_path / "chips", tmp_path / "single")
    small = ["--vit", "24x2x3", "--patch", 8, "--batch", 4, "--steps", 2, "--device", "cpu", "--set", "prototypes=32"]
    assert "2 steps" in run("pretrain", tmp_path / "single", tmp_path / "backbone", *small)
