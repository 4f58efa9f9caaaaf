"""Chunks of a Zarr array, one a tile: read straight from their files where nothing has to be decoded."""

import os
from pathlib import Path
from typing import Any

import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec

from sardino.errors import SardinoError


class Chunks:
    """The tiles of one array, by number.

    An uncompressed Zarr chunk is the array's bytes and nothing else. Reading its file costs what the disk costs;
    the way through Zarr's codecs costs several times that. Compressed arrays take that way.

    Args:
        path: the Zarr group's folder.
        array: an array whose chunks each hold one tile, (tiles, ...).
    """

    def __init__(self, path: Path, array: "zarr.Array[Any]") -> None:
        self.array = array
        self.folder = str(path / array.basename)
        self.shape = array.shape[1:]
        codecs = array.metadata.codecs if array.metadata.zarr_format == 3 else ()
        self.direct = (
            len(codecs) == 1 and isinstance(codecs[0], BytesCodec) and array.chunks == (1, *self.shape)
        ) and (array.dtype.itemsize == 1 or _little_endian(codecs[0]))

    def file(self, number: int) -> str:
        """The chunk's file, by Zarr's default chunk key."""
        return f"{self.folder}/c/{number}{'/0' * len(self.shape)}"

    def read_into(self, number: int, out: NDArray[Any]) -> None:
        """Fill `out`, contiguous and of the array's shape and type, with tile `number`.

        Raises:
            SardinoError: the chunk is lost, cut short, or cannot be decoded.
        """
        file = self.file(number)
        try:
            if not self.direct:
                # Zarr fills a lost chunk with nodata; the writer writes every chunk, so absence is loss.
                os.stat(file)
                out[...] = self.array[number]
                return
            with open(file, "rb", buffering=0) as chunk:
                filled = chunk.readinto(out.data.cast("B"))
                rest = chunk.read(1)
        except FileNotFoundError as error:
            raise SardinoError(f"{file} is missing") from error
        if filled != out.nbytes or rest:
            raise SardinoError(f"{file} does not hold the {out.nbytes} bytes of a tile")


def _little_endian(codec: BytesCodec) -> bool:
    endian = codec.endian
    return str(getattr(endian, "value", endian)) == "little"
