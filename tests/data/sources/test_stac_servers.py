"""The same catalogue behind another server, and the same ingest on a cluster: the same tiles."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_source import MadeSource, made_tiles
from stac_archive import Archive, build_archive
from stac_server import StacServer

from sardino.data.sources.ingest import ingest
from sardino.data.sources.stac.catalogue import Catalogue, HttpPolicy
from sardino.data.sources.stac.source import StacSource
from sardino.data.tiles.store import TileStore

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
]
SPLITS, BANDS = ["train", "train", "val", "test"], [0, 1, 2, 3]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return build_archive(tmp_path_factory.mktemp("archive"), tile_px=48)


@pytest.fixture(scope="module")
def server(archive: Archive) -> Iterator[StacServer]:
    made = StacServer(archive.folder, archive.items)
    yield made
    made.close()


@pytest.fixture(scope="module")
def store(server: StacServer, archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    return run(server.url, archive, tmp_path_factory.mktemp("one") / "store")


def run(url: str, archive: Archive, out: Path, **options: Any) -> TileStore:
    source = StacSource(2020, catalogue=Catalogue(url, policy=HttpPolicy(3, 0.05, 5)))
    return ingest(source, archive.tiles, SPLITS, BANDS, out, **options)


def rustac() -> str:
    """The command beside this interpreter."""
    return shutil.which("rustac", path=str(Path(sys.executable).parent)) or "rustac"


@pytest.fixture
def independent(server: StacServer, tmp_path: Path) -> Iterator[str]:
    """URL of a rustac server over the same items; their files stay where they are."""
    names = sorted({item["collection"] for item in server.items})
    files = []
    for name in names:
        extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        facts = {"type": "Collection", "id": name, "stac_version": "1.0.0", "description": name, "license": "other"}
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(facts | {"extent": extent, "links": []}))
    files.append(tmp_path / "items.json")
    files[-1].write_text(json.dumps({"type": "FeatureCollection", "features": server.items}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [rustac(), "serve", "--addr", address, *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://{address}"
        for _ in range(200):
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "rustac did not start"
                time.sleep(0.05)
        yield url
        process.kill()


def test_an_independent_server_gives_the_same_tiles(
    independent: str, archive: Archive, store: TileStore, tmp_path: Path
) -> None:
    other = run(independent, archive, tmp_path / "store")
    assert other.metadata["url"] != store.metadata["url"]
    assert other.fingerprint == store.fingerprint
    assert other.metadata["passes_per_season"] == store.metadata["passes_per_season"]
    tile = store.ids()[3]
    for ours, theirs in zip(store.read([tile]), other.read([tile]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_cluster_gives_the_same_store(server: StacServer, archive: Archive, store: TileStore, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        Client(cluster.scheduler_address) as client,  # as any cluster: by its address
    ):
        other = run(server.url, archive, tmp_path / "store", client=client)
        assert other.fingerprint == store.fingerprint and other.metadata == store.metadata
        tiles = made_tiles(9)
        faults = ((tiles[2].id, "left"), (tiles[5].id, "odd"))
        made = ingest(
            MadeSource(faults=faults), tiles, ["train"] * 9, [0] * 9, tmp_path / "made", client=client, wait_s=0.0
        )
        assert list(made.metadata["left_out"]) == [tiles[2].id, tiles[5].id] and len(made) == 7
