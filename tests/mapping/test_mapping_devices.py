"""Maps of scenes on a GPU: no tensor is left on the processor."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rasterio
from fake_gpu import MIXED, fake_gpu
from made import ARCHITECTURE, backbone, backscatter, segmenter, write_scene

from sardino.dino.vit import build_vit
from sardino.mapping import blend, scene_map
from sardino.mapping.job import Job
from sardino.mapping.scene_map import make_map, opened
from sardino.weights.card import SegmenterCard


class Inline:
    """An executor without threads, to which torch's modes would not reach; its initialiser enters autocast."""

    def __init__(self, threads: int, name: str = "", initializer: Callable[[], Any] | None = None) -> None:
        self.entered = initializer
        if initializer:
            initializer()

    def submit(self, work: Callable[..., Any], *given: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(work(*given))
        except BaseException as error:
            done.set_exception(error)
        return done

    def shutdown(self, **_: Any) -> None:
        if self.entered:
            self.entered.__self__.__exit__(None, None, None)  # type: ignore[attr-defined]

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def map_on_gpu(job: Job, monkeypatch: pytest.MonkeyPatch, forget: bool = False) -> None:
    """Make a map on a GPU that is not there, by a network of the model's shape; `forget` leaves it on the processor."""
    source, product = opened(job)
    monkeypatch.setattr(blend, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(scene_map, "MEMORY", 0)  # more than one stripe
    with fake_gpu():
        card = product.model.card
        network = card.build() if isinstance(card, SegmenterCard) else build_vit(ARCHITECTURE)
        if forget:
            network.to = lambda *_: network  # type: ignore[method-assign]
        product = replace(product, model=replace(product.model, network=network.eval()))
        monkeypatch.setattr(scene_map, "opened", lambda job: (source, product))
        make_map(job)


@pytest.mark.parametrize("kind", ["attention", "full size", "unet", "tokens", "unet_attention"])
def test_a_map(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = write_scene(tmp_path / "scene.tif", backscatter(70, 171))
    asked: dict[str, Any] = {"scene": scene, "out": tmp_path / "map.tif", "device": "cuda", "batch": 2}
    if kind in ("attention", "full size"):
        model = backbone(tmp_path / "model")
        job = Job(kind="attention", model=model, full_size=kind == "full size", **asked)
    else:
        model = segmenter(tmp_path / "model", kind)
        job = Job(kind="landcover", model=model, confidence=tmp_path / "sure.tif", **asked)
    map_on_gpu(job, monkeypatch)
    with rasterio.open(job.out) as made:
        assert made.tags()["precision"] == "bfloat16" and made.count == (3 if job.kind == "attention" else 1)


def test_a_network_left_on_the_processor_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = write_scene(tmp_path / "scene.tif", backscatter(40, 40))
    job = Job(scene=scene, out=tmp_path / "map.tif", kind="attention", model=backbone(tmp_path / "b"), device="cuda")
    with pytest.raises(RuntimeError, match=MIXED):
        map_on_gpu(job, monkeypatch, forget=True)
