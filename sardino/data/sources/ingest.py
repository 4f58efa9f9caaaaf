"""From a source to a tile store, tile by tile: resumable at any moment, on threads or on a Dask cluster.

Finished tiles wait in a staging folder to become a store: one file a tile, written whole, checked by hash, bound to
one plan.
"""

import hashlib
import io
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sardino.data.sources.source import LeftOut, Progress, Source, SourceChip, Transient
from sardino.data.tiles.radiometry import pack, unpack
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, Tile
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError, first_line
from sardino.files import write_bytes, write_json

log = logging.getLogger(__name__)
FORMAT, PLAN, _DIGEST = 2, "plan.json", 64
# Tiles under way per worker: one computed, one waiting, so that memory does not grow with the list.
IN_FLIGHT = 2


@dataclass(frozen=True)
class Staging:
    """The folder of finished tiles beside a store; `open` binds it to the source that fills it.

    Splits and the list of tiles are not part of the plan: a tile's pixels do not depend on them, so that another
    list or another split of the same source takes up what is there.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path, source: Source, restart: bool = False) -> "Staging":
        """The folder, made if need be; one that another plan has filled is refused, or emptied where `restart`.

        One without any finished tile binds nobody: what it remembers of tiles left out is forgotten.
        """
        plan, file = plan_of(source), folder / PLAN
        if restart and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Beside what a killed run left of the plan nothing else may lie here.
        unwritten = (path.name.startswith(".") and ".partial" in path.name for path in folder.iterdir())
        if not file.exists() and not all(unwritten):
            raise SardinoError(f"{folder} is no staging folder of an ingest: move it away, or choose another store")
        if not any(folder.glob("*.tile")):
            for reason in folder.glob("*.left"):
                reason.unlink()
            write_json(plan, file)
            return cls(folder)
        try:
            old = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise SardinoError(f"{file} is damaged ({error}): restart the ingest, or remove {folder}") from error
        if old != plan:
            keys = ", ".join(sorted(key for key in {*old, *plan} if old.get(key) != plan.get(key)))
            raise SardinoError(f"{folder} is of another plan ({keys} differ): finish, restart, or name another store")
        return cls(folder)

    def has(self, tile_id: str) -> bool:
        return self._file(tile_id).exists()

    def read(self, tile_id: str) -> Chip:
        """A finished tile; a damaged file is removed and refused, so that the next run makes it again."""
        file = self._file(tile_id)
        try:
            return unpack_chip(file.read_bytes())
        except Exception as error:
            file.unlink(missing_ok=True)
            raise SardinoError(f"{file} is damaged ({error}) and was removed: run the ingest again") from error

    def facts(self, tile_id: str) -> dict[str, Any]:
        """Notes and passes of a finished tile."""
        return dict(json.loads(self._file(tile_id, "json").read_bytes()))

    def write(self, tile_id: str, content: bytes, facts: dict[str, Any]) -> None:
        """Keep a finished tile, from `pack_chip`; its pixels last, as they say that it is finished."""
        write_json(facts, self._file(tile_id, "json"))
        write_bytes(content, self._file(tile_id))
        self._file(tile_id, "left").unlink(missing_ok=True)

    def leave_out(self, tile_id: str, reason: str, final: bool) -> None:
        """Remember why a tile is left out; one that is not final is tried again by the next run."""
        write_json({"reason": reason, "final": final}, self._file(tile_id, "left"))

    def left_out(self, tile_id: str) -> tuple[str, bool]:
        """Why a tile is not here, and whether that is final."""
        try:
            facts = json.loads(self._file(tile_id, "left").read_bytes())
        except (FileNotFoundError, ValueError):
            return "its staged file was lost", False
        return str(facts["reason"]), bool(facts["final"])

    def remove(self) -> None:
        """Remove the folder, its plan last: a removal that is killed leaves what `open` still knows."""
        for entry in self.folder.iterdir():
            if entry.name != PLAN:
                entry.unlink()
        (self.folder / PLAN).unlink()
        self.folder.rmdir()

    def _file(self, tile_id: str, kind: str = "tile") -> Path:
        return self.folder / f"{tile_id}.{kind}"


def plan_of(source: Source) -> dict[str, Any]:
    """What decides a tile's pixels, as JSON values."""
    plan = {"staging": FORMAT, "channels": list(source.channels), "legend": source.legend.to_dict()}
    plan |= {"product": source.product, "synthetic": source.synthetic}
    plan |= {f"source.{key}": value for key, value in source.metadata().items()}
    return dict(json.loads(json.dumps(plan)))


