"""A scene to be mapped: any raster that GDAL reads, a NetCDF file or a Zarr folder, read window by window."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.contents.resampling import Transform

Read = Callable[[int, int, int, int], NDArray[np.float32]]
"""Of first row, row behind, first column, column behind: (bands, h, w) as the file means them, NaN where missing."""


@dataclass(frozen=True)
class Scene(ABC):
    """What a file says of itself; no pixel is read before it is asked for.

    Args:
        path: file or folder.
        crs, transform, shape: its grid, north up; shape is (rows, columns).
        names: of its bands, "" for one without a name.
        unit: of its bands: "db", "linear", "amplitude", "" where it does not say, its own word where that is another.
        product: what the bands are, such as "Sentinel-1 gamma0"; "" where it does not say.
        chunk_rows: rows that the file holds together, so that reading them at once decodes nothing twice.
    """

    path: Path
    crs: str
    transform: Transform
    shape: tuple[int, int]
    names: tuple[str, ...]
    unit: str
    product: str
    chunk_rows: int

    @abstractmethod
    def reading(self, bands: Sequence[int], threads: int) -> AbstractContextManager[Read]:
        """Open the file for reading some bands, by numbers from 0; to be used in the thread that opened it.

        Args:
            threads: that decode.
        """

    @abstractmethod
    def state(self) -> list[list[Any]]:
        """Name, size and time of last change of every file behind the scene: another state is another scene."""


def open_scene(path: Path) -> Scene:
    """Open a scene by what it is: .nc, .h5 and Zarr folders as stacks, everything else by GDAL.

    Raises:
        SardinoError: missing, damaged, without a CRS, rotated or upside down, each with its remedy.
    """
    from sardino.mapping.raster import open_raster
    from sardino.mapping.stack import open_stack

    path = Path(path)
    if not path.exists():
        raise SardinoError(f"there is no scene {path}")
    stack = path.is_dir() or path.suffix.lower() in (".nc", ".nc4", ".h5", ".zarr")
    return open_stack(path) if stack else open_raster(path)


def file_state(path: Path) -> list[Any]:
    """[name, bytes, nanoseconds of the last change] of one file."""
    about = path.stat()
    return [path.name, about.st_size, about.st_mtime_ns]
