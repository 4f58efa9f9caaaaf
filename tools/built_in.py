"""The weights that come with the package, of a profile's runs: a backbone, and the best segmenter, trained for longer.

python tools/built_in.py laptop --steps 3000

With --one-date those for VV and VH of one image, trained as the profile's first arm, on a store that is made before:

sardino world build/one-date/world --tiles 40x32 --dates 1
sardino tiles single build/one-date/world build/one-date/store
python tools/built_in.py laptop --one-date build/one-date --backbone-steps 150 --steps 400
"""

import argparse
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sardino.data.tiles.store import TileStore
from sardino.dino.health import History
from sardino.dino.parallel import Parallel
from sardino.dino.runtime import best_device
from sardino.errors import SardinoError
from sardino.files import whole
from sardino.mapping.job import Job
from sardino.mapping.model import PRETRAINED, load_vit
from sardino.mapping.store_tokens import fit
from sardino.reporting.record import read_record
from sardino.reporting.rows import encoding_of, pretraining_run
from sardino.study.arm import pretrain_arm
from sardino.study.plan import plan
from sardino.study.row import Experiment, train_cell
from sardino.study.segmenter import finetune_on
from sardino.study.workspace import Workspace
from sardino.weights.card import measured_at_end
from sardino.weights.components import FILE
from sardino.weights.save import load_backbone, load_segmenter, save_backbone, save_segmenter

MOST_BYTES = 15_000_000
NAMES = ("world-backbone", "world-segmenter", "one-date-backbone", "one-date-segmenter")
Parts = Mapping[str, Callable[[Path], Any]]


def make_builtin(space: Workspace, folder: Path = PRETRAINED, steps: int = 0) -> list[Path]:
    """Take the first arm's teacher and the segmenter that did best on validation tiles, with their cards.

    Test tiles have no say in which segmenter is taken; its card tells how well it does on them.

    Args:
        folder: what is in it is replaced, once both are whole.
        steps: train that segmenter anew for so many steps; 0 copies the run's own.

    Raises:
        SardinoError: a run is missing, or the weights are too large to come with the package.
    """
    best = best_segmenter(space)
    kept = train_longer(space, best, steps) if steps else space.segmenter(best)
    results = read_record(space.record(pretraining_run(space.profile.arms[0])))["results"]
    parts: Parts = {
        "world-backbone": lambda out: _backbone(space, results, out),
        "world-segmenter": lambda out: save_segmenter(out, *load_segmenter(kept)),
    }
    return _replaced(folder, parts, space.profile.name)


def make_one_date(
    space: Workspace,
    folder: Path = PRETRAINED,
    steps: int = 0,
    backbone_steps: int = 0,
    device: torch.device | None = None,
) -> list[Path]:
    """Pre-train the first arm on the workspace's store, and fine-tune a segmenter of tokens on all its labels.

    Args:
        folder: these two are replaced in it, once both are whole.
        steps, backbone_steps: of the fine-tuning and the pre-training; the profile's by default. No rate is searched.
    """
    device, arm, tuning = device or best_device(), space.profile.arms[0], space.profile.row("tokens", "unfrozen")[1]
    if backbone_steps:
        arms = space.profile.pretraining | {arm: space.profile.arm(arm).changed(steps=backbone_steps)}
        space = replace(space, profile=space.profile.model_copy(update={"pretraining": arms}))
    results, store, backbone = pretrain_arm(space, arm, device), TileStore.open(space.store), space.build / "backbone"
    _backbone(space, results, backbone)
    tuning = tuning.changed(lr_grid=[], **({"steps": steps, "growth": 0, "epochs": None} if steps else {}))
    kept, regions = space.build / "segmenter", space.profile.arm(arm).regions
    finetune_on(store, regions, "tokens", tuning, kept, Parallel(device), backbone=backbone)
    parts: Parts = {
        "one-date-backbone": lambda out: shutil.copytree(backbone, out),
        "one-date-segmenter": lambda out: save_segmenter(out, *load_segmenter(kept)),
    }
    return _replaced(folder, parts, space.profile.name)


def _replaced(folder: Path, parts: Parts, profile: str) -> list[Path]:
    """The folder with these parts anew and the others of `NAMES` as they are, and nothing else."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    with whole(folder) as partial:
        for name in NAMES:
            if name in parts:
                parts[name](partial / name)
            elif (folder / name).is_dir():
                shutil.copytree(folder / name, partial / name)
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise SardinoError(f"the weights of '{profile}' take {size / 1e6:.3g} MB, more than 15")
        # A folder cannot be replaced in one step: the old one steps aside first and goes last.
        if folder.exists():
            folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)
    return sorted(folder.iterdir())


def best_segmenter(space: Workspace) -> str:
    """Name of the run whose kept segmenter has the highest mIoU on validation tiles."""
    fraction, seed = max(space.profile.fractions), space.profile.seeds[0]
    scores = {}
    for run in plan(space.profile):
        if run.kind in ("finetune", "baseline"):
            cells = read_record(space.record(run.name))["results"]["cells"]
            kept = next(cell for cell in cells if (cell["fraction"], cell["seed"]) == (fraction, seed))
            scores[run.name] = float(kept["val_miou"])
    return max(scores, key=lambda name: scores[name])


def train_longer(space: Workspace, run: str, steps: int) -> Path:
    """A run's arm again, from the same weights at its learning rate, with more steps; where it lies."""
    folder = space.build / "longer" / run
    results = read_record(space.record(run))["results"]
    tuning = space.profile.finetuning.changed(steps=steps, growth=0, epochs=None)
    longer = replace(space, profile=space.profile.model_copy(update={"finetuning": tuning}))
    row = results["cells"][0]
    experiment = Experiment.open(
        longer, row["regions"], encoding_of(row["encoding"]), row["initialisation"], best_device()
    )
    fraction, seed = max(space.profile.fractions), space.profile.seeds[0]
    train_cell(experiment, fraction, 0, seed, results["learning_rates"]["chosen"], folder)
    return folder


def _backbone(space: Workspace, results: Mapping[str, Any], folder: Path) -> None:
    """The teacher alone, which DINO evaluates, with what its run measured and its tokens' principal components."""
    store = TileStore.open(space.store)
    vit, card = load_backbone(space.pretrain(space.profile.arms[0]), store.channels, store.unit, "teacher")
    measured = measured_at_end(History.from_dict(results["curves"]))
    save_backbone(folder, {"teacher": vit.state_dict()}, card, measured=measured, warnings=results["warnings"])
    job = Job(scene=space.store, out=folder, kind="embedding", model=folder, precision="float32")
    fit(load_vit(folder), store, store.ids("train", card.trained_on["regions"]), job).save(folder / FILE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="whose runs are taken")
    parser.add_argument("--steps", type=int, default=0, help="of the segmenter's training; its own run's by default")
    parser.add_argument("--one-date", type=Path, help="train for VV and VH of one date, on the store in this folder")
    parser.add_argument("--backbone-steps", type=int, default=0, help="of its pre-training; the profile's by default")
    chosen = parser.parse_args()
    space = Workspace.open(chosen.profile)
    if chosen.one_date:
        space = replace(space, build=chosen.one_date)
        made = make_one_date(space, steps=chosen.steps, backbone_steps=chosen.backbone_steps)
    else:
        made = make_builtin(space, steps=chosen.steps)
    for path in made:
        print(path)


if __name__ == "__main__":
    main()
