"""Ingest: every tile once, the same store after any interruption, and nothing left out in silence."""

import hashlib
import random
import shutil
import time
from collections import Counter
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_source import MadeSource, made_tiles

from sardino.data.sources.ingest import ingest, pack_chip, unpack_chip
from sardino.data.tiles.radiometry import pack
from sardino.data.tiles.store import TileStore
from sardino.errors import SardinoError

TILES = made_tiles(12)
SPLITS = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
BANDS = list(range(12))
KILLS = 20


def run(out: Path, source: MadeSource | None = None, **options: Any) -> TileStore:
    return ingest(source or MadeSource(), TILES, SPLITS, BANDS, out, **{"wait_s": 0.0} | options)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "store"
    run(out)
    return hashes(out)


def test_the_store_holds_what_the_source_gave(tmp_path: Path) -> None:
    store = run(tmp_path / "store")
    source = MadeSource()
    assert store.ids() == [tile.id for tile in TILES] and list(store.index["split"]) == SPLITS
    for tile in TILES:
        chip = source.chip(tile)
        values, label = store.read([tile.id])
        np.testing.assert_array_equal(pack(values[0]), pack(chip.backscatter_db))
        np.testing.assert_array_equal(label[0], chip.label)
        np.testing.assert_array_equal(store.read_layer("biomass_t_ha", [tile.id])[0], chip.layers["biomass_t_ha"])
    assert store.metadata["passes_per_season"][TILES[0].id] == [7, 7, 7, 7]
    assert store.metadata["notes"][TILES[0].id] == ["a note"] and store.metadata["left_out"] == {}
    assert not (tmp_path / "store.staging").exists()


@pytest.mark.parametrize("workers", [2, 5])
def test_the_store_does_not_depend_on_the_number_of_workers(
    tmp_path: Path, whole: dict[str, str], workers: int
) -> None:
    run(tmp_path / "store", workers=workers)
    assert hashes(tmp_path / "store") == whole


def test_killed_at_any_moment_and_resumed_the_store_is_the_same_hash_for_hash(
    tmp_path: Path, whole: dict[str, str], forks: ForkServerContext
) -> None:
    moments, out, source = random.Random(5), tmp_path / "store", MadeSource(pause_s=0.01)
    for number in range(2):  # the second tells how long a run takes once everything is loaded
        started = time.monotonic()
        child = forks.Process(target=run, args=(tmp_path / f"timed{number}", source))
        child.start()
        child.join()
    span, kills, midway = time.monotonic() - started, 0, 0
    while kills < KILLS:
        child = forks.Process(target=run, args=(out, source))
        child.start()
        child.join(moments.uniform(0.1, 0.7) * span)
        if child.is_alive():
            child.kill()
            child.join()
            kills += 1
            midway += len(list(tmp_path.glob("store.staging/*.tile"))) > 0 or (tmp_path / "store.partial").exists()
        else:  # it came through before the kill: compare, and start over
            assert child.exitcode == 0
            assert hashes(out) == whole
            shutil.rmtree(out)
    assert midway >= KILLS // 4, "the kills came too early or too late to mean anything"
    run(out, source)
    assert hashes(out) == whole and not (tmp_path / "store.staging").exists()
    assert not list(tmp_path.glob("store.*"))


def test_no_finished_tile_is_made_again(tmp_path: Path) -> None:
    source = MadeSource(diary=str(tmp_path / "diary"), faults=((TILES[7].id, "settings"),))
    with pytest.raises(SardinoError, match="settings are wrong"):
        run(tmp_path / "store", source)
    run(tmp_path / "store", MadeSource(diary=str(tmp_path / "diary")))
    calls = Counter((tmp_path / "diary").read_text().split())
    assert calls[TILES[7].id] == 2 and sum(calls.values()) <= len(TILES) + 2  # the fault, and what waited behind it


def test_a_finished_run_asked_for_again_is_only_opened(tmp_path: Path) -> None:
    source = MadeSource(diary=str(tmp_path / "diary"))
    first = run(tmp_path / "store", source)
    again = run(tmp_path / "store", source)
    assert again.fingerprint == first.fingerprint
    assert len((tmp_path / "diary").read_text().split()) == len(TILES)


def test_another_split_takes_up_the_tiles_that_are_there(tmp_path: Path) -> None:
    source = MadeSource(diary=str(tmp_path / "diary"), faults=((TILES[11].id, "left"),))
    with pytest.raises(SardinoError, match="run again"):
        run(tmp_path / "store", source, strict=True)
    store = ingest(source, TILES[:11], ["train"] * 11, BANDS[:11], tmp_path / "store")
    assert len(store) == 11
    assert max(Counter((tmp_path / "diary").read_text().split()).values()) == 1


# What goes wrong


def test_a_tile_that_cannot_be_made_is_left_out_by_id_and_reason(tmp_path: Path) -> None:
    faults = ((TILES[2].id, "left"), (TILES[4].id, "always"), (TILES[6].id, "odd"))
    store = run(tmp_path / "store", MadeSource(faults=faults), attempts=2)
    assert store.metadata["left_out"] == {
        TILES[2].id: "no valid pass in summer",
        TILES[4].id: "the server is busy, 2 times",
        TILES[6].id: "ValueError: a scene nobody foresaw",
    }
    assert store.ids() == [tile.id for n, tile in enumerate(TILES) if n not in (2, 4, 6)]
    assert list(store.index["band"]) == [n for n in range(12) if n not in (2, 4, 6)]


