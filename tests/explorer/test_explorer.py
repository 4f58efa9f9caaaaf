"""The explorer answers as the models' own functions do, in each place of a store or scene; its widgets ask for it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rioxarray
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backend_bases import MouseEvent
from typer.testing import CliRunner

from sardino.cli import explore as explore_module
from sardino.cli.app import app
from sardino.data.rasters.geotiff import GeoTiff, write_geotiff
from sardino.data.sources.world.synthetic import World, write_scene
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import TileStore
from sardino.dino.attention import class_attention, patch_attention, patch_tokens, rollout
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.explorer import answers as explorer_module
from sardino.explorer import places as places_module
from sardino.explorer.answers import ALIKE, CLASS, PATCH, ROLLOUT, Explorer, Look, open_explorer
from sardino.explorer.places import SceneWindows, StoreTiles
from sardino.explorer.view import ExplorerView
from sardino.reporting.figures.exploration import ATTENTION, SIMILARITY
from sardino.weights.card import Card
from sardino.weights.save import save_backbone

# ipympl's own toolbar hands its canvas to a base class that does not take it.
pytestmark = pytest.mark.filterwarnings("ignore:Passing unrecognized arguments to super.Toolbar:DeprecationWarning")
ROWS, COLUMNS, TOP, LEFT = 60, 500, 5_500_000.0, 500_000.0
"""Of a scene lower than a window and wider than one."""


@pytest.fixture(scope="module")
def store(minute_tiles) -> TileStore:
    return TileStore.open(minute_tiles)


@pytest.fixture(scope="module")
def backbone(store, tmp_path_factory) -> Path:
    """A folder as `sardino pretrain` writes it, with random weights."""
    torch.manual_seed(0)
    shape = Architecture(width=24, depth=2, heads=3, patch=8, channels=len(CHANNELS), tile_px=store.tile_px)
    statistics = Normalisation.of_store(store, store.ids("train")).to_dict()
    trained_on = {"regions": ["europe"], "tiles": 5, "gsd_m": 10.0}
    card = Card(shape, tuple(store.channels), store.unit, statistics, trained_on, {})
    folder = tmp_path_factory.mktemp("weights") / "own"
    save_backbone(folder, {"teacher": build_vit(shape).state_dict()}, card)
    return folder


@pytest.fixture(scope="module")
def explorer(store, backbone, tmp_path_factory) -> Explorer:
    return open_explorer(tmp_path_factory.mktemp("kept"), store.path, backbone)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """Random backscatter whose winter VV tells each pixel's place; its first columns are missing."""
    path = tmp_path_factory.mktemp("scene") / "a scene.tif"
    pixels = np.random.default_rng(0).normal(-12, 3, (len(CHANNELS), ROWS, COLUMNS)).astype(np.float32)
    pixels[0] = -(np.arange(ROWS)[:, None] + np.arange(COLUMNS) / 1000)
    what = GeoTiff(
        "EPSG:32631", (10, 0, LEFT, 0, -10, TOP), (ROWS, COLUMNS), CHANNELS, "float32", np.nan, {}, {"unit": "dB"}
    )
    pixels[:, :, :25] = np.nan
    with write_geotiff(path, what, False) as file:
        file.lay(pixels, 0, 0)
    return path


@pytest.fixture(scope="module")
def of_scene(scene, backbone, tmp_path_factory) -> Explorer:
    return open_explorer(tmp_path_factory.mktemp("kept"), scene, backbone)


@pytest.fixture
def images(explorer):
    return torch.from_numpy(explorer.normalisation.apply(explorer.read(explorer.places.first).backscatter[None]))


def test_it_opens_on_a_test_tile_and_offers_the_labels_first(explorer, store):
    assert explorer.places.first in store.ids("test")
    assert explorer.places.layers == ["reference", *store.layers] and len(store.layers) > 2
    assert (explorer.blocks, explorer.heads, explorer.grid) == (2, 3, (4, 4))
    assert f"{len(store)} tiles of 32 px of sardino synthetic world" in explorer.told
    assert "teacher of own, trained on 5 tiles of europe" in explorer.told


