"""The quickstart's two networks: one that learns for a few steps, and those that come with the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from sardino.data.sources.world.synthetic import World, write_scene
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

UNSEEN = 1  # seed of a world that the package's networks were not trained on
EXTENT_PX = (240, 320)


def learn_a_little(
    store: TileStore, ids: Sequence[str], normalisation: Normalisation, architecture: Architecture, steps: int
) -> Pretrained:
    """A few steps of DINO with a small head."""
    recipe = find_recipe("small", hidden=64, bottleneck=32, prototypes=64, local_crops=2)
    tiles, run = open_tiles(store, ids, None), Run(steps=steps, batch=min(8, len(ids)), watch_every=1)  # tiles in dB
    return pretrain(tiles, ids, normalisation, architecture, recipe, run, Parallel(torch.device("cpu")))


@dataclass(frozen=True)
class MappedScene:
    """A scene with what the package's networks make of it."""

    channels = CHANNELS
    legend = WORLDCOVER

    backscatter: NDArray[np.float32]  # (C, H, W) dB
    reference: NDArray[np.uint8]  # (H, W) class index of the truth
    mapped: NDArray[np.uint8]  # and of the map
    attention: NDArray[np.float32]  # (heads, h, w) of the class token, 1 is an even spread
    files: list[Path]  # of the maps, beside the scene


def map_unseen_land(folder: Path) -> MappedScene:
    """Write a scene of another world as GeoTIFF and map it, as `sardino attend` and `sardino map` do."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, cover = folder / "scene.tif", folder / "reference.tif"
    write_scene(World(seed=UNSEEN), "europe", scene, EXTENT_PX, labels=cover, overwrite=True)
    # float32: the same numbers on every machine
    shared: dict[str, Any] = {"scene": scene, "overwrite": True, "precision": "float32"}
    attend = Job(**shared, out=folder / "attention.tif", kind="attention", model=default_model("backbone"))
    classify = Job(**shared, out=folder / "landcover.tif", kind="landcover", model=default_model("segmenter"))
    for job in (attend, classify):
        make_map(job)
    pixels = []
    for path in (scene, cover, classify.out, attend.out):
        with rasterio.open(path) as file:
            pixels.append(np.asarray(file.read()))
    reference, mapped = (WORLDCOVER.encode(each[0]) for each in pixels[1:3])
    return MappedScene(pixels[0], reference, mapped, pixels[3], [attend.out, classify.out])
