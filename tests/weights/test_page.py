"""The page says what the card says, and its code runs where sardino is not installed."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.health import COLUMNS, History
from sardino.dino.recipe import RECIPES, SMALL, Recipe
from sardino.dino.vit import Architecture, build_vit
from sardino.weights.card import Card, measured_at_end, model_card, timm_call
from sardino.weights.save import save_backbone

ARCHITECTURE = Architecture(width=24, depth=2, heads=4, patch=8, channels=3, tile_px=32)
CHANNELS = ("winter_vv", "winter_vh", "winter_vv-vh")
NORMALISATION = Normalisation(CHANNELS, (-11.266470968206926, -18.1, 7.3), (2.4863588883621257, 2.5, 1.3))
TRAINED_ON = {"regions": ["europe"], "tiles": 576, "fingerprint": "f00d", "product": "a world", "synthetic": True}
CARD = Card(
    *(ARCHITECTURE, CHANNELS, "dB", NORMALISATION.to_dict(), TRAINED_ON, SMALL.to_dict()),
    run={"steps": 240, "batch": 32, "physics": {"looks": None}},
    code_revision="c0de",
)
OTHERS = [
    Architecture(width=32, depth=1, heads=2, patch=16, channels=12, tile_px=64),
    Architecture(width=36, depth=3, heads=12, patch=4, channels=1, tile_px=20),
    Architecture(width=24, depth=1, heads=2, patch=8, channels=2, tile_px=24, registers=4),
]


def blocks(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_the_code_of_the_page_loads_the_weights_with_timm_alone(tmp_path: Path) -> None:
    """In a Python that cannot import sardino: every weight, and the tokens that sardino makes of the same decibels."""
    torch.manual_seed(0)
    vit = build_vit(ARCHITECTURE, drop_path=0.1).eval()
    save_backbone(tmp_path, {"teacher": vit.state_dict(), "student": build_vit(ARCHITECTURE).state_dict()}, CARD)
    values = np.random.default_rng(0).normal(-12, 4, (2, 3, 32, 32)).astype(np.float32)
    values[0, 1, :5] = np.nan
    np.save(tmp_path / "values.npy", values)
    with_timm, with_sardino = blocks((tmp_path / "README.md").read_text(encoding="utf-8"))
    others = "\n".join(f"print(len({timm_call(other)}.state_dict()))" for other in OTHERS)
    code = f"""
import sys
sys.modules["sardino"] = None
{with_timm}
import numpy as np
values = torch.from_numpy(np.load("values.npy"))
alone = tokens(values).detach()
np.save("tokens.npy", alone.numpy())
print(sum(p.numel() for p in vit.parameters()))
{others}
del sys.modules["sardino"]
{with_sardino}
with torch.no_grad():
    patches = encode(vit.eval(), torch.from_numpy(normalisation.apply(values.numpy()))).tokens
torch.testing.assert_close(patches.flatten(1, 2), alone[:, 1:], rtol=1e-5, atol=1e-5)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = vit.forward_features(torch.from_numpy(NORMALISATION.apply(values)))
    np.testing.assert_allclose(np.load(tmp_path / "tokens.npy"), expected.numpy(), rtol=1e-5, atol=1e-5)
    counts = [sum(p.numel() for p in vit.parameters()), *(len(build_vit(other).state_dict()) for other in OTHERS)]
    assert [int(line) for line in done.stdout.split()] == counts


@pytest.mark.parametrize("architecture", [ARCHITECTURE, *OTHERS])
def test_the_call_builds_the_same_network(architecture: Architecture) -> None:
    """Names and shapes of all weights, and what no weight shows: heads, pooling, crops of other sizes."""
    import timm

    text = timm_call(architecture)
    name, *given = re.findall(r'"(\w+)",\n|    (\w+)=(.*),\n', text)
    options = {key: {"True": True, '"token"': "token"}.get(value) or int(value) for _, key, value in given}
    theirs, ours = timm.create_model(name[0], **options), build_vit(architecture)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    crop = torch.randn(2, architecture.channels, 2 * architecture.patch, 2 * architecture.patch)
    torch.testing.assert_close(theirs.eval()(crop), ours.eval()(crop), rtol=1e-5, atol=1e-6)


def test_the_page_says_what_the_card_says() -> None:
    page = model_card(CARD, {"teacher": "abc", "student": "def"}, {"a probe, mIoU": 0.61234}, ["it stood still"])
    front = page.split("---")[1]
    for line in ("library_name: timm", "license: apache-2.0", "- sentinel-1", "- sar", "- dino", "- synthetic-data"):
        assert line in front.splitlines()
    assert page.index("`winter_vv`") < page.index("`winter_vh`") < page.index("`winter_vv-vh`")
    assert "| `winter_vv` | -11.2665 | 2.4864 |" in page and "in dB" in page
    for name in SMALL.to_dict():
        assert f"| {name} | " in page
    for row in ("| prototypes | 1024 |", "| local_scale | 0.05, 0.4 |", "| steps | 240 |", "| fingerprint | f00d |"):
        assert row in page
    for row in (
        "| a probe, mIoU | 0.6123 |",
        "- it stood still",
        "| teacher.safetensors | `abc` |",
        "Code revision: c0de",
    ):
        assert row in page


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_page_names_the_objective(recipe: Recipe) -> None:
    page = model_card(replace(CARD, recipe=recipe.to_dict()), {}, {})
    assert f"\n- {recipe.objective}\n" in page and f"| objective | {recipe.objective} |" in page
    assert ("# DINO" in page) == recipe.objective.startswith("dino")
    assert "# Masked modelling" in page or "DINO" in page.split("# ")[1]


def test_synthetic_is_called_synthetic_and_measured_is_not() -> None:
    made = model_card(CARD, {}, {})
    assert "**synthetic**" in made and "no model of the Earth" in made and "synthetic" in made.split("\n# ")[1][:80]
    assert "Nothing." in made and "Warnings" not in made
    measured = model_card(replace(CARD, trained_on={**TRAINED_ON, "synthetic": False}), {}, {})
    assert "measured Sentinel-1" in measured and "**synthetic**" not in measured and "no model of" not in measured
    assert "synthetic-data" not in measured
    unknown = model_card(replace(CARD, trained_on={"regions": ["europe"]}, code_revision=""), {}, {})
    assert "is not recorded" in unknown and "Code revision: not known" in unknown


def test_the_end_of_a_history_is_measured() -> None:
    history = History(ln_k=6.9)
    assert measured_at_end(history) == {}
    for step in (0, 5):
        history.append(step, {name: step + 0.5 for name in COLUMNS if name != "step"})
    assert not any("mIoU" in name for name in measured_at_end(history))
    history.append_probe(5, {"knn": 0.4, "linear": 0.6, "line": 0.7, "beside": 0.8})
    found = measured_at_end(history)
    assert {k.split(",")[0]: v for k, v in found.items() if "mIoU" in k} == {
        "linear probe on frozen tokens": 0.6,
        "nearest neighbours on frozen tokens": 0.4,
        "linear probe on hand-made features": 0.7,
        "linear probe on frozen tokens beside these": 0.8,
    }
    assert found["loss"] == 5.5 and found["loss of a teacher that says nothing, ln K"] == 6.9
