"""A segmenter comes back whole or not at all, with what it must be used with."""

import json
from dataclasses import replace

import pytest
import torch

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError
from sardino.mapping.model import PRETRAINED
from sardino.weights.card import SegmenterCard, segmenter_page
from sardino.weights.save import load_segmenter, save_segmenter

CARD = SegmenterCard(
    encoding="unet_attention",
    architecture=Architecture(width=24, depth=1, heads=3, patch=8, channels=2, tile_px=32),
    decoder={"unet_width": 4, "unet_depth": 2, "decoder_width": 16},
    channels=("vv", "vh"),
    unit="dB",
    normalisation={"channels": ["vv", "vh"], "mean": [-11.5, -18.25], "std": [2.5, 3.0], "unit": "dB"},
    legend=WORLDCOVER.to_dict(),
    trained_on={"regions": ["europe"], "gsd_m": 10.0, "synthetic": True},
    measured={"mIoU on the test tiles": 0.25},
)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = CARD.build().eval()
    save_segmenter(tmp_path / "model", model, CARD)
    return tmp_path / "model", model


@pytest.mark.parametrize("encoding", ["attention", "tokens", "unet", "unet_attention", "hybrid"])
def test_round_trip_gives_the_same_logits(tmp_path, encoding):
    torch.manual_seed(0)
    card = replace(CARD, encoding=encoding)
    model = card.build().eval()
    save_segmenter(tmp_path, model, card)
    again, read = load_segmenter(tmp_path)
    images = torch.randn(2, 2, 32, 32)
    assert read == card and read.classes == WORLDCOVER and not again.training
    assert torch.equal(model(images), again(images))


def test_the_page_says_what_it_saw_and_how_well_it_did(saved):
    text = (saved[0] / "README.md").read_text()
    assert "synthetic world" in text and "0.250" in text and "Mangroves" in text
    assert {path.name for path in saved[0].iterdir()} == {"segmenter.safetensors", "segmenter.json", "README.md"}


@pytest.mark.parametrize("name", ["world-segmenter", "one-date-segmenter"])
def test_the_built_in_pages_are_as_this_version_writes_them(name):
    assert (PRETRAINED / name / "README.md").read_text() == segmenter_page(*SegmenterCard.read(PRETRAINED / name))


def test_a_missing_half_written_or_damaged_one_is_refused(saved, tmp_path):
    folder = saved[0]
    with pytest.raises(SardinoError, match="holds no trained segmenter"):
        load_segmenter(tmp_path / "none")
    content = json.loads((folder / "segmenter.json").read_text())
    for wrong, words in (
        ({"format": "other"}, "is no card"),
        ({"version": 9}, "of version 9"),
        ({"encoding": "words"}, "no encoding is named 'words'"),
        ({"architecture": {}}, "is damaged"),
        ({"unit": "linear"}, "normalisation is not of"),
        ({"channels": ["vv"]}, "cannot take vv"),
        ({"sha256": "0"}, "missing or damaged"),
    ):
        (folder / "segmenter.json").write_text(json.dumps(content | wrong))
        with pytest.raises(SardinoError, match=words):
            load_segmenter(folder)
    (folder / "segmenter.json").write_text(json.dumps(content | {"decoder": content["decoder"] | {"unet_width": 8}}))
    with pytest.raises(SardinoError, match="does not fit the architecture"):
        load_segmenter(folder)
    (folder / "segmenter.json").write_text("{")
    with pytest.raises(SardinoError, match="is not JSON"):
        load_segmenter(folder)


def test_a_full_disk_leaves_nothing_that_is_taken_for_whole(saved, monkeypatch):
    folder, model = saved

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sardino.weights.save.save_file", full)
    with pytest.raises(SardinoError, match=r"segmenter.safetensors cannot be .* make room"):
        save_segmenter(folder, model, CARD)
    with pytest.raises(SardinoError, match="holds no trained segmenter"):
        load_segmenter(folder)
