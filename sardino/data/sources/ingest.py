"""From a source to a tile store, tile by tile: resumable at any moment, on threads or on a Dask cluster."""

import hashlib
import io
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sardino.data.sources.source import LeftOut, Source, SourceChip, Transient
from sardino.data.tiles.radiometry import pack, unpack
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, Tile
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError
from sardino.files import write_bytes

# Finished tiles waiting to become a store: one file a tile, written whole, checked by hash, bound to one plan.

FORMAT = 2
PLAN = "plan.json"
_DIGEST = 64


def pack_chip(chip: Chip) -> tuple[bytes, dict[str, Any]]:
    """A chip as bytes that end with their own SHA-256, and its facts.

    Backscatter is rounded to 0.01 dB as in the store; no pickle. Facts: "notes", and "passes", the median number
    of passes of each season (None where unknown).
    """
    facts: dict[str, Any] = {"notes": [], "passes": None}
    if isinstance(chip, SourceChip):
        facts["notes"] = list(chip.notes)
    arrays: dict[str, Any] = {"backscatter": pack(chip.backscatter_db), "label": chip.label}
    arrays |= {f"layer_{name}": layer for name, layer in chip.layers.items()}
    if chip.counts is not None:
        facts["passes"] = [int(np.median(season)) for season in chip.counts]
        arrays["counts"] = chip.counts
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()
    return content + hashlib.sha256(content).hexdigest().encode(), facts


def unpack_chip(content: bytes) -> Chip:
    """The chip; ValueError where the bytes are not whole."""
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("the digest does not match")
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        layers = {name.removeprefix("layer_"): arrays[name] for name in arrays.files if name.startswith("layer_")}
        counts = arrays["counts"] if "counts" in arrays.files else None
        return Chip(unpack(arrays["backscatter"]), arrays["label"], layers, counts)


@dataclass(frozen=True)
class Staging:
    """The folder of finished tiles beside a store; `open` binds it to the source that fills it.

    Splits and the list of tiles are not part of the plan: a tile's pixels do not depend on them, so that another
    list or another split of the same source takes up what is there.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path, source: Source, restart: bool = False) -> "Staging":
        """The folder, made if need be; one that another plan has filled is refused, or emptied where `restart`."""
        plan = plan_of(source)
        if restart and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / PLAN
        if file.exists():
            try:
                old = json.loads(file.read_text("utf-8"))
            except ValueError as error:
                raise SardinoError(f"{file} is damaged ({error}): restart the ingest, or remove {folder}") from error
            if old != plan:
                keys = sorted(key for key in {*old, *plan} if old.get(key) != plan.get(key))
                raise SardinoError(
                    f"{folder} holds tiles of another plan ({', '.join(keys)} differ): finish that one, restart, or "
                    f"choose another store"
                )
        elif any(not _unfinished(entry) for entry in folder.iterdir()):
            raise SardinoError(f"{folder} is no staging folder of an ingest: move it away, or choose another store")
        else:
            write_bytes(json.dumps(plan, indent=1, sort_keys=True).encode(), file)
        return cls(folder)

    def has(self, tile_id: str) -> bool:
        return (self.folder / f"{tile_id}.tile").exists()

    def read(self, tile_id: str) -> Chip:
        """A finished tile; a damaged file is removed and refused, so that the next run makes it again."""
        file = self.folder / f"{tile_id}.tile"
        try:
            return unpack_chip(file.read_bytes())
        except Exception as error:
            file.unlink(missing_ok=True)
            raise SardinoError(f"{file} is damaged ({error}) and was removed: run the ingest again") from error

    def facts(self, tile_id: str) -> dict[str, Any]:
        """Notes and passes of a finished tile."""
        facts: dict[str, Any] = json.loads((self.folder / f"{tile_id}.json").read_bytes())
        return facts

    def write(self, tile_id: str, content: bytes, facts: dict[str, Any]) -> None:
        """Keep a finished tile, from `pack_chip`; its pixels last, as they say that it is finished."""
        write_bytes(json.dumps(facts).encode(), self.folder / f"{tile_id}.json")
        write_bytes(content, self.folder / f"{tile_id}.tile")
        (self.folder / f"{tile_id}.left").unlink(missing_ok=True)

    def leave_out(self, tile_id: str, reason: str, final: bool) -> None:
        """Remember why a tile is left out; one that is not final is tried again by the next run."""
        write_bytes(json.dumps({"reason": reason, "final": final}).encode(), self.folder / f"{tile_id}.left")

    def left_out(self, tile_id: str) -> tuple[str, bool] | None:
        """Reason and whether it is final, None for a tile that is not left out."""
        try:
            facts = json.loads((self.folder / f"{tile_id}.left").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return str(facts["reason"]), bool(facts["final"])

    def remove(self) -> None:
        """Remove the folder, its plan last: a removal that is killed leaves what `open` still knows."""
        for entry in self.folder.iterdir():
            if entry.name != PLAN:
                entry.unlink()
        (self.folder / PLAN).unlink()
        self.folder.rmdir()


def plan_of(source: Source) -> dict[str, Any]:
    """What decides a tile's pixels, as JSON values."""
    plan = {
        "staging": FORMAT,
        "channels": list(source.channels),
        "legend": source.legend.to_dict(),
        "product": source.product,
        "synthetic": source.synthetic,
        **{f"source.{key}": value for key, value in source.metadata().items()},
    }
    result: dict[str, Any] = json.loads(json.dumps(plan))
    return result


