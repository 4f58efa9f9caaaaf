"""One rank of a small fine-tuning, for test_finetune_ranks, with torchrun's environment around it."""

import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from test_finetune import CPU, SETTINGS, arm, easy_tiles

from sardino.data.tiles.landcover import IGNORE
from sardino.dino.parallel import join
from sardino.files import write_json
from sardino.segmentation.finetune import finetune

# A tile of each rank in a batch, so that norms and labels of one rank alone are far from those of both.
SHORT = SETTINGS.changed(steps=15, batch=2, looks=5, keep="best")


def main(job: str, folder: Path) -> None:
    """A job is "ENCODING frozen" or "ENCODING unfrozen"; weights and history of each rank go to the folder."""
    torch.set_num_threads(1)
    encoding, start = job.split()
    tiles, judged = easy_tiles(8, 0), easy_tiles(3, 1)
    tiles.labels[0, :, 8:], tiles.labels[5] = IGNORE, IGNORE  # a whole one too: its rank has nothing to learn from
    model = arm(encoding, start == "frozen")
    with join(CPU) as parallel:
        terms = {"classes": 3, "seed": 0, "device": CPU, "parallel": parallel, "pretrained": encoding != "unet"}
        result = finetune(model, tiles, judged, SHORT, **terms)
        write_json({"losses": result.losses, "curve": result.curve}, folder / f"rank-{parallel.rank}.json")
        save_file({name: value.contiguous() for name, value in model.state_dict().items()},
                  folder / f"rank-{parallel.rank}.safetensors")  # fmt: skip


def rank(environment: Mapping[str, str], job: str, folder: Path) -> None:
    """All that a process of torchrun does; a warning is an error, and what it says goes to a file."""
    os.environ.update(environment)
    sys.stderr = (folder / f"rank-{environment['RANK']}.log").open("w")
    os.dup2(sys.stderr.fileno(), 2)
    warnings.simplefilter("error")
    main(job, folder)
