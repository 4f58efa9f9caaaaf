"""The STAC path under measure: its speed beside bare reads, its memory, and what faults and kills do to it.

    python benchmarks/ingest.py [--quick]

Serves an archive of the synthetic world's scenes on 127.0.0.1 (the tests' own STAC server) and ingests from it:
tiles per second against odc-stac reading the same scenes onto the same grids in the same run, peak memory of
four times the area, a third of all requests failing, and 20 SIGKILLs at random moments.
"""

import argparse
import hashlib
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from row import Row, write_benchmark

from sardino.data.sources.ingest import ingest
from sardino.data.sources.stac.catalogue import Catalogue, HttpPolicy
from sardino.data.sources.stac.source import StacSource, geobox
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Tile
from sardino.reporting.record import peak_memory_mb

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "data" / "sources"))
from stac_archive import Archive, build_archive  # noqa: E402
from stac_server import StacServer  # noqa: E402

MORE = 1.15
"""Memory that four times the area may take, of what the area takes."""
THREADS = 2


@contextmanager
def served(archive: Archive, **faults: Any) -> Iterator[StacServer]:
    """The archive on a port of its own, so that GDAL remembers nothing of an earlier run."""
    server = StacServer(archive.folder, archive.items, page=100)
    try:
        with server.failing(**faults):
            yield server
    finally:
        server.close()


def source_at(url: str) -> StacSource:
    return StacSource(2020, catalogue=Catalogue(url, policy=HttpPolicy(6, 0.01, 2)), threads=1)


def store_of(url: str, tiles: list[Tile], out: Path) -> TileStore:
    """An ingest of all tiles; also what the children of the memory and the kill test run."""
    count = len(tiles)
    splits = ["train", "val", "test", *["train"] * count][:count]
    return ingest(source_at(url), tiles, splits, [0] * count, out, workers=THREADS, attempts=6, wait_s=0.01)


def throughput(archive: Archive, repeats: int) -> tuple[float, float]:
    """Tiles per second of the whole path, and of bare odc-stac reads of its scenes; medians, taken by turns."""
    from odc.stac import load

    whole, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats + 1):
            with served(archive) as server:
                started = time.perf_counter()
                store_of(server.url, archive.tiles, Path(folder) / f"store{number}")
                whole.append(len(archive.tiles) / (time.perf_counter() - started))
            with served(archive) as server:
                chosen = source_at(server.url)
                started = time.perf_counter()
                for tile in archive.tiles:
                    scenes = chosen.scenes(tile)
                    load(scenes, ["vv", "vh"], geobox=geobox(tile), groupby="id", resampling="bilinear", pool=THREADS)
                bare.append(len(archive.tiles) / (time.perf_counter() - started))
    return median(whole[1:]), median(bare[1:])  # the first warms libraries up


def _peak(url: str, tiles: list[Tile], out: str, answer: Any) -> None:
    store_of(url, tiles, Path(out))
    status = Path("/proc/self/status")
    if status.is_file():  # elsewhere the peak of the parent may count, which the child began as
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        answer.put(int(line.split()[1]) / 1024)
    else:
        answer.put(peak_memory_mb())


def memory(archive: Archive, small: int) -> tuple[float, float]:
    """Peak memory in MiB of an ingest of `small` tiles, and of four times as many, each in a process of its own."""
    fresh = multiprocessing.get_context("spawn")
    peaks = []
    with tempfile.TemporaryDirectory() as folder, served(archive) as server:
        for count in (small, 4 * small):
            answer = fresh.Queue()
            arguments = (server.url, archive.tiles[:count], f"{folder}/store{count}", answer)
            child = fresh.Process(target=_peak, args=arguments)
            child.start()
            peaks.append(float(answer.get(timeout=240)))
            child.join()
    return peaks[0], peaks[1]


def faults(archive: Archive, share: float) -> tuple[float, bool]:
    """Share of tiles that are complete while requests fail, and whether the store is that of a faultless run."""
    with tempfile.TemporaryDirectory() as folder:
        with served(archive) as server:
            clean = store_of(server.url, archive.tiles, Path(folder) / "clean")
        with served(archive, share=share, seed=8, stall=0.01) as server:
            store = store_of(server.url, archive.tiles, Path(folder) / "faulty")
        return len(store) / len(archive.tiles), store.fingerprint == clean.fingerprint


def kills(archive: Archive, count: int) -> tuple[int, bool]:
    """SIGKILLs at random moments of ingests, each resumed; whether every file of the store came out the same."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["sardino.data.sources.ingest", "sardino.data.sources.stac.source", "odc.stac"])
    moments, done, same = random.Random(0), 0, True
    with tempfile.TemporaryDirectory() as folder, served(archive) as server:
        out, span = Path(folder) / "store", 0.0
        for number in range(2):
            started = time.perf_counter()
            child = forks.Process(target=store_of, args=(server.url, archive.tiles, Path(folder) / f"whole{number}"))
            child.start()
            child.join()
            span = time.perf_counter() - started
        truth = hashes(Path(folder) / "whole0")
        while done < count:
            child = forks.Process(target=store_of, args=(server.url, archive.tiles, out))
            child.start()
            child.join(moments.uniform(0.2, 0.9) * span)
            if child.is_alive():
                child.kill()
                child.join()
                done += 1
            else:
                same &= hashes(out) == truth
                out.rename(Path(folder) / f"came-through-{done}-{time.monotonic_ns()}")
        store_of(server.url, archive.tiles, out)
        return done, same and hashes(out) == truth


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def measure(quick: bool) -> list[Row]:
    """All rows; `quick` runs everything on as little as shows that it runs."""
    size = 64 if quick else 256
    with tempfile.TemporaryDirectory() as folder:
        large = build_archive(Path(folder) / "large", size, 4, 1 if quick else 4)
        small = build_archive(Path(folder) / "small", 64, 3, 1)
        whole, bare = throughput(large, 1 if quick else 3)
        one, four = memory(large, 1 if quick else 4)
        complete, same = faults(small, 0.3)
        killed, identical = kills(small, 2 if quick else 20)
    where = f"{size} px, {THREADS} threads"
    return [
        Row(
            f"STAC to store, {where}",
            whole,
            "tiles/s",
            "bare odc-stac reads of the same scenes",
            bare,
            whole / bare,
            0.6,
            kind="limit",
        ),
        Row("Ingest of 4 times the area, peak", four, "MiB", "the area", one, one / four, 1 / MORE),
        Row("30 % HTTP faults, complete and identical", complete * same, "of tiles", bar=1.0, kind="least"),
        Row(f"{killed} SIGKILLs, resumed, store identical", float(identical), "of stores", bar=1.0, kind="least"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small run of each, to see that all works")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "ingest.json")
    chosen = parser.parse_args()
    started = time.monotonic()
    print(write_benchmark(measure(chosen.quick), chosen.out))
    print(f"{chosen.out} written after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