def test_figures_say_what_is_synthetic(explorer, of_scene, backbone, tmp_path):
    assert explorer.see(Look(explorer.places.first)).synthetic
    assert "synthetic" in explorer.places.overview().get_suptitle()
    assert not of_scene.see(Look(of_scene.places.first)).synthetic
    made = tmp_path / "made.tif"
    write_scene(World(), "europe", made, (32, 32))
    of_made = open_explorer(tmp_path / "kept", made, backbone)
    assert of_made.see(Look(of_made.places.first)).synthetic
    assert "synthetic" in of_made.places.overview().axes[0].get_title()


def test_maps_are_those_of_the_extraction(explorer, images):
    place, vit = explorer.places.first, explorer.vit
    for block in range(2):
        (expected,) = class_attention(vit, images, [block])
        np.testing.assert_allclose(explorer.maps(Look(place, CLASS, block)), expected[0], rtol=1e-5)
        expected = patch_attention(vit, images, [(2, 3)], block)[0, :, 0]
        np.testing.assert_allclose(explorer.maps(Look(place, PATCH, block, patch=(2, 3))), expected, rtol=1e-5)
    np.testing.assert_allclose(explorer.maps(Look(place, ROLLOUT)), rollout(vit, images), rtol=1e-5)
    last = Look(place, CLASS, -1, head=1)
    np.testing.assert_array_equal(explorer.map(last), explorer.maps(Look(place, CLASS, 1))[1])
    np.testing.assert_array_equal(explorer.map(Look(place)), explorer.maps(Look(place)).mean(0))


def test_similarity_is_the_cosine_of_the_last_blocks_tokens(explorer, images):
    tokens = patch_tokens(explorer.vit, images)[0].flatten(0, 1)
    for row, column in ((0, 0), (2, 3)):
        expected = torch.cosine_similarity(tokens, tokens[4 * row + column][None]).reshape(4, 4)
        (found,) = explorer.maps(Look(explorer.places.first, ALIKE, patch=(row, column)))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found[row, column] == pytest.approx(1) and found.max() < 1 + 1e-5


def test_another_click_in_a_place_does_not_pass_the_network_again(explorer, monkeypatch):
    place = explorer.places.first
    for origin in (PATCH, ALIKE):
        explorer.see(Look(place, origin))
    for name in ("layer_inputs", "patch_tokens"):
        monkeypatch.setattr(explorer_module, name, lambda *_: pytest.fail("computed again"))
    for block, patch in ((0, (0, 1)), (1, (3, 3))):
        assert explorer.see(Look(place, PATCH, block, head=2, patch=patch)).patch == patch
        assert explorer.see(Look(place, ALIKE, patch=patch)).patch == patch


def test_see_shows_what_was_asked(explorer):
    look = Look(explorer.places.first, PATCH, 0, 1, (1, 2), "biomass_t_ha")
    seen = explorer.see(look)
    assert (seen.said, seen.patch, seen.unit) == ("From this patch: block 1, head 2", (1, 2), ATTENTION)
    np.testing.assert_array_equal(seen.values, explorer.places.layer("biomass_t_ha", look.place))
    assert explorer.see(Look(look.place)).said == "From the class token: block 2, mean of heads"
    assert explorer.see(Look(look.place, ROLLOUT)).said == "Rollout: all 2 blocks together"
    assert explorer.see(Look(look.place)).patch is None
    alike = explorer.see(Look(look.place, ALIKE, patch=(1, 2)))
    assert (alike.patch, alike.unit) == ((1, 2), SIMILARITY) and "last block" in alike.said


def test_words_say_where_and_on_what(explorer, store):
    look = Look(explorer.places.first, PATCH, 0, 0, (1, 2))
    where, spread, classes = explorer.words(look)
    tile = store.tile(look.place)
    left, _, _, top = tile.bounds
    assert f"patch row 2, column 3, centre x {left + 200:.1f}, y {top - 120:.1f} ({tile.crs})" in where
    assert tile.region in where and "test split" in where
    row, column = np.unravel_index(explorer.map(look).argmax(), (4, 4))
    assert spread.endswith(f"on row {row + 1}, column {column + 1}") and "of 16 patches" in spread
    label = store.read([look.place])[1][0]
    weight = explorer.map(look).repeat(8, 0).repeat(8, 1)
    shares = [weight[label == index].sum() / weight.sum() for index in range(len(store.legend))]
    name = store.legend.names[int(np.argmax(shares))]
    assert classes.startswith(f"{100 * max(shares):.0f} % of it lies on {name}")
    alike = explorer.words(Look(look.place, ALIKE, patch=(1, 2)))
    assert (
        alike[0] == where and alike[1].startswith("Cosine similarity from ") and " of that tenth lies on " in alike[2]
    )


