"""Preparing data: what a profile says about composites and buffers reaches the store."""

import shutil
from pathlib import Path

import pytest

from sardino.data.places.leakage import store_leakage
from sardino.data.tiles.store import TileStore
from sardino.errors import SardinoError
from sardino.study.preparation import prepare
from sardino.study.profile import FOLDER
from sardino.study.workspace import Workspace


def prepared(root: Path, changes: str = "", data: Path | str = "") -> TileStore:
    text = (FOLDER / "smoke.toml").read_text()
    text = text.replace("bands = 10", "bands = 5").replace("tile_px = 48", f"tile_px = 32\n{changes}")
    text = text.replace("europe = [10, 6], conus = [5, 4], china = [5, 4]", "europe = [24, 3]")
    text = text.replace('"europe", "conus", "china"', '"europe"')
    if data:
        text = text.replace('source = "world"', 'source = "store"\nfolders = ["europe"]')
    root.mkdir()
    (root / "pyproject.toml").touch()
    (root / "sardino").mkdir()
    (root / "small.toml").write_text(text)
    return prepare(Workspace.open(str(root / "small.toml"), data, root=root), workers=1)["store"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    return prepared(tmp_path_factory.mktemp("plain") / "project")


def test_without_a_buffer_every_tile_is_used(plain: TileStore) -> None:
    assert len(plain) == 72 and store_leakage(plain).smallest_m == 0
    assert plain.metadata["composite"] == "mean"


def test_a_buffer_keeps_splits_apart_and_drops_learners_first(plain: TileStore, tmp_path: Path) -> None:
    store = prepared(tmp_path / "project", "buffer_m = 200")
    assert store_leakage(store).smallest_m >= 200
    assert set(store.ids("test")) == set(plain.ids("test")) and set(store.ids()) < set(plain.ids())
    assert len(store.ids("train")) < len(plain.ids("train"))


def test_a_median_is_another_composite_of_the_same_places(plain: TileStore, tmp_path: Path) -> None:
    store = prepared(tmp_path / "project", 'composite = "median"')
    assert store.ids() == plain.ids() and store.fingerprint != plain.fingerprint
    assert store.metadata["composite"] == "median"


def test_a_store_that_is_there_is_used_as_it_is(plain: TileStore, tmp_path: Path) -> None:
    for _ in range(2):
        store = prepared(tmp_path / "project", data=plain.path)
        assert store.path.is_symlink() and store.fingerprint == plain.fingerprint
        (tmp_path / "project").rename(tmp_path / "before")
        shutil.rmtree(tmp_path / "before")
    assert len(TileStore.open(plain.path)) == 72, "removing the build leaves the store alone"


def test_a_store_that_does_not_fit_the_profile_is_refused(plain: TileStore, tmp_path: Path) -> None:
    for change, message in (
        ("tile_px = 48", "32 px, needed are 48 px"),
        ("synthetic = false", "is synthetic, the profile says otherwise"),
        ('folders = ["alps"]', "has no region alps"),
    ):
        text = (FOLDER / "smoke.toml").read_text().replace('source = "world"', 'source = "store"')
        text = text.replace("tile_px = 48", 'tile_px = 32\nfolders = ["europe"]')
        text = text.replace('"europe", "conus", "china"', '"europe"')
        key = change.split(" = ")[0]
        lines = [change if line.startswith(key + " =") else line for line in text.splitlines()]
        if "alps" in change:
            lines = [line.replace('["europe"]', '["alps"]') for line in lines]
        path = tmp_path / "other.toml"
        path.write_text("\n".join(lines))
        with pytest.raises(SardinoError, match=message):
            prepare(Workspace.open(str(path), plain.path, root=tmp_path))
