"""Files of a data set repository on a Hugging Face hub: listed, fetched in pieces that add up, checked by hash."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sardino.errors import SardinoError, first_line
from sardino.files import sha256_of

TRIES, WAIT_S, TIMEOUT_S = 5, 1.0, 60.0
"""Tries of a file; pause before the second, doubled each time; silence after which a connection counts as dead."""
PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class HubFile:
    """A file of the repository: path from its root, bytes, SHA-256 ("" for small files), git's hash of small files."""

    path: str
    size: int
    sha256: str
    blob: str

    def matches(self, path: Path) -> bool:
        """Whether a file on disk has this content."""
        if path.stat().st_size != self.size:
            return False
        if self.sha256:
            return sha256_of(path) == self.sha256
        content = b"blob %d\0" % self.size + path.read_bytes()
        return hashlib.sha1(content, usedforsecurity=False).hexdigest() == self.blob


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
        with self._explained(""):
            found = self._hub().dataset_info(self.repository, revision=self.revision).sha
        if not found:
            raise SardinoError(f"the hub names no commit of {self.repository} at {self.revision}: name another")
        return str(found)

    def files(self, folder: str) -> list[HubFile]:
        """The files that lie directly in a folder; "" is the root.

        Raises:
            SardinoError: there is no such folder, or a file's name leads out of it.
        """
        from huggingface_hub.hf_api import RepoFile

        listed = []
        where = {"revision": self.revision, "repo_type": "dataset"}
        with self._explained(folder):
            for entry in self._hub().list_repo_tree(self.repository, folder or None, **where):
                _check_path(entry.path, folder, self.repository)
                if isinstance(entry, RepoFile):
                    listed.append(HubFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else "", entry.blob_id))
        return listed

    def fetch(self, file: HubFile, folder: Path) -> bool:
        """Bring a file into `folder`, at its path in the repository; whether anything was transferred.

        What was fetched earlier of it stays in a hidden file beside it and is not fetched again.

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
        raise SardinoError(f"{file.path} of {self.repository} does not have the hash it should: try again later")

    def _hub(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint)

    def _continue(self, file: HubFile, partial: Path) -> None:
        """Append what is missing of a file; the hub's own download keeps nothing of a piece below 10 MB."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        where = {"repo_type": "dataset", "revision": self.revision, "endpoint": self.endpoint}
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
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

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


def _check_path(path: str, folder: str, repository: str) -> None:
    parts = PurePosixPath(path).parts
    inside = "/".join(parts[:-1]) == folder
    if not parts or "\\" in path or ":" in path or ".." in parts or path.startswith("/") or not inside:
        raise SardinoError(f"{repository} names a file {path!r} outside {folder or 'its root'}: nothing was fetched")


def _is_transport(error: BaseException) -> bool:
    """A broken or slow connection; the hub's client lets its HTTP library's own errors through."""
    kinds = type(error).__mro__
    return any(kind.__module__.startswith("httpx") and kind.__name__ == "TransportError" for kind in kinds)
