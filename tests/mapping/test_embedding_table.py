"""A table of a store's embeddings: a row a tile or patch, with its place, the same after an interruption."""

import geopandas
import numpy as np
import pytest
import torch
from made import ARCHITECTURE, CHANNELS, backbone, store

from sardino.data.tiles.store import TileStore
from sardino.dino.attention import patch_tokens
from sardino.errors import SardinoError
from sardino.mapping import table
from sardino.mapping.job import Job
from sardino.mapping.model import load_vit
from sardino.mapping.table import make_table
from sardino.weights.components import FILE


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    backbone(folder / "backbone")
    store(folder / "store")
    return folder


def job(place, out, **changed):
    given = {"scene": place / "store", "out": out, "kind": "embedding", "model": place / "backbone", "device": "cpu"}
    return Job(**given | {"threads": 1, "precision": "float32", "batch": 2} | changed)


@torch.inference_mode()
def tokens_of(place):
    """(N, h, w, D), whether a patch has a valid pixel, and the store."""
    model, tiles = load_vit(place / "backbone"), TileStore.open(place / "store")
    db, _ = tiles.read(tiles.ids())
    seen = np.isfinite(db).any(1).reshape(-1, 4, 8, 4, 8).any((2, 4))
    return patch_tokens(model.network, torch.from_numpy(model.normalisation.apply(db))).numpy(), seen, tiles


def test_a_row_a_patch_in_its_place(place, tmp_path):
    make_table(job(place, tmp_path / "p.parquet", per="patch"))
    found, (tokens, seen, tiles) = geopandas.read_parquet(tmp_path / "p.parquet"), tokens_of(place)
    tile, row, column = np.nonzero(seen)
    assert list(found["id"]) == [tiles.ids()[number] for number in tile]
    assert np.array_equal(found["row"], row) and np.array_equal(found["column"], column)
    np.testing.assert_allclose(np.stack(found["embedding"]), tokens[seen], rtol=1e-4, atol=1e-5)
    assert found.crs == "EPSG:4326" and found["embedding"].iloc[0].dtype == np.float32
    own = tiles.tile(tiles.ids()[0])
    points = found.geometry[found["id"] == own.id].to_crs(own.crs)
    assert np.allclose([points.x.min() - own.bounds[0], own.bounds[3] - points.y.max()], 40, atol=1e-3)
    assert np.allclose(np.diff(np.unique(points.x.round(3))), 80, atol=1e-2)


def test_a_row_a_tile_is_the_mean_of_its_patches(place, tmp_path):
    make_table(job(place, tmp_path / "t.parquet"))
    found, (tokens, seen, tiles) = geopandas.read_parquet(tmp_path / "t.parquet"), tokens_of(place)
    assert list(found.columns) == ["id", "region", "split", "geometry", "embedding"]
    means = np.stack([each[own].mean(0) for each, own in zip(tokens, seen, strict=True)])
    np.testing.assert_allclose(np.stack(found["embedding"]), means, rtol=1e-4, atol=1e-5)
    assert list(found["split"]) == list(tiles.index["split"]) and 1 in seen.sum((1, 2))
    assert tiles.index.geometry.contains(found.geometry).all()


def test_the_process_has_its_threads_again(place, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        make_table(job(place, tmp_path / "t.parquet", threads=1))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_components_are_as_many_as_asked_and_kept(place, tmp_path):
    make_table(job(place, tmp_path / "t.parquet", components=3, fit=place / "store"))
    assert geopandas.read_parquet(tmp_path / "t.parquet")["embedding"].map(len).unique().tolist() == [3]
    assert (tmp_path / f"t.{FILE}").is_file()


def test_interrupted_it_goes_on_and_comes_out_byte_for_byte(place, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PART", 2 * 16 * ARCHITECTURE.width)
    make_table(job(place, tmp_path / "whole.parquet", per="patch"))
    begun = []

    def stop(parts, total):
        assert total == 3
        for part in parts:
            begun.append(part)
            if len(begun) == 2:
                raise KeyboardInterrupt
            yield part

    with pytest.raises(KeyboardInterrupt):
        make_table(job(place, tmp_path / "p.parquet", per="patch"), stop)
    assert not (tmp_path / "p.parquet").exists()
    rows, made = table._rows, []
    monkeypatch.setattr(table, "_rows", lambda *given: made.append(given) or rows(*given))
    make_table(job(place, tmp_path / "p.parquet", per="patch"))
    assert len(made) == 2
    assert (tmp_path / "p.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.parquet", "whole.parquet"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"window_px": 64}, r"is a tile store, for which window_px cannot be chosen: leave it out"),
        ({"dtype": "int8"}, r"is a tile store, for which dtype cannot be chosen"),
        ({"components": 99}, r"--components 99 is more than the 24 dimensions"),
        ({"scene": "nowhere"}, r"there is no tile store .*nowhere"),
        ({"scene": "other"}, rf"trained on channels {', '.join(CHANNELS)}, and .*other holds vv, vh: give a model"),
        ({"out": "taken.parquet"}, r"taken\.parquet exists already: .*--overwrite"),
        ({"out": "taken.parquet/t.parquet"}, r"cannot be read or written"),
    ],
)
def test_what_cannot_be_done_ends_in_one_sentence(place, tmp_path, changed, words):
    if not (place / "other").exists():
        store(place / "other", ("vv", "vh"))
    (tmp_path / "taken.parquet").write_text("taken")
    changed = {name: (place if name == "scene" else tmp_path) / value if isinstance(value, str) and name != "dtype"
               else value for name, value in changed.items()}  # fmt: skip
    with pytest.raises(SardinoError, match=words):
        make_table(job(place, tmp_path / "t.parquet").changed(**changed))
    assert [path.name for path in tmp_path.iterdir()] == ["taken.parquet"]
