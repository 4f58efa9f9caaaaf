import json

import pytest
import torch

from sardino.errors import SardinoError
from sardino.models.vit import Architecture, build_vit
from sardino.training.checkpoint import Card, load_backbone, save_backbone

ARCHITECTURE = Architecture(width=24, depth=1, heads=3, patch=8, channels=2, tile_px=32)
CARD = Card(ARCHITECTURE, ("vv", "vh"), "dB", {"mean": [0, 1]}, {"regions": ["europe"]}, {"name": "small"})


@pytest.fixture
def saved(tmp_path):
    vit = build_vit(ARCHITECTURE)
    save_backbone(
        tmp_path / "arm", {"teacher": vit.state_dict(), "student": build_vit(ARCHITECTURE).state_dict()}, CARD
    )
    return tmp_path / "arm", vit


def test_round_trip(saved):
    folder, vit = saved
    again, card = load_backbone(folder, ("vv", "vh"), "dB")
    assert card == CARD
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in vit.state_dict().items())
    student, _ = load_backbone(folder, ("vv", "vh"), "dB", "student")
    assert not torch.equal(student.cls_token, again.cls_token)


def test_other_channels_and_units_are_refused_by_name(saved):
    with pytest.raises(SardinoError, match="trained on channels vv, vh, the data has vh"):
        load_backbone(saved[0], ("vh",), "dB")
    with pytest.raises(SardinoError, match="trained on dB, the data is in power"):
        load_backbone(saved[0], ("vv", "vh"), "power")


def test_absent_damaged_or_partial_weights_are_refused(saved, tmp_path):
    folder, _ = saved
    with pytest.raises(SardinoError, match=r"card.json is missing"):
        load_backbone(tmp_path / "nowhere", ("vv", "vh"), "dB")
    (folder / "teacher.safetensors").write_bytes((folder / "teacher.safetensors").read_bytes()[:-4])
    with pytest.raises(SardinoError, match="missing or damaged"):
        load_backbone(folder, ("vv", "vh"), "dB")


def test_weights_of_another_shape_are_refused(saved):
    folder, _ = saved
    content = json.loads((folder / "card.json").read_text())
    content["architecture"]["depth"] = 2
    (folder / "card.json").write_text(json.dumps(content))
    with pytest.raises(SardinoError, match="does not fit the architecture"):
        load_backbone(folder, ("vv", "vh"), "dB")
