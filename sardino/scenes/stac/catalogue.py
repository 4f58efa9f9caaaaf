"""Searching a STAC API: items of one collection over one place and time, all pages of them or an error."""

import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sardino.errors import SardinoError
from sardino.scenes.source import LeftOut, Transient
from sardino.scenes.stac.http_policy import RETRY_CODES, HttpPolicy
from sardino.tiles.grid import Tile

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
_OPENED = threading.local()
"""Clients by catalogue: a session belongs to one thread, and its landing page is read once."""


@dataclass(frozen=True)
class Catalogue:
    """A STAC API.

    Args:
        url: its landing page.
        sign: sign links as the Planetary Computer demands; None signs where the URL is its.
        policy: patience with it.
    """

    url: str = PLANETARY_COMPUTER
    sign: bool | None = None
    policy: HttpPolicy = field(default_factory=HttpPolicy)

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise SardinoError(f"'{self.url}' is no URL of a STAC API: write it out, as in {PLANETARY_COMPUTER}")

    @property
    def signed(self) -> bool:
        if self.sign is None:
            return urlsplit(self.url).hostname == urlsplit(PLANETARY_COMPUTER).hostname
        return self.sign

    def search(self, collection: str, tile: Tile, start: str, end: str) -> list[Any]:
        """Items (pystac.Item) that touch a tile's bounding box between two dates, both included, by time and id.

        Only collection, bbox and datetime are asked of the server: some answer `query` and `filter` with
        nothing at all, so that everything else is for the caller to sift.

        Raises:
            Transient: the server did not answer, or broke off.
            SardinoError: it refuses the search.
        """
        from pystac_client.exceptions import APIError

        def ask() -> list[Any]:
            try:
                client = self._client()
                found = client.search(collections=[collection], bbox=lonlat(tile), datetime=f"{start}/{end}", limit=250)
                return list(found.items())
            except APIError as error:
                status = getattr(error, "status_code", None)
                if status is None or status in RETRY_CODES:
                    raise Transient(f"{self.url} does not answer a search for {collection} ({_line(error)})") from error
                raise SardinoError(
                    f"{self.url} refuses a search for {collection} with HTTP {status} ({_line(error)}): check the URL "
                    f"and the collection's name"
                ) from error
            except (ValueError, OSError) as error:  # half an answer, or none from the signing service
                raise Transient(f"{self.url} broke off a search for {collection} ({_line(error)})") from error

        once = {item.id: item for item in self.policy.insist(ask)}
        return sorted(once.values(), key=lambda item: (str(begin(item)), item.id))

    def _client(self) -> Any:
        opened = _OPENED.__dict__.setdefault("clients", {})
        if self not in opened:
            from pystac_client import Client
            from pystac_client.stac_api_io import StacApiIO

            modifier = None
            if self.signed:
                import planetary_computer

                modifier = planetary_computer.sign_inplace
            line = StacApiIO(timeout=self.policy.timeout_s, max_retries=self.policy.urllib3())
            opened[self] = Client.open(self.url, modifier=modifier, stac_io=line)
        return opened[self]


def lonlat(tile: Tile) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a tile in degrees; west is larger than east across the antimeridian."""
    from rasterio.warp import transform_bounds

    if not tile.crs:
        raise LeftOut(f"tile {tile.id} states no coordinate system: a catalogue is searched by place")
    west, south, east, north = transform_bounds(tile.crs, "EPSG:4326", *tile.bounds, densify_pts=21)
    return west, south, east, north


def begin(item: Any) -> Any:
    """When an item's data begins: its datetime, or the start of its range."""
    return item.datetime or item.common_metadata.start_datetime


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