def test_maps_are_saved_in_their_place(explorer, of_scene, tmp_path):
    for one, place, name in ((explorer, explorer.places.first, None), (of_scene, "4-52", "4-52-patch-2-3-block-2.tif")):
        look = Look(place, PATCH, 1, 0, (1, 2))
        path = one.save(look, tmp_path / place)
        assert path.name == (name or f"{place}-patch-2-3-block-2.tif") and list(path.parent.iterdir()) == [path]
        with rioxarray.open_rasterio(path) as written:
            tile = one.read(place).tile
            assert written.rio.crs == tile.crs and written.rio.bounds() == tile.bounds
            assert written.attrs["from"] == "From this patch: block 2, head 1" and written.attrs["unit"] == ATTENTION
            np.testing.assert_array_equal(written.values, one.maps(look))
    assert explorer.save(Look(explorer.places.first, ROLLOUT), tmp_path).name.endswith("-rollout.tif")
    path = explorer.save(Look(explorer.places.first, ALIKE, patch=(1, 2)), tmp_path)
    with rioxarray.open_rasterio(path) as written:
        assert path.name.endswith("-similarity-2-3.tif") and written.attrs["unit"] == SIMILARITY
        assert written.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"block": 2}, "no block 2: this ViT has 2"),
        ({"head": 3}, "no head 3"),
        ({"origin": PATCH, "patch": (4, 0)}, r"\(4, 0\) is outside the grid of 4 x 4"),
        ({"layer": "moon"}, "no layer 'moon': there is reference"),
        ({"origin": "moon"}, "cannot start at 'moon'"),
        ({"place": "moon"}, "has no tile moon"),
    ],
)
def test_what_is_not_there_is_refused(explorer, wrong, sentence):
    with pytest.raises(SardinoError, match=sentence):
        explorer.see(Look(**{"place": explorer.places.first, **wrong}))


def test_every_tile_is_found_by_a_click_on_its_place_and_by_its_id(explorer, store):
    places = explorer.places
    assert len(store) > 20 and len(places.overview().axes) == len(store.regions)
    for tile in store.ids():
        panel, outline = places.outline(tile)
        assert store.regions[panel] == store.tile(tile).region
        assert places.at(panel, *outline[:-1].mean(0)) == tile
        assert places.find(f" {tile.upper()} ") == [tile]
    assert places.find("") == store.ids()
    with pytest.raises(SardinoError, match="has 'moon' in its id"):
        places.find("moon")


def test_tiles_without_a_place_are_found_by_id_alone(store):
    bare = TileStore.open(store.path)
    bare.index = bare.index.assign(crs="")
    places = StoreTiles(bare)
    assert places.outline(places.first) is None and places.at(0, 0, 0) is None
    assert places.find(places.first) == [places.first] and places.overview().axes


