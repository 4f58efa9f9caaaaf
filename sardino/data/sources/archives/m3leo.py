"""M3LEO's public tiles from the Hugging Face hub, into a folder in the authors' own layout; stopped, it goes on."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sardino.data.sources.archives.layout import IDENTIFIER, Layout, open_layout
from sardino.errors import SardinoError, first_line

# Files of a data set repository on a Hugging Face hub: listed, fetched in pieces that add up, checked by hash.

TRIES = 5
WAIT_S, MAX_WAIT_S, TIMEOUT_S = 1.0, 300.0, 60.0
"""Pause before the second try, doubled each time; longest wait that a server may ask for; silence on the line."""
PASSING = (408, 429, 500, 502, 503, 504)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class HubFile:
    """A file of the repository.

    Args:
        path: relative to the repository's root.
        size: bytes.
        sha256: of the content, for large files; "" otherwise.
        blob: git's hash of the content, for small files.
    """

    path: str
    size: int
    sha256: str
    blob: str

    def matches(self, path: Path) -> bool:
        """Whether a file on disk has this content."""
        if path.stat().st_size != self.size:
            return False
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest() == (self.sha256 or self.blob)


@dataclass(frozen=True)
class HubFolder:
    """A repository at one revision.

    Args:
        repository: <owner>/<name>.
        revision: a commit, or a branch for `commit` to resolve.
        endpoint: address of the hub; HF_ENDPOINT or the public hub where None.
    """

    repository: str
    revision: str
    endpoint: str | None = None

    def commit(self) -> str:
        """The commit that the revision names now."""
        from huggingface_hub import HfApi

        with self._explained(""):
            found = HfApi(endpoint=self.endpoint).dataset_info(self.repository, revision=self.revision).sha
        if not found:
            raise SardinoError(
                f"the hub names no commit for {self.repository} at {self.revision}: name another revision"
            )
        return found

    def files(self, folder: str) -> list[HubFile]:
        """The files that lie directly in a folder; "" is the root.

        Raises:
            SardinoError: there is no such folder, or a file's name leads out of it.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        listed = []
        with self._explained(folder):
            tree = HfApi(endpoint=self.endpoint).list_repo_tree(
                self.repository, folder or None, revision=self.revision, repo_type="dataset"
            )
            for entry in tree:
                _check_path(entry.path, folder, self.repository)
                if isinstance(entry, RepoFile):
                    sha256 = entry.lfs.sha256 if entry.lfs else ""
                    listed.append(HubFile(entry.path, int(entry.size), sha256, entry.blob_id))
        return listed

    def fetch(self, file: HubFile, folder: Path) -> bool:
        """Bring a file into `folder`, at its path in the repository.

        What was fetched earlier of it stays in a hidden file beside it and is not fetched again.

        Returns:
            Whether anything was transferred.

        Raises:
            SardinoError: it cannot be fetched now, or its content is not what the hub announced.
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
        raise SardinoError(
            f"{file.path} of {self.repository} does not have the hash that the hub states: try again later"
        )

    def _continue(self, file: HubFile, partial: Path) -> None:
        """Append what is missing of a file; the hub's own download keeps nothing of a piece below 10 MB."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            get_session,
            hf_raise_for_status,
        )

        url = hf_hub_url(
            self.repository, file.path, repo_type="dataset", revision=self.revision, endpoint=self.endpoint
        )
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        for attempt in range(1, TRIES + 1):
            pause = WAIT_S * 2 ** (attempt - 1)
            with partial.open("ab") as stream:
                if (done := stream.tell()) == file.size:
                    return
                if done > file.size:
                    stream.truncate(done := 0)
                asked = headers | ({"Range": f"bytes={done}-"} if done else {})
                try:
                    with get_session().stream("GET", url, headers=asked, timeout=TIMEOUT_S) as response:
                        if response.status_code >= 400:
                            response.read()
                        if response.status_code in PASSING and attempt < TRIES:
                            pause = max(pause, _retry_after(response.headers.get("Retry-After", "")))
                        else:
                            hf_raise_for_status(response)
                            if done and response.status_code != 206:  # the server took no notice of the range
                                stream.truncate(0)
                            for block in response.iter_bytes():
                                stream.write(block)
                            continue
                except Exception as error:
                    if attempt == TRIES or not _is_transport(error):
                        raise
            time.sleep(pause)

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turn the hub's errors into one sentence."""
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        what = f"{self.repository}/{path}" if path else self.repository
        try:
            yield
        except HFValidationError as error:
            raise SardinoError(f"{what} is no name on the hub ({first_line(error)}): correct it") from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == 404:
                raise SardinoError(f"the hub has no {what} at {self.revision[:12]}: correct the name") from error
            if status in (401, 403):
                raise SardinoError(
                    f"the hub refuses {what} ({status}), which is private or absent: log in with `hf auth login`"
                ) from error
            raise SardinoError(
                f"the hub answered {status} for {what}: run the same command later, it goes on where it stopped"
            ) from error
        except SardinoError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not _is_transport(error):
                raise
            raise SardinoError(
                f"{what} was not fetched ({first_line(error)}): run the command again, it goes on where it stopped"
            ) from error


