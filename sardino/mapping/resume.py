"""An unfinished map: raw rasters that grow row by row beside it, and a journal of what is done, safe at any moment."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rasterio.windows import Window

from sardino.data.rasters.geotiff import GeoTiff, write_geotiff
from sardino.errors import SardinoError
from sardino.files import write_json
from sardino.mapping.windows import Layout

FORMAT = "sardino-unfinished-map"
JOURNAL, LOCK = "journal.json", "lock"
EVERY_S = 1.0
"""Seconds between two notes of the journal: waiting for the disk costs a GPU more than what a kill makes it repeat."""
_SIDE = 2048


class RawRaster:
    """Pixels in a plain file, band by band and row by row; shape is (bands, rows, columns)."""

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: str) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def whole(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size == self.bytes

    def make(self) -> None:
        """Full of zeros, which take no disk."""
        with self.path.open("wb") as file:
            file.truncate(self.bytes)

    def write(self, values: NDArray[Any], row: int, column: int) -> None:
        """Put (bands, h, w) at a place; an OSError where the disk is full."""
        with self.path.open("r+b", buffering=0) as file:
            for number, plane in enumerate(np.ascontiguousarray(values, self.dtype)):
                lines = [plane] if plane.shape[1] == self.shape[2] else plane
                for down, line in enumerate(lines):
                    file.seek(self._offset(number, row + down, column))
                    left = memoryview(line.reshape(-1)).cast("B")
                    while left:
                        left = left[file.write(left) :]

    def sync(self) -> None:
        """See on the disk what was written."""
        with self.path.open("r+b", buffering=0) as file:
            os.fsync(file.fileno())

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[Any]:
        """(bands, h, w) of a place."""
        out = np.empty((self.shape[0], height, width), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for number in range(self.shape[0]):
                for down in range(height):
                    file.seek(self._offset(number, row + down, column))
                    file.readinto(memoryview(out[number, down]).cast("B"))
        return out

    def _offset(self, band: int, row: int, column: int) -> int:
        return ((band * self.shape[1] + row) * self.shape[2] + column) * self.dtype.itemsize


@dataclass
class PartialMap:
    """The folder of an unfinished map; `open_partial_map` makes or finds it.

    Args:
        rasters: that are made, by name.
        carried: two rasters of what one stripe says of the next one's cells, for even and odd stripes.
        identity: what decides the values.
        layout: with the stripes that it was begun with.
        lock: held until it is closed: nobody else makes the same map.
        done: stripe and row from which it goes on.
        noted: when that was noted.
    """

    folder: Path
    rasters: dict[str, RawRaster]
    carried: tuple[RawRaster, RawRaster]
    identity: dict[str, Any]
    layout: Layout
    lock: FileLock
    done: tuple[int, int] = (0, 0)
    noted: float = 0.0

    def write(self, raster: RawRaster, values: NDArray[Any], row: int, column: int) -> None:
        """Put values into one of the rasters; where the disk is full, what is journalled stays."""
        with self._writing():
            raster.write(values, row, column)

    def reached(self, stripe: int, row: int) -> None:
        """See on the disk everything before a row of a stripe and note it; within a second of the last note, do not.

        The beginning of a stripe is always noted: what the stripe before the last carried over is then overwritten.
        """
        if row > 0 and time.monotonic() - self.noted < EVERY_S:
            return
        with self._writing():
            for raster in (*self.rasters.values(), *self.carried):
                raster.sync()
            content = {"format": FORMAT, "of": self.identity, "across": self.layout.across, "done": [stripe, row]}
            write_json(content, self.folder / JOURNAL)
        self.done, self.noted = (stripe, row), time.monotonic()

    def finish(self, name: str, path: Path, what: GeoTiff) -> None:
        """Make one raster a Cloud-Optimized GeoTIFF, which appears whole or not at all.

        It is compared with the raw raster first, pixel by pixel.
        """
        raw = self.rasters[name]
        _, rows, columns = raw.shape
        windows = [
            Window(column, row, min(_SIDE, columns - column), min(_SIDE, rows - row))
            for row in range(0, rows, _SIDE)
            for column in range(0, columns, _SIDE)
        ]

        def values(window: Window) -> NDArray[Any]:
            return raw.read(window.row_off, window.col_off, window.height, window.width)

        def verify(finished: Path) -> None:
            with rasterio.open(finished) as dataset:
                for window in windows:
                    wanted = values(window)
                    if not np.array_equal(dataset.read(window=window), wanted, equal_nan=wanted.dtype.kind == "f"):
                        raise OSError(errno.ENOSPC, "the file does not hold what was written to it")

        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_geotiff(path, what, overwrite=True, verify=verify) as canvas:
                for window in windows:
                    canvas.lay(values(window), window.row_off, window.col_off)

    def remove(self) -> None:
        """Remove the folder, its journal first: a removal that is killed leaves nothing to go on from."""
        (self.folder / JOURNAL).unlink(missing_ok=True)
        self.close()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Leave it to whoever goes on."""
        self.lock.release()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            cause = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else str(error)
            raise SardinoError(
                f"{self.folder} cannot be written ({cause}): free some disk, and the same command goes on where it "
                "stopped"
            ) from error


