"""Unpacking a shared dataset: nothing is written outside, nothing unexpected is taken, every checksum is held."""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from sardino.errors import SardinoError
from sardino.tiles.contents.dataset_card import CARD, CHECKSUMS, PACKAGE_FORMAT, PACKAGE_VERSION, STORE
from sardino.tiles.tileset import TileStore

_LARGEST_SUMS = 1 << 28
_MOST_FILES = 10_000_000
_BLOCK = 1 << 20

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def unpack_dataset(archive: Path, folder: Path, *, progress: Progress = iter) -> dict[str, Any]:
    """Unpack a package into a new folder, whole or not at all.

    Only plain files with plain relative names are taken; links, devices, sparse and compressed
    archives, names that lead outside or come twice, files that the checksums do not list, and more
    bytes than the archive itself has or the disk can hold, are refused before anything is written.

    Args:
        archive: .tar file made by `pack_dataset`.
        folder: to make; it must not exist.
        progress: wraps the loop over files, for example `tqdm`.

    Returns:
        The package's card.

    Raises:
        SardinoError: anything of the above, by name, or a damaged archive.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise SardinoError(f"there is no package {archive}")
    if folder.exists() or folder.is_symlink():
        raise SardinoError(f"{folder} exists already: unpack into a new folder")
    if not folder.parent.is_dir():
        raise SardinoError(f"there is no folder {folder.parent} to unpack into: make it first")
    try:
        with tarfile.open(archive, "r:") as tar:
            members = _checked(archive, tar)
            _check_room(archive, folder.parent, sum(member.size for member in members.values()))
            # One name a folder: what a killed run left is overwritten by the next.
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                card = _extract(archive, tar, members, partial, progress)
                os.rename(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except tarfile.TarError as error:
        raise SardinoError(f"{archive} is no package, or damaged ({error}): copy it again") from error
    except OSError as error:
        raise SardinoError(f"{archive} cannot be unpacked into {folder} ({error})") from error
    return card


def _checked(archive: Path, tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Files of the archive by name without the folder on top, all of them harmless."""
    members: dict[str, tarfile.TarInfo] = {}
    tops, taken = set(), set()
    size = archive.stat().st_size
    total = 0
    for number, member in enumerate(tar):
        name = member.name
        if member.isdir() and _harmless(name):
            continue
        if not member.isreg() or member.issparse():
            raise SardinoError(f"{archive} holds '{name}', which is no plain file: do not trust it")
        if not _harmless(name) or "/" not in name:
            raise SardinoError(f"{archive} holds '{name}', a name that leads outside: do not trust it")
        total += member.size
        if total > size or number >= _MOST_FILES:
            raise SardinoError(f"{archive} claims to hold more than its own {size} bytes: do not trust it")
        top, _, inner = name.partition("/")
        tops.add(top)
        if inner.casefold() in taken:
            raise SardinoError(f"{archive} holds '{name}' twice: do not trust it")
        taken.add(inner.casefold())  # a disk that ignores case would keep one of the two
        members[inner] = member
    if len(tops) != 1 or not {CARD, CHECKSUMS} <= members.keys():
        raise SardinoError(f"{archive} is no package of sardino: it lacks {CARD} or {CHECKSUMS}")
    return members


def _harmless(name: str) -> bool:
    path = PurePosixPath(name)
    plain = not any(mark in name for mark in ("\\", ":", "\0", "//")) and name.isprintable()
    return plain and not path.is_absolute() and not {"..", "."} & set(name.split("/")) and len(name) < 1024


def _check_room(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SardinoError(f"{archive} needs {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB left")


def _extract(
    archive: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], into: Path, progress: Progress
) -> dict[str, Any]:
    """Write every file, each checked against its checksum, and open the store; the card."""
    sums = _sums(archive, tar, members)
    card = _card(archive, tar, members[CARD])
    for name in progress([name for name in members if name != CHECKSUMS]):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        source = tar.extractfile(members[name])
        assert source is not None  # _checked took plain files only
        with source, target.open("xb") as file:
            while block := source.read(_BLOCK):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sums[name]:
            raise SardinoError(f"{archive} is damaged: {name} does not match its checksum; copy the archive again")
    source = tar.extractfile(members[CHECKSUMS])
    assert source is not None
    (into / CHECKSUMS).write_bytes(source.read())
    store = TileStore.open(into / STORE)
    if store.fingerprint != card.get("fingerprint"):
        raise SardinoError(f"{archive} contradicts itself: its card is of another store")
    return card


def _sums(archive: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> dict[str, str]:
    """Checksum by name, for exactly the files that the archive holds."""
    text = _text(archive, tar, members[CHECKSUMS])
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    differing = sorted(set(sums) ^ (members.keys() - {CHECKSUMS}))
    if differing:
        raise SardinoError(f"{archive} and its checksums do not list the same files: {differing[0]} is the first")
    return sums


def _card(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    try:
        card = json.loads(_text(archive, tar, member))
    except ValueError as error:
        raise SardinoError(f"{archive} has a damaged {CARD} ({error}): copy it again") from error
    if not isinstance(card, dict) or card.get("format") != PACKAGE_FORMAT:
        raise SardinoError(f"{archive} is no package of sardino: its {CARD} is of another kind")
    if card.get("version") != PACKAGE_VERSION:
        raise SardinoError(f"{archive} has package version {card.get('version')}, this sardino reads {PACKAGE_VERSION}")
    return card


def _text(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.size > _LARGEST_SUMS:
        raise SardinoError(f"{archive} holds a {member.name} of {member.size} bytes: do not trust it")
    source = tar.extractfile(member)
    assert source is not None  # _checked took plain files only
    try:
        return source.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SardinoError(f"{archive} has a damaged {member.name}: copy it again") from error
