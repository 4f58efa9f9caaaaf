"""A dataset shared: store, card and checksums in one archive, the same byte for byte, and taken apart with mistrust."""

import hashlib
import io
import itertools
import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import read_table
from sardino.data.tiles.tile import Progress
from sardino.errors import SardinoError
from sardino.files import read_toml, sha256_of, whole

CARD, README, STORE, CHECKSUMS = "card.json", "README.md", "store", "checksums.sha256"
PACKAGE_FORMAT, PACKAGE_VERSION = "sardino-package", 1
_LARGEST_TEXT, _MOST_FILES = 1 << 28, 10_000_000


@dataclass(frozen=True)
class Sharing:
    """What only its maker can say about a dataset."""

    title: str  # one line
    licence: str  # for example "CC-BY-4.0"
    source: str  # where the pixels come from and whom to cite
    notes: str = ""  # further text for the README, Markdown
    files: Sequence[Path] = ()  # to add beside the store: the tile table, a paper

    def __post_init__(self) -> None:
        for name in ("title", "licence", "source"):
            if not getattr(self, name).strip():
                raise SardinoError(f"a dataset cannot be shared without its {name}: name it with --{name}")


def pack_dataset(
    store: TileStore, archive: Path, sharing: Sharing, *, overwrite: bool = False, progress: Progress = iter
) -> dict[str, Any]:
    """Write a store with its README, card and checksums as one .tar, whole or not at all; returns the card.

    The store is verified first. The archive is not compressed (backscatter hardly shrinks, and a reader can seek), its
    entries are sorted and carry no time, user or mode of this machine: the same store makes the same bytes. Raises
    SardinoError: a damaged store, a name taken twice, or a path that cannot be written.
    """
    archive = Path(archive)
    if archive.suffix != ".tar":
        raise SardinoError(f"a package is a .tar file, not {archive}")
    if archive.exists() and not overwrite:
        raise SardinoError(f"{archive} exists already: remove it, or ask to overwrite it")
    store.verify()
    card = card_of(store, sharing)
    entries = _entries(store, sharing, card)
    with whole(archive) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        sums = ""
        for name in itertools.chain(progress(sorted(entries)), [CHECKSUMS]):
            content = sums.encode() if name == CHECKSUMS else entries[name]
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                sums += f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n"
                info = tarfile.TarInfo(f"{archive.stem}/{name}")
                info.size, info.mode = file.seek(0, io.SEEK_END), 0o644
                file.seek(0)
                tar.addfile(info, file)
    return card


def card_of(store: TileStore, sharing: Sharing) -> dict[str, Any]:
    """What a user must know before reading the first pixel, as JSON values."""
    crs, splits = (list(map(str, store.index[column])) for column in ("crs", "split"))
    card: dict[str, Any] = {"format": PACKAGE_FORMAT, "version": PACKAGE_VERSION}
    card |= {name: getattr(sharing, name) for name in ("title", "licence", "source")}
    card |= {name: getattr(store, name) for name in ("product", "synthetic", "channels", "unit", "layers")}
    card |= {"legend": store.legend.to_dict(), "tile_px": store.tile_px, "tiles": len(store), "regions": store.regions}
    card |= {"crs": sorted(set(crs)), "splits": {split: splits.count(split) for split in ("train", "val", "test")}}
    return card | {"fingerprint": store.fingerprint}


def readme_of(card: dict[str, Any], notes: str = "") -> str:
    """The card as a page for people."""
    classes = "\n".join(f"| {c['code']} | {c['name']} | {c['color']} |" for c in card["legend"]["classes"])
    derived = " These labels were derived from another image and are no reference product." * card["legend"]["derived"]
    origin = "simulated: no pixel of it was ever measured" if card["synthetic"] else "measured"
    said = {name: ", ".join(card[name]) for name in ("regions", "crs", "channels")}
    said |= {"layers": ", ".join(card["layers"]) or "none", "classes": classes, "derived": derived, "origin": origin}
    said["splits"] = ", ".join(f"{count} {split}" for split, count in card["splits"].items())
    page = read_toml(Path(__file__).with_name("dataset_page.toml"))["page"]
    return str(page.format(card=card, notes=notes and f"\n{notes.rstrip()}\n", store=STORE, **said))


