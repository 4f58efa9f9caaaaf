"""M3LEO's public tiles from the Hugging Face hub, into a folder in the authors' own layout; stopped, it goes on."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff  # type: ignore[attr-defined]

from sardino.data.sources.archives.layout import IDENTIFIER, Layout, open_layout
from sardino.data.sources.source import Progress
from sardino.errors import SardinoError, first_line
from sardino.files import sha256_of, write_json

ORGANISATION = "M3LEO-miniset"  # 5,000 tiles an area, single files; the whole of M3LEO, in parquet files, is not read
# Area: hash of its partition, and angle of its bands in tenths of a radian, as in the files' names.
AREAS = {
    "china": ("23489d30a312b", "15"),
    "conus": ("293d95e3ee589", "09"),
    "europe": ("2f8bd3f01ddd5", "09"),
    "middleeast": ("0a596e5469add", "15"),
    "pakin": ("0f26dc7030c75", "15"),
    "southamerica": ("3219aa0f411c2", "02"),
}
# What a tile store holds: backscatter, labels and the reference layers.
DATASETS = ("s1grd-2020", "esaworldcover-2020", "s2rgbm-2020", "modis44b006veg", "biomass-2020", "ghsbuilts-2020")
RECORD = ".m3leo.json"
# Tries of a file; pause before the second, doubled each time; silence after which a connection counts as dead.
TRIES, WAIT_S, TIMEOUT_S = 5, 1.0, 60.0
PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Area:
    """One area of M3LEO, a key of AREAS, and the names of its files."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in AREAS:
            raise SardinoError(f"M3LEO has no area '{self.name}': choose {', '.join(AREAS)}")

    @property
    def repository(self) -> str:
        return f"{ORGANISATION}/{self.name}"

    @property
    def stem(self) -> str:
        """Name of the folder with the data sets."""
        return f"{self.name}_partitions_aschips_{AREAS[self.name][0]}"

    @property
    def tables(self) -> tuple[str, str]:
        """Names of the table of tiles and of the list of splits."""
        splits = f"{self.stem}_splits_60bands_angle{AREAS[self.name][1]}_60-20-20_miniset.csv"
        return f"{self.stem}_miniset.geojson", splits


@dataclass(frozen=True)
class HubFile:
    """A file of a repository."""

    path: str  # from the repository's root
    size: int  # bytes
    sha256: str  # "" for small files
    blob: str  # git's hash, for small files

    def matches(self, path: Path) -> bool:
        """Whether a file on disk has this content."""
        if self.sha256:
            return sha256_of(path) == self.sha256
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == self.blob


@dataclass(frozen=True)
class HubFolder:
    """A data set repository on a hub at one revision: listed, fetched in pieces that add up, checked by hash."""

    repository: str  # <owner>/<name>
    revision: str  # a commit, or a branch for `commit` to resolve
    endpoint: str | None = None  # address of the hub; HF_ENDPOINT or the public hub where None

    def commit(self) -> str:
        """The commit that the revision names now."""
        with self._explained(""):
            found = HfApi(endpoint=self.endpoint).dataset_info(self.repository, revision=self.revision).sha
        if not found:
            raise SardinoError(f"the hub names no commit of {self.repository} at {self.revision}: name another")
        return str(found)

    def files(self, folder: str) -> dict[str, HubFile]:
        """The files that lie directly in a folder, by name; "" is the root.

        SardinoError where there is no such folder, or a file's name leads out of it.
        """
        listed = {}
        where: dict[str, Any] = {"revision": self.revision, "repo_type": "dataset"}
        with self._explained(folder):
            for entry in HfApi(endpoint=self.endpoint).list_repo_tree(self.repository, folder or None, **where):
                path, parts = entry.path, PurePosixPath(entry.path).parts
                odd = not parts or "\\" in path or ":" in path or ".." in parts or path.startswith("/")
                if odd or "/".join(parts[:-1]) != folder:
                    outside = f"{path!r} outside {folder or 'its root'}"
                    raise SardinoError(f"{self.repository} names a file {outside}: nothing was fetched")
                if isinstance(entry, RepoFile):
                    sha256 = entry.lfs.sha256 if entry.lfs else ""
                    listed[parts[-1]] = HubFile(path, entry.size, sha256, entry.blob_id)
        return listed

    def fetch(self, file: HubFile, folder: Path) -> bool:
        """Bring a file into `folder`, at its path in the repository; whether anything was transferred.

        What was fetched earlier of it stays in a hidden file beside it and is not fetched again. SardinoError where it
        cannot be fetched now, or its content is not what the hub announced.
        """
        target = folder / file.path
        if target.is_file() and target.stat().st_size == file.size:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        # The hash in its name keeps the pieces of two versions apart.
        partial = target.with_name(f".{target.name}.{(file.sha256 or file.blob)[:12]}.part")
        for _ in range(2):
            with self._explained(file.path):
                self._continue(file, partial)
            if file.matches(partial):
                os.replace(partial, target)
                return True
            partial.unlink()  # wrong bytes: once more from the start
        raise SardinoError(f"{file.path} of {self.repository} does not have the hash it should: try again later")

    def _continue(self, file: HubFile, partial: Path) -> None:
        """Append what is missing of a file; the hub's own download keeps nothing of a piece below 10 MB."""
        where: dict[str, Any] = {"repo_type": "dataset", "revision": self.revision, "endpoint": self.endpoint}
        url = hf_hub_url(self.repository, file.path, **where)
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        patience: dict[str, Any] = {"max_retries": TRIES - 1, "base_wait_time": WAIT_S, "timeout": TIMEOUT_S}
        patience |= {"retry_on_status_codes": PASSING, "retry_on_exceptions": ()}
        for attempt in range(1, TRIES + 1):
            with partial.open("ab") as stream:
                if (done := stream.tell()) == file.size:
                    return
                if done > file.size:
                    stream.truncate(done := 0)
                asked = headers | ({"Range": f"bytes={done}-"} if done else {})
                try:
                    with http_stream_backoff("GET", url, headers=asked, **patience) as response:
                        hf_raise_for_status(response)
                        if done and response.status_code != 206:  # the server took no notice of the range
                            stream.truncate(0)
                        for block in response.iter_bytes():
                            stream.write(block)
                except Exception as error:
                    if attempt == TRIES or not _is_transport(error):
                        raise
                    time.sleep(WAIT_S * 2 ** (attempt - 1))

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turn the hub's errors into one sentence."""
        what = f"{self.repository}/{path}" if path else self.repository
        again = "run the same command again, it goes on where it stopped"
        try:
            yield
        except HFValidationError as error:
            raise SardinoError(f"{what} is no name on the hub ({first_line(error)}): correct it") from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            said = f"the hub answered {status} for {what}: {again}"
            if status == 404:
                said = f"the hub has no {what} at {self.revision[:12]}: correct the name"
            elif status in (401, 403):
                said = f"the hub refuses {what} ({status}), which is private or absent: log in with `hf auth login`"
            raise SardinoError(said) from error
        except Exception as error:
            if not isinstance(error, OSError) and not _is_transport(error):
                raise
            raise SardinoError(f"{what} was not fetched ({first_line(error)}): {again}") from error


