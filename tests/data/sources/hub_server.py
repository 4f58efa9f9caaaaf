"""A Hugging Face hub on 127.0.0.1: the requests that huggingface_hub makes, answered from a folder, with faults."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "a5b2fc3f3e08e4e58f4038f3969b93beaab7d168"
PAGE = 3


@dataclass
class Hub:
    """What the server serves, and what it did.

    Args:
        root: folder of the repository's files.
        repository: <owner>/<name>.
        cut: path: bytes after which the connection breaks, once.
        status: path: HTTP status to answer with, once.
        forged: further entries of the root's listing.
        lfs: suffixes of files that the hub keeps as large files, with their SHA-256.
    """

    root: Path
    repository: str
    cut: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    forged: list[dict[str, Any]] = field(default_factory=list)
    lfs: tuple[str, ...] = (".tif", ".nc")
    sent: Counter[str] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    ranges: list[tuple[str, str]] = field(default_factory=list)
    endpoint: str = ""

    def entry(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.root).as_posix()
        if path.is_dir():
            return {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
        content = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        facts: dict[str, Any] = {"type": "file", "oid": blob, "size": len(content), "path": name}
        if path.suffix in self.lfs:
            facts["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 132}
        return facts


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        hub, path = self.hub, unquote(url.path)
        hub.requests.append(path)
        api, data = f"/api/datasets/{hub.repository}", f"/datasets/{hub.repository}/resolve/{COMMIT}/"
        if path == f"{api}/revision/main":
            self._json({"id": hub.repository, "sha": COMMIT, "tags": [], "siblings": []})
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            self._tree(path.removeprefix(f"{api}/tree/{COMMIT}").strip("/"), parse_qs(url.query))
        elif path.startswith(data):
            self._file(path.removeprefix(data))
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _tree(self, folder: str, query: dict[str, list[str]]) -> None:
        place = self.hub.root / folder
        if not place.is_dir():
            self._json({"error": "not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        entries = [self.hub.entry(path) for path in sorted(place.iterdir())]
        if not folder:
            entries += self.hub.forged
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(entries):
            here = f"{self.hub.endpoint}{urlsplit(self.path).path}?cursor={start + PAGE}"
            headers["Link"] = f'<{here}>; rel="next"'
        self._json(entries[start : start + PAGE], 200, headers)

    def _file(self, name: str) -> None:
        if status := self.hub.status.pop(name, 0):
            self._json({"error": "fault"}, status)
            return
        path = self.hub.root / name
        if not path.is_file():
            self._json({"error": "not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        content, start = path.read_bytes(), 0
        if asked := self.headers.get("Range"):
            self.hub.ranges.append((name, asked))
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        part = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(part)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if (end := self.hub.cut.pop(name, None)) is not None:
            part = part[:end]
            self.close_connection = True
        self.wfile.write(part)
        self.hub.sent[name] += len(part)

    def _json(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve(root: Path, repository: str) -> Iterator[Hub]:
    """Serve a folder as a repository; the hub's `endpoint` is its address."""
    hub = Hub(root, repository)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
