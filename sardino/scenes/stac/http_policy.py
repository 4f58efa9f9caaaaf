"""How long to insist when a server is slow, busy or broken: one policy for searching and for reading pixels."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sardino.errors import SardinoError
from sardino.scenes.source import Transient

T = TypeVar("T")
CACHE_BYTES = 64_000_000
"""GDAL's cache of decoded blocks: scenes are read once, so that a larger one is memory for nothing."""
RETRY_CODES = (429, 500, 502, 503, 504)
"""Answers that another try may turn: too many requests, and faults of the server or of what stands before it."""


@dataclass(frozen=True)
class HttpPolicy:
    """Patience with a server.

    Args:
        attempts: tries of one request, and again of one file.
        backoff_s: first wait between tries, doubled each time; a server's Retry-After goes first.
        timeout_s: seconds to connect, and seconds without a byte after which a connection counts as dead.
    """

    attempts: int = 6
    backoff_s: float = 0.5
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.backoff_s < 0 or self.timeout_s <= 0:
            raise SardinoError(f"an HTTP policy needs at least one attempt and a positive timeout, not {self}")

    def gdal(self) -> dict[str, Any]:
        """GDAL's settings for reading files over HTTP."""
        seconds = str(max(1, round(self.timeout_s)))
        return {
            "GDAL_CACHEMAX": CACHE_BYTES,  # by default a share of the machine, which long runs fill
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no guessing at side-car files
            "GDAL_HTTP_MAX_RETRY": str(self.attempts - 1),
            "GDAL_HTTP_RETRY_DELAY": str(self.backoff_s),
            "GDAL_HTTP_RETRY_CODES": ",".join(map(str, RETRY_CODES)),
            "GDAL_HTTP_CONNECTTIMEOUT": seconds,
            # Not a limit on the whole transfer: a large block over a slow line is not a fault.
            "GDAL_HTTP_LOW_SPEED_TIME": seconds,
            "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
            "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        }

    def urllib3(self) -> Any:
        """urllib3's retries for searching; POST too, as a search changes nothing."""
        from urllib3 import Retry

        return Retry(
            total=self.attempts - 1,
            backoff_factor=self.backoff_s,
            status_forcelist=RETRY_CODES,
            allowed_methods=None,
            respect_retry_after_header=True,
        )

    def insist(self, request: Callable[[], T]) -> T:
        """The result of a request, tried again while it raises Transient, `attempts` times in all."""
        for attempt in range(self.attempts - 1):
            try:
                return request()
            except Transient:
                time.sleep(self.backoff_s * 2**attempt)
        return request()
