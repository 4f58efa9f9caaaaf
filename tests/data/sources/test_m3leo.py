"""M3LEO from a hub: the requests that the hub's client makes, pieces that add up, and nothing outside the folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_folder import STEM, identifier, write_folder
from hub_server import COMMIT, Hub, serve

from sardino.data.sources.archives.m3leo import AREAS, DATASETS, Area, Downloaded, HubFile, HubFolder, download
from sardino.data.sources.archives.source import open_archive
from sardino.errors import SardinoError

AREA = Area("conus")
TILE = f"{STEM}/s1grd-2020/{identifier(0)}.tif"


@pytest.fixture(autouse=True)
def anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr("sardino.data.sources.archives.m3leo.WAIT_S", 0.01)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    write_folder(tmp_path / "hub", 5, suffix="_miniset")
    (tmp_path / "hub" / ".gitattributes").write_text("*.tif filter=lfs\n")
    with serve(tmp_path / "hub", AREA.repository) as running:
        yield running


def fetch(hub: Hub, folder: Path, **choices: Any) -> Downloaded:
    return download(AREA, folder, endpoint=hub.endpoint, tile_px=32, workers=2, **choices)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".m3leo.json"
    }


def test_names_of_the_areas_are_those_of_the_cards() -> None:
    assert Area("europe").tables == (
        "europe_partitions_aschips_2f8bd3f01ddd5_miniset.geojson",
        "europe_partitions_aschips_2f8bd3f01ddd5_splits_60bands_angle09_60-20-20_miniset.csv",
    )
    assert Area("southamerica").tables[1].endswith("3219aa0f411c2_splits_60bands_angle02_60-20-20_miniset.csv")
    assert Area("pakin").repository == "M3LEO-miniset/pakin"
    assert len({name for name, _ in AREAS.values()}) == 6
    with pytest.raises(SardinoError, match="no area 'france': choose china"):
        Area("france")


def test_a_download_stands_as_the_authors_laid_it_out_and_reads_back(hub: Hub, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path / "here")
    theirs = content(hub.root)
    del theirs[".gitattributes"]
    assert content(tmp_path / "here") == theirs
    assert done.revision == COMMIT and done.absent == ()
    assert done.fetched == 2 + 5 * len(DATASETS) and done.present == 0
    archive = open_archive(done.layout)
    assert archive.chip(done.layout.tiles[0]).backscatter_db.shape == (12, 32, 32)
    assert len(archive.layers) == 4


def test_a_second_run_transfers_nothing(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path / "here")
    sent = dict(hub.sent)
    again = fetch(hub, tmp_path / "here")
    assert again.fetched == 0 and again.present == 2 + 5 * len(DATASETS)
    assert dict(hub.sent) == sent


def test_a_dropped_connection_goes_on_at_the_last_byte(hub: Hub, tmp_path: Path) -> None:
    size = (hub.root / TILE).stat().st_size
    hub.cut[TILE] = size // 3
    fetch(hub, tmp_path / "here", per_split=1)
    assert (tmp_path / "here" / TILE).read_bytes() == (hub.root / TILE).read_bytes()
    assert hub.sent[TILE] == size
    assert (TILE, f"bytes={size // 3}-") in hub.ranges


def test_a_killed_run_goes_on_at_the_last_byte(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (hub.root / TILE).stat().st_size
    hub.cut[TILE] = size // 2
    with monkeypatch.context() as patch:
        patch.setattr("sardino.data.sources.archives.m3leo.TRIES", 1)
        with pytest.raises(SardinoError, match="goes on where it stopped"):
            fetch(hub, tmp_path / "here", per_split=1)
    assert not (tmp_path / "here" / TILE).exists()
    fetch(hub, tmp_path / "here", per_split=1)
    assert hub.sent[TILE] == size  # half in each run
    assert (tmp_path / "here" / TILE).read_bytes() == (hub.root / TILE).read_bytes()
    assert not list((tmp_path / "here").rglob("*.part"))


def test_wrong_bytes_are_fetched_once_more_and_then_refused(hub: Hub, tmp_path: Path) -> None:
    right = HubFile(**_facts(hub, TILE))
    folder = HubFolder(AREA.repository, COMMIT, hub.endpoint)
    partial = tmp_path / "here" / STEM / "s1grd-2020" / f".{identifier(0)}.tif.{right.sha256[:12]}.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 100)
    assert folder.fetch(right, tmp_path / "here")
    assert (tmp_path / "here" / TILE).read_bytes() == (hub.root / TILE).read_bytes()
    wrong = HubFile(right.path, right.size, "0" * 64, "")
    (tmp_path / "here" / TILE).unlink()
    with pytest.raises(SardinoError, match="does not have the hash"):
        folder.fetch(wrong, tmp_path / "here")
    assert not (tmp_path / "here" / TILE).exists()


def test_passing_faults_of_the_server_are_waited_out(hub: Hub, tmp_path: Path) -> None:
    for number, status in enumerate((429, 500, 503)):
        hub.status[TILE.replace(identifier(0), identifier(number))] = status
    assert fetch(hub, tmp_path / "here", datasets=DATASETS[:1]).fetched == 2 + 5


def test_lasting_faults_end_in_a_sentence_and_the_next_run_completes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sardino.data.sources.archives.m3leo.TRIES", 1)
    for status, sentence in {500: "answered 500", 403: "refuses", 404: "has no"}.items():
        hub.status[TILE] = status
        with pytest.raises(SardinoError, match=sentence):
            fetch(hub, tmp_path / "here", per_split=1)
    done = fetch(hub, tmp_path / "here", per_split=1)
    assert len(done.layout.tiles) == 3 and done.absent == ()


def test_no_server_is_a_sentence(tmp_path: Path) -> None:
    with serve(tmp_path, AREA.repository) as gone:
        pass
    with pytest.raises(SardinoError, match="M3LEO-miniset/conus was not fetched"):
        fetch(gone, tmp_path / "here")


def test_an_unknown_repository_is_a_sentence(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match="the hub has no M3LEO-miniset/europe"):
        download(Area("europe"), tmp_path / "here", endpoint=hub.endpoint)


@pytest.mark.parametrize("path", ["../evil.tif", "/etc/evil", "a/../../evil", "..\\evil", "other/evil.tif", "c:evil"])
def test_a_file_name_that_leads_out_is_refused(hub: Hub, tmp_path: Path, path: str) -> None:
    hub.forged.append({"type": "file", "oid": "0" * 40, "size": 4, "path": path})
    with pytest.raises(SardinoError, match="outside its root"):
        fetch(hub, tmp_path / "here")
    assert not list(tmp_path.rglob("evil*"))


def test_chosen_tiles_and_data_sets_only(hub: Hub, tmp_path: Path) -> None:
    (hub.root / STEM / "esaworldcover-2020" / f"{identifier(4)}.tif").unlink()
    wanted = [identifier(4), identifier(1)]
    done = fetch(hub, tmp_path / "here", datasets=DATASETS[:2], identifiers=wanted)
    assert done.layout.identifiers == (identifier(1), identifier(4))
    assert done.absent == (f"esaworldcover-2020/{identifier(4)}",)
    assert done.fetched == 2 + 3
    with pytest.raises(SardinoError, match="has no tile zzz"):
        fetch(hub, tmp_path / "here", identifiers=["zzz"])
    with pytest.raises(SardinoError, match="no name of a data set"):
        fetch(hub, tmp_path / "here", datasets=["../x"])
    with pytest.raises(SardinoError, match=r"the hub has no .*gunw"):
        fetch(hub, tmp_path / "here", datasets=["gunw"])


def test_one_commit_per_folder(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path / "here", per_split=1, datasets=DATASETS[:1])
    before = len([path for path in hub.requests if path.endswith("/revision/main")])
    fetch(hub, tmp_path / "here", per_split=1, datasets=DATASETS[:1])
    assert len([path for path in hub.requests if path.endswith("/revision/main")]) == before == 1
    with pytest.raises(SardinoError, match="holds tiles of M3LEO-miniset/conus"):
        download(Area("china"), tmp_path / "here", endpoint=hub.endpoint)
    with pytest.raises(SardinoError, match="at v2"):
        fetch(hub, tmp_path / "here", revision="v2")
    (tmp_path / "here" / ".m3leo.json").write_text("{")
    with pytest.raises(SardinoError, match="is damaged"):
        fetch(hub, tmp_path / "here")


def _facts(hub: Hub, path: str) -> dict[str, Any]:
    entry = hub.entry(hub.root / path)
    return {"path": path, "size": entry["size"], "sha256": entry["lfs"]["oid"], "blob": entry["oid"]}
