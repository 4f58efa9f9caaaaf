"""Figures of a report: small, described, in the paper's order, with the colours of the legend untouched."""

import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.errors import SardinoError
from sardino.reporting.pages import TOLD, illustrations


def write(path, pixels):
    Image.fromarray(pixels).save(path)


def test_order_is_the_papers_then_what_is_new_and_parts_are_left_out(tmp_path):
    for stem in (
        "fig5_heads-all",
        "fig5_heads",
        "attention_scores",
        "realism",
        "fig5",
        "fig1",
        "sun_angle",
        "pretraining-europe",
        "pretraining",
        ".fig2.7",
    ):
        write(tmp_path / f"{stem}.png", np.zeros((4, 4, 3), np.uint8))
    shown = illustrations(tmp_path)
    known = ["fig1", "fig5", "attention_scores", "pretraining", "realism"]
    assert [figure.stem for figure in shown] == [*known, "sun_angle"]
    names = ["**Figure 1", "**Figure 5", "**Attention scores", "**Pretraining"]
    assert [figure.caption.split(".")[0] for figure in shown][:4] == names
    assert shown[-1].caption == "**Sun angle.**" and shown[-1].alt == "Sun angle"
    assert all(told["alt"].endswith(".") and told["caption"].endswith(".") for told in TOLD.values())


def test_a_palette_keeps_the_legends_colours_beside_an_image(tmp_path):
    """Speckle needs most of the colours; the map beside it must not pay for that."""
    rng = np.random.default_rng(0)
    colours = np.array([ImageColor.getrgb(colour) for colour in WORLDCOVER.colors], np.uint8)
    flat = colours[rng.integers(len(colours), size=(16, 16))].repeat(16, 0).repeat(16, 1)
    noise = rng.normal(128, 30, flat.shape).clip(0, 255).astype(np.uint8)
    write(tmp_path / "fig2.png", np.concatenate([flat, noise], 1))
    (figure,) = illustrations(tmp_path)
    small = np.asarray(Image.open(io.BytesIO(figure.png)).convert("RGB"))
    np.testing.assert_array_equal(small[:, :256], flat)
    assert len(figure.png) < (tmp_path / "fig2.png").stat().st_size / 2


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "fig1.png").write_text("no image")
    with pytest.raises(SardinoError, match=r"fig1\.png is not an image"):
        illustrations(tmp_path)
