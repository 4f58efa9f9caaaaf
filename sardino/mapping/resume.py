"""An unfinished map: raw rasters that grow row by row beside it, and a journal of what is done, safe at any moment."""

import errno
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rasterio.windows import Window, subdivide

from sardino.data.rasters.geotiff import GeoTiff, write_geotiff
from sardino.data.rasters.packing import Packing
from sardino.data.rasters.zarr_raster import write_zarr
from sardino.errors import SardinoError
from sardino.files import write_json, writing
from sardino.mapping.windows import Layout

FORMAT, JOURNAL, LOCK = "sardino-unfinished-map-2", "journal.json", "lock"
EVERY_S = 1.0
"""Seconds between two notes of the journal: waiting for the disk costs a GPU more than what a kill makes it repeat."""
_PIECE, _SIDE, _LEAST_SIDE = 1 << 22, 512, 128
"""Values that are taken at once at most, in squares of whole blocks; of very many bands blocks are smaller."""
_PACKED = {"int8": "float16"}
"""What is packed in the end, once its range is known, and as what it is kept until then."""


class RawRaster:
    """Values in a plain file, row by row, of each pixel all bands; shape is (bands, rows, columns)."""

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: str) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self.bytes = math.prod(shape) * self.dtype.itemsize

    def write(self, values: NDArray[Any], row: int, column: int) -> None:
        """Put (bands, h, w) at a place; an OSError where the disk is full."""
        pixels = np.ascontiguousarray(np.moveaxis(values, 0, -1), self.dtype)
        with self.path.open("r+b") as file:
            for down, line in enumerate(pixels):
                file.seek(self._offset(row + down, column))
                file.write(line.data)

    def read(self, window: Window) -> NDArray[Any]:
        """(bands, h, w) of a place."""
        pixels = np.empty((window.height, window.width, self.shape[0]), self.dtype)
        with self.path.open("rb") as file:
            for down, line in enumerate(pixels):
                file.seek(self._offset(window.row_off + down, window.col_off))
                file.readinto(line.data)
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    @property
    def windows(self) -> list[Window]:
        """All of it, piece by piece."""
        bands, rows, columns = self.shape
        side = max(_LEAST_SIDE, math.isqrt(_PIECE // bands) // _SIDE * _SIDE)
        return list(subdivide(Window(0, 0, columns, rows), side, side))

    def mapped(self) -> NDArray[Any]:
        """All of it, read as it is asked for."""
        return np.moveaxis(np.memmap(self.path, self.dtype, "r", shape=(*self.shape[1:], self.shape[0])), -1, 0)

    def ranges(self) -> list[tuple[float, float]]:
        """Lowest and highest value of each band; 0 where all of it is NaN."""
        low, high = np.full(self.shape[0], np.inf), np.full(self.shape[0], -np.inf)
        for values in map(self.read, self.windows):
            low = np.fmin(low, np.fmin.reduce(values, (1, 2)))
            high = np.fmax(high, np.fmax.reduce(values, (1, 2)))
        return [(float(a), float(b)) if a <= b else (0.0, 0.0) for a, b in zip(low, high, strict=True)]

    def _offset(self, row: int, column: int) -> int:
        return (row * self.shape[2] + column) * self.shape[0] * self.dtype.itemsize


class PartialMap:
    """The unfinished map of a path: a new one, or the one that an interrupted run of the same map has left.

    `rasters` are those that are made, by name; `carried` two of what one stripe says of the next one's cells, for even
    and odd stripes; `kept` what is blended at the end alone; `done` is the stripe and row from which it goes on. A run
    with another batch would choose other stripes: `layout` has those that it finds. Until it is closed nobody else
    makes the same map.

    Args:
        out, what: the map and its rasters.
        identity: what decides the values: scene, model, options.
        layout: of a new one.
        planes: that are blended.
        kept: shape and type of further rasters, by name.
        restart: throw away what is there.

    Raises:
        SardinoError: what is there is of another map or in use, or the disk has no room.
    """

    def __init__(
        self,
        out: Path,
        what: dict[str, GeoTiff],
        identity: dict[str, Any],
        layout: Layout,
        planes: int,
        kept: Mapping[str, tuple[tuple[int, int, int], str]],
        restart: bool,
    ) -> None:
        self.folder, self.done, self._noted = folder_of(out), (0, 0), 0.0
        self._lock = FileLock(self.folder / LOCK)  # ends with the process that holds it
        with writing(out):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take(out)
        try:
            old = None if restart else self._journal()
            self.identity = json.loads(json.dumps(identity))  # as a journal gives it back
            if old:
                of = old["of"]
                if differ := sorted(key for key in {*of, *self.identity} if of.get(key) != self.identity.get(key)):
                    raise SardinoError(
                        f"{self.folder} holds an unfinished map of another {', '.join(differ)}: finish that one with "
                        "its own command, throw it away with --overwrite, or choose another name for the map"
                    )
                layout = replace(layout, across=old["across"])
            self.layout = layout
            self.rasters = {}
            for name, each in what.items():
                dtype, size = _PACKED.get(each.dtype, each.dtype), (len(each.bands), *each.shape)
                self.rasters[name] = RawRaster(self.folder / f"{name}.raw", size, dtype)
            shape = planes, layout.rows.size, layout.carried
            self.carried = [RawRaster(self.folder / f"carried{number}.raw", shape, "float32") for number in (0, 1)]
            self.kept = {name: RawRaster(self.folder / f"{name}.raw", *each) for name, each in kept.items()}
            self._files = [*self.rasters.values(), *self.carried, *self.kept.values()]
            if old and all(each.path.is_file() and each.path.stat().st_size == each.bytes for each in self._files):
                self.done = (old["done"][0], old["done"][1])
            else:
                self._begin(out)
        except BaseException:
            self.close()
            if not (self.folder / JOURNAL).exists():
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _take(self, out: Path) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise SardinoError(f"another process is making {out}: wait for it, or stop it first") from None
        except NotImplementedError:
            pass  # a disk of a cluster that knows no locks

    def _journal(self) -> dict[str, Any] | None:
        """What the journal says; None where there is none that can be read."""
        try:
            content: dict[str, Any] = json.loads((self.folder / JOURNAL).read_bytes())
        except (OSError, ValueError):
            return None
        return content if content.get("format") == FORMAT else None

    def _begin(self, out: Path) -> None:
        """Make the rasters anew, full of zeros, which take no disk; refuse at once what cannot fit later."""
        for stale in sorted(self.folder.iterdir(), key=lambda path: path.name != JOURNAL):  # the journal first
            if stale.name != LOCK:
                stale.unlink()
        # What is raw, and while the GeoTIFF is made twice as much again as it holds.
        needed = sum(each.bytes for each in [*self._files, *self.rasters.values(), *self.rasters.values()])
        free = shutil.disk_usage(out.parent).free
        if free < needed:
            raise SardinoError(
                f"the map needs up to {needed / 1e9:.1f} GB beside {out} while it is made, and {free / 1e9:.1f} GB are "
                "free: free some disk, or write elsewhere"
            )
        for each in self._files:
            with each.path.open("wb") as file:
                file.truncate(each.bytes)
        self.reached(0, 0)

    def write(self, raster: RawRaster, values: NDArray[Any], row: int, column: int) -> None:
        """Put values into one of the rasters; where the disk is full, what is journalled stays."""
        with writing(self.folder):
            raster.write(values, row, column)

    def reached(self, stripe: int, row: int) -> None:
        """See on the disk everything before a row of a stripe and note it; within a second of the last note, do not.

        The beginning of a stripe is always noted: what the stripe before the last carried over is then overwritten.
        """
        if row > 0 and time.monotonic() - self._noted < EVERY_S:
            return
        with writing(self.folder):
            for raster in self._files:
                with raster.path.open("r+b") as file:
                    os.fsync(file.fileno())
            content = {"format": FORMAT, "of": self.identity, "across": self.layout.across, "done": [stripe, row]}
            write_json(content, self.folder / JOURNAL)
        self.done, self._noted = (stripe, row), time.monotonic()

    def is_empty(self, name: str, nodata: float) -> bool:
        """Whether all of a raster is nodata."""
        pieces = map(self.rasters[name].read, self.rasters[name].windows)
        return all(((values == nodata) | (values != values)).all() for values in pieces)

    def finish(self, name: str, path: Path, what: GeoTiff) -> None:
        """Make one raster a Cloud-Optimized GeoTIFF, or a Zarr store, which appears whole or not at all.

        A GeoTIFF is compared with the raw raster first, pixel by pixel. What is int8 of floats gets its packing here.
        """
        raw = self.rasters[name]
        windows = raw.windows
        if what.dtype in _PACKED:
            what = replace(what, packing=[Packing.of_range(*each) for each in raw.ranges()])

        def taken(window: Window) -> NDArray[Any]:
            values = raw.read(window)
            if not what.packing:
                return values
            return np.stack([each.pack(band) for each, band in zip(what.packing, values, strict=True)])

        def verify(finished: Path) -> None:
            with rasterio.open(finished) as dataset:
                for window in windows:
                    found = dataset.read(window=window)
                    if not _same(found, taken(window).astype(found.dtype, copy=False)):
                        raise OSError(errno.ENOSPC, "the file does not hold what was written to it")

        with writing(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".zarr":
                write_zarr(path, what, ((each.row_off, each.col_off, raw.read(each)) for each in windows), name)
                return
            with write_geotiff(path, what, overwrite=True, verify=verify) as canvas:
                for window in windows:
                    canvas.fill(taken(window), window)

    def remove(self) -> None:
        """Remove the folder, its journal first: a removal that is killed leaves nothing to go on from."""
        (self.folder / JOURNAL).unlink(missing_ok=True)
        self.close()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Leave it to whoever goes on."""
        self._lock.release()


def folder_of(out: Path) -> Path:
    """Where a map lies while it is made."""
    return out.with_name(f".{out.name}.unfinished")


def _same(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Whether arrays of one type hold the same, NaN equal to NaN; the bytes, which are the same as a rule, first."""
    return found.tobytes() == wanted.tobytes() or np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")
