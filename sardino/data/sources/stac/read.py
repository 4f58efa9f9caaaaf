"""Reading Cloud-Optimized GeoTIFFs over HTTP through odc-stac: header first, faults raised, never filled with NaN.

odc-stac is imported here, never by a thread that reads a tile: its extensions register with pystac, which another
thread may be searching with.
"""

import logging
import re
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pystac
import rasterio
import xarray as xr
from odc.loader import RioDriver, RioReader
from odc.stac import load as odc_load
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from sardino.data.rasters.open import bands_of_raster, masks_beside
from sardino.data.rasters.packing import Packing
from sardino.data.sources.source import LeftOut, Transient
from sardino.data.sources.stac.catalogue import RETRY_CODES, Catalogue, HttpPolicy, asset_of, begin
from sardino.errors import SardinoError

log = logging.getLogger(__name__)
# With these GDAL drops what it remembers of a file when it closes it: else a truncated read stays true forever.
FORGET = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/", "GDAL_HTTP_MAX_RETRY": "0"}


def load(
    items: Sequence[Any],
    assets: Sequence[str],
    geobox: Any,
    *,
    catalogue: Catalogue,
    resampling: str,
    dtype: str,
    nodata: float,
    threads: int = 1,
    groupby: Any = "id",
    notes: list[str] | None = None,
) -> xr.Dataset:
    """Assets of items on a tile's grid, one plane an item unless grouped, in the order given.

    Args:
        items: pystac.Item of one collection, at least one, each with all these assets, their names in any case.
        geobox: odc.geo.geobox.GeoBox to read into.
        catalogue: that they are from, which signs links again that have expired.
        nodata: of the result, and of files that declare none.
        threads: files read at once.
        notes: filled with what was odd and has been handled.

    Transient where a file cannot be read now, LeftOut where it never can be, by name.
    """
    # What this warning says is looked for in each header, and refused.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    # Each failure is raised and told by the scene's name; odc would print its URL, and a signed one is a key.
    logging.getLogger("odc.loader").setLevel(logging.CRITICAL)
    files = {name: name.partition(".")[0] for name in assets}  # "visual.2" is the second band of visual
    stated = {asset_of(item, name).href: _stated(item, name) for item in items for name in set(files.values())}

    def signed() -> dict[str, str]:
        anew = {item.id: item for item in catalogue.renewed(items)}
        known = [(item, name) for item in items if item.id in anew for name in set(files.values())]
        return {asset_of(item, name).href: asset_of(anew[item.id], name).href for item, name in known}

    driver = _CheckedDriver(catalogue.policy, stated, [] if notes is None else notes, signed)
    bands = {"data_type": dtype, "nodata": nodata}
    # A grid's outline in degrees, somewhat wider.
    outline = geobox.pad(max(geobox.shape) // 10 + 1).extent
    ring = outline.to_crs("EPSG:4326", resolution=outline.length / 40).exterior.points
    footprint = {"type": "Polygon", "coordinates": [[list(point) for point in ring]]}
    plain = [_unplaced(item, sorted(set(files.values())), footprint) for item in items]
    result: dict[str, Any] = {"geobox": geobox, "groupby": groupby, "resampling": resampling, "dtype": dtype}
    reading: dict[str, Any] = {"driver": driver, "fail_on_error": True, "pool": threads if threads > 1 else None}
    cfg = {"*": {"assets": {"*": bands}, "warnings": "ignore"}}
    return odc_load(plain, list(assets), preserve_original_order=True, stac_cfg=cfg, **result, **reading)


@dataclass(frozen=True)
class _Stated:
    """What a catalogue says of one file: the item and asset it belongs to, and its grid where given."""

    name: str
    transform: tuple[float, ...] | None = None
    shape: tuple[int, int] | None = None


@dataclass
class _CheckedDriver(RioDriver):
    """odc-stac's raster driver that looks at each file's own header first and insists on each read."""

    policy: HttpPolicy
    stated: Mapping[str, _Stated]
    notes: list[str]
    sign: Callable[[], dict[str, str]]  # all links anew, by those that the items were found with
    links: dict[str, str] = field(default_factory=dict)  # what that gave last
    lock: Any = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        super().__init__()

    def capture_env(self) -> dict[str, Any]:  # odc-stac asks for it, and restores it in each of its threads
        return dict(self.policy.gdal())

    def signed_again(self, uri: str, refused: str) -> bool:
        """Whether a file has another link than the one that was refused; the first to ask has all of them signed."""
        with self.lock:
            if self.links.get(uri, uri) == refused:
                self.links = self.sign()
            return self.links.get(uri, uri) != refused

    def open(self, src: Any, ctx: Any) -> Any:
        return _CheckedReader(self, src, ctx)


class _CheckedReader(RioReader):
    def __init__(self, driver: _CheckedDriver, src: Any, ctx: Any) -> None:
        super().__init__(src, ctx)
        self._driver = driver

    def read(self, cfg: Any, dst_geobox: Any, **options: Any) -> Any:
        uri = self._src.uri
        stated = self._driver.stated.get(uri) or _Stated(uri.partition("?")[0])

        def attempt() -> Any:
            link = self._driver.links.get(uri, uri)
            self._src = self._src.patch(uri=link)
            try:
                with rasterio.open(link, sharing=False) as file:
                    _check_header(file, stated, self._driver.notes)
                    packing = _packing(file, stated, self._src.band) if np.dtype(cfg.dtype).kind == "f" else Packing()
                # The second opening finds the header in GDAL's memory.
                part, read = super(_CheckedReader, self).read(cfg, dst_geobox, **options)
                if packing.scaled:
                    valid = np.isfinite(read) & (read != cfg.fill_value)
                    np.copyto(read, packing.values(read.copy(), valid), where=valid)
                return part, read
            except RasterioError as error:
                _forget(link)
                fault = _fault(error, stated)
                if isinstance(fault, _Denied) and self._driver.signed_again(uri, link):
                    fault = Transient(str(fault))  # it had expired
                raise fault from error
            except Transient:
                _forget(link)
                raise

        return self._driver.policy.insist(attempt)


def _unplaced(item: Any, assets: Sequence[str], footprint: Mapping[str, Any]) -> Any:
    """The item without what it says of its place, as if it lay around the tile.

    odc-stac does not open a file whose stated grid lies elsewhere, and fills with nodata: where the catalogue is
    stale the scene would vanish without a word. So each file that the search found is opened and asked itself.
    """
    plain = pystac.Item(item.id, dict(footprint), None, begin(item), {}, collection=item.collection_id)
    for name in assets:
        own = asset_of(item, name)
        kept = {key: value for key, value in own.extra_fields.items() if not key.startswith("proj:")}
        plain.add_asset(name, pystac.Asset(own.href, media_type=own.media_type, roles=["data"], extra_fields=kept))
    return plain


def _forget(uri: str) -> None:
    try:
        with rasterio.Env(**FORGET), rasterio.open(uri, sharing=False):
            pass
    except RasterioError:
        log.debug("%s does not open; what was remembered of it is dropped all the same", uri.partition("?")[0])


def _check_header(file: Any, stated: _Stated, notes: list[str]) -> None:
    if file.gcps[0] and file.crs is None:
        remedy = "use terrain-corrected scenes (collection sentinel-1-rtc), or exclude this one"
        raise LeftOut(f"{stated.name} has ground control points only, its place is not known to a pixel: {remedy}")
    if file.crs is None or file.transform.is_identity:
        # GDAL opens a file whose header was cut off, without a place; its pixels would fall beside the tile.
        raise Transient(f"{stated.name} states no place on earth, or was cut off before it could")
    grid, shape = tuple(file.transform)[:6], (file.height, file.width)
    apart = [abs(a - b) for a, b in zip(grid, (stated.transform or grid)[:6], strict=True)]
    if max(apart) > abs(grid[0]) / 100 or shape != (stated.shape or shape):
        notes.append(f"{stated.name}: the catalogue states another grid than the file; the file's was used")


class _Denied(LeftOut):
    """A file is not for us, or no longer by this link."""


def _packing(file: Any, stated: _Stated, band: int) -> Packing:
    """How a band of measurements is stored; LeftOut where that is in a way that odc-stac does not see."""
    try:
        bands = {own.at["band"]: own for own in bands_of_raster(stated.name, file)}
    except SardinoError as error:
        raise LeftOut(str(error)) from error
    if any(masks_beside(file)):
        raise LeftOut(f"{stated.name} has a mask or an alpha band beside its pixels: exclude the scene, or set nodata")
    return bands[band].packing


def _fault(error: Exception, stated: _Stated) -> LeftOut | Transient:
    """Whether another try may help: not when the server answers that the file is not there or not for us."""
    text = " ".join(str(cause) for cause in (error, error.__cause__) if cause)
    code = re.search(r"HTTP (?:response code|error code ?):? ?(\d{3})", text)
    if code and code[1][0] == "4" and int(code[1]) not in RETRY_CODES:
        kind = _Denied if code[1] in ("401", "403") else LeftOut
        return kind(f"{stated.name} cannot be had (HTTP {code[1]}): check signing and access, or exclude the scene")
    return Transient(f"{stated.name} cannot be read ({' '.join(text.split())[:160]})")


def _stated(item: Any, asset: str) -> _Stated:
    facts = item.properties | asset_of(item, asset).extra_fields
    transform, shape = facts.get("proj:transform"), facts.get("proj:shape")
    place = tuple(float(v) for v in transform) if transform else None
    return _Stated(f"{item.id} ({asset})", place, (int(shape[0]), int(shape[1])) if shape else None)
