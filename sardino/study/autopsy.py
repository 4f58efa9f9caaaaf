"""Why is the gain so small? A factorial experiment on pre-training: each cell one backbone, before and after it.

A cell pre-trains a backbone, probes its frozen tokens, and fine-tunes it for land cover; its control is the same
backbone, as its seed begins it, judged in the same way without any pre-training. What is kept of a cell is a file of
JSON, so that an experiment that was stopped goes on from there. It lies in build/; where the profile says `keep`, in
results/, to be committed for machines that begin bare.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import sardino
from sardino.data.sources.archives.old_encodings import as_stored
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.dino.batches import open_tiles
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import pretrain
from sardino.dino.probe import ProbeTiles
from sardino.dino.recipe import Run, Training
from sardino.dino.vit import build_vit
from sardino.errors import SardinoError
from sardino.evaluation.scores import miou
from sardino.files import write_json
from sardino.progress import track
from sardino.reporting.record import revision
from sardino.segmentation.finetune import finetune, tile_confusions
from sardino.segmentation.segmenter import build_segmenter
from sardino.study.arm import architecture_of, recipe_of
from sardino.study.factors import Factorial, Level
from sardino.study.plan import hash_of_code, imported_files
from sardino.study.preparation import open_or_prepare
from sardino.study.profile import Profile
from sardino.study.row import Experiment
from sardino.study.workspace import Workspace

PUBLISHED, CELLS = "autopsy", "cells.csv"  # the profile whose experiment readers are shown, and its table of cells
CPU = torch.device("cpu")


class StoredTiles(TileStore):
    """A store whose backscatter reads as an older tool would have kept it."""

    encoding = "db"

    def read(self, ids: Any) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        backscatter, label = super().read(ids)
        return as_stored(backscatter, self.channels, self.encoding), label


@dataclass(frozen=True)
class Cell:
    """One backbone that is judged: pre-trained, or the control of all that begin alike."""

    levels: tuple[Level, ...]  # of each factor
    draw: int  # of the labelled tiles
    seed: int
    pretrained: bool = True

    @property
    def stored(self) -> str:
        """How the input reads."""
        return next((level.stored for level in self.levels if level.stored != "db"), "db")

    @property
    def control(self) -> "Cell":
        """The backbone as it begins: of its cell it shares what is read, and in which patches."""
        shape = (Level(name="", patch=level.patch, stored=level.stored) for level in self.levels)
        return replace(self, levels=tuple(shape), pretrained=False)


def design_of(space: Workspace) -> Factorial:
    """The experiment of a profile; refused where it has none."""
    if space.profile.autopsy is None:
        raise SardinoError(f"profile '{space.profile.name}' has no [autopsy]: choose {PUBLISHED} or smoke, or add one")
    return space.profile.autopsy


def finest_patch(space: Workspace) -> int:
    """The smallest patch of any cell: tokens of all are judged on the land cover of such patches."""
    levels = [level for factor in design_of(space).factors for level in factor.levels]
    return min(treated(space.profile, [level]).architecture(space.profile.arms[0]).patch for level in levels)


def cells_of(space: Workspace) -> list[Cell]:
    """All pre-trained cells, one repetition after the other."""
    design = design_of(space)
    repetitions = enumerate(space.profile.repetitions(design.percent))
    return [Cell(levels, draw, seed) for n, (draw, seed) in repetitions for levels in design.cells(n)]


def treated(profile: Profile, levels: Sequence[Level]) -> Profile:
    """The profile with its first arm alone, as levels change it."""
    arm = profile.arms[0]
    plan, size = profile.arm(arm), profile.architecture(arm)
    told = [(name, getattr(level, name)) for level in levels for name in level.model_fields_set]
    given = {name: value for name, value in told if value is not None}
    recipe = {name: value for level in levels for name, value in level.recipe.items()}
    changed = {name: given.get(name, getattr(plan, name)) for name in ("physics", "steps")}
    return profile.changed(
        pretraining={arm: plan.changed(overrides={**plan.overrides, **recipe}, **changed)},
        architectures={plan.architecture: replace(size, patch=given.get("patch", size.patch))},
    )


def measure(space: Workspace, cell: Cell) -> dict[str, float]:
    """Pre-train where the cell does, then judge the backbone that the profile names, on test tiles.

    Returns:
        moved_percent: how far the student's backbone went, of its length at the start; of a pre-trained cell alone.
        probe: mIoU of a linear probe of frozen tokens, on the experiment's smallest patches.
        miou: mIoU of land-cover maps from tokens, fine-tuned in the same way with and without pre-training.
    """
    patch, percent = finest_patch(space), design_of(space).percent
    space = replace(space, profile=treated(space.profile, cell.levels))
    profile, arm = space.profile, space.profile.arms[0]
    plan = profile.arm(arm)
    store = StoredTiles.open(space.build / plan.store)
    store.encoding = cell.stored
    ids, classes = store.ids("train", plan.regions), len(store.legend)
    normalisation = Normalisation.of_store(store, ids)
    experiment = replace(
        Experiment.open(space, arm, "tokens", "unfrozen", CPU), store=store, normalisation=normalisation
    )
    architecture = architecture_of(space, arm, store)
    found: dict[str, float] = {}
    torch.manual_seed(cell.seed)
    vit = build_vit(architecture)  # drawn as a pre-training with this seed draws it
    if cell.pretrained:
        run = Run(**{name: getattr(plan, name) for name in Training.model_fields}, seed=cell.seed)
        tiles, recipe = open_tiles(store, ids, None), recipe_of(space, arm, store)
        result = pretrain(tiles, ids, normalisation, architecture, recipe, run, Parallel(CPU), label="pre-training")
        vit.load_state_dict(getattr(result, plan.network))
        found["moved_percent"] = 100 * result.history.distance[-1]
    found["probe"] = ProbeTiles(store, plan.regions, normalisation, "test")(vit, patch)["linear"]
    torch.manual_seed(cell.seed)
    tuning = profile.row("tokens", "unfrozen")[1]
    sizes = {"channels": len(store.channels), "classes": classes, **tuning.decoder}
    model = build_segmenter("tokens", vit, frozen=False, **sizes)
    labelled = experiment.labelled_ids(percent, cell.draw)
    train, judged = (experiment.tiles(model, each, cell.seed) for each in (labelled, experiment.judged_ids))
    finetune(model, train, judged, tuning, classes=classes, seed=cell.seed, device=CPU, pretrained=True)
    confusions = tile_confusions(model, experiment.test, classes, CPU, tuning.precision)
    return {**found, "miou": float(miou(confusions.sum(0)))}


def run_cells(space: Workspace, workers: int = 2) -> pd.DataFrame:
    """All cells of a profile's experiment beside their controls, those that are kept as they are; a row a cell.

    Columns: the level of each factor, draw, seed, moved_percent, and probe and miou with those of the control
    (probe_before, miou_before), seconds, code_revision.
    """
    cells = cells_of(space)
    store = open_or_prepare(space)[space.profile.arm(space.profile.arms[0]).store]
    files = [Path(__file__), *imported_files(Path(__file__), Path(sardino.__file__).parent)]
    code = hash_of_code(file for file in files if "reporting" not in file.parts)
    shared = {"code": code, "tiles": store.fingerprint, "probed": finest_patch(space)}
    mark = partial(_mark, space, {**shared, "percent": design_of(space).percent})
    jobs = {mark(each): each for cell in cells for each in (cell.control, cell)}
    records = {name: record for name in jobs if (record := _kept(space, name))}
    left = {name: job for name, job in jobs.items() if name not in records}
    made = _each(space, left, workers)
    for name, record in track(made, len(jobs), "cells of the experiment", done=len(records)):
        records[name] = record
    rows = []
    for cell in cells:
        here, before = records[mark(cell)], records[mark(cell.control)]
        row = dict(zip(names_of(space), here["levels"], strict=True)) | {"draw": cell.draw, "seed": cell.seed}
        row |= here["results"] | {f"{name}_before": value for name, value in before["results"].items()}
        rows.append(row | {"seconds": here["seconds"], "code_revision": here["revision"]})
    return pd.DataFrame(rows)


def published_or_run(space: Workspace) -> tuple[Workspace, pd.DataFrame]:
    """The cells that readers are shown, with their workspace; where none are published, the profile's own, run now."""
    shown = Workspace.open(PUBLISHED, root=space.root)
    if not (path := shown.results / CELLS).is_file():
        return space, run_cells(space, 1)
    cells = pd.read_csv(path, dtype=dict.fromkeys(names_of(shown), str))
    if missing := ", ".join(names_of(shown).keys() - set(cells)):
        raise SardinoError(f"{path} lacks {missing}: run `sardino autopsy` again")
    return shown, cells


