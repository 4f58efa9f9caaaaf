"""Files of a data set repository on a Hugging Face hub: listed, fetched in pieces that add up, checked by hash."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sardino.errors import SardinoError

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
            raise SardinoError(f"{what} is no name on the hub ({_first_line(error)}): correct it") from error
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
                f"{what} was not fetched ({_first_line(error)}): run the command again, it goes on where it stopped"
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


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
