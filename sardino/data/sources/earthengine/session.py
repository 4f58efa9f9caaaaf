"""A session with Earth Engine: opening it, asking for pixels, and its errors in words that say what to do."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.data.sources.source import LeftOut, Transient
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError, first_line

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
"""The endpoint meant for many small requests, such as one per tile."""
_AFFINE = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
_OPENING = threading.Lock()
_AGAIN = re.compile(
    r"quota|too many|rate limit|timed? ?out|deadline|internal|unavailable|backend|try again|\b429\b|\b50[0-4]\b", re.I
)
_REFUSED = re.compile(
    r"permission|not registered|not been used|sign ?up|credential|authori[sz]|authenticat|project", re.I
)


def pixels(image: Any, tile: Tile) -> NDArray[Any]:
    """An ee.Image on the tile's own grid, nearest pixel, (bands, H, W) in the image's type."""
    import ee

    grid = {
        "dimensions": {"width": tile.shape[1], "height": tile.shape[0]},
        "affineTransform": dict(zip(_AFFINE, tile.transform, strict=True)),
        "crsCode": tile.crs,
    }
    answer = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    if not answer.dtype.names or answer.shape != tile.shape:
        raise SardinoError(f"Earth Engine returned pixels of shape {answer.shape}, tile {tile.id} has {tile.shape}")
    return np.stack([answer[name] for name in answer.dtype.names])


def initialise(project: str, endpoint: str = HIGH_VOLUME) -> None:
    """Open the session of this process, once.

    Raises:
        SardinoError: there are no credentials, or the project has no access; with the remedy.
        Transient: the service cannot be reached.
    """
    import ee

    # The client counts as open before its list of functions has arrived: other threads wait for it.
    with _OPENING:
        if ee.data.is_initialized():
            return
        try:
            ee.Initialize(project=project, url=endpoint)
        except Exception as error:
            said = first_line(error)
            if _REFUSED.search(said) or type(error).__name__ in ("RefreshError", "DefaultCredentialsError"):
                raise SardinoError(
                    f"Earth Engine gives no access to project '{project}' ({said}): run `earthengine authenticate` "
                    f"once, and register the project at https://console.cloud.google.com/earth-engine"
                ) from error
            raise Transient(f"Earth Engine cannot be reached ({said}): check the connection and try again") from error


@contextmanager
def explained(tile: Tile) -> Iterator[None]:
    """Sort the service's errors into what another try may mend and what it may not."""
    import ee
    from google.auth.exceptions import RefreshError, TransportError

    try:
        yield
    except RefreshError as error:
        raise SardinoError(
            f"Earth Engine no longer takes the credentials ({first_line(error)}): run `earthengine authenticate` again"
        ) from error
    except ee.EEException as error:
        said = first_line(error)
        if _AGAIN.search(said):
            raise Transient(f"Earth Engine did not answer for tile {tile.id} ({said})") from error
        if _REFUSED.search(said):
            raise SardinoError(f"Earth Engine refuses ({said}): check the project's registration and roles") from error
        raise LeftOut(f"Earth Engine cannot compute tile {tile.id} ({said})") from error
    except (OSError, ValueError, TransportError) as error:
        # A connection that broke, or an answer cut short that no longer adds up.
        raise Transient(f"Earth Engine's answer for tile {tile.id} broke off ({first_line(error)})") from error
