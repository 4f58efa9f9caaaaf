"""Preparing data: what a profile says about composites and buffers reaches the store."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from sardino.data.places.leakage import store_leakage
from sardino.data.tiles.landcover import label_fraction
from sardino.data.tiles.store import TileStore
from sardino.errors import SardinoError
from sardino.study.preparation import prepare, tiles_to_make
from sardino.study.profile import FOLDER, Profile
from sardino.study.row import Experiment
from sardino.study.workspace import Workspace


def smoke() -> str:
    """The profile without the numbers of tiles that get pixels."""
    lines = (FOLDER / "smoke.toml").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("pool", "validation =", "test")))


def prepared(root: Path, changes: str = "", data: Path | str = "", bands: int = 5) -> TileStore:
    text = smoke()
    text = text.replace("bands = 15", f"bands = {bands}").replace("tile_px = 48", f"tile_px = 32\n{changes}")
    text = text.replace("europe = [16, 10], conus = [5, 4], china = [5, 4]", "europe = [24, 3]")
    text = text.replace('"europe", "conus", "china"', '"europe"')
    if data:
        text = text.replace('source = "world"', 'source = "store"\nfolders = ["europe"]')
    root.mkdir()
    (root / "pyproject.toml").touch()
    (root / "sardino").mkdir()
    (root / "small.toml").write_text(text)
    return prepare(opened(root, data), workers=1)["store"]


def opened(root: Path, data: Path | str = "") -> Workspace:
    return Workspace.open(str(root / "small.toml"), data, root=root)


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


FEW = """
pool = { europe = 5 }
validation = { europe = 3 }
test = { europe = 4 }
"""


@pytest.mark.parametrize("source", ["world", "store"])
def test_only_tiles_that_are_used_get_pixels_and_all_are_listed(plain: TileStore, tmp_path: Path, source: str) -> None:
    data = plain.path if source == "store" else ""
    store = prepared(tmp_path / "project", FEW, data, bands=15)
    assert not store.path.is_symlink() and set(store.listed["id"]) == set(plain.ids())
    digests = plain.index.set_index("id")["sha256"]
    assert (store.index.set_index("id")["sha256"] == digests[store.ids()]).all()
    experiment = Experiment.open(opened(tmp_path / "project", data), "europe", "unet", "scratch", torch.device("cpu"))
    assert experiment.train_ids == store.ids("train", listed=True), "a fraction is of all training tiles"
    labelled = {tile for fraction in (0.1, 1, 10) for tile in experiment.labelled_ids(fraction, 0)}
    assert labelled == experiment.space.profile.labelled(experiment.train_ids) <= set(store.ids("train"))
    assert (len(labelled), len(store.ids("train")), len(store.ids("val"))) == (4, 9, 3)
    (band,) = set(experiment.test_blocks)
    listed = store.listed[store.listed["split"] == "test"]
    assert set(experiment.test_ids) == set(listed.loc[listed["band"] == band, "id"])
    assert len(listed["band"].unique()) == (1 if data else 3)


def test_draws_know_nothing_of_seeds_and_all_their_tiles_get_pixels(plain: TileStore) -> None:
    profile = Profile.load("smoke").changed(draws=[3, 2, 2], seeds=[5, 6])
    train = plain.ids("train")
    made = plain.index["id"][tiles_to_make(profile, plain.index)]
    for fraction in profile.fractions:
        for draw, _ in profile.repetitions(fraction):
            assert set(label_fraction(train, fraction, draw)) <= set(made)
    assert profile.labelled(train) == profile.changed(seeds=[0]).labelled(train)
    assert len(made) == len(profile.labelled(train)) + 20 + 8 + len(plain.ids("test"))


def test_a_store_that_does_not_fit_the_profile_is_refused(plain: TileStore, tmp_path: Path) -> None:
    for change, message in (
        ("tile_px = 48", "32 px, needed are 48 px"),
        ("synthetic = false", "is synthetic, the profile says otherwise"),
        ('folders = ["alps"]', "has no region alps"),
    ):
        text = smoke().replace('source = "world"', 'source = "store"')
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


SPEC = """
name = "{name}"
title = "Chips of a test"
product = "test"
channels = ["vv"]
split = "{split}"
[backscatter]
files = "{{chip}}.tif"
bands = ["vv"]
unit = "db"
"""


@pytest.mark.parametrize(
    ("east_m", "split", "told"), [(1200, "train", "tile .* and "), (1280, "train", "tile "), (3200, "train", "")]
)
def test_folders_that_share_ground_are_refused_by_name(tmp_path: Path, monkeypatch, east_m: int, split: str, told: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "sardino").mkdir()
    for name, own, chips in (("north", "bands", range(0, 1600, 320)), ("south", split, [east_m])):
        Path(f"{name}.toml").write_text(SPEC.format(name=name, split=own))
        Path(name).mkdir()
        for left in chips:
            values = np.random.default_rng(left).normal(-12, 3, (1, 32, 32)).astype(np.float32)
            place = from_origin(500_000 + left, 5_500_000, 10, 10)
            with rasterio.open(
                f"{name}/{left}.tif", "w", "GTiff", 32, 32, 1, "EPSG:32631", place, "float32"
            ) as file:  # fmt: skip
                file.write(values)
    text = smoke().replace("bands = 15", "bands = 5").replace("band_angle_deg = 30", "band_angle_deg = 0")
    text = text.replace("tile_px = 48", "tile_px = 32").replace("synthetic = true", "synthetic = false")
    text = text.replace('source = "world"', 'source = "folder"\nfolders = ["north.toml", "south.toml"]')
    text = text.replace('regions = ["europe", "conus", "china"]', 'regions = ["north.toml", "south.toml"]')
    text = text.replace('regions = ["europe"]', 'regions = ["north.toml"]')
    Path("small.toml").write_text("\n".join(line for line in text.splitlines() if "regions = {" not in line))
    space = opened(tmp_path, tmp_path)
    if told:
        with pytest.raises(SardinoError, match=f"north and .*south share ground, at {told}"):
            prepare(space)
    else:
        assert len(prepare(space)["store"]) == 6