def _check_path(path: str, folder: str, repository: str) -> None:
    parts = PurePosixPath(path).parts
    inside = "/".join(parts[:-1]) == folder
    if not parts or "\\" in path or ":" in path or ".." in parts or path.startswith("/") or not inside:
        raise SardinoError(f"{repository} names a file {path!r} outside {folder or 'its root'}: nothing was fetched")


def _is_transport(error: BaseException) -> bool:
    """A broken or slow connection; the hub's client lets its HTTP library's own errors through."""
    return any(
        kind.__module__.startswith("httpx") and kind.__name__ == "TransportError" for kind in type(error).__mro__
    )


def _retry_after(seconds: str) -> float:
    return min(float(seconds), MAX_WAIT_S) if seconds.isdigit() else 0.0


ORGANISATION = "M3LEO-miniset"
"""5,000 tiles an area, single files; the whole of M3LEO lies in parquet files elsewhere and is not read here."""
AREAS = {
    "china": ("23489d30a312b", "15"),
    "conus": ("293d95e3ee589", "09"),
    "europe": ("2f8bd3f01ddd5", "09"),
    "middleeast": ("0a596e5469add", "15"),
    "pakin": ("0f26dc7030c75", "15"),
    "southamerica": ("3219aa0f411c2", "02"),
}
"""Area: hash of its partition, and angle of its bands in tenths of a radian, as in the files' names."""
DATASETS = (
    "s1grd-2020",
    "esaworldcover-2020",
    "s2rgbm-2020",
    "modis44b006veg",
    "biomass-2020",
    "ghsbuilts-2020",
)
"""What a tile store holds: backscatter, labels and the reference layers."""
RECORD = ".m3leo.json"
Progress = Callable[[Iterable[int], int], Iterable[int]]


@dataclass(frozen=True)
class Area:
    """One area of M3LEO and the names of its files.

    Args:
        name: a key of AREAS.
        organisation: owner of the repository on the hub.
    """

    name: str
    organisation: str = ORGANISATION

    def __post_init__(self) -> None:
        if self.name not in AREAS:
            raise SardinoError(f"M3LEO has no area '{self.name}': choose {', '.join(AREAS)}")

    @property
    def repository(self) -> str:
        return f"{self.organisation}/{self.name}"

    @property
    def stem(self) -> str:
        """Name of the folder with the data sets."""
        return f"{self.name}_partitions_aschips_{AREAS[self.name][0]}"

    @property
    def tables(self) -> tuple[str, str]:
        """Names of the table of tiles and of the list of splits."""
        subset = "_miniset" if self.organisation.endswith("miniset") else ""
        splits = f"{self.stem}_splits_60bands_angle{AREAS[self.name][1]}_60-20-20{subset}.csv"
        return f"{self.stem}{subset}.geojson", splits


