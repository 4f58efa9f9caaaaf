"""A STAC API over HTTP in this process: search, paging, range requests, and faults on request from a seeded plan."""

import contextlib
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from shapely.geometry import box, shape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KINDS = ("429", "500", "503", "slow", "drop", "truncated")


@dataclass
class Faults:
    """Which requests go wrong, and how.

    Args:
        share: part of all requests that fail, drawn from the seed, the request and its number of tries so far,
            so that the order of threads does not matter.
        kinds: drawn from these.
        always: a part of the path, and the kind of fault that each request to such a path meets.
        first: a part of the path, and the faults that its first requests meet, in turn.
        retry_after: seconds that a 429 asks for.
        stall: seconds that a slow answer takes.
    """

    share: float = 0.0
    seed: int = 0
    kinds: tuple[str, ...] = KINDS
    always: dict[str, str] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)
    retry_after: int = 0
    stall: float = 0.05

    def __post_init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.lock = threading.Lock()

    def of(self, request: Request) -> str | None:
        name = f"{request.method} {request.url.path}?{request.url.query} {request.headers.get('range', '')}"
        with self.lock:
            kind = self._kind(request.url.path, name)
            if kind:
                self.met[kind] += 1
        return kind

    def _kind(self, path: str, name: str) -> str | None:
        for part, kind in self.always.items():
            if part in path:
                return kind
        for part, kinds in self.first.items():
            if part in path and kinds:
                return kinds.pop(0) or None
        self.tries[name] += 1
        digest = hashlib.sha256(f"{self.seed} {self.tries[name]} {name}".encode()).digest()
        if int.from_bytes(digest[:4]) / 2**32 < self.share:
            return self.kinds[digest[4] % len(self.kinds)]
        return None


class Dropping(Response):
    """An answer that promises its whole length and closes the connection half way."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        raise ConnectionAbortedError("dropped on purpose")


class StacServer:
    """The API of a list of items, their files below one folder; hrefs in items begin with "{base}/files/"."""

    def __init__(self, folder: Path, items: Callable[[str], list[dict[str, Any]]], page: int = 7) -> None:
        self.folder, self.page = folder, page
        self.faults = Faults()
        self.seen: list[tuple[str, int]] = []
        routes = [
            Route("/", self._landing),
            Route("/search", self._search, methods=["GET", "POST"]),
            Route("/collections/{name}", self._collection),
            Route("/files/{path:path}", self._file, methods=["GET", "HEAD"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=0, log_level=60, ws="none", lifespan="off", loop="asyncio"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self.items = items(self.url)

    def close(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    @contextlib.contextmanager
    def failing(self, **plan: Any) -> Iterator[Faults]:
        """Faults for the time of a `with` block."""
        self.faults = Faults(**plan)
        try:
            yield self.faults
        finally:
            self.faults = Faults()

    def _landing(self, request: Request) -> Response:
        links = [
            {"rel": "self", "href": self.url, "type": "application/json"},
            {"rel": "root", "href": self.url, "type": "application/json"},
            {"rel": "search", "href": f"{self.url}/search", "type": "application/geo+json", "method": "GET"},
            {"rel": "search", "href": f"{self.url}/search", "type": "application/geo+json", "method": "POST"},
        ]
        conforms = [f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "item-search")]
        landing = {"type": "Catalog", "id": "fixture", "stac_version": "1.0.0", "description": "test", "links": links}
        return self._answer(request, JSONResponse(landing | {"conformsTo": conforms}))

    def _collection(self, request: Request) -> Response:
        return JSONResponse({"code": "NotFound"}, 404)

    async def _search(self, request: Request) -> Response:
        asked = dict(request.query_params) if request.method == "GET" else await request.json()
        if isinstance(names := asked.get("collections", []), str):
            names = names.split(",")
        if isinstance(bounds := asked.get("bbox"), str):
            bounds = [float(v) for v in bounds.split(",")]
        start, end = _interval(asked.get("datetime"))
        found = [
            item
            for item in self.items
            if (not names or item["collection"] in names)
            and (not bounds or box(*bounds).intersects(shape(item["geometry"])))
            and _overlaps(item, start, end)
        ]
        first, size = int(asked.get("token", 0)), min(int(asked.get("limit", self.page)), self.page)
        page: dict[str, Any] = {"type": "FeatureCollection", "features": found[first : first + size], "links": []}
        if first + size < len(found):
            again = asked | {"token": str(first + size)}
            following: dict[str, Any] = {"rel": "next", "method": request.method, "type": "application/geo+json"}
            if request.method == "GET":
                following["href"] = f"{self.url}/search?{urlencode(again)}"
            else:
                following |= {"href": f"{self.url}/search", "body": again}
            page["links"] = [following]
        return self._answer(request, JSONResponse(page))

    def _file(self, request: Request) -> Response:
        path = self.folder / request.path_params["path"]
        if not path.is_file():
            return Response(status_code=404)
        content = path.read_bytes()
        kind = self.faults.of(request)
        if kind == "truncated":
            content = content[: len(content) * 2 // 3]
        headers = {"accept-ranges": "bytes", "content-type": "image/tiff"}
        start, stop, status = 0, len(content), 200
        if wanted := request.headers.get("range", "").removeprefix("bytes="):
            low, _, high = wanted.partition("-")
            start, stop, status = int(low), min(int(high or len(content)) + 1, len(content)), 206
            if start >= len(content):
                return Response(status_code=416, headers={"content-range": f"bytes */{len(content)}"})
            headers["content-range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self._faulty(request, Response(content[start:stop], status, headers), kind)

    def _answer(self, request: Request, response: Response) -> Response:
        return self._faulty(request, response, self.faults.of(request))

    def _faulty(self, request: Request, response: Response, kind: str | None) -> Response:
        if kind == "truncated" and request.url.path == "/search":
            response = Response(response.body[: len(response.body) // 2], media_type="application/geo+json")
        if kind == "429":
            response = Response(status_code=429, headers={"retry-after": str(self.faults.retry_after)})
        elif kind in ("403", "500", "503"):
            response = Response(status_code=int(kind))
        elif kind == "slow":
            time.sleep(self.faults.stall)
        elif kind == "drop":
            response = Dropping(response.body, response.status_code, dict(response.headers) | {"connection": "close"})
        self.seen.append((request.url.path, response.status_code))
        return response


def _interval(text: str | None) -> tuple[datetime, datetime]:
    start, _, end = (text or "../..").partition("/")
    low = datetime.min.replace(tzinfo=UTC) if start in ("", "..") else datetime.fromisoformat(start)
    high = datetime.max.replace(tzinfo=UTC) if end in ("", "..") else datetime.fromisoformat(end)
    return low, high


def _overlaps(item: dict[str, Any], start: datetime, end: datetime) -> bool:
    facts = item["properties"]
    first = datetime.fromisoformat(facts.get("start_datetime") or facts["datetime"])
    last = datetime.fromisoformat(facts.get("end_datetime") or facts["datetime"])
    return first <= end and last >= start