@settings(max_examples=30, deadline=None)
@given(row=st.integers(-50, ROWS + 50), column=st.integers(-50, COLUMNS + 50))
def test_a_click_in_a_scene_takes_the_window_about_it(of_scene, row, column):
    places = of_scene.places
    assert places.window == (56, 448)
    place = places.at(0, column, row)
    top, left = map(int, place.split("-"))
    assert 0 <= top <= ROWS - 56 and 0 <= left <= COLUMNS - 448
    for at, first, side, size in ((row, top, 56, ROWS), (column, left, 448, COLUMNS)):
        assert first == min(max(at - side // 2, 0), size - side)
    if 0 <= row < ROWS and 0 <= column < COLUMNS:
        assert places.find(f"{row}, {column}") == [place]
        panel, outline = places.outline(place)
        assert panel == 0 and (outline.min(0) <= (column, row)).all() and ((column, row) <= outline.max(0)).all()


def test_a_window_holds_the_scenes_pixels_in_their_place(of_scene):
    place = of_scene.read("4-52")
    rows, columns = np.arange(4, 60)[:, None], np.arange(52, 500) / 1000
    np.testing.assert_allclose(place.backscatter[0], -(rows + columns), rtol=1e-5)
    assert place.tile.bounds == (LEFT + 520, TOP - 600, LEFT + 5000, TOP - 40)
    assert place.said == "Rows 4 to 59, columns 52 to 499 of a scene.tif"
    assert of_scene.read("0-0").said.endswith(f", {100 * 25 / 448:.0f} % of it missing")
    assert of_scene.grid == (7, 56)
    seen = of_scene.see(Look("4-52", ALIKE, patch=(6, 55)))
    assert seen.values is None and seen.map.shape == (7, 56) and seen.map[6, 55] == pytest.approx(1)
    assert len(of_scene.words(Look("4-52"))) == 2  # of classes nothing is known


def test_what_is_no_place_of_a_scene_is_refused(of_scene, tmp_path, backbone, monkeypatch):
    places = of_scene.places
    for text in ("60, 0", "0, 500", "7", "moon", "1, 2, 3"):
        with pytest.raises(SardinoError, match=f"'{text}' is no pixel of a scene.tif: give row, column of 60 x 500"):
            places.find(text)
    for place in ("5-0", "0-53", "moon"):
        with pytest.raises(SardinoError, match=f"has no window {place}"):
            places.read(place)
    with pytest.raises(SardinoError, match="has no layer 'optical'"):
        places.layer("optical", "0-0")
    assert places.overview().axes[0].images
    monkeypatch.setattr(places_module, "MOST_PIXELS", 100)
    (axes,) = places.overview().axes
    assert not axes.images and "too large for a picture" in axes.get_title()


def test_a_scene_is_read_as_attend_reads_it(scene, store, backbone, tmp_path):
    with pytest.raises(SardinoError, match="not linear: leave --unit out"):
        open_explorer(tmp_path, scene, backbone, unit="linear")
    with pytest.raises(SardinoError, match="do not say how to read it"):
        open_explorer(tmp_path, store.path, backbone, unit="db")
    with pytest.raises(SardinoError, match="there is no scene"):
        open_explorer(tmp_path, tmp_path / "none.tif", backbone)
    with pytest.raises(SardinoError, match="holds no model"):
        open_explorer(tmp_path, scene, tmp_path)


def test_synthetic_land_is_made_once_and_kept(tmp_path, backbone, monkeypatch):
    monkeypatch.setattr(places_module, "WINDOW_PX", 32)
    first = open_explorer(tmp_path, backbone=backbone)
    assert "synthetic world" in first.told and (tmp_path / "world").is_dir()
    monkeypatch.setattr(places_module.World, "chip", lambda *_: pytest.fail("made again"))
    again = open_explorer(tmp_path, backbone=backbone)
    np.testing.assert_array_equal(again.map(Look(again.places.first)), first.map(Look(first.places.first)))


@pytest.fixture
def view(explorer, tmp_path) -> ExplorerView:
    return ExplorerView(explorer, tmp_path / "maps")


def press(canvas, axes, x: float, y: float) -> None:
    """As ipympl reports it: in pixels of the canvas, from below."""
    across, up = axes.transData.transform((x, y))
    canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", canvas, across, up, 1))


def test_a_click_in_any_panel_looks_from_there(view):
    assert view.look.origin == CLASS and view.look.head is None and view.look.block == 1
    for panel, (x, y, patch) in enumerate([(2, 30, (3, 0)), (31, 1, (0, 3)), (12, 20, (2, 1))]):
        press(view.canvas, view.figure.axes[panel], x, y)
        assert (view.look.origin, view.look.patch, view.seen.patch) == (PATCH, patch, patch)
        assert f"patch row {patch[0] + 1}, column {patch[1] + 1}" in view.words.value


def test_similarity_stays_the_mode_while_patches_are_clicked(view):
    view.origin.value = ALIKE
    before = view.seen
    assert view.head.disabled and view.block.disabled and before.unit == SIMILARITY
    press(view.canvas, view.figure.axes[1], 2, 2)
    assert view.look.origin == ALIKE and view.seen.patch == (0, 0) and not np.array_equal(view.seen.map, before.map)
    labels = [axes.get_xlabel() for axes in view.figure.axes[3:]]
    assert labels[0] == SIMILARITY


def test_a_click_beside_the_panels_changes_nothing(view):
    before = view.look
    view.canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", view.canvas, 1, 1, 1))
    view.chooser.callbacks.process("button_press_event", MouseEvent("button_press_event", view.chooser, 1, 1, 1))
    colour_bar = view.figure.axes[3]
    x, y = colour_bar.transAxes.transform((0.5, 0.5))
    view.canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", view.canvas, x, y, 1))
    assert view.look == before


def test_a_click_on_the_map_of_all_tiles_and_an_id_go_to_a_tile(view, store):
    view.overview.draw_without_rendering()
    for tile in (store.ids()[-1], store.ids("train")[0]):
        panel, outline = view.explorer.places.outline(tile)
        press(view.chooser, view.overview.axes[panel], *outline[:-1].mean(0))
        assert view.look.place == tile and f"Tile {tile}" in view.words.value
        assert [len(axes.lines) for axes in view.overview.axes] == [2 * (n == panel) for n in range(len(store.regions))]
    view.find.value = store.ids()[3]
    assert view.look.place == store.ids()[3] and view.saved.value == ""
    view.find.value = "0"
    assert "are meant: this is the first" in view.saved.value
    place = view.look.place
    view.find.value = "<moon>"
    assert view.look.place == place and "&lt;moon&gt;" in view.saved.value


def test_a_place_that_cannot_be_read_is_told_and_the_last_one_stays(of_scene, tmp_path, monkeypatch):
    view = ExplorerView(of_scene, tmp_path)
    before = view.look

    def damaged(place: str) -> None:
        raise SardinoError("<damaged>")

    monkeypatch.setattr(of_scene, "read", damaged)
    view.go_to("0-0")
    assert view.look == before and view.saved.value == "&lt;damaged&gt;"


def test_menus_change_the_picture(view):
    before = view.seen
    view.head.value = 2
    assert view.look.head == 2 and not np.array_equal(view.seen.map, before.map)
    view.block.value = 1
    assert view.seen.said == "From the class token: block 1, head 3"
    view.layer.value = "optical"
    assert view.seen.values.shape == (3, 32, 32)
    view.origin.value = ROLLOUT
    assert view.head.disabled and view.block.disabled


def test_the_button_writes_and_tells_where(view, monkeypatch):
    view.button.click()
    (path,) = view.folder.iterdir()
    assert view.saved.value == f"written: {os.path.relpath(path)}"

    def full(*_: object) -> Path:
        raise OSError("no space <left>")

    monkeypatch.setattr(view.explorer, "save", full)
    view.button.click()
    assert view.saved.value == "not written: no space &lt;left&gt;"


def test_the_command_writes_a_notebook_that_opens_the_same_and_starts_the_lab(
    scene, backbone, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started: list[list[str]] = []
    monkeypatch.setattr(explore_module.os, "execv", lambda _, words: started.append(words))
    done = CliRunner().invoke(app, ["explore", str(scene), "--backbone", str(backbone)])
    assert done.exit_code == 0, done.output
    path = tmp_path / "build/explorer/explore.ipynb"
    assert done.stdout.splitlines()[-1] == str(path) and "a scene.tif, 60 x 500 px" in done.stdout
    assert [words[1:] for words in started] == [["-m", "jupyterlab", str(path)]]
    (code,) = [cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    made: dict[str, object] = {}
    exec("".join(code), made)  # what the kernel would do
    assert isinstance(made["explorer"], Explorer) and isinstance(made["explorer"].places, SceneWindows)
    done = CliRunner().invoke(app, ["explore", str(scene), "--backbone", str(backbone), "--no-lab"])
    assert done.exit_code == 0 and len(started) == 1
    done = CliRunner().invoke(app, ["explore", str(tmp_path / "none.tif"), "--backbone", str(backbone)])
    assert done.exit_code == 2 and "there is no scene" in done.stderr and len(started) == 1
