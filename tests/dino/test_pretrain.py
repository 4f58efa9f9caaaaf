import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.batches import MemoryTiles
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import Stopped, pretrain
from sardino.dino.recipe import SMALL, Run
from sardino.dino.session import Pretrained, read_log
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError

ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
FLAT = dict.fromkeys(("knn", "linear", "line", "beside"), 0.0)  # a probe that finds nothing
RECIPE = SMALL.changed(hidden=32, bottleneck=16, prototypes=64, local_crops=2)
NORMALISATION = Normalisation(("winter_vv", "winter_vh"), (0.0, 0.0), (1.0, 1.0))
IDS = [f"tile-{number}" for number in range(12)]
CPU = Parallel(torch.device("cpu"))


def made_tiles() -> MemoryTiles:
    images = torch.randn(12, 2, 32, 32, generator=torch.Generator().manual_seed(9))
    return MemoryTiles(images, torch.zeros(12, 32, 32, dtype=torch.uint8))


def run(
    folder: Path | None = None, tiles: Any = None, recipe: dict[str, Any] | None = None, **changes: Any
) -> Pretrained:
    terms = {"steps": 6, "batch": 4, "watch_every": 1} | changes
    options = {name: terms.pop(name) for name in ("probe", "about", "mismatch") if name in terms}
    made = RECIPE.changed(**(recipe or {}))
    source = tiles or made_tiles()
    return pretrain(source, IDS, NORMALISATION, ARCHITECTURE, made, Run(**terms), CPU, folder=folder, **options)


def same(first: Pretrained, second: Pretrained) -> bool:
    pairs = ((first.teacher, second.teacher), (first.student, second.student))
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


@dataclass
class Interrupting:
    """Tiles that ask this very process to stop when the n-th batch is read."""

    at: int
    tiles: MemoryTiles = field(default_factory=made_tiles)
    reads: int = 0

    def __len__(self) -> int:
        return len(self.tiles)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        self.reads += 1
        if self.reads == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.tiles.read(numbers)


def test_same_seed_same_weights_other_seed_other_weights() -> None:
    first = run()
    assert same(first, run()) and not same(first, run(seed=1))


def test_the_teacher_follows_but_is_not_the_student() -> None:
    result = run()
    assert any(not torch.equal(result.teacher[name], result.student[name]) for name in result.teacher)
    frozen = run(recipe={"momentum": 1.0})
    torch.manual_seed(0)
    start = build_vit(ARCHITECTURE).state_dict()
    assert all(torch.equal(frozen.teacher[name], start[name]) for name in start)


def test_history_has_the_signs_of_collapse() -> None:
    history = run().history
    assert history.step == list(range(6)) and history.distance[0] >= 0 < history.distance[-1]
    assert all(0 <= entropy <= history.ln_k + 1e-4 for entropy in history.teacher_entropy)
    assert all(kl >= -1e-4 for kl in history.kl) and all(share <= 1 for share in history.data_wait)


def test_stopped_by_a_signal_and_run_again_it_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="after step 3 of 6"):
        run(tmp_path, Interrupting(at=3), recipe={"drop_path": 0.2})
    assert signal.getsignal(signal.SIGTERM) is before
    counting = Interrupting(at=-1)
    resumed = run(tmp_path, counting, recipe={"drop_path": 0.2})
    assert counting.reads == 3
    whole = run(tmp_path / "whole", recipe={"drop_path": 0.2})
    assert same(resumed, whole) and resumed.history.loss == whole.history.loss
    assert [line["step"] for line in read_log(tmp_path) if "loss" in line] == list(range(6))


def test_a_finished_run_is_only_opened(tmp_path: Path) -> None:
    first, counting = run(tmp_path), Interrupting(at=-1)
    assert same(first, run(tmp_path, counting)) and counting.reads == 0


def test_another_run_in_the_folder_is_refused_by_name_or_thrown_away(tmp_path: Path) -> None:
    run(tmp_path, about={"data": "a", "code": "1"})
    run(tmp_path, about={"data": "a", "code": "2"})  # code alone is no reason to refuse
    with pytest.raises(SardinoError, match=r"data: was a, is b; recipe\.momentum: was 0\.99, is 0\.5"):
        run(tmp_path, recipe={"momentum": 0.5}, about={"data": "b"})
    counting = Interrupting(at=-1)
    run(tmp_path, counting, about={"data": "a", "code": "3"}, mismatch="restart")
    assert counting.reads == 6


def test_the_newest_snapshots_and_the_best_by_probe_stay(tmp_path: Path) -> None:
    scores = iter([0.1, 0.9, 0.3, 0.2, 0.9, 0.1])
    result = run(tmp_path, save_every=1, probe_every=1, keep=2, probe=lambda vit: {**FLAT, "linear": next(scores)})
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == [f"step-{n:08d}" for n in (2, 5, 6)]
    assert result.history.probes["step"] == [1, 2, 3, 4, 5, 6] and result.history.best_probe() == 2


def test_a_probe_changes_nothing(tmp_path: Path) -> None:
    def probe(vit: Any) -> dict[str, float]:
        assert not vit.training
        return {**FLAT, "knn": float(torch.rand(()))}

    drop = {"drop_path": 0.2}
    assert same(run(recipe=drop), run(recipe=drop, probe_every=2, probe=probe))


def test_accumulation_changes_nothing_but_rounding() -> None:
    plain, parts = run(precision="float32"), run(precision="float32", accumulate=2)
    torch.testing.assert_close(torch.tensor(plain.history.loss), torch.tensor(parts.history.loss), rtol=1e-5, atol=1e-5)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(SardinoError, match="choose a multiple of 3"):
        run(accumulate=3)
    with pytest.raises(SardinoError, match="lower the batch"):
        run(batch=14)


def test_missing_pixels_reach_the_network_as_the_mean() -> None:
    tiles = made_tiles()
    tiles.inputs[:, 0, :16] = float("nan")
    assert all(torch.isfinite(torch.tensor(run(tiles=tiles).history.loss)))


def test_a_loss_that_is_not_finite_keeps_the_batch_and_names_its_tiles(tmp_path: Path) -> None:
    tiles = made_tiles()
    tiles.inputs[5] = 1e38  # overflows once it is squared
    with pytest.raises(SardinoError, match="not finite at step") as caught:
        run(tmp_path, tiles, steps=3)
    assert "tile-5" in str(caught.value) and "lower the learning rate" in str(caught.value)
    (dump,) = tmp_path.glob("nonfinite-*.safetensors")
    with safe_open(dump, "pt") as kept:
        ids = json.loads(kept.metadata()["tile_ids"])
        assert torch.equal(kept.get_tensor("inputs_db"), tiles.inputs[[IDS.index(name) for name in ids]])


def test_a_recipe_that_stands_still_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tmp_path, recipe={"base_learning_rate": 1e-9})
    assert any("does not move" in sentence for sentence in result.warnings)
    assert capsys.readouterr().out.count("does not move") <= 1
