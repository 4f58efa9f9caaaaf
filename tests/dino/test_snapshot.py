import json
import shutil
from pathlib import Path

import pytest
import torch

from sardino.dino import snapshot
from sardino.dino.parallel import Parallel, weights_of
from sardino.dino.recipe import SMALL, Rates
from sardino.dino.step import Learner
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError

ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
RECIPE = SMALL.changed(hidden=32, bottleneck=16, prototypes=64, local_crops=2)
CONFIG = {"channels": ["winter_vv", "winter_vh"], "unit": "dB", "recipe": {"momentum": 0.9}, "code": "1"}


def made(seed: int = 0, **changes: object) -> Learner:
    return Learner(ARCHITECTURE, RECIPE.changed(**changes), Parallel(torch.device("cpu")), seed=seed)


def step(learner: Learner, frozen: bool = False) -> None:
    draw = torch.Generator().manual_seed(3)
    views = torch.randn(2, 4, 2, 32, 32, generator=draw), torch.randn(2, 4, 2, 16, 16, generator=draw)
    learner.step([views], 1, Rates(1e-3, 0.1, 0.9, 0.04, frozen))


@pytest.mark.parametrize("frozen", [True, False])
def test_it_brings_back_every_tensor_and_the_next_step_is_the_same(tmp_path: Path, frozen: bool) -> None:
    learner = made()
    step(learner, frozen)  # frozen prototypes have no moments yet
    snapshot.save(tmp_path, learner, 1, CONFIG, {"loss": [1.0]})
    found = snapshot.newest(tmp_path)
    assert found is not None and (found.step, found.config, found.history) == (1, CONFIG, {"loss": [1.0]})
    other = made(seed=7)
    snapshot.restore(found, other, CONFIG)
    for one in (learner, other):
        step(one)
    for a, b in ((learner.student, other.student), (learner.teacher, other.teacher)):
        first, second = weights_of(a), weights_of(b)
        assert all(torch.equal(first[name], second[name]) for name in first)
    moving = learner.objective.moving
    assert all(torch.equal(value, other.objective.moving[name]) for name, value in moving.items())


def test_a_damaged_or_half_written_one_is_passed_over(tmp_path: Path) -> None:
    learner = made()
    for number in (1, 2, 3):
        snapshot.save(tmp_path, learner, number, CONFIG, {})
    file = tmp_path / "step-00000003" / "teacher.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    (tmp_path / "step-00000002" / "state.json").unlink()
    (tmp_path / ".step-00000009.1.partial").mkdir()
    found = snapshot.newest(tmp_path)
    assert found is not None and found.step == 1
    with pytest.raises(SardinoError, match="damaged"):
        snapshot.open_snapshot(tmp_path / "step-00000003")
    snapshot.save(tmp_path, learner, 4, CONFIG, {})
    assert not list(tmp_path.glob(".*"))


def test_none_is_none(tmp_path: Path) -> None:
    assert snapshot.newest(tmp_path) is None and snapshot.newest(tmp_path / "nowhere") is None


def test_another_version_is_refused(tmp_path: Path) -> None:
    snapshot.save(tmp_path, made(), 1, CONFIG, {})
    file = tmp_path / "step-00000001" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 99}))
    with pytest.raises(SardinoError, match="start the training anew"):
        snapshot.open_snapshot(file.parent)


def test_other_channels_units_or_recipe_are_named(tmp_path: Path) -> None:
    snapshot.save(tmp_path, made(), 1, CONFIG, {})
    found = snapshot.newest(tmp_path)
    assert found is not None
    for key, value, told in (
        ("channels", ["winter_vv"], "channels: was winter_vv, winter_vh, is winter_vv"),
        ("unit", "linear", "unit: was dB, is linear"),
        ("recipe", {"momentum": 0.5}, r"recipe\.momentum: was 0\.9, is 0\.5"),
    ):
        with pytest.raises(SardinoError, match=told):
            snapshot.restore(found, made(), CONFIG | {key: value})
    snapshot.restore(found, made(), CONFIG | {"code": "2"})


def test_a_network_of_another_shape_is_refused_whole(tmp_path: Path) -> None:
    snapshot.save(tmp_path, made(), 1, CONFIG, {})
    found = snapshot.newest(tmp_path)
    assert found is not None
    other = made(seed=7, prototypes=32)
    before = weights_of(other.student)
    with pytest.raises(SardinoError, match="does not fit"):
        snapshot.restore(found, other, CONFIG)
    after = weights_of(other.student)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    for number in range(1, 6):
        (tmp_path / f"step-{number:08d}").mkdir()
    snapshot.prune(tmp_path, keep=2, best=1)
    assert [path.name[-1] for path in sorted(tmp_path.iterdir())] == ["1", "4", "5"]
    snapshot.prune(tmp_path, keep=0)
    assert not list(tmp_path.iterdir())
    shutil.rmtree(tmp_path)


def test_a_damaged_later_one_does_not_outlive_the_good(tmp_path: Path) -> None:
    learner = made()
    for number in (1, 3):
        snapshot.save(tmp_path, learner, number, CONFIG, {})
    (tmp_path / "step-00000003" / "state.json").write_text("{")
    snapshot.save(tmp_path, learner, 2, CONFIG, {})  # gone on from step 1
    snapshot.prune(tmp_path, keep=1)
    found = snapshot.newest(tmp_path)
    assert found is not None and found.step == 2


def test_a_full_disk_ends_in_a_sentence_and_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = made()
    snapshot.save(tmp_path, learner, 1, CONFIG, {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "save_file", full)
    with pytest.raises(SardinoError, match=r"step-00000002 cannot be .*No space left.* make room"):
        snapshot.save(tmp_path, learner, 2, CONFIG, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
