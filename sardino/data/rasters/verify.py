"""Whether files of tiles are whole: each is read to the end, and only what proves unreadable may be removed."""

import errno
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from sardino.data.tiles.store import ARRAYS
from sardino.data.tiles.tile import Progress
from sardino.errors import SardinoError, first_line
from sardino.files import files_in, sha256_of

Fault = Literal["unreadable", "empty", "size", "unexamined"]
FAULTS: dict[Fault, str] = {
    "unreadable": "damaged or cut short",
    "empty": "no valid pixel",
    "size": "another size than the rest",
    "unexamined": "could not be opened for a reason that may pass (access, disk)",
}  # what they mean; only the first is ever removed
_RASTERS, _NETCDF = {".tif", ".tiff"}, {".nc", ".h5", ".hdf5"}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PASSING = {errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT}


@dataclass(frozen=True)
class Finding:
    """One file that is not as it should be."""

    path: Path
    fault: Fault
    reason: str


@dataclass(frozen=True)
class Examined:
    """How many files were read, their faults by path, and the files deleted."""

    files: int
    findings: list[Finding]
    removed: list[Path]

    def of(self, fault: Fault) -> list[Path]:
        """Files with one kind of fault."""
        return [finding.path for finding in self.findings if finding.fault == fault]

    def summary(self) -> Sequence[str]:
        """One line a kind of fault, for people."""
        return [f"{len(self.of(fault))} {fault}: {meaning}" for fault, meaning in FAULTS.items() if self.of(fault)]


def examine_folder(
    folder: Path, shape: tuple[int, int] | None = None, remove: bool = False, progress: Progress = iter
) -> Examined:
    """Read every GeoTIFF and NetCDF file in a folder and its sub-folders to its end.

    `shape`: (rows, columns) that a file must have; by default those of most files of its folder and type. `remove`:
    delete the files that cannot be read, each after a second look; nothing else is ever deleted. Raises SardinoError:
    no such folder, no such file in it, or it is a tile store.
    """
    if not folder.is_dir():
        raise SardinoError(f"there is no folder {folder}")
    if (folder / ARRAYS).exists():
        raise SardinoError(f"{folder} is a tile store: verify it as one")
    files = [path for path in files_in(folder, "**/*") if path.suffix.lower() in _RASTERS | _NETCDF]
    if not files:
        raise SardinoError(f"there is no .tif or .nc file in {folder}")
    findings: list[Finding] = []
    sizes: dict[tuple[Path, str], dict[Path, tuple[int, int]]] = {}
    for path in progress(files):
        found = examine_file(path)
        if isinstance(found, Finding):
            findings.append(found)
        else:
            sizes.setdefault((path.parent, path.suffix.lower()), {})[path] = found
    for group in sizes.values():
        rows, columns = shape or Counter(group.values()).most_common(1)[0][0]
        wanted = f"px where {columns} x {rows} are wanted"
        wrong = {path: size for path, size in group.items() if size != (rows, columns)}
        findings += [Finding(path, "size", f"{size[1]} x {size[0]} {wanted}") for path, size in wrong.items()]
    removed = [f.path for f in findings if remove and f.fault == "unreadable" and _remove(f.path)]
    return Examined(len(files), sorted(findings, key=lambda finding: finding.path), removed)


def examine_file(path: Path) -> tuple[int, int] | Finding:
    """Read one file to its end: its (rows, columns), or what is wrong with it."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if not start:
            return Finding(path, "unreadable", "the file is empty")
        shape, valid = _read_netcdf(path) if path.suffix.lower() in _NETCDF and start == _HDF5 else _read_raster(path)
    except (rasterio.errors.RasterioError, OSError, RuntimeError, ValueError, KeyError) as error:
        passing = getattr(error, "errno", None) in _PASSING or not _bytes_can_be_read(path)
        return Finding(path, "unexamined" if passing else "unreadable", first_line(error))
    except Exception as error:  # of a library, such as too little memory: no proof against the file
        return Finding(path, "unexamined", first_line(error))
    return shape if valid else Finding(path, "empty", "every pixel is nodata")


def _read_raster(path: Path) -> tuple[tuple[int, int], bool]:
    """Every block of every band; its size, and whether any pixel is valid."""
    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning), rasterio.open(path) as dataset:
        valid = False
        for band, nodata in zip(dataset.indexes, dataset.nodatavals, strict=True):
            for _, window in dataset.block_windows(band):
                valid |= _any_valid(dataset.read(band, window=window), nodata)
        return dataset.shape, valid


def _read_netcdf(path: Path) -> tuple[tuple[int, int], bool]:
    """Every data set of every group, slab by slab; the size is that of the largest plane."""
    shape, valid = (0, 0), False

    def visit(_: str, node: Any) -> None:
        nonlocal shape, valid
        if not isinstance(node, h5py.Dataset) or node.shape is None:
            return
        plane = node.ndim >= 2 and node.dtype.kind in "iuf"
        if plane and math.prod(node.shape[-2:]) > math.prod(shape):
            shape = (int(node.shape[-2]), int(node.shape[-1]))
        fill = np.ravel(node.attrs.get("_FillValue", np.nan))[0] if plane else np.nan
        for part in node.iter_chunks() if node.chunks and node.size else [()]:
            values = np.asarray(node[part])
            valid = valid or (plane and _any_valid(values, fill))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return shape, valid


def _any_valid(values: Any, nodata: Any) -> bool:
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if nodata is not None and nodata == nodata:
        valid &= values != nodata
    return bool(valid.any())


def _bytes_can_be_read(path: Path) -> bool:
    """Whether the disk gives the file's bytes: if not, the disk is at fault and not the file."""
    try:
        return bool(sha256_of(path))
    except OSError:
        return False


def _remove(path: Path) -> bool:
    """Delete a file that cannot be read this time either."""
    again = examine_file(path)
    removed = isinstance(again, Finding) and again.fault == "unreadable" and not path.is_symlink()
    if removed:
        path.unlink()
    return removed
