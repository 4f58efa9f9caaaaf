"""Embeddings of a scene are its patches' tokens, in their place, in each of their files; int8 gives them back."""

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from made import ARCHITECTURE, CHANNELS, ORIGIN, UTM, backbone, backscatter, read, store, write_scene
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_validate
from test_scene_map import blended

from sardino.data.rasters.open import open_pixels
from sardino.dino.attention import patch_tokens
from sardino.errors import SardinoError
from sardino.mapping import scene_map
from sardino.mapping.job import Job
from sardino.mapping.model import load_vit
from sardino.mapping.scene_map import make_map
from sardino.weights.components import FILE, Components

ROWS, COLUMNS = 75, 100
WIDTH = ARCHITECTURE.width


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    backbone(folder / "backbone")
    values = backscatter(ROWS, COLUMNS)
    values[:, :24, :40] = np.nan  # three rows of five patches, and whole windows
    values[0, 40:60, 50:70] = np.nan  # one channel alone
    write_scene(folder / "scene.tif", values)
    store(folder / "store")
    return folder


def job(place, out, **changed):
    plain = {"device": "cpu", "threads": 1, "precision": "float32", "overlap_px": 8}
    return Job(**{"scene": place / "scene.tif", "out": out, "kind": "embedding", "model": place / "backbone"}
               | plain | changed)  # fmt: skip


@torch.inference_mode()
def wanted(place, components=None):
    model = load_vit(place / "backbone")

    def predict(images):
        tokens = patch_tokens(model.network, images)
        return (components.of(tokens) if components else tokens).movedim(-1, 1)

    values = blended(model, read(place / "scene.tif"), predict, cell=8)
    values[:, :3, :5] = np.nan
    return values


def test_a_raster_holds_the_tokens_that_a_plain_loop_gives(place, tmp_path):
    make_map(job(place, tmp_path / "e.tif"))
    np.testing.assert_allclose(read(tmp_path / "e.tif"), wanted(place), rtol=2**-10, atol=1e-4)
    assert cog_validate(tmp_path / "e.tif", strict=True, quiet=True)[0]
    with rasterio.open(tmp_path / "e.tif") as made:
        assert made.shape == (10, 13) and made.transform == Affine(80, 0, ORIGIN[0], 0, -80, ORIGIN[1])
        assert made.crs == rasterio.crs.CRS.from_string(UTM) and np.isnan(made.nodata) and made.count == WIDTH
        assert made.descriptions[::23] == ("dimension 1", "dimension 24")
        assert made.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "16" and len(made.tags()["weights_sha256"]) == 64


def test_stripes_and_another_backbones_weights(place, tmp_path, monkeypatch):
    make_map(job(place, tmp_path / "one.tif"))
    make_map(job(place, tmp_path / "student.tif", network="student"))
    monkeypatch.setattr(scene_map, "MEMORY", 1)
    make_map(job(place, tmp_path / "stripes.tif", batch=2))
    one, stripes, student = (read(tmp_path / f"{name}.tif") for name in ("one", "stripes", "student"))
    np.testing.assert_allclose(one, stripes, rtol=2**-9, atol=1e-4)
    assert np.nanmax(np.abs(student - one)) > 0.1


def test_int8_gives_the_values_back_to_half_a_step_by_gdals_scale_and_offset(place, tmp_path):
    make_map(job(place, tmp_path / "e.tif"))
    make_map(job(place, tmp_path / "i.tif", dtype="int8"))
    values = read(tmp_path / "e.tif")
    with rasterio.open(tmp_path / "i.tif") as made:
        assert made.dtypes[0] == "int8" and made.nodata == -128
        steps, scale, offset = made.read(), np.array(made.scales), np.array(made.offsets)
    assert np.array_equal(steps == -128, np.isnan(values)) and steps.max() == 127
    back = steps * scale[:, None, None] + offset[:, None, None]
    error = np.abs(back - values)[np.isfinite(values).all(0)[None].repeat(WIDTH, 0)].reshape(WIDTH, -1)
    assert (error.max(1) <= scale / 2 + 1e-6).all()
    with open_pixels(tmp_path / "i.tif") as pixels:
        ours = pixels.values(range(WIDTH), (slice(0, 10), slice(0, 13)))
    np.testing.assert_allclose(ours, np.where(np.isnan(values), np.nan, back), rtol=1e-5, atol=1e-6)