def _is_transport(error: BaseException) -> bool:
    """A broken or slow connection; the hub's client lets its HTTP library's own errors through."""
    kinds = type(error).__mro__
    return any(kind.__module__.startswith("httpx") and kind.__name__ == "TransportError" for kind in kinds)


@dataclass(frozen=True)
class Downloaded:
    """What lies in the folder after a download."""

    layout: Layout  # the tiles asked for
    revision: str  # commit of the repository that all files come from
    fetched: int  # files that this run transferred
    present: int  # files that were there already
    absent: tuple[str, ...]  # <data set>/<identifier> that the repository does not hold


def download(
    area: Area,
    folder: Path,
    *,
    datasets: Sequence[str] = DATASETS,
    per_split: int | None = None,
    identifiers: Sequence[str] | None = None,
    tile_px: int = 432,
    revision: str = "main",
    endpoint: str | None = None,
    workers: int = 4,
    progress: Progress = lambda numbers, total: numbers,
) -> Downloaded:
    """Fetch the tables of an area and the files of some of its tiles.

    All files come from one commit, noted in `folder`, so that a later run cannot mix two. A file that is whole is never
    fetched again; one that was cut off goes on at its last byte, also in another process, and is checked
    against the hub's hash before it gets its name.

    Args:
        folder: where the authors' layout is to stand.
        per_split: so many tiles of each split, in the table's order; all where None.
        identifiers: these tiles only.
        tile_px: edge of a tile on its metre grid, see `open_layout`.
        revision: branch, tag or commit; a commit noted in the folder has precedence.
        endpoint, workers: as of HubFolder; files at once.

    SardinoError where the hub cannot be reached, holds no such data, or names files outside the folder.
    """
    hub = HubFolder(area.repository, _commit(folder, area, revision, endpoint), endpoint)
    root = hub.files("")
    for name in area.tables:
        if name not in root:
            there = ", ".join(sorted(root)[:8]) or "none"
            raise SardinoError(f"{area.repository} has no file {name}: it holds {there}")
    fetched = sum(hub.fetch(root[name], folder) for name in area.tables)
    (folder / area.stem).mkdir(exist_ok=True)
    layout = open_layout(folder / area.tables[0], tile_px=tile_px)
    layout = layout if identifiers is None else layout.named(identifiers)
    layout = layout if per_split is None else layout.first(per_split)
    files, absent = [], []
    for dataset in datasets:
        if not IDENTIFIER.fullmatch(dataset):
            raise SardinoError(f"'{dataset}' is no name of a data set: M3LEO has {', '.join(DATASETS)}")
        listed = {Path(name).stem: file for name, file in hub.files(f"{area.stem}/{dataset}").items()}
        files += [listed[name] for name in layout.identifiers if name in listed]
        absent += [f"{dataset}/{name}" for name in layout.identifiers if name not in listed]
    with ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(hub.fetch, file, folder) for file in files]
        try:
            for number in progress(range(len(pending)), len(pending)):
                fetched += pending[number].result()
        finally:
            for future in pending:
                future.cancel()
    return Downloaded(layout, hub.revision, fetched, len(area.tables) + len(files) - fetched, tuple(absent))


def _commit(folder: Path, area: Area, revision: str, endpoint: str | None) -> str:
    """The commit to read from: noted at the first run, kept by the later ones."""
    record = folder / RECORD
    if not record.is_file():
        commit = HubFolder(area.repository, revision, endpoint).commit()
        write_json({"repository": area.repository, "asked": revision, "commit": commit}, record)
        return commit
    try:
        noted = json.loads(record.read_text())
        repository, asked, commit = str(noted["repository"]), str(noted["asked"]), str(noted["commit"])
    except (ValueError, KeyError, TypeError) as error:
        raise SardinoError(f"{record} is damaged ({error}): remove it, and the tiles are checked again") from error
    if repository != area.repository or revision not in (asked, commit):
        wanted = f"choose another folder for {area.repository} at {revision}"
        raise SardinoError(f"{folder} holds tiles of {repository} at {asked}: {wanted}")
    return commit
