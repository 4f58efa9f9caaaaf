"""An arm whose weights were pre-trained elsewhere: no run trains it, its rows read them, and each says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.study.arm import pretrain_arm
from sardino.study.attention import backbone
from sardino.study.plan import own_dependencies, plan
from sardino.study.profile import Pretraining
from sardino.study.row import Experiment, train_cell
from sardino.weights.card import Card
from sardino.weights.save import load_segmenter, save_backbone

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
STARTS = ("scratch", "frozen", "unfrozen")
ARM = {"title": "SSL4EO-S12", "architecture": "tiny", "regions": ["europe"], "adopted": "elsewhere"}
NORMALISATION = {"channels": [*CHANNELS], "mean": [-12.0] * 12, "std": [4.0] * 12, "unit": "dB"}
ADOPTED = {"origin": "DINOv2", "file": "w.pth", "sha256": "0", "place": "", "licence": ""}


def adopt(folder, **changed):
    """A random backbone with registers, as `sardino adopt` leaves it."""
    sizes = {"width": 24, "depth": 2, "heads": 3, "patch": 8, "channels": 12, "tile_px": 32, "registers": 2}
    shape = Architecture(**(sizes | changed))
    card = Card(shape, CHANNELS, "dB", NORMALISATION, {}, {}, adopted=ADOPTED)
    save_backbone(folder, {"teacher": build_vit(shape).state_dict()}, card)


@pytest.fixture
def space(minute, tmp_path):
    adopt(tmp_path / "elsewhere")
    arm = Pretraining(**{**ARM, "adopted": str(tmp_path / "elsewhere")})
    profile = minute.profile.model_copy(update={"pretraining": {**minute.profile.pretraining, "elsewhere": arm}})
    return replace(minute, profile=profile)


def test_no_run_trains_it_and_its_rows_wait_for_none(space, minute):
    before, after = ({run.name: run for run in plan(each.profile)} for each in (minute, space))
    added = {name: run for name, run in after.items() if name not in before}
    assert set(added) == {f"finetune-elsewhere-{e}-{i}" for e in ("attention", "tokens") for i in STARTS}
    assert {run.needs for run in added.values()} == {("data",)}
    with pytest.raises(SardinoError, match="arm elsewhere was pre-trained elsewhere: its weights lie in"):
        pretrain_arm(space, "elsewhere", CPU)


@pytest.mark.parametrize("start", STARTS)
def test_its_cells_see_what_the_weights_were_fed(space, start, tmp_path):
    experiment = Experiment.open(space, "elsewhere", "attention", start, CPU)
    assert experiment.normalisation.mean == (-12.0,) * 12 and experiment.architecture.registers == 2
    vit = experiment.segmenter(1).vit
    assert vit.num_prefix_tokens == 3
    own = backbone(space, "elsewhere", experiment.store)[0]
    assert torch.equal(vit.reg_token, own.reg_token) == (start != "scratch")
    train_cell(experiment, 100, 0, 0, 1e-3, tmp_path / "segmenter")
    _, card = load_segmenter(tmp_path / "segmenter")
    assert card.architecture.registers == 2
    assert card.training["backbone_origin"] == "pre-trained elsewhere: DINOv2, w.pth"


def test_other_weights_make_its_rows_stale_and_no_others(space, tmp_path):
    runs = {run.name: run for run in plan(space.profile)}
    names = ("finetune-elsewhere-tokens-frozen", "finetune-europe-tokens-frozen", "attention")

    def told():
        return [own_dependencies(replace(space, root=ROOT), runs[name]) for name in names]

    before = told()
    adopt(tmp_path / "elsewhere")
    assert [now == then for now, then in zip(told(), before, strict=True)] == [False, True, False]
    (tmp_path / "elsewhere" / "card.json").unlink()
    with pytest.raises(SardinoError, match="elsewhere holds no weights: `sardino adopt` makes such a folder"):
        told()


def test_what_does_not_fit_is_refused(space, tmp_path):
    adopt(tmp_path / "elsewhere", tile_px=64)
    with pytest.raises(SardinoError, match=r"tiles of 64 px, and arm elsewhere asks for .* tiles of 32 px"):
        Experiment.open(space, "elsewhere", "tokens", "frozen", CPU)
    with pytest.raises(SardinoError, match="not trained here: leave out recipe, steps"):
        Pretraining(**ARM, recipe="small", steps=3)
    assert Pretraining(**ARM).title == "SSL4EO-S12 (pre-trained elsewhere)"
    first = {**json.loads(space.profile.model_dump_json(exclude={"pretraining"})), "pretraining": {"elsewhere": ARM}}
    with pytest.raises(SardinoError, match="elsewhere: adopted arms come after one that is trained here"):
        type(space.profile)(**first)
