"""A world of a minute: a profile so small that a test can pre-train and fine-tune on it."""

import shutil
from pathlib import Path

from sardino.study.preparation import prepare
from sardino.study.workspace import Workspace

PROFILE = """
name = "minute"
title = "A minute world"
synthetic = true
hardware = "any"
expected_minutes = 1
seeds = [0, 1]
fractions = [1, 10, 100]
draws = 2
examples = 2
[data]
source = "world"
tile_px = 32
bands = 10
band_angle_deg = 30
regions = { europe = [6, 5], china = [5, 4] }
[architectures]
tiny = { width = 24, depth = 2, heads = 3, patch = 8 }
[pretraining.europe]
title = "Europe"
architecture = "tiny"
regions = ["europe"]
steps = 3
batch = 4
recipe = "small"
overrides = { hidden = 32, bottleneck = 16, prototypes = 32, local_crops = 1 }
[pretraining.all]
title = "Europe, China"
architecture = "tiny"
regions = ["europe", "china"]
steps = 3
batch = 4
recipe = "small"
overrides = { hidden = 32, bottleneck = 16, prototypes = 32, local_crops = 1 }
[finetuning]
steps = 4
growth = 0
batch = 2
lr = 1e-2
backbone_lr = 1e-3
lr_grid = []
looks = 5
unet_width = 4
unet_depth = 2
decoder_width = 16
"""


def minute_workspace(root: Path, tiles: Path | None = None) -> Workspace:
    """Its workspace in a folder, with the tiles made, or copied from where they were."""
    (root / "minute.toml").write_text(PROFILE)
    space = Workspace.open(str(root / "minute.toml"), root=root)
    if tiles:
        shutil.copytree(tiles, space.store)
    else:
        prepare(space, workers=1)
    return space