def test_a_passing_fault_leaves_no_trace(tmp_path: Path, whole: dict[str, str]) -> None:
    run(tmp_path / "store", MadeSource(diary=str(tmp_path / "diary"), faults=((TILES[3].id, "once"),)))
    assert hashes(tmp_path / "store") == whole
    assert Counter((tmp_path / "diary").read_text().split())[TILES[3].id] == 2


def test_strict_makes_no_store_and_the_next_run_tries_what_may_yet_come(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    busy = MadeSource(diary=str(diary), faults=((TILES[1].id, "always"), (TILES[5].id, "left")))
    with pytest.raises(SardinoError, match=f"2 of 12 tiles.*{TILES[1].id}: the server is busy"):
        run(tmp_path / "store", busy, strict=True, attempts=1)
    assert not (tmp_path / "store").exists()
    store = run(tmp_path / "store", MadeSource(diary=str(diary)))
    assert list(store.metadata["left_out"]) == [TILES[5].id]  # final, and remembered
    calls = Counter(diary.read_text().split())
    assert calls[TILES[1].id] == 2 and calls[TILES[5].id] == 1


def test_when_no_tile_can_be_made_the_first_reasons_are_told(tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match=r"12 of 12 tiles.*no valid pass in summer.*check the source"):
        run(tmp_path / "store", MadeSource(faults=tuple((tile.id, "left") for tile in TILES)))


def test_an_ingest_that_made_nothing_does_not_bind_the_corrected_one(tmp_path: Path, whole: dict[str, str]) -> None:
    for fault in ("left", "settings"):
        with pytest.raises(SardinoError):
            run(tmp_path / "store", MadeSource(version=1, faults=tuple((tile.id, fault) for tile in TILES)))
    run(tmp_path / "store")
    assert hashes(tmp_path / "store") == whole
    with pytest.raises(SardinoError, match="12 of 12"):
        run(tmp_path / "other", MadeSource(faults=tuple((tile.id, "left") for tile in TILES)))
    run(tmp_path / "other")  # of the same plan: access was granted meanwhile
    assert hashes(tmp_path / "other") == whole


def test_tiles_staged_by_another_plan_are_refused_or_thrown_away(tmp_path: Path, whole: dict[str, str]) -> None:
    other = MadeSource(version=1, faults=((TILES[7].id, "settings"),))
    with pytest.raises(SardinoError):
        run(tmp_path / "store", other)
    with pytest.raises(SardinoError, match=r"another plan \(source.version differ\)"):
        run(tmp_path / "store")
    run(tmp_path / "store", restart=True)
    assert hashes(tmp_path / "store") == whole


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store.staging").mkdir()
    (tmp_path / "store.staging" / "thesis.tex").write_text("years of work")
    with pytest.raises(SardinoError, match="no staging folder"):
        run(tmp_path / "store")
    assert (tmp_path / "store.staging" / "thesis.tex").exists()


def test_an_existing_store_is_replaced_only_on_request(tmp_path: Path, whole: dict[str, str]) -> None:
    run(tmp_path / "store", MadeSource(version=1))
    with pytest.raises(SardinoError, match="exists already"):
        run(tmp_path / "store")
    run(tmp_path / "store", overwrite=True)
    assert hashes(tmp_path / "store") == whole


def test_a_damaged_staged_tile_is_found_and_made_again(tmp_path: Path, whole: dict[str, str]) -> None:
    with pytest.raises(SardinoError):
        run(tmp_path / "store", MadeSource(faults=((TILES[11].id, "settings"),)))
    file = tmp_path / "store.staging" / f"{TILES[0].id}.tile"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(SardinoError, match="damaged"):
        run(tmp_path / "store")
    run(tmp_path / "store")
    assert hashes(tmp_path / "store") == whole


@pytest.mark.parametrize(
    ("tiles", "splits", "message"),
    [([], [], "do not match"), (TILES[:2], ["train"], "do not match"), (TILES[:1] * 2, ["train"] * 2, "twice")],
)
def test_a_list_that_no_store_can_be_made_of_is_refused_before_anything_is_fetched(
    tmp_path: Path, tiles: list, splits: list, message: str
) -> None:
    with pytest.raises(SardinoError, match=message):
        ingest(MadeSource(), tiles, splits, [0] * len(splits), tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_a_staged_chip_comes_back_as_the_store_would_keep_it() -> None:
    chip = MadeSource().chip(TILES[0])
    content, facts = pack_chip(chip)
    back = unpack_chip(content)
    np.testing.assert_array_equal(pack(back.backscatter_db), pack(chip.backscatter_db))
    np.testing.assert_array_equal(np.isnan(back.backscatter_db), np.isnan(chip.backscatter_db))
    assert facts == {"notes": ["a note"], "passes": [7, 7, 7, 7]} and back.layers.keys() == chip.layers.keys()
    with pytest.raises(ValueError, match="digest"):
        unpack_chip(content[:-1] + b"x")


def test_progress_is_told_how_many_tiles_remain(tmp_path: Path) -> None:
    told: list[int] = []

    def progress(numbers: Any, total: int) -> Any:
        told.append(total)
        return numbers

    with pytest.raises(SardinoError):
        run(tmp_path / "store", MadeSource(faults=((TILES[5].id, "settings"),)), progress=progress)
    run(tmp_path / "store", progress=progress)
    assert told[0] == 12 and 5 <= 12 - told[1] <= 7