@dataclass(frozen=True)
class Downloaded:
    """What lies in the folder after a download.

    Args:
        layout: the tiles asked for.
        revision: commit of the repository that all files come from.
        fetched: files that this run transferred.
        present: files that were there already.
        absent: <data set>/<identifier> that the repository does not hold.
    """

    layout: Layout
    revision: str
    fetched: int
    present: int
    absent: tuple[str, ...]


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
        area: which tiles.
        folder: where the authors' layout is to stand.
        datasets: names of the data sets.
        per_split: so many tiles of each split, in the table's order; all where None.
        identifiers: these tiles only.
        tile_px: edge of a tile on its metre grid, see `open_layout`.
        revision: branch, tag or commit; a commit noted in the folder has precedence.
        endpoint: the hub's address; HF_ENDPOINT or the public hub where None.
        workers: files at once.
        progress: wraps the loop over files.

    Raises:
        SardinoError: the hub cannot be reached, holds no such data, or names files outside the folder.
    """
    hub = HubFolder(area.repository, _revision(folder, area, revision, endpoint), endpoint)
    root = {file.path: file for file in hub.files("")}
    for name in area.tables:
        if name not in root:
            raise SardinoError(
                f"{area.repository} has no file {name}: it holds {', '.join(sorted(root)[:8]) or 'none'}"
            )
    fetched = sum(hub.fetch(root[name], folder) for name in area.tables)
    present = len(area.tables) - fetched
    (folder / area.stem).mkdir(exist_ok=True)
    layout = _choose(open_layout(folder / area.tables[0], tile_px=tile_px), per_split, identifiers)
    files, absent = _wanted(hub, area, datasets, layout)
    with ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(hub.fetch, file, folder) for file in files]
        try:
            for number in progress(range(len(pending)), len(pending)):
                new = pending[number].result()
                fetched, present = fetched + new, present + (not new)
        finally:
            for future in pending:
                future.cancel()
    return Downloaded(layout, hub.revision, fetched, present, tuple(absent))


def _choose(layout: Layout, per_split: int | None, identifiers: Sequence[str] | None) -> Layout:
    if identifiers is not None:
        places = {name: row for row, name in enumerate(layout.identifiers)}
        if unknown := [name for name in identifiers if name not in places]:
            raise SardinoError(f"{layout.table.name} has no tile {', '.join(unknown[:5])}: take names from its column")
        layout = layout.choose(sorted(places[name] for name in set(identifiers)))
    return layout if per_split is None else layout.first(per_split)


def _wanted(hub: HubFolder, area: Area, datasets: Sequence[str], layout: Layout) -> tuple[list[HubFile], list[str]]:
    files, absent = [], []
    for dataset in datasets:
        if not IDENTIFIER.fullmatch(dataset):
            raise SardinoError(f"'{dataset}' is no name of a data set: M3LEO has {', '.join(DATASETS)}")
        listed = {Path(file.path).stem: file for file in hub.files(f"{area.stem}/{dataset}")}
        for name in layout.identifiers:
            if name in listed:
                files.append(listed[name])
            else:
                absent.append(f"{dataset}/{name}")
    return files, absent


def _revision(folder: Path, area: Area, revision: str, endpoint: str | None) -> str:
    """The commit to read from: noted at the first run, kept by the later ones."""
    record = folder / RECORD
    if record.is_file():
        try:
            noted: dict[str, Any] = json.loads(record.read_text())
            repository, asked, commit = str(noted["repository"]), str(noted["asked"]), str(noted["commit"])
        except (ValueError, KeyError, TypeError) as error:
            raise SardinoError(f"{record} is damaged ({error}): remove it, and the tiles are checked again") from error
        if repository != area.repository or revision not in (asked, commit):
            raise SardinoError(
                f"{folder} holds tiles of {repository} at {asked}: choose another folder for {area.repository} at "
                f"{revision}"
            )
        return commit
    commit = HubFolder(area.repository, revision, endpoint).commit()
    folder.mkdir(parents=True, exist_ok=True)
    partial = record.with_suffix(".partial")
    partial.write_text(json.dumps({"repository": area.repository, "asked": revision, "commit": commit}))
    os.replace(partial, record)
    return commit