def test_a_zarr_folder_holds_what_the_geotiff_holds_and_is_opened_in_its_place(place, tmp_path):
    make_map(job(place, tmp_path / "e.tif"))
    for _ in range(2):
        make_map(job(place, tmp_path / "e.zarr", overwrite=True))
    opened = xr.open_zarr(tmp_path / "e.zarr", consolidated=False, decode_coords="all")
    assert opened.embedding.dtype == np.float16 and str(opened.band.values[0]) == "dimension 1"
    np.testing.assert_array_equal(opened.embedding.values, read(tmp_path / "e.tif"))
    assert opened.rio.crs == UTM and opened.rio.transform() == Affine(80, 0, ORIGIN[0], 0, -80, ORIGIN[1])
    with open_pixels(tmp_path / "e.zarr") as pixels:
        assert len(pixels.bands) == WIDTH and pixels.crs == UTM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.tif", "e.zarr"]


def test_components_are_fitted_once_on_training_tiles_and_taken_again(place, tmp_path, monkeypatch):
    make_map(job(place, tmp_path / "c.tif", components=5, fit=place / "store"))
    kept = tmp_path / f"c.{FILE}"
    found = Components.read(kept, load_vit(place / "backbone").sha256)
    np.testing.assert_allclose(read(tmp_path / "c.tif"), wanted(place, found.first(5)), rtol=2**-9, atol=1e-3)
    with rasterio.open(tmp_path / "c.tif") as made:
        assert made.descriptions == tuple(f"component {n}" for n in range(1, 6)) and "%" in made.tags()["explained"]
    made_at = kept.stat().st_mtime_ns
    make_map(job(place, tmp_path / "c.tif", components=5, fit=place / "store", overwrite=True))
    make_map(job(place, tmp_path / "d.tif", components=2, fit=kept))
    assert kept.stat().st_mtime_ns == made_at
    np.testing.assert_array_equal(read(tmp_path / "d.tif"), read(tmp_path / "c.tif")[:2])
    kept.rename(tmp_path / "elsewhere")
    (place / "backbone" / FILE).write_bytes((tmp_path / "elsewhere").read_bytes())
    try:
        make_map(job(place, tmp_path / "e.tif", components=2))
    finally:
        (place / "backbone" / FILE).unlink()
    np.testing.assert_array_equal(read(tmp_path / "e.tif"), read(tmp_path / "c.tif")[:2])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"components": WIDTH + 1}, rf"--components 25 is more than the {WIDTH} dimensions .*take at most {WIDTH}"),
        ({"components": 3}, r"backbone keeps no principal components .*--fit STORE"),
        ({"fit": "store"}, r"say how many with --components"),
        ({"components": 3, "fit": "scene.tif"}, r"scene\.tif holds no principal components .*--fit STORE"),
        ({"out": "e.png"}, r"embeddings of a scene are a \.tif file or a \.zarr folder, not .*e\.png"),
        ({"out": "e.zarr", "dtype": "int8"}, r"int8 takes a scale for each band, .*e\.zarr .*say \.tif, or float16"),
        ({"channels": ("a", "b", "c")}, rf"has the bands a, b, c, and the model needs {', '.join(CHANNELS)}"),
        ({"out": "scene.tif/e.tif"}, r"cannot be .*written"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_ends_in_one_sentence(place, tmp_path, changed, words):
    paths = {"out": tmp_path, "fit": place}
    if changed.get("out", "").startswith("scene.tif"):
        paths["out"] = place
    changed = {name: paths[name] / value if name in paths else value for name, value in changed.items()}
    with pytest.raises(SardinoError, match=words):
        make_map(job(place, tmp_path / "e.tif").changed(**changed))
    assert not list(tmp_path.iterdir())
