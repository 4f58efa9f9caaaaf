"""`sardino attend` and `sardino map`, from a made world through its mosaic to maps, and what they refuse."""

import sys
from pathlib import Path

import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner

from sardino.cli.app import app
from sardino.data.tiles.radiometry import CHANNELS
from sardino.mapping import model, scene_map

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))
from made import backbone, backscatter, segmenter, store, write_scene


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def place(tmp_path, monkeypatch):
    backbone(tmp_path / "backbone")
    segmenter(tmp_path / "segmenter")
    write_scene(tmp_path / "scene.tif", backscatter(70, 80))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_a_world_to_its_maps(place):
    """The mosaic is taken as it is, though it holds nine channels more than the model sees."""
    assert run("world", "world", "--tiles", "3x2", "--tile-px", "32", "--bands", "5").exit_code == 0
    assert run("tiles", "mosaic", "world", "world.tif", "--band", "channels").exit_code == 0
    made = run(
        "map", "world.tif", "-o", "cover.tif", "--confidence", "sure.tif", "--model", "segmenter", "--threads", 1
    )
    assert made.exit_code == 0, made.stderr
    assert made.stdout.split() == ["sure.tif", "cover.tif"] and "warning" not in made.stderr
    made = run("attend", "world.tif", "--out", "attention.tif", "--model", "backbone", "--block", 0, "--overlap", 8)
    assert made.exit_code == 0 and made.stdout == "attention.tif\n"
    with rasterio.open("world.tif") as scene:
        assert scene.descriptions == CHANNELS
        for name, cell in (("cover.tif", 1), ("sure.tif", 1), ("attention.tif", 8)):
            assert cog_validate(name, strict=True, quiet=True)[0]
            with rasterio.open(name) as made:
                assert made.crs == scene.crs and made.bounds == scene.bounds and made.width == scene.width / cell


def test_a_synthetic_scene_is_taken_as_it_is(place):
    made = run("scene", "demo.tif", "--size", "50x40", "--labels", "labels.tif", "--seed", 2)
    assert made.exit_code == 0 and made.stdout.split() == ["demo.tif", "labels.tif"], made.stderr
    mapped = run("map", "demo.tif", "-o", "cover.tif", "--model", "segmenter")
    assert mapped.exit_code == 0 and "warning" not in mapped.stderr, mapped.stderr
    with rasterio.open("cover.tif") as cover, rasterio.open("labels.tif") as labels:
        assert cover.shape == labels.shape == (40, 50) and cover.transform == labels.transform
        assert cover.colormap(1)[80] == labels.colormap(1)[80]
    refused = run("scene", "demo.tif")
    assert refused.exit_code == 2 and "exists already" in refused.stderr
    assert run("scene", "a.tif", "--size", "wide").exit_code == 2