def pack_chip(chip: Chip) -> tuple[bytes, dict[str, Any]]:
    """A chip as bytes that end with their own SHA-256, and its facts.

    Backscatter is rounded to 0.01 dB as in the store; no pickle. Facts: "notes", and "passes", the median number
    of passes of each season (None where unknown).
    """
    facts: dict[str, Any] = {"notes": list(chip.notes) if isinstance(chip, SourceChip) else [], "passes": None}
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
        return Chip(unpack(arrays["backscatter"]), arrays["label"], layers, arrays.get("counts"))


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
        client: dask.distributed.Client, of a LocalCluster or of any cluster; the source is sent to its workers and
            finished tiles come back, so that they need no common disk.
        workers: threads, where there is no client.
        attempts: tries of a tile that meets passing faults; what HTTP retries on its own comes on top.
        wait_s: pause before the second try, doubled each time.
        strict: leave the staging folder and raise, rather than make a store, while any tile is left out.
        restart: throw away what another or an older run has staged.
        progress: called once, with the tiles that are still to be made.

    SardinoError where the store exists, the staged tiles belong to another plan, no tile could be made, or one is left
    out and `strict` is set.
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
    rows = [row for row in zip(tiles, splits, bands, strict=True) if row[0].id not in left_out]
    facts = {tile.id: staging.facts(tile.id) for tile, _, _ in rows}
    notes = {tile: fact["notes"] for tile, fact in facts.items() if fact["notes"]}
    passes = {tile: fact["passes"] for tile, fact in facts.items() if fact["passes"]}
    told = {"plan": plan, "left_out": left_out, "notes": notes, "passes_per_season": passes}
    store = write_store(
        out,
        [tile for tile, _, _ in rows],
        [split for _, split, _ in rows],
        lambda place: staging.read(rows[place][0].id),
        channels=source.channels,
        legend=source.legend,
        product=source.product,
        synthetic=source.synthetic,
        metadata=source.metadata() | told,
        bands=[int(band) for _, _, band in rows],
        overwrite=overwrite,
    )
    staging.remove()
    return store


@dataclass(frozen=True)
class Outcome:
    """What became of a tile: its packed bytes and facts, or the reason why there are none."""

    content: bytes = b""
    facts: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    final: bool = True  # false where another run may have more luck


def make_tile(source: Source, tile: Tile, attempts: int, wait_s: float) -> Outcome:
    """One tile, on whatever machine this runs; SardinoError where the source's settings are at fault."""
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
    """Make and stage tiles, few at a time; yields how many are under way as each is done."""
    waiting: dict[Future[Outcome], Tile] = {}
    upcoming = iter(tiles)
    try:
        while True:
            waiting |= {pool.submit(make, tile): tile for tile in islice(upcoming, in_flight - len(waiting))}
            if not waiting:
                return
            done = wait(waiting, return_when=FIRST_COMPLETED)[0]
            for future in [each for each in waiting if each in done]:  # in order: a fault loses no tile before it
                tile = waiting.pop(future)
                try:
                    made = future.result()
                except SardinoError:
                    raise
                except (CancelledError, Exception) as error:  # the worker died, or the cluster gave the task up
                    made = _unforeseen(error)
                if made.content:
                    staging.write(tile.id, made.content, made.facts)
                else:
                    staging.leave_out(tile.id, made.reason, made.final)
                yield len(waiting)
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
