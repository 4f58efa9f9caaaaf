"""A dataset packed for others: store, card and checksums in one archive, each time the same byte for byte."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sardino.errors import SardinoError
from sardino.tiles.contents.dataset_card import CARD, CHECKSUMS, README, STORE, Sharing, card_of, readme_of
from sardino.tiles.table import read_table
from sardino.tiles.tileset import TileStore

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def pack_dataset(
    store: TileStore, archive: Path, sharing: Sharing, *, overwrite: bool = False, progress: Progress = iter
) -> dict[str, Any]:
    """Write a store with its README, card and checksums as one .tar, whole or not at all.

    The store is verified first. The archive is not compressed (backscatter hardly shrinks, and a reader
    can seek), its entries are sorted and carry no time, user or mode of this machine: the same store
    makes the same bytes.

    Returns:
        The card.

    Raises:
        SardinoError: a damaged store, a name taken twice, or a path that cannot be written.
    """
    archive = Path(archive)
    if archive.suffix != ".tar":
        raise SardinoError(f"a package is a .tar file, not {archive}")
    if archive.exists() and not overwrite:
        raise SardinoError(f"{archive} exists already: remove it, or ask to overwrite it")
    if not archive.parent.is_dir():
        raise SardinoError(f"there is no folder {archive.parent} to write {archive.name} into: make it first")
    store.verify()
    card = card_of(store, sharing)
    entries = _entries(store, sharing, card)
    partial = archive.with_name(archive.name + ".partial")
    lines = []
    top = archive.stem
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in progress(sorted(entries)):
                content = entries[name]
                digest = hashlib.sha256()
                if isinstance(content, bytes):
                    digest.update(content)
                    tar.addfile(_header(f"{top}/{name}", len(content)), io.BytesIO(content))
                else:
                    with content.open("rb") as file:
                        tar.addfile(_header(f"{top}/{name}", content.stat().st_size), _Hashed(file, digest))
                lines.append(f"{digest.hexdigest()}  {name}\n")
            sums = "".join(lines).encode()
            tar.addfile(_header(f"{top}/{CHECKSUMS}", len(sums)), io.BytesIO(sums))
        os.replace(partial, archive)
    except OSError as error:
        raise SardinoError(f"{archive} cannot be written ({error}): is the disk full?") from error
    finally:
        partial.unlink(missing_ok=True)
    return card


def _entries(store: TileStore, sharing: Sharing, card: dict[str, Any]) -> dict[str, Path | bytes]:
    """Name in the archive to file or content."""
    entries: dict[str, Path | bytes] = {
        CARD: (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode(),
        README: readme_of(card, sharing.notes).encode(),
    }
    for path in store.path.rglob("*"):
        if path.is_symlink():
            raise SardinoError(f"{path} is a link: a package holds files only, replace it by a copy")
        if path.is_file():
            entries[f"{STORE}/{path.relative_to(store.path).as_posix()}"] = path
    for path in map(Path, sharing.files):
        if not path.is_file():
            raise SardinoError(f"there is no file {path} to add to the package")
        if path.name in entries or path.name == CHECKSUMS:
            raise SardinoError(f"the package has a {path.name} already: rename {path}")
        if path.suffix in (".parquet", ".geojson"):
            missing = set(store.ids()) - set(map(str, read_table(path)["id"]))
            if missing:
                raise SardinoError(f"{path} lacks {len(missing)} tiles of the store, {min(missing)} the first")
        entries[path.name] = path
    return entries


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: Any, digest: Any) -> None:
        self._file, self._digest = file, digest

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._file.read(size)
        self._digest.update(block)
        return block
