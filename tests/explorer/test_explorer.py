"""The explorer answers as the models' own functions do, in the tile's place, and its widgets ask what was clicked."""

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rioxarray
import torch
from matplotlib.backend_bases import MouseEvent

from sardino.data.tiles.store import TileStore
from sardino.dino.attention import class_attention, patch_attention, rollout
from sardino.errors import SardinoError
from sardino.explorer import answers as explorer_module
from sardino.explorer.answers import CLASS, PATCH, ROLLOUT, Explorer, Look, backbone_at_hand
from sardino.explorer.view import ExplorerView
from sardino.study.arm import architecture_of
from sardino.study.workspace import Workspace
from sardino.weights.card import Card
from sardino.weights.save import save_backbone

# ipympl's own toolbar hands its canvas to a base class that does not take it.
pytestmark = pytest.mark.filterwarnings("ignore:Passing unrecognized arguments to super.Toolbar:DeprecationWarning")


@pytest.fixture(scope="module")
def space(small_world) -> Workspace:
    return Workspace.open(str(small_world / "minute.toml"), root=small_world)


@pytest.fixture(scope="module")
def store(space, minute_tiles) -> TileStore:
    shutil.copytree(minute_tiles, space.store)
    return TileStore.open(space.store)


@pytest.fixture(scope="module")
def backbone(space, store, tmp_path_factory):
    """Of a copy of the package without weights of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer_module, "PRETRAINED", tmp_path_factory.mktemp("none"))
        return backbone_at_hand(space, "europe", store)


@pytest.fixture(scope="module")
def explorer(store, backbone) -> Explorer:
    return Explorer(store, backbone.vit, backbone.normalisation)


@pytest.fixture
def images(explorer):
    return torch.from_numpy(explorer.normalisation.apply(explorer.store.read(explorer.tiles[:1])[0]))


def test_it_offers_test_tiles_and_the_labels_first(explorer, store):
    assert sorted(explorer.tiles) == sorted(store.ids("test")) and explorer.tiles
    assert explorer.layers == ["reference", *store.layers] and len(explorer.layers) > 3
    assert (explorer.blocks, explorer.heads, explorer.grid) == (2, 3, (4, 4))


def test_maps_are_those_of_the_extraction(explorer, images):
    tile, vit = explorer.tiles[0], explorer.vit
    for block in range(2):
        (expected,) = class_attention(vit, images, [block])
        np.testing.assert_allclose(explorer.maps(Look(tile, CLASS, block)), expected[0], rtol=1e-5)
        expected = patch_attention(vit, images, [(2, 3)], block)[0, :, 0]
        np.testing.assert_allclose(explorer.maps(Look(tile, PATCH, block, patch=(2, 3))), expected, rtol=1e-5)
    np.testing.assert_allclose(explorer.maps(Look(tile, ROLLOUT)), rollout(vit, images), rtol=1e-5)
    last = Look(tile, CLASS, -1, head=1)
    np.testing.assert_array_equal(explorer.map(last), explorer.maps(Look(tile, CLASS, 1))[1])
    np.testing.assert_array_equal(explorer.map(Look(tile)), explorer.maps(Look(tile)).mean(0))


def test_another_patch_of_a_block_asks_the_network_nothing(explorer, monkeypatch):
    tile = explorer.tiles[1]
    explorer.see(Look(tile, PATCH, 0, patch=(0, 0)))
    monkeypatch.setattr(explorer_module, "patch_attention", lambda *_: pytest.fail("computed again"))
    for patch in ((0, 1), (3, 3)):
        assert explorer.see(Look(tile, PATCH, 0, head=2, patch=patch)).patch == patch


def test_see_shows_what_was_asked(explorer):
    look = Look(explorer.tiles[0], PATCH, 0, 1, (1, 2), "biomass_t_ha")
    seen = explorer.see(look)
    assert seen.said == "From this patch: block 1, head 2" and seen.patch == (1, 2)
    np.testing.assert_array_equal(seen.values, explorer.store.read_layer("biomass_t_ha", [look.tile])[0])
    assert explorer.see(Look(look.tile)).said == "From the class token: block 2, mean of heads"
    assert explorer.see(Look(look.tile, ROLLOUT)).said == "Rollout: all 2 blocks together"
    assert explorer.see(Look(look.tile)).patch is None


def test_words_say_where_and_on_what(explorer):
    look = Look(explorer.tiles[0], PATCH, 0, 0, (1, 2))
    where, spread, classes = explorer.words(look)
    tile = explorer.store.tile(look.tile)
    left, _, _, top = tile.bounds
    assert f"patch row 2, column 3, centre x {left + 200:.1f}, y {top - 120:.1f} ({tile.crs})" in where
    assert tile.region in where and "test split" in where
    row, column = np.unravel_index(explorer.map(look).argmax(), (4, 4))
    assert spread.endswith(f"on row {row + 1}, column {column + 1}") and "of 16 patches" in spread
    label = explorer.store.read([look.tile])[1][0]
    weight = explorer.map(look).repeat(8, 0).repeat(8, 1)
    shares = [weight[label == index].sum() / weight.sum() for index in range(len(explorer.store.legend))]
    name = explorer.store.legend.names[int(np.argmax(shares))]
    assert classes.startswith(f"{100 * max(shares):.0f} % of it lies on {name}")


def test_maps_are_saved_in_the_tiles_place(explorer, tmp_path):
    look = Look(explorer.tiles[0], PATCH, 1, 0, (1, 2))
    path = explorer.save(look, tmp_path / "new")
    assert path.name == f"{look.tile}-patch-2-3-block-2.tif"
    assert list(path.parent.iterdir()) == [path]
    with rioxarray.open_rasterio(path) as written:
        tile = explorer.store.tile(look.tile)
        assert written.rio.crs == tile.crs and written.rio.bounds() == tile.bounds
        assert written.attrs["from"] == "From this patch: block 2, head 1"
        np.testing.assert_array_equal(written.values, explorer.maps(look))
    assert explorer.save(Look(look.tile, ROLLOUT), tmp_path).name == f"{look.tile}-rollout.tif"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"block": 2}, "no block 2: this ViT has 2"),
        ({"head": 3}, "no head 3"),
        ({"origin": PATCH, "patch": (4, 0)}, r"\(4, 0\) is outside the grid of 4 x 4"),
        ({"layer": "moon"}, "no layer 'moon': this store has reference"),
        ({"origin": "moon"}, "cannot start at 'moon'"),
        ({"tile": "moon"}, "has no tile moon"),
    ],
)
def test_what_is_not_there_is_refused(explorer, wrong, sentence):
    with pytest.raises(SardinoError, match=sentence):
        explorer.see(Look(**{"tile": explorer.tiles[0], **wrong}))


def test_the_backbone_at_hand_says_what_it_is(space, store, backbone, tmp_path):
    assert "made just now" in backbone.told and "sardino notebook pretrain-europe" in backbone.told
    assert all(math.isfinite(float(value.sum())) for value in backbone.vit.state_dict().values())
    with pytest.raises(SardinoError, match="holds no backbone"):
        backbone_at_hand(space, "europe", store, str(tmp_path))
    with pytest.raises(SardinoError, match="has no arm 'moon'; it has europe"):
        backbone_at_hand(space, "moon", store)


def test_the_network_of_the_arm_is_taken_from_the_folder_named(space, store, backbone):
    student = backbone.vit.state_dict()
    teacher = {name: torch.zeros_like(value) for name, value in student.items()}
    card = Card(
        architecture_of(space, "europe", store),
        tuple(store.channels),
        store.unit,
        backbone.normalisation.to_dict(),
        {"regions": ["europe"], "tiles": 18},
        {},
    )
    save_backbone(space.root / "kept", {"teacher": teacher, "student": student}, card)
    found = backbone_at_hand(space, "europe", store, "kept")
    assert found.told == "student of kept, pre-trained on 18 tiles of europe"
    for name, value in found.vit.state_dict().items():
        torch.testing.assert_close(value, student[name])


def test_the_built_in_one_and_the_arms_own_stand_in_for_each_other(space, store, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer_module, "PRETRAINED", tmp_path)
    own = tmp_path / "own"
    monkeypatch.setattr(type(space), "pretrain", lambda space, arm, seed=None: own)
    shape, statistics = architecture_of(space, "europe", store), backbone.normalisation.to_dict()
    card = Card(shape, tuple(store.channels), store.unit, statistics, {"regions": ["a world"], "tiles": 5}, {})
    save_backbone(tmp_path / "world-backbone", {"teacher": backbone.vit.state_dict()}, card)
    built_in = "teacher of world-backbone, pre-trained on 5 tiles of a world"
    assert backbone_at_hand(space, "europe", store).told == built_in  # the arm is not trained yet
    save_backbone(own, {"teacher": backbone.vit.state_dict()}, card)
    assert backbone_at_hand(space, "europe", store).told.startswith("teacher of own")
    assert backbone_at_hand(space, "europe", store, "built-in").told == built_in
    other = {**statistics, "channels": [f"other_{name}" for name in store.channels]}
    card = Card(shape, tuple(other["channels"]), store.unit, other, {"regions": ["a world"], "tiles": 5}, {})
    save_backbone(tmp_path / "world-backbone", {"teacher": backbone.vit.state_dict()}, card)
    assert backbone_at_hand(space, "europe", store, "built-in").told.startswith("teacher of own")
    shutil.rmtree(own)
    assert "made just now" in backbone_at_hand(space, "europe", store, "built-in").told


@pytest.fixture
def view(explorer, tmp_path) -> ExplorerView:
    return ExplorerView(explorer, tmp_path / "maps")


def click(view: ExplorerView, panel: int, x: float, y: float) -> None:
    """As ipympl reports it: in pixels of the canvas, from below."""
    across, up = view.figure.axes[panel].transData.transform((x, y))
    view.canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", view.canvas, across, up, 1))


def test_a_click_in_any_panel_looks_from_there(view):
    assert view.look.origin == CLASS and view.look.head is None and view.look.block == 1
    for panel, (x, y, patch) in enumerate([(2, 30, (3, 0)), (31, 1, (0, 3)), (12, 20, (2, 1))]):
        click(view, panel, x, y)
        assert (view.look.origin, view.look.patch, view.seen.patch) == (PATCH, patch, patch)
        assert f"patch row {patch[0] + 1}, column {patch[1] + 1}" in view.words.value


def test_a_click_beside_the_panels_changes_nothing(view):
    before = view.look
    view.canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", view.canvas, 1, 1, 1))
    colour_bar = view.figure.axes[3]
    x, y = colour_bar.transAxes.transform((0.5, 0.5))
    view.canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", view.canvas, x, y, 1))
    assert view.look == before


def test_menus_change_the_picture(view):
    before = view.seen
    view.head.value = 2
    assert view.look.head == 2 and not np.array_equal(view.seen.attention, before.attention)
    view.block.value = 1
    assert view.seen.said == "From the class token: block 1, head 3"
    view.layer.value = "optical"
    assert view.seen.values.shape == (3, 32, 32)
    view.origin.value = ROLLOUT
    assert view.head.disabled and view.block.disabled
    view.tile.value = view.explorer.tiles[2]
    assert view.explorer.tiles[2] in view.words.value


def test_the_button_writes_and_tells_where(view, monkeypatch):
    view.button.click()
    (path,) = view.folder.iterdir()
    assert view.saved.value == f"written: {os.path.relpath(path)}"

    def full(*_: object) -> Path:
        raise OSError("no space <left>")

    monkeypatch.setattr(view.explorer, "save", full)
    view.button.click()
    assert view.saved.value == "not written: no space &lt;left&gt;"
