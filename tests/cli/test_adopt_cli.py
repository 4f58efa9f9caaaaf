"""`sardino adopt` as people call it: weights of others become a folder that maps scenes, or one sentence."""

import json
import sys
from pathlib import Path

import pytest
import rasterio
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from typer.testing import CliRunner

from sardino.cli.app import app
from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.vit import encode
from sardino.errors import SardinoError
from sardino.weights.save import load_backbone

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))
from made import backscatter, write_scene

SAID = ("--channels", "vv,vh", "--unit", "dB", "--mean", "-12,-19", "--std", "2.5,3")
# ssl4eo_dataset.py of github.com/zhu-xlab/SSL4EO-S12: S1_MEAN and S1_STD, of which normalize() makes 0 to 1.
S1_MEAN, S1_STD = (-12.54847273, -20.19237134), (5.25697717, 5.91150917)


def adopt(*arguments):
    return CliRunner().invoke(app, ["adopt", *map(str, arguments)])


def tiny(channels=2, width=24, **changed):
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "in_chans": channels, "embed_dim": width, "depth": 1, "num_heads": 3}
    return VisionTransformer(**(sizes | changed)).eval()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"teacher": {f"backbone.{name}": w for name, w in tiny().state_dict().items()}}, "dino.pth")
    return tmp_path


def test_dual_polarisation_of_one_date_maps_a_scene(place):
    write_scene(place / "scene.tif", backscatter(70, 80)[:2], names=("vv", "vh"))
    made = adopt("dino.pth", "own", "--from", "dino", "--heads", 3, *SAID, "--gsd-m", 10, "--licence", "apache-2.0")
    assert made.exit_code == 0 and made.stdout == "own/teacher.safetensors\n", made.stderr
    assert "ViT 24-1/8, 3 heads, tiles of 32 px" in made.stderr and "vh: (dB - -19) / 3" in made.stderr
    mapped = CliRunner().invoke(app, ["attend", "scene.tif", "-o", "heads.tif", "--model", "own"])
    assert mapped.exit_code == 0 and "warning" not in mapped.stderr, mapped.stderr
    with rasterio.open("heads.tif") as heads:
        assert heads.count == 3


def test_the_folder_says_where_its_weights_are_from(place):
    adopt("dino.pth", "own", "--from", "dino", "--heads", 3, *SAID, "--licence", "cc-by-4.0", "--product", "my GRD")
    vit, card = load_backbone(Path("own"), ("vv", "vh"), "dB")
    assert card.adopted["place"] == "teacher.backbone" and card.adopted["file"] == "dino.pth"
    assert card.trained_on == {"product": "my GRD"} and card.recipe == {}
    assert torch.equal(vit.cls_token, tiny().cls_token)
    page = Path("own/README.md").read_text(encoding="utf-8")
    for words in ("license: cc-by-4.0", "**pre-trained elsewhere**", "| file | dino.pth |", "my GRD", "import timm"):
        assert words in page
    assert "synthetic" not in page and "{" not in page.replace("dict", "")
    with pytest.raises(SardinoError, match="own were adopted, as teacher: ask for that, not student"):
        load_backbone(Path("own"), ("vv", "vh"), "dB", "student")


def test_registers_come_back(place):
    theirs = tiny(reg_tokens=4, no_embed_class=True)
    save_file(theirs.state_dict(), "timm.safetensors")
    made = adopt("timm.safetensors", "own", "--from", "timm", "--heads", 3, *SAID, "--tile", 48)
    assert made.exit_code == 0 and "3 heads, 4 registers, tiles of 48 px" in made.stderr
    vit, card = load_backbone(Path("own"), ("vv", "vh"), "dB")
    assert card.architecture.registers == 4 and card.architecture.tile_px == 48
    assert encode(vit, torch.randn(1, 2, 32, 32)).attention.shape == (1, 3, 4, 4)
    page = Path("own/README.md").read_text(encoding="utf-8")
    assert "reg_tokens=4" in page and "the class token, 4 registers, then the patches" in page


