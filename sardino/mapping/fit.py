"""Whether a scene is what a model was trained on: channels, unit, pixel size; a refusal says how to convert it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from pyproj import CRS, Geod, Transformer

from sardino.errors import SardinoError
from sardino.mapping.bands import Channels, match
from sardino.mapping.model import MapModel
from sardino.mapping.scene import Read, Scene

TOLERANCE = 0.1
"""Share by which a pixel may be larger or smaller than those that the model has seen."""
_QUANTITIES = ("gamma0", "sigma0", "beta0")


@dataclass(frozen=True)
class FittedScene:
    """A scene whose bands are a model's channels.

    Args:
        scene: where they lie.
        channels: how they are made.
        doubts: what could not be checked or may matter, as sentences.
    """

    scene: Scene
    channels: Channels
    doubts: tuple[str, ...]

    @contextmanager
    def reading(self, threads: int = 1) -> Iterator[Read]:
        """Read windows as the model's channels in dB, float32 with NaN."""
        with self.scene.reading(self.channels.bands, threads) as read:
            yield lambda *window: self.channels.of(read(*window))


def fitted(scene: Scene, model: MapModel, channels: Sequence[str] = (), unit: str = "") -> FittedScene:
    """A scene as a model's input.

    Args:
        channels: names of the scene's bands in its order, where it has none or others.
        unit: "db", "linear" or "amplitude", where the file does not say.

    Raises:
        SardinoError: other channels, another unit or another pixel size, with the command that converts it.
    """
    if channels and len(channels) != len(scene.names):
        raise SardinoError(f"{scene.path} has {len(scene.names)} bands, and --channels names {len(channels)}")
    if unit and scene.unit and scene.unit != unit:
        raise SardinoError(f"{scene.path} says that it is in {scene.unit}, not {unit}: leave --unit out")
    if model.unit != "dB":
        raise SardinoError(f"{model.folder} was trained on backscatter in {model.unit}: only dB can be mapped")
    names = tuple(channels) or scene.names
    doubts = [*_size_doubts(scene, model), *_product_doubts(scene, model)]
    return FittedScene(scene, match(scene.path, names, model.channels, unit or scene.unit), tuple(doubts))


def pixel_on_ground(scene: Scene) -> tuple[float, float]:
    """Width and height in metres of a pixel at the scene's centre, on the ellipsoid, whatever the CRS."""
    a, _, c, _, e, f = scene.transform
    x, y = c + a * scene.shape[1] / 2, f + e * scene.shape[0] / 2
    # Over several pixels, that rounding does not count; over few, that the curvature does not.
    xs, ys = np.array([x, x + 8 * a, x]), np.array([y, y, y + 8 * e])
    lon, lat = Transformer.from_crs(scene.crs, "EPSG:4326", always_xy=True).transform(xs, ys)
    _, _, metres = Geod(ellps="WGS84").inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])
    return float(metres[0]) / 8, float(metres[1]) / 8


def _size_doubts(scene: Scene, model: MapModel) -> list[str]:
    if model.gsd_m is None:
        return [f"{model.folder} does not say of what pixel size it was trained: results may be meaningless"]
    width, height = pixel_on_ground(scene)
    if all(abs(side / model.gsd_m - 1) <= TOLERANCE for side in (width, height)):
        return []
    raise SardinoError(
        f"{scene.path} has pixels of {width:.3g} x {height:.3g} m on the ground, and the model was trained on "
        f"{model.gsd_m:g} m: warp it, as linear power and not as decibels if it becomes coarser, with gdalwarp "
        f"-t_srs {_metric_crs(scene)} -tr {model.gsd_m:g} {model.gsd_m:g} -r "
        f"{'average' if max(width, height) < model.gsd_m else 'bilinear'} {scene.path} warped.tif"
    )


def _metric_crs(scene: Scene) -> str:
    """The scene's own CRS where its unit is the metre on the ground, else the UTM zone of its centre."""
    crs = CRS.from_user_input(scene.crs)
    a, _, c, _, e, f = scene.transform
    width, _ = pixel_on_ground(scene)
    if crs.is_projected and abs(width / a - 1) < TOLERANCE:
        return scene.crs if len(scene.crs) < 20 else "the CRS it has"
    centre = c + a * scene.shape[1] / 2, f + e * scene.shape[0] / 2
    lon, lat = Transformer.from_crs(scene.crs, "EPSG:4326", always_xy=True).transform(*centre)
    return f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) // 6) % 60 + 1}"


def _product_doubts(scene: Scene, model: MapModel) -> list[str]:
    theirs, ours = (
        {name for name in _QUANTITIES if name in text.lower()} for text in (scene.product, model.product)
    )  # fmt: skip
    if theirs and ours and not theirs & ours:
        return [
            f"{scene.path} holds {', '.join(theirs)} and the model was trained on {', '.join(ours)}: slopes differ by "
            "decibels, so trust flat land only"
        ]
    return []