def open_partial_map(
    out: Path, what: dict[str, GeoTiff], identity: dict[str, Any], layout: Layout, planes: int, restart: bool
) -> PartialMap:
    """The unfinished map of a path: a new one, or the one that an interrupted run of the same map has left.

    A run with another batch would choose other stripes; it keeps those that it finds.

    Args:
        out, what: the map and its rasters.
        identity: what decides the values: scene, model, options.
        layout: of a new one.
        planes: that are blended.
        restart: throw away what is there.

    Raises:
        SardinoError: what is there is of another map, or the disk has no room.
    """
    folder = folder_of(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder, out)
    except OSError as error:
        raise SardinoError(
            f"{folder} cannot be made ({error}): free some disk, or write the map into a folder that is yours"
        ) from error
    try:
        old = None if restart else _journal(folder)
        identity = json.loads(json.dumps(identity))  # as a journal gives it back
        if old:
            _require_same(old["of"], identity, folder)
            layout = replace(layout, across=old["across"])
        rasters = {
            name: RawRaster(folder / f"{name}.raw", (len(each.bands), *each.shape), each.dtype)
            for name, each in what.items()
        }
        over = planes, layout.rows.size, layout.carried
        carried = tuple(RawRaster(folder / f"carried{number}.raw", over, "float32") for number in (0, 1))
        partial = PartialMap(folder, rasters, (carried[0], carried[1]), identity, layout, lock)
        files = [*rasters.values(), *carried]
        if old and all(raster.whole for raster in files):
            partial.done = (old["done"][0], old["done"][1])
            return partial
        for stale in sorted(folder.iterdir(), key=lambda path: path.name != JOURNAL):  # the journal first
            if stale.name != LOCK:
                stale.unlink()
        _require_room(out, files)
        for raster in files:
            raster.make()
        partial.reached(0, 0)
    except BaseException:
        lock.release()
        if not (folder / JOURNAL).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return partial


def folder_of(out: Path) -> Path:
    """Where a map lies while it is made."""
    return out.with_name(f".{out.name}.unfinished")


def _locked(folder: Path, out: Path) -> FileLock:
    """A lock that ends with the process that holds it."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SardinoError(f"another process is making {out}: wait for it, or stop it first") from None
    except NotImplementedError:
        pass  # a disk of a cluster that knows no locks
    return lock


def _journal(folder: Path) -> dict[str, Any] | None:
    """What the journal says; None where there is none that can be read."""
    try:
        content: dict[str, Any] = json.loads((folder / JOURNAL).read_bytes())
    except (OSError, ValueError):
        return None
    return content if content.get("format") == FORMAT else None


def _require_same(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    if differ := sorted(key for key in {*old, *new} if old.get(key) != new.get(key)):
        raise SardinoError(
            f"{folder} holds an unfinished map of another {', '.join(differ)}: finish that one with its own command, "
            f"throw it away with --overwrite, or choose another name for the map"
        )


def _require_room(out: Path, files: list[RawRaster]) -> None:
    """Refuse at once what cannot fit: the raw rasters, and twice as much again while the GeoTIFF is made."""
    needed = 3 * sum(raster.bytes for raster in files)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise SardinoError(
            f"the map needs up to {needed / 1e9:.1f} GB beside {out} while it is made, and {free / 1e9:.1f} GB are "
            "free: free some disk, or write elsewhere"
        )
