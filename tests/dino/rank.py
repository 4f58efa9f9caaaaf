"""One rank of a small pre-training, for test_parallel and test_kill, with torchrun's environment around it."""

import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.batches import MemoryTiles
from sardino.dino.parallel import join
from sardino.dino.pretrain import pretrain
from sardino.dino.recipe import Run, find_recipe
from sardino.dino.vit import Architecture

ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32, texture=True)
SIZES = {"hidden": 32, "bottleneck": 16, "prototypes": 64, "local_crops": 2, "decoder_width": 32, "masked": 0.5}
SIZES |= {"unet_width": 4, "unet_depth": 2}
NORMALISATION = Normalisation(("winter_vv", "summer_vv"), (0.0, 0.0), (1.0, 1.0))


def main(job: str, folder: Path, steps: int = 6) -> None:
    """A job is "STRATEGY RECIPE"."""
    torch.set_num_threads(1)
    strategy, name = job.split()
    recipe = find_recipe(name)
    recipe = recipe.changed(**{option: size for option, size in SIZES.items() if option not in recipe.unread})
    images = torch.randn(16, 2, 32, 32, generator=torch.Generator().manual_seed(9))
    tiles = MemoryTiles(images, torch.zeros(16, 32, 32, dtype=torch.uint8))
    ids = [f"tile-{number}" for number in range(16)]
    run = Run(steps=steps, batch=8, watch_every=1, save_every=4, keep=9, precision="float32")
    with join(torch.device("cpu"), strategy) as parallel:
        result = pretrain(tiles, ids, NORMALISATION, ARCHITECTURE, recipe, run, parallel, folder=folder)
        if parallel.first:
            save_file(result.student, folder / "student.safetensors")
            (folder / "history.json").write_text(json.dumps(result.history.to_dict()))


def rank(environment: Mapping[str, str], job: str, folder: Path) -> None:
    """All that a process of torchrun does; a warning is an error, and what it says goes to a file."""
    os.environ.update(environment)
    sys.stderr = (folder / f"rank-{environment['RANK']}.log").open("w")
    os.dup2(sys.stderr.fileno(), 2)
    warnings.simplefilter("error")
    main(job, folder)
