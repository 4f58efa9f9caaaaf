"""The quickstart's two networks: one that learns for a few steps, and those that come with the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from sardino.data.sources.world.scene import write_scene
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import TileStore
from sardino.dino.batches import open_tiles
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import pretrain
from sardino.dino.recipe import Run, find_recipe
from sardino.dino.session import Pretrained
from sardino.dino.vit import Architecture
from sardino.mapping.job import Job
from sardino.mapping.model import default_model
from sardino.mapping.scene_map import make_map

UNSEEN = 1
"""Seed of a world that the package's networks were not trained on."""
EXTENT_PX = (240, 320)


def learn_a_little(
    store: TileStore, ids: Sequence[str], normalisation: Normalisation, architecture: Architecture, steps: int
) -> Pretrained:
    """A few steps of DINO with a small head."""
    return pretrain(
        open_tiles(store, ids, None),  # in dB: views are cut before they are normalised
        ids,
        normalisation,
        architecture,
        find_recipe("small", hidden=64, bottleneck=32, prototypes=64, local_crops=2),
        Run(steps=steps, batch=8, watch_every=1),
        Parallel(torch.device("cpu")),
    )


@dataclass(frozen=True)
class MappedScene:
    """A scene with what the package's networks make of it.

    Args:
        backscatter: (C, H, W) dB.
        reference, mapped: (H, W) class index of the truth and of the map.
        attention: (heads, h, w) of the class token, 1 is an even spread.
        files: of the maps, beside the scene.
    """

    channels = CHANNELS
    legend = WORLDCOVER

    backscatter: NDArray[np.float32]
    reference: NDArray[np.uint8]
    mapped: NDArray[np.uint8]
    attention: NDArray[np.float32]
    files: list[Path]


def map_unseen_land(folder: Path) -> MappedScene:
    """Write a scene of another world as GeoTIFF and map it, as `sardino attend` and `sardino map` do."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, cover = folder / "scene.tif", folder / "reference.tif"
    write_scene(World(seed=UNSEEN), "europe", scene, EXTENT_PX, labels=cover, overwrite=True)
    # float32: the same numbers on every machine
    attend = Job(
        scene=scene,
        out=folder / "attention.tif",
        kind="attention",
        model=default_model("backbone"),
        overwrite=True,
        precision="float32",
    )
    classify = attend.changed(out=folder / "landcover.tif", kind="landcover", model=default_model("segmenter"))
    for job in (attend, classify):
        make_map(job)
    pixels = [_read(path) for path in (scene, cover, classify.out, attend.out)]
    reference, mapped = (WORLDCOVER.encode(each[0]) for each in pixels[1:3])
    return MappedScene(pixels[0], reference, mapped, pixels[3], [attend.out, classify.out])


def _read(path: Path) -> NDArray[np.float32]:
    with rasterio.open(path) as file:
        return np.asarray(file.read())
