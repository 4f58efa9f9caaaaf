"""From a source to a tile store, tile by tile: resumable at any moment, on threads or on a Dask cluster."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sardino.data.sources.source import LeftOut, Progress, Source, Transient
from sardino.data.sources.staging import Staging, pack_chip, plan_of
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Tile
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError, first_line

log = logging.getLogger(__name__)
IN_FLIGHT = 2
"""Tiles under way per worker: one computed, one waiting, so that memory does not grow with the list."""


def ingest(
    source: Source,
    tiles: Sequence[Tile],
    splits: Sequence[str],
    bands: Sequence[int],
    out: Path,
    *,
    client: Any = None,
    workers: int = 1,
    attempts: int = 3,
    wait_s: float = 2.0,
    strict: bool = False,
    restart: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda numbers, total: numbers,
) -> TileStore:
    """Make every tile of a list from a source, and a tile store of them.

    Each finished tile is kept in `<out>.staging` at once; the same call after an interruption goes on from there
    and gives the same store, byte for byte. A tile that cannot be made is left out, never filled: its id
    and the reason stand in the store's metadata["left_out"].

    Args:
        tiles, splits, bands: as for `write_store`.
        out: folder of the store to make.
        client: dask.distributed.Client, of a LocalCluster or of any cluster; the source is sent to its workers and
            finished tiles come back, so that they need no common disk.
        workers: threads, where there is no client.
        attempts: tries of a tile that meets passing faults; what HTTP retries on its own comes on top.
        wait_s: pause before the second try, doubled each time.
        strict: leave the staging folder and raise, rather than make a store, while any tile is left out.
        restart: throw away what another or an older run has staged.
        overwrite: replace a store that is already there.
        progress: called once, with the tiles that are still to be made.

    Raises:
        SardinoError: the store exists, the staged tiles belong to another plan, no tile could be made, or one is
            left out and `strict` is set.
    """
    out = Path(out)
    plan = _plan_digest(source, tiles, splits, bands)
    folder = out.with_name(out.name + ".staging")
    if out.exists() and not overwrite:
        store = TileStore.open(out)
        if store.metadata.get("plan") != plan or restart:
            raise SardinoError(f"{out} exists already: remove it, or ask to overwrite it")
        if folder.exists():  # killed between the store's rename and the end
            Staging.open(folder, source).remove()
        return store
    staging = Staging.open(folder, source, restart)
    todo = [tile for tile in tiles if not (staging.has(tile.id) or staging.left_out(tile.id)[1])]
    make = partial(make_tile, source, attempts=attempts, wait_s=wait_s)
    with _executor(client, workers) as (pool, width):
        for _ in progress(_make_all(pool, width * IN_FLIGHT, make, todo, staging), len(todo)):
            pass
    left_out = {tile.id: staging.left_out(tile.id)[0] for tile in tiles if not staging.has(tile.id)}
    if left_out and (strict or len(left_out) == len(tiles)):
        some = "; ".join(f"{tile}: {reason}" for tile, reason in list(left_out.items())[:3])
        remedy = "run again to try those that may yet come" if len(left_out) < len(tiles) else "check the source"
        raise SardinoError(f"{len(left_out)} of {len(tiles)} tiles could not be made ({some}): {remedy}")
    kept = [number for number, tile in enumerate(tiles) if tile.id not in left_out]
    facts = {tiles[number].id: staging.facts(tiles[number].id) for number in kept}
    store = write_store(
        out,
        [tiles[number] for number in kept],
        [splits[number] for number in kept],
        lambda place: staging.read(tiles[kept[place]].id),
        channels=source.channels,
        legend=source.legend,
        product=source.product,
        synthetic=source.synthetic,
        metadata={
            **source.metadata(),
            "plan": plan,
            "left_out": left_out,
            "notes": {tile: fact["notes"] for tile, fact in facts.items() if fact["notes"]},
            "passes_per_season": {tile: fact["passes"] for tile, fact in facts.items() if fact["passes"]},
        },
        bands=[int(bands[number]) for number in kept],
        overwrite=overwrite,
    )
    staging.remove()
    return store


@dataclass(frozen=True)
class Outcome:
    """What became of a tile: its packed bytes and facts, or the reason why there are none.

    `final` is false where another run may have more luck.
    """

    content: bytes = b""
    facts: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    final: bool = True


def make_tile(source: Source, tile: Tile, attempts: int, wait_s: float) -> Outcome:
    """One tile, on whatever machine this runs.

    Raises:
        SardinoError: the source's settings are at fault, so that no tile can be made.
    """
    for attempt in range(attempts):
        try:
            return Outcome(*pack_chip(source.chip(tile)))
        except LeftOut as error:
            return Outcome(reason=str(error))
        except Transient as error:
            reason = str(error)
            log.info("tile %s, try %d of %d: %s", tile.id, attempt + 1, attempts, reason)
            if attempt + 1 < attempts:
                time.sleep(wait_s * 2**attempt)
        except SardinoError:
            raise  # a fault of the settings, the same for all tiles
        except Exception as error:
            # One odd file among a hundred thousand must not end the run; it is named as every other is.
            log.exception("tile %s", tile.id)
            return _unforeseen(error)
    return Outcome(reason=f"{reason}, {attempts} times", final=False)


def _unforeseen(error: BaseException) -> Outcome:
    return Outcome(reason=f"{type(error).__name__}: {first_line(error)}", final=False)


def _make_all(
    pool: Executor, in_flight: int, make: Callable[[Tile], Outcome], tiles: Sequence[Tile], staging: Staging
) -> Iterator[int]:
    """Make and stage tiles, few at a time; yields a number as each is done."""
    waiting: dict[Future[Outcome], int] = {}
    upcoming = iter(range(len(tiles)))
    try:
        while True:
            waiting |= {pool.submit(make, tiles[n]): n for n in islice(upcoming, in_flight - len(waiting))}
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                number = waiting.pop(future)
                try:
                    made = future.result()
                except SardinoError:
                    raise
                except (CancelledError, Exception) as error:  # the worker died, or the cluster gave the task up
                    made = _unforeseen(error)
                if made.content:
                    staging.write(tiles[number].id, made.content, made.facts)
                else:
                    staging.leave_out(tiles[number].id, made.reason, made.final)
                yield number
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def _executor(client: Any, workers: int) -> Iterator[tuple[Executor, int]]:
    """Where tiles are made, and how many at once."""
    if client is None:
        if workers < 1:
            raise SardinoError(f"an ingest needs at least one worker, not {workers}")
        with ThreadPoolExecutor(workers) as pool:
            yield pool, workers
        return
    threads = sum(client.nthreads().values())
    if not threads:
        raise SardinoError("the Dask cluster has no workers: start some, or give the address of one that has")
    # Not pure: a tile that failed is asked for again, not remembered.
    yield client.get_executor(pure=False, retries=1), threads


def _plan_digest(source: Source, tiles: Sequence[Tile], splits: Sequence[str], bands: Sequence[int]) -> str:
    """Of the source and the list; refuses a list that no store can be made of before anything is fetched."""
    if not tiles or not len(tiles) == len(splits) == len(bands):
        raise SardinoError(f"{len(tiles)} tiles, {len(splits)} splits and {len(bands)} bands do not match")
    ids = [tile.id for tile in tiles]
    if len(set(ids)) < len(ids):
        raise SardinoError(f"{len(ids) - len(set(ids))} tiles of the list appear twice: drop them")
    if len({tile.shape for tile in tiles}) > 1 or tiles[0].shape[0] != tiles[0].shape[1]:
        raise SardinoError(f"a store needs square tiles of one size, not {sorted({tile.shape for tile in tiles})}")
    whole = [plan_of(source), [[tile, str(s), int(b)] for tile, s, b in zip(ids, splits, bands, strict=True)]]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
