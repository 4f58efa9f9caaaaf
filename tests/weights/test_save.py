"""A backbone comes back whole or not at all, from files that tell what they are."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from timm.models.vision_transformer import VisionTransformer

from sardino.dino.recipe import SMALL
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.weights.card import Card, timm_call
from sardino.weights.save import load_backbone, save_backbone

ARCHITECTURE = Architecture(width=24, depth=1, heads=3, patch=8, channels=2, tile_px=32)
NORMALISATION = {"channels": ["vv", "vh"], "mean": [-11.5, -18.25], "std": [2.5, 3.0], "unit": "dB"}
TRAINED_ON = {"regions": ["europe"], "tiles": 9, "fingerprint": "f00d", "product": "a world", "synthetic": True}
CARD = Card(
    *(ARCHITECTURE, ("vv", "vh"), "dB", NORMALISATION, TRAINED_ON, SMALL.to_dict()),
    run={"steps": 3, "batch": 4, "seed": 0},
    code_revision="c0de",
)
Saved = tuple[Path, VisionTransformer]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    torch.manual_seed(0)
    vit, student = build_vit(ARCHITECTURE), build_vit(ARCHITECTURE)
    save_backbone(tmp_path / "arm", {"teacher": vit.state_dict(), "student": student.state_dict()}, CARD)
    return tmp_path / "arm", vit


def change(folder: Path, **changes: Any) -> None:
    """Write other values into a card; None takes one away."""
    content = json.loads((folder / "card.json").read_text()) | changes
    (folder / "card.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_round_trip(saved: Saved) -> None:
    folder, vit = saved
    again, card = load_backbone(folder, ("vv", "vh"), "dB")
    assert card == CARD
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in vit.state_dict().items())
    student, _ = load_backbone(folder, ("vv", "vh"), "dB", "student")
    assert not torch.equal(student.pos_embed, again.pos_embed)
    assert {path.name for path in folder.iterdir()} == {
        *("teacher.safetensors", "student.safetensors", "card.json", "README.md")
    }


def test_a_backbone_that_sees_texture_comes_back_and_is_not_called_timms(tmp_path: Path) -> None:
    card = replace(CARD, architecture=Architecture(**ARCHITECTURE.to_dict(), texture=True))
    vit = build_vit(card.architecture)
    save_backbone(tmp_path, {"teacher": vit.state_dict()}, card)
    again, read = load_backbone(tmp_path, ("vv", "vh"), "dB")
    assert read == card and torch.equal(again.patch_embed.texture.weight, vit.patch_embed.texture.weight)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "library_name: sardino" in page and "import timm" not in page and "see local deviations" in page


def test_weights_alone_tell_what_they_are(saved: Saved) -> None:
    with safe_open(saved[0] / "student.safetensors", "pt") as file:
        said = json.loads(file.metadata()["sardino-backbone"])
    assert (said["network"], said["channels"], said["unit"]) == ("student", ["vv", "vh"], "dB")
    assert said["normalisation"] == NORMALISATION and said["trained_on"]["synthetic"] is True
    assert said["timm"] == timm_call(ARCHITECTURE, "student.safetensors")


def test_equal_weights_are_equal_files_whatever_the_revision(saved: Saved, tmp_path: Path) -> None:
    """The library writes several keys of a header in any order: there is one."""
    folder, vit = saved
    digests = save_backbone(tmp_path / "again", {"teacher": vit.state_dict()}, replace(CARD, code_revision="other"))
    assert digests["teacher"] == json.loads((folder / "card.json").read_text())["sha256"]["teacher"]
    with safe_open(folder / "teacher.safetensors", "pt") as file:
        assert len(file.metadata()) == 1


def test_a_card_of_version_1_still_loads(saved: Saved) -> None:
    folder, vit = saved
    change(folder, version=1, run=None, code_revision=None)
    again, card = load_backbone(folder, ("vv", "vh"), "dB")
    assert torch.equal(again.pos_embed, vit.pos_embed)
    assert card == replace(CARD, run={}, code_revision="")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 3}, "version 3, this code reads 1 to 2: update sardino"),
        ({"version": None}, "version None, this code reads"),
        ({"format": "other"}, "is no card of a sardino-backbone"),
        ({"recipe": None, "unit": None}, "lacks unit, recipe"),
        ({"architecture": {"width": 24}}, "is damaged"),
        ({"channels": ["vv"]}, "a backbone of 2 channels cannot take vv"),
        ({"unit": "power"}, "normalisation is not of its channels vv, vh in power"),
    ],
)
def test_a_card_that_cannot_be_right_is_refused(saved: Saved, changes: dict[str, Any], told: str) -> None:
    change(saved[0], **changes)
    with pytest.raises(SardinoError, match=told) as error:
        load_backbone(saved[0], ("vv", "vh"), "dB")
    assert str(saved[0] / "card.json") in str(error.value)


def test_other_channels_and_units_are_refused_by_name(saved: Saved) -> None:
    with pytest.raises(SardinoError, match="trained on channels vv, vh, and the data holds vh: "):
        load_backbone(saved[0], ("vh",), "dB")
    with pytest.raises(SardinoError, match="trained on channels vv, vh, and the data holds vh, vv: "):
        load_backbone(saved[0], ("vh", "vv"), "dB")
    with pytest.raises(SardinoError, match="trained on backscatter in dB, and the data holds power: "):
        load_backbone(saved[0], ("vv", "vh"), "power")


def test_absent_damaged_or_partial_weights_are_refused(saved: Saved, tmp_path: Path) -> None:
    folder, _ = saved
    with pytest.raises(SardinoError, match=r"card.json is missing"):
        load_backbone(tmp_path / "nowhere", ("vv", "vh"), "dB")
    (folder / "teacher.safetensors").write_bytes((folder / "teacher.safetensors").read_bytes()[:-4])
    with pytest.raises(SardinoError, match="missing or damaged"):
        load_backbone(folder, ("vv", "vh"), "dB")
    (folder / "card.json").write_text("{")
    with pytest.raises(SardinoError, match="is not JSON"):
        load_backbone(folder, ("vv", "vh"), "dB")


def test_one_network_is_not_taken_for_the_other(saved: Saved) -> None:
    folder, _ = saved
    (folder / "student.safetensors").replace(folder / "teacher.safetensors")
    with pytest.raises(SardinoError, match="missing or damaged"):
        load_backbone(folder, ("vv", "vh"), "dB")


@pytest.mark.parametrize("depth", [0, 2])
def test_weights_of_another_shape_are_refused(saved: Saved, depth: int) -> None:
    """A weight too few and one too many."""
    change(saved[0], architecture=ARCHITECTURE.to_dict() | {"depth": depth})
    with pytest.raises(SardinoError, match="does not fit the architecture"):
        load_backbone(saved[0], ("vv", "vh"), "dB")


def test_a_write_that_was_cut_leaves_no_card(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, vit = saved

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("sardino.weights.save.save_file", full)
    with pytest.raises(SardinoError, match="no space"):
        save_backbone(folder, {"teacher": vit.state_dict()}, CARD)
    with pytest.raises(SardinoError, match=r"card.json is missing"):
        load_backbone(folder, ("vv", "vh"), "dB")
