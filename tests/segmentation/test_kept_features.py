"""Features of a frozen backbone on disk: the same numbers as without, made once, never served damaged."""

import json
import threading

import numpy as np
import pytest
import torch

from sardino.dino.batches import MemoryTiles
from sardino.dino.turns import Turned, turned_ids
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.segmentation import kept_features as features_module
from sardino.segmentation.finetune import Settings, finetune, predict, tile_confusions
from sardino.segmentation.kept_features import ARRAYS, Features, FeatureTiles, key_of
from sardino.segmentation.segmenter import build_segmenter

CPU = torch.device("cpu")
ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
IDS = [f"tile{n}" for n in range(20)]
ABOUT = {"data": "abc"}
ENCODINGS = ("attention", "tokens", "unet_attention", "hybrid")


def tiles():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (len(IDS), 32, 32), generator=generator).to(torch.uint8)
    return MemoryTiles(torch.randn(len(IDS), 2, 32, 32, generator=generator), labels)


def arm(encoding="tokens", seed=0, **changes):
    torch.manual_seed(seed)
    sizes = dict(channels=2, classes=3, unet_width=8, unet_depth=2, decoder_width=16)
    vit = build_vit(Architecture(**{**ARCHITECTURE.to_dict(), **changes}))
    return build_segmenter(encoding, vit, frozen=True, **sizes)


def kept(folder, model=None, turned=False, **options):
    said = []
    source, ids = (Turned(tiles()), turned_ids(IDS)) if turned else (tiles(), IDS)
    found = Features.of(model or arm(), source, ids, ABOUT, folder, CPU, tell=said.append, **options)
    return found, said[-1]


def part(ids):
    """The images of some tiles."""
    return MemoryTiles(*tiles().read([IDS.index(i) for i in ids]))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_training_and_test_on_kept_features_give_the_numbers_of_images(encoding, tmp_path):
    train, judged, test = IDS[:8], IDS[8:12], IDS[12:]
    outcomes = []
    for cached in (False, True):
        model = arm(encoding)
        plain, turned = (kept(tmp_path, model, turned)[0] if cached else None for turned in (False, True))

        def source(ids, features=plain, model=model):
            return part(ids) if features is None else FeatureTiles(features, ids, model.join, part(ids))

        settings = Settings(steps=6, growth=0, looks=5, precision="float32")
        result = finetune(model, source(train, turned), source(judged), settings, classes=3, seed=0, device=CPU)
        confusions = tile_confusions(model, source(test), 3, CPU, "float32")
        outcomes.append((result, confusions, predict(model, source(test), CPU, "float32")))
    (plain, plain_matrices, plain_maps), (fast, fast_matrices, fast_maps) = outcomes
    # Bit for bit on most machines; where the size of a batch decides the order of a sum, up to float32's rounding.
    assert fast.losses == pytest.approx(plain.losses, rel=1e-6)
    assert np.abs(fast_matrices - plain_matrices).sum() <= 2 and (fast_maps != plain_maps).sum() <= 1


def test_features_are_made_once_and_then_read(tmp_path, monkeypatch):
    first, said = kept(tmp_path)
    assert said.startswith(f"tokens of 20 tiles ({first.folder.name})") and said.endswith("made and kept")
    monkeypatch.setattr(features_module, "_make", None)  # a second making would fail
    second, said = kept(tmp_path)
    assert said.endswith("read from disk") and second.folder == first.folder
    assert isinstance(second.values, np.memmap) and not list(tmp_path.glob("*.partial"))
    with torch.no_grad():
        np.testing.assert_allclose(second.values, arm().encode(tiles().inputs).numpy(), rtol=1e-5, atol=1e-6)


def test_a_cache_is_named_by_all_it_follows_from():
    keys = [
        key_of(arm(), IDS, ABOUT, CPU),
        key_of(arm(seed=1), IDS, ABOUT, CPU),
        key_of(arm(heads=6), IDS, ABOUT, CPU),
        key_of(arm("attention"), IDS, ABOUT, CPU),
        key_of(arm(), IDS[1:], ABOUT, CPU),
        key_of(arm(), IDS, {"data": "abd"}, CPU),
    ]
    assert len(set(keys)) == len(keys) and key_of(arm(), IDS, ABOUT, CPU) == keys[0]
    assert key_of(arm("unet_attention"), IDS, ABOUT, CPU) == keys[3], "the same maps serve both"
    assert key_of(arm("hybrid"), IDS, ABOUT, CPU) == keys[0], "and the same tokens"


@pytest.mark.parametrize("name", [*ARRAYS, "features.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "lost"])
def test_a_damaged_cache_is_made_anew(name, how, tmp_path):
    first, _ = kept(tmp_path)
    whole = np.array(first.values)
    path = first.folder / name
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[-5] ^= 1
    path.unlink() if how == "lost" else path.write_bytes(content[: len(content) // 2] if how == "cut" else content)
    second, said = kept(tmp_path)
    assert "made anew" in said and "damaged" in said
    np.testing.assert_array_equal(second.values, whole)
    assert kept(tmp_path)[1].endswith("read from disk") and len(list(tmp_path.iterdir())) == 1


def test_runs_that_make_the_same_features_at_once_all_get_them(tmp_path, monkeypatch):
    barrier, results = threading.Barrier(3), []
    write = features_module._write

    def together(*arguments):
        digests = write(*arguments)
        barrier.wait(timeout=30)
        return digests

    monkeypatch.setattr(features_module, "_write", together)
    models = [arm() for _ in range(3)]  # one after the other: their weights come from one generator
    runs = [threading.Thread(target=lambda m=model: results.append(kept(tmp_path, m)[0])) for model in models]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(results) == 3 and all(np.array_equal(r.values, results[0].values) for r in results)
    assert [path.name for path in tmp_path.iterdir()] == [results[0].folder.name]


def test_what_a_killed_run_left_is_not_taken_for_a_cache(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(features_module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path)
    monkeypatch.undo()
    assert kept(tmp_path)[1].endswith("made and kept")


def test_a_cache_over_the_budget_is_not_made_and_says_so(tmp_path):
    found, said = kept(tmp_path, most_bytes=1000)
    assert found is None and said.endswith("not kept") and "more than the 1e-06 GB allowed" in said
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_with_its_remedy(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features_module, "_write", full)
    with pytest.raises(SardinoError, match=r"No space left.*feature_cache_gb = 0"):
        kept(tmp_path)
    assert not list(tmp_path.iterdir())


def test_features_of_a_backbone_that_trains_are_refused(tmp_path):
    model = arm()
    model.frozen = False
    with pytest.raises(SardinoError, match="only a frozen backbone"):
        kept(tmp_path, model)


def test_the_card_of_a_cache_holds_its_digests(tmp_path):
    found, _ = kept(tmp_path)
    assert set(json.loads((found.folder / "features.json").read_text())) == set(ARRAYS)