def test_the_input_that_ssl4eo_s12_published(place):
    """Decibels between mean - 2 std and mean + 2 std become 0 to 1, as its data set's code has it."""
    made = adopt("dino.pth", "own", "--from", "ssl4eo-s12", "--heads", 3, "--channels", "summer_vv,summer_vh")
    assert made.exit_code == 0, made.stderr
    card = json.loads(Path("own/card.json").read_text())
    values = backscatter(8, 8)[:2]
    expected = [(v - (m - 2 * s)) / (4 * s) for v, m, s in zip(values, S1_MEAN, S1_STD, strict=True)]
    normal = Normalisation.from_dict(card["normalisation"]).apply(values)
    torch.testing.assert_close(torch.from_numpy(normal), torch.stack([*map(torch.from_numpy, expected)]).float())
    assert card["trained_on"]["gsd_m"] == 10 and card["channels"] == ["summer_vv", "summer_vh"]


def test_colours_that_are_fed_with_scaled_decibels(place):
    save_file(tiny(3).state_dict(), "rgb.safetensors")
    options = ("--channels", "winter_vv,spring_vv,fall_vv", "--unit", "0..1", "--mean", "0.485,0.456,0.406")
    made = adopt(
        "rgb.safetensors", "own", "--from", "dino", "--heads", 3, *options, "--std", "0.25", "--range", "-25,0"
    )
    assert made.exit_code == 0, made.stderr
    normal = json.loads(Path("own/card.json").read_text())["normalisation"]
    values = backscatter(8, 8)
    expected = ((values + 25) / 25 - [[[0.485]], [[0.456]], [[0.406]]]) / 0.25
    applied = Normalisation.from_dict(normal).apply(values)
    torch.testing.assert_close(torch.from_numpy(applied), torch.from_numpy(expected).float())


def test_what_is_not_said_is_asked_for_and_never_guessed(place):
    def refused(words, *options, file="dino.pth", out="own"):
        told = adopt(file, out, *options)
        assert told.exit_code == 2 and words in told.stderr and not Path("own/card.json").exists(), told.stderr

    refused("Missing option '--from'", *SAID)
    refused("Invalid value for '--from'", "--from", "elsewhere", *SAID)
    refused("how many heads a ViT of width 24 has", "--from", "dino", *SAID)
    known = ("--from", "dino", "--heads", 3)
    refused("say --channels, --unit, --mean, --std", *known)
    refused("say --unit, --mean, --std", "--from", "torchgeo", "--heads", 3, "--channels", "vh,vv")
    refused("takes 2 channels, and --channels gives 1", *known, *SAID, "--channels", "vv")
    refused("takes 2 channels, and --std gives 3", *known, *SAID, "--std", "1,2,3")
    refused("channel vv is constant or empty", *known, *SAID, "--std", "0")
    refused("--range is two rising numbers", *known, *SAID, "--range", "-25,0")
    refused("'mean.0'", *known, *SAID, "--mean", "high")
    refused("5 heads do not divide", "--from", "dino", "--heads", 5, *SAID)
    refused("does not divide a tile of 30 px", *known, *SAID, "--tile", 30)
    refused("none.pth cannot be read or written (No such file or directory): check the name", *known, file="none.pth")
    Path("page.pth").write_text("<html>")
    refused("is no file of weights", *known, file="page.pth")


def test_a_folder_with_a_backbone_is_replaced_by_wish_alone(place):
    options = ("--from", "dino", "--heads", 3, *SAID)
    assert adopt("dino.pth", "own", *options).exit_code == 0
    again = adopt("dino.pth", "own", *options)
    assert again.exit_code == 2 and "own holds a backbone already" in again.stderr
    assert adopt("dino.pth", "own", *options, "--overwrite").exit_code == 0
