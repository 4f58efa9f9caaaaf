"""The weights that come with the package, of a profile's runs: a backbone, and the best segmenter, trained for longer.

python tools/built_in.py laptop --steps 3000
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from sardino.data.tiles.store import TileStore
from sardino.dino.health import History
from sardino.dino.runtime import best_device
from sardino.errors import SardinoError
from sardino.files import whole
from sardino.mapping.job import Job
from sardino.mapping.model import PRETRAINED, load_vit
from sardino.mapping.store_tokens import fit
from sardino.reporting.record import read_record
from sardino.reporting.rows import encoding_of, pretraining_run
from sardino.study.plan import plan
from sardino.study.row import Experiment, train_cell
from sardino.study.workspace import Workspace
from sardino.weights.card import measured_at_end
from sardino.weights.components import FILE
from sardino.weights.save import load_backbone, load_segmenter, save_backbone, save_segmenter

MOST_BYTES = 15_000_000


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
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    with whole(folder) as partial:
        _backbone(space, partial / "world-backbone")
        save_segmenter(partial / "world-segmenter", *load_segmenter(kept))
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise SardinoError(f"the weights of '{space.profile.name}' take {size / 1e6:.3g} MB, more than 15")
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


def _backbone(space: Workspace, folder: Path) -> None:
    """The teacher alone, which DINO evaluates, with what its run measured and its tokens' principal components."""
    arm = space.profile.arms[0]
    record = read_record(space.record(pretraining_run(arm)))
    channels, unit = tuple(record["data"]["channels"]), "dB"
    vit, card = load_backbone(space.pretrain(arm), channels, unit, "teacher")
    measured = measured_at_end(History.from_dict(record["results"]["curves"]))
    save_backbone(
        folder, {"teacher": vit.state_dict()}, card, measured=measured, warnings=record["results"]["warnings"]
    )
    job = Job(scene=space.store, out=folder, kind="embedding", model=folder, precision="float32")
    model, store = load_vit(folder), TileStore.open(space.store)
    fit(model, store, store.ids("train", card.trained_on["regions"]), job).save(folder / FILE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="whose runs are taken")
    parser.add_argument("--steps", type=int, default=0, help="of the segmenter's training; its own run's by default")
    chosen = parser.parse_args()
    for path in make_builtin(Workspace.open(chosen.profile), steps=chosen.steps):
        print(path)


if __name__ == "__main__":
    main()