def _entries(store: TileStore, sharing: Sharing, card: dict[str, Any]) -> dict[str, Path | bytes]:
    """Name in the archive to file or content."""
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    entries: dict[str, Path | bytes] = {CARD: text.encode(), README: readme_of(card, sharing.notes).encode()}
    for path in store.path.rglob("*"):
        if path.is_symlink():
            raise SardinoError(f"{path} is a link: a package holds files only, replace it by a copy")
        if path.is_file() and not path.name.startswith("."):  # macOS's notes on a file are no part of it
            entries[f"{STORE}/{path.relative_to(store.path).as_posix()}"] = path
    for path in map(Path, sharing.files):
        if not path.is_file():
            raise SardinoError(f"there is no file {path} to add to the package")
        if path.name in entries or path.name == CHECKSUMS:
            raise SardinoError(f"the package has a {path.name} already: rename {path}")
        table = path.suffix in (".parquet", ".geojson")
        if table and (missing := set(store.ids()) - set(map(str, read_table(path)["id"]))):
            raise SardinoError(f"{path} lacks {len(missing)} tiles of the store, {min(missing)} the first")
        entries[path.name] = path
    return entries


def unpack_dataset(archive: Path, folder: Path, *, progress: Progress = iter) -> dict[str, Any]:
    """Unpack a package into a new folder, whole or not at all; returns its card.

    Only plain files with plain relative names are taken; links, devices, sparse and compressed archives, names that
    lead outside or come twice, files that the checksums do not list, and more bytes than the archive itself has or the
    disk can hold, are refused by a SardinoError before anything is written, as is a damaged archive.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise SardinoError(f"there is no package {archive}")
    if folder.exists() or folder.is_symlink():
        raise SardinoError(f"{folder} exists already: unpack into a new folder")
    try:
        with tarfile.open(archive, "r:") as tar:
            members = _checked(archive, tar)
            place = next(parent for parent in folder.absolute().parents if parent.is_dir())
            needed, free = sum(member.size for member in members.values()), shutil.disk_usage(place).free
            if needed > free:
                raise SardinoError(f"{archive} needs {needed / 1e9:.1f} GB, {place} has {free / 1e9:.1f} GB left")
            sums, card = _declared(archive, tar, members)
            with whole(folder) as partial:
                for name in progress(list(members)):
                    (partial / name).parent.mkdir(parents=True, exist_ok=True)
                    with _content(tar, members[name]) as source, (partial / name).open("xb") as file:
                        shutil.copyfileobj(source, file)
                    if name != CHECKSUMS and sha256_of(partial / name) != sums[name]:
                        raise SardinoError(f"{archive} is damaged: {name} does not match its checksum; copy it again")
                if TileStore.open(partial / STORE).fingerprint != card.get("fingerprint"):
                    raise SardinoError(f"{archive} contradicts itself: its card is of another store")
    except tarfile.TarError as error:
        raise SardinoError(f"{archive} is no package, or damaged ({error}): copy it again") from error
    return card


def _checked(archive: Path, tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Files of the archive by name without the folder on top, all of them harmless."""
    members: dict[str, tarfile.TarInfo] = {}
    tops, taken, size, total = set(), set(), archive.stat().st_size, 0
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
    plain = name.isprintable() and not any(mark in name for mark in ("\\", ":", "\0", "//")) and len(name) < 1024
    return plain and not name.startswith("/") and not {"..", "."} & set(name.split("/"))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    """A plain file's bytes, and nothing else that its header says."""
    content = tar.extractfile(member)
    assert content is not None  # _checked took plain files only
    return content


def _declared(
    archive: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Checksum by name, for exactly the files that the archive holds, and the card."""
    for name in (CHECKSUMS, CARD):
        if members[name].size > _LARGEST_TEXT:
            raise SardinoError(f"{archive} holds a {name} of {members[name].size} bytes: do not trust it")
    lines = _content(tar, members[CHECKSUMS]).read().decode(errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    if differing := sorted(set(sums) ^ (members.keys() - {CHECKSUMS})):
        raise SardinoError(f"{archive} and its checksums do not list the same files: {differing[0]} is the first")
    try:
        card = json.loads(_content(tar, members[CARD]).read())
    except ValueError as error:
        raise SardinoError(f"{archive} has a damaged {CARD} ({error}): copy it again") from error
    if not isinstance(card, dict) or card.get("format") != PACKAGE_FORMAT:
        raise SardinoError(f"{archive} is no package of sardino: its {CARD} is of another kind")
    if card.get("version") != PACKAGE_VERSION:
        raise SardinoError(f"{archive} has package version {card.get('version')}, this sardino reads {PACKAGE_VERSION}")
    return sums, card