def _unfinished(path: Path) -> bool:
    """Whether a killed run left this file of `write_bytes`."""
    return path.name.startswith(".") and ".partial" in path.name


log = logging.getLogger(__name__)
Progress = Callable[[Iterable[int], int], Iterable[int]]
"""Wraps a loop over tiles and is told how many there are, for example `lambda n, total: tqdm(n, total=total)`."""
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
        source: where the pixels come from.
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
        progress: see Progress; called once, with the tiles that are still to be made.

    Raises:
        SardinoError: the store exists, the staged tiles belong to another plan, no tile could be made, or one is
            left out and `strict` is set.
    """
    out = Path(out)
    plan = _check(source, tiles, splits, bands)
    folder = out.with_name(out.name + ".staging")
    if out.exists() and not overwrite:
        store = TileStore.open(out)
        if store.metadata.get("plan") != plan or restart:
            raise SardinoError(f"{out} exists already: remove it, or ask to overwrite it")
        if folder.exists():  # killed between the store's rename and the end
            Staging.open(folder, source).remove()
        return store
    staging = Staging.open(folder, source, restart)
    todo = [number for number, tile in enumerate(tiles) if not staging.has(tile.id) and not _final(staging, tile.id)]
    with _executor(client, workers) as (pool, width):
        under_way = _make_all(pool, width * IN_FLIGHT, source, tiles, todo, staging, attempts, wait_s)
        for _ in progress(under_way, len(todo)):
            pass
    left_out = {tile.id: _reason(staging, tile.id) for tile in tiles if not staging.has(tile.id)}
    if left_out and (strict or len(left_out) == len(tiles)):
        some = "; ".join(f"{tile}: {reason}" for tile, reason in list(left_out.items())[:3])
        kept = "run again to try those that may yet come" if len(left_out) < len(tiles) else "check the source"
        raise SardinoError(f"{len(left_out)} of {len(tiles)} tiles could not be made ({some}): {kept}")
    kept_tiles = [number for number in range(len(tiles)) if tiles[number].id not in left_out]
    facts = {tiles[number].id: staging.facts(tiles[number].id) for number in kept_tiles}
    store = write_store(
        out,
        [tiles[number] for number in kept_tiles],
        [splits[number] for number in kept_tiles],
        lambda place: staging.read(tiles[kept_tiles[place]].id),
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
        bands=[int(bands[number]) for number in kept_tiles],
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
            return Outcome(reason=_line(error), final=False)
    return Outcome(reason=f"{reason}, {attempts} times", final=False)


def _make_all(
    pool: Executor,
    in_flight: int,
    source: Source,
    tiles: Sequence[Tile],
    todo: Sequence[int],
    staging: Staging,
    attempts: int,
    wait_s: float,
) -> Iterator[int]:
    """Make and stage tiles, few at a time; yields a number as each is done."""
    waiting: dict[Future[Outcome], int] = {}
    upcoming = iter(todo)
    try:
        while True:
            while len(waiting) < in_flight and (number := next(upcoming, None)) is not None:
                waiting[pool.submit(make_tile, source, tiles[number], attempts, wait_s)] = number
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                number = waiting.pop(future)
                made = _result(future)
                if made.content:
                    staging.write(tiles[number].id, made.content, made.facts)
                else:
                    staging.leave_out(tiles[number].id, made.reason, made.final)
                yield number
    finally:
        for future in waiting:
            future.cancel()


def _result(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except SardinoError:
        raise
    except (CancelledError, Exception) as error:  # the worker died, or the cluster gave the task up
        return Outcome(reason=_line(error), final=False)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def _executor(client: Any, workers: int) -> Iterator[tuple[Executor, int]]:
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


def _check(source: Source, tiles: Sequence[Tile], splits: Sequence[str], bands: Sequence[int]) -> str:
    """Refuse a list that no store can be made of before anything is fetched; the plan's digest."""
    if not tiles or not len(tiles) == len(splits) == len(bands):
        raise SardinoError(f"{len(tiles)} tiles, {len(splits)} splits and {len(bands)} bands do not match")
    ids = [tile.id for tile in tiles]
    if len(set(ids)) < len(ids):
        raise SardinoError(f"{len(ids) - len(set(ids))} tiles of the list appear twice: drop them")
    if len({tile.shape for tile in tiles}) > 1 or tiles[0].shape[0] != tiles[0].shape[1]:
        raise SardinoError(f"a store needs square tiles of one size, not {sorted({tile.shape for tile in tiles})}")
    whole = [plan_of(source), [[tile, str(s), int(b)] for tile, s, b in zip(ids, splits, bands, strict=True)]]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _final(staging: Staging, tile_id: str) -> bool:
    left = staging.left_out(tile_id)
    return left is not None and left[1]


def _reason(staging: Staging, tile_id: str) -> str:
    left = staging.left_out(tile_id)
    return left[0] if left else "its staged file was lost"
