"""Images of the realism comparison: what is measured, synthetic or uncalibrated stays told apart."""

from pathlib import Path

import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.reporting.realism import draw_images, draw_statistics
from sardino.tiles.landcover import WORLDCOVER
from sardino.workflow.realism import EDGES, Image, measured_folder, measured_images, synthetic_images


def test_a_composite_has_more_looks_than_a_single_date() -> None:
    images = synthetic_images(0, 64)
    assert len(images) == 6 and all(image.synthetic for image in images)
    found = [image.statistics()["vv"] for image in images]
    assert min(f["looks"] for f in found[:3]) > 2 * max(f["looks"] for f in found[3:])
    titles = [f"{image.name}, {image.dates}" for image in images]
    assert len(set(titles)) == 6
    assert len(draw_images(dict(zip(titles, [i.polarisations["vh"] for i in images], strict=True))).axes) == 8
    synthetic = dict.fromkeys(titles, True)
    assert len(draw_statistics(dict(zip(titles, found, strict=True)), synthetic, EDGES).axes) == 3


def test_an_uncalibrated_image_states_no_level() -> None:
    db = np.random.default_rng(0).normal(-20, 3, (64, 64)).astype(np.float32)
    label = np.full((64, 64), 255, np.uint8)
    found = Image("x", {"vh": db}, label, WORLDCOVER, False, False, "single date").statistics()["vh"]
    assert "mean_db" not in found and "classes" not in found and found["looks"] > 0


def test_the_folder_comes_from_the_notebook_or_the_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("SARDINO_DATA", raising=False)
    assert measured_folder(None) is None and measured_images(None) == []
    assert measured_images(tmp_path) == []
    monkeypatch.setenv("SARDINO_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SardinoError, match="nowhere"):
        measured_folder(None)
    assert measured_folder(tmp_path) == tmp_path