def test_several_scenes_go_into_a_folder(place):
    write_scene(place / "other.tif", backscatter(40, 50))
    (place / "broken.tif").write_text("no raster")
    made = run(
        "map", "scene.tif", "broken.tif", "other.tif", "-o", "maps", "--confidence", "maps", "--model", "segmenter"
    )
    assert made.exit_code == 2 and "no map: broken.tif" in made.stderr.replace(f"{place}/", "")
    assert "1 of 3 scenes have no map" in made.stderr
    names = {f"{name}.{kind}.tif" for name in ("scene", "other") for kind in ("landcover", "confidence")}
    assert {path.name for path in (place / "maps").iterdir()} == names
    assert run("attend", "scene.tif", "-o", "maps", "--model", "backbone", "--network", "student").exit_code == 0
    assert (place / "maps" / "scene.attention.tif").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["map", "scene.tif", "-o", "m.tif"], "holds no world-segmenter of its own: .* give it with --model FOLDER"),
        (["attend", "scene.tif", "-o", "a.tif"], "holds no world-backbone of its own: .* give it with --model FOLDER"),
        (["map", "scene.tif", "-o", "m.tif", "--model", "backbone"], "holds a backbone, which tells no classes"),
        (["map", "scene.tif", "-o", "m.tif", "--model", "segmenter", "--unit", "K"], "value for '--unit'"),
        (["map", "scene.tif", "-o", "m.tif", "--model", "segmenter", "--threads", "0"], "value for '--threads'"),
        (["map", "scene.tif", "-o", "m.tif", "--model", "segmenter", "--device", "tpu"], "value for '--device'"),
        (["map", "scene.tif", "-o", "m.tif", "--model", "segmenter", "--precision", "half"], "value for '--precision'"),
        (["map", "scene.tif", "b.tif", "-o", "m.tif", "--model", "segmenter"], "go into a folder"),
        (["map", "scene.tif", "-o", "m", "--model", "segmenter", "--dask", "tcp://127.0.0.1:1"], "no Dask scheduler"),
        (["attend", "scene.tif", "-o", "a.tif", "--model", "backbone", "--network", "both"], "value for '--network'"),
        (["attend", "scene.tif", "-o", "a.tif", "--model", "backbone", "--block", "7"], "there is no block 7"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_ends_in_one_sentence(place, monkeypatch, arguments, words):
    import re

    monkeypatch.setattr(model, "PRETRAINED", place / "none")
    if "--dask" in arguments:
        from distributed import Client

        monkeypatch.setattr(Client, "__init__", lambda *a, **k: (_ for _ in ()).throw(OSError("refused")))
    done = run(*arguments)
    assert done.exit_code == 2 and re.search(words, done.stderr), done.stderr
    assert not list(place.glob("?.tif")) and not list(place.glob(".*unfinished"))


def test_the_built_in_models_are_used_where_none_is_named(place, monkeypatch):
    monkeypatch.setattr(model, "PRETRAINED", place)
    (place / "backbone").rename(place / "world-backbone")
    (place / "segmenter").rename(place / "world-segmenter")
    assert run("map", "scene.tif", "-o", "m.tif").exit_code == 0
    assert run("attend", "scene.tif", "-o", "a.tif", "--full-size").exit_code == 0
    done = run("map", "scene.tif", "-o", "n.tif", "--channels", "vv,vh,vv-vh")
    assert done.exit_code == 2 and "holds no one-date-segmenter of its own" in done.stderr


def test_ctrl_c_says_that_it_goes_on(place, monkeypatch):
    real = scene_map._fill

    def interrupted(*given, **options):
        yield next(real(*given, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(scene_map, "_fill", interrupted)
    done = run("map", "scene.tif", "-o", "m.tif", "--model", "segmenter")
    assert done.exit_code == 75 and "the same command goes on from here" in done.stderr
    monkeypatch.undo()
    monkeypatch.chdir(place)
    done = run("map", "scene.tif", "-o", "m.tif", "--model", "segmenter")
    assert done.exit_code == 0 and (place / "m.tif").exists()


def test_help_teaches(place):
    for verb in ("attend", "map", "embed"):
        page = " ".join(run(verb, "--help").stdout.split())
        assert "--threads <int range>" in page and "typing" not in page
        assert "the same command goes on" in page and f"Example: sardino {verb} scene.tif -o" in page


def test_embeddings_of_a_scene_of_several_and_of_a_store(place):
    store(place / "store")
    made = run("embed", "scene.tif", "-o", "e.tif", "--backbone", "backbone", "--components", 4, "--fit", "store")
    assert made.exit_code == 0 and made.stdout == "e.tif\n" and "warning" not in made.stderr, made.stderr
    with rasterio.open("e.tif") as raster:
        assert raster.count == 4 and raster.shape == (9, 10)
    write_scene(place / "other.tif", backscatter(40, 50))
    chosen = ("--model", "backbone", "--components", 2, "--fit", "store")
    made = run("embed", "scene.tif", "other.tif", "-o", "maps", *chosen)
    assert made.exit_code == 0, made.stderr
    names = {"components.safetensors", "scene.embedding.tif", "other.embedding.tif"}
    assert {path.name for path in (place / "maps").iterdir()} == names
    made = run("embed", "store", "-o", "t.parquet", "--model", "backbone")
    assert made.exit_code == 0 and made.stdout == "t.parquet\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["store", "-o", "e.tif"], "store is a tile store, whose embeddings are a table: give -o a .parquet"),
        (["scene.tif", "-o", "e.parquet"], "scene.tif is a scene, whose embeddings are a raster"),
        (["scene.tif", "-o", "e.csv"], "are a .tif file or a .zarr folder, not e.csv"),
        (["scene.tif", "-o", "e.tif", "--per", "patch"], "a pixel a patch in any case: leave out --per"),
        (["scene.tif", "-o", "e.tif", "--components", "25"], "--components 25 is more than the 24 dimensions"),
        (["scene.tif", "-o", "e.tif", "--channels", "a,b,c"], "has the bands a, b, c, and the model needs winter_vv"),
        (["store", "store", "-o", "e.parquet"], "is made of one tile store"),
    ],
)  # fmt: skip
def test_embeddings_that_cannot_be_made_end_in_one_sentence(place, arguments, words):
    store(place / "store")
    done = run("embed", *arguments, "--model", "backbone")
    assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list(place.glob("e.*")) and not list(place.glob(".*unfinished"))