def names_of(space: Workspace) -> dict[str, list[str]]:
    """The factors of a profile's experiment, and the names of their levels, the reference first."""
    return {factor.name: factor.names for factor in design_of(space).factors}


def _each(space: Workspace, left: dict[str, Cell], workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure cells, as many at a time as there are workers; each record as it is written."""
    if workers == 1 or len(left) < 2:
        yield from ((name, _measured(space, name, cell)) for name, cell in left.items())
        return
    beat = space.progress("autopsy-cell")
    with ProcessPoolExecutor(workers, get_context("spawn"), _quietly, (str(beat),)) as pool:
        futures = {pool.submit(_measured, space, name, cell): name for name, cell in left.items()}
        try:
            yield from ((futures[future], future.result()) for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)
            beat.unlink(missing_ok=True)


def _quietly(beat: str) -> None:
    """A worker has one thread, and tells its steps to a file: the terminal is for the cells."""
    os.environ["SARDINO_PROGRESS"] = beat
    torch.set_num_threads(1)


def _measured(space: Workspace, name: str, cell: Cell) -> dict[str, Any]:
    began = time.monotonic()
    record = {"made_from": name, "levels": [level.name for level in cell.levels], "draw": cell.draw, "seed": cell.seed}
    record |= {"pretrained": cell.pretrained, "results": measure(space, cell)}
    record |= {"seconds": round(time.monotonic() - began, 1), "revision": revision()}
    write_json(record, _file(space, name))
    return record


def _mark(space: Workspace, shared: dict[str, Any], cell: Cell) -> str:
    """Hash of all that a cell's numbers follow from."""
    silent = {"title", "hardware", "expected_minutes", "threads", "autopsy", "keep"}
    about = treated(space.profile, cell.levels).model_dump(exclude=silent) | shared | {"stored": cell.stored}
    about |= {"draw": cell.draw, "seed": cell.seed, "pretrained": cell.pretrained}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _file(space: Workspace, name: str) -> Path:
    folder = space.results / "kept" if space.profile.keep else space.build / "autopsy"
    return folder / f"{name[:16]}.json"


def _kept(space: Workspace, name: str) -> dict[str, Any] | None:
    """The record of a cell that was made from the very same; None where there is none."""
    try:
        record = json.loads(_file(space, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("made_from") == name else None
