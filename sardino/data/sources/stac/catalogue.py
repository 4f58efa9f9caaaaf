"""Searching a STAC API: items of one collection over one place and time, all pages of them or an error."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from urllib3 import Retry

from sardino.data.places.utm import transformer
from sardino.data.sources.source import LeftOut, Transient
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError, first_line

T = TypeVar("T")
CACHE_BYTES = 64_000_000  # GDAL's decoded blocks: scenes are read once, so that a larger cache is memory for nothing
RETRY_CODES = (429, 500, 502, 503, 504)  # too many requests, and faults of the server or of what stands before it


@dataclass(frozen=True)
class HttpPolicy:
    """Patience with a server that is slow, busy or broken, in searching and in reading pixels alike."""

    attempts: int = 6  # tries of one request, and again of one file
    backoff_s: float = 0.5  # first wait between tries, doubled each time; a server's Retry-After goes first
    timeout_s: float = 30.0  # seconds to connect, and seconds without a byte after which a connection counts as dead

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

    def urllib3(self) -> Retry:
        """urllib3's retries for searching; POST too, as a search changes nothing. It respects Retry-After."""
        on: dict[str, Any] = {"status_forcelist": RETRY_CODES, "allowed_methods": None}
        return Retry(total=self.attempts - 1, backoff_factor=self.backoff_s, **on)

    def insist(self, request: Callable[[], T]) -> T:
        """The result of a request, tried again while it raises Transient, `attempts` times in all."""
        for attempt in range(self.attempts - 1):
            try:
                return request()
            except Transient:
                time.sleep(self.backoff_s * 2**attempt)
        return request()


PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
_OPENED = threading.local()  # Clients by catalogue: a session belongs to one thread, and its landing page is read once


@dataclass(frozen=True)
class Catalogue:
    """A STAC API."""

    url: str = PLANETARY_COMPUTER  # its landing page
    sign: bool | None = None  # sign links as the Planetary Computer demands; None signs where the URL is its
    policy: HttpPolicy = field(default_factory=HttpPolicy)  # patience with it

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise SardinoError(f"'{self.url}' is no URL of a STAC API: write it out, as in {PLANETARY_COMPUTER}")

    @property
    def signed(self) -> bool:
        theirs = urlsplit(self.url).hostname == urlsplit(PLANETARY_COMPUTER).hostname
        return theirs if self.sign is None else self.sign

    def search(self, collection: str, tile: Tile, start: str, end: str) -> list[Any]:
        """Items (pystac.Item) that touch a tile's bounding box between two dates, both included, by time and id.

        All pages of them, or an error: Transient where the server did not answer or broke off, SardinoError where it
        refuses. Only collection, bbox and datetime are asked of it: some servers answer `query` and `filter` with
        nothing at all, so that everything else is for the caller to sift.
        """
        if not tile.crs:
            raise LeftOut(f"tile {tile.id} states no coordinate system: a catalogue is searched by place")
        # West is larger than east across the antimeridian.
        bbox = transformer(tile.crs, "EPSG:4326").transform_bounds(*tile.bounds, densify_pts=21)

        return self._found(collection, bbox=bbox, datetime=f"{start}/{end}")

    def renewed(self, items: Sequence[Any]) -> list[Any]:
        """Items of one collection as the catalogue has them now: their links are signed anew."""
        ids = {item.id for item in items}
        return [item for item in self._found(items[0].collection_id, ids=sorted(ids)) if item.id in ids]

    def _found(self, collection: str, **where: Any) -> list[Any]:
        def ask() -> list[Any]:
            try:
                return list(self._client().search(collections=[collection], limit=250, **where).items())
            except APIError as error:
                status, said = getattr(error, "status_code", None), first_line(error)
                if status is None or status in RETRY_CODES:
                    raise Transient(f"{self.url} does not answer a search for {collection} ({said})") from error
                refused = f"{self.url} refuses a search for {collection} with HTTP {status} ({said})"
                raise SardinoError(f"{refused}: check the URL and the collection's name") from error
            except (ValueError, OSError) as error:  # half an answer, or none from the signing service
                raise Transient(f"{self.url} broke off a search for {collection} ({first_line(error)})") from error

        once = {item.id: item for item in self.policy.insist(ask)}
        return sorted(once.values(), key=lambda item: (str(begin(item)), item.id))

    def _client(self) -> Any:
        opened = _OPENED.__dict__.setdefault("clients", {})
        if self not in opened:
            modifier = None
            if self.signed:
                import planetary_computer

                modifier = planetary_computer.sign_inplace
            line = StacApiIO(timeout=self.policy.timeout_s, max_retries=self.policy.urllib3())
            opened[self] = Client.open(self.url, modifier=modifier, stac_io=line)
        return opened[self]


def asset_of(item: Any, name: str) -> Any:
    """An item's asset (pystac.Asset) of a name in any case; None where it has none."""
    same = [asset for key, asset in item.assets.items() if key.lower() == name.lower()]
    return item.assets.get(name, same[0] if same else None)


def begin(item: Any) -> Any:
    """When an item's data begins: its datetime, or the start of its range."""
    return item.datetime or item.common_metadata.start_datetime
