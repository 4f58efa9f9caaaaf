"""What finished runs, and the finished cells of rows under way, have made, with what it was made from.

It lies in build/; where the profile says `keep`, what takes hours lies in results/<profile>/kept/ instead: committed
there, another machine goes on from it.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.dino.recipe import find_recipe
from sardino.errors import SardinoError
from sardino.files import sha256_of, whole, write_text
from sardino.progress import stop_in_time
from sardino.reporting.record import TRAININGS
from sardino.study.plan import Run, plan
from sardino.study.workspace import Workspace

DEPENDENCIES = "dependencies.json"  # beside what a run made, once all of it is set aside
ROWS = ("finetune", "baseline")
LONG = (*TRAININGS, "floors")  # kinds that take hours; tiles, tables and figures are made anew in minutes
CELLS = "SARDINO_CELLS"  # the folder of a row's finished cells, as the engine tells its kernel


def set_aside(workspace: Workspace, run: Run, known: Mapping[str, str]) -> None:
    """Copy what a finished run made to where it stays, with the dependencies it was made from.

    Snakemake deletes record and notebook before it executes the run again; where it turns out that nothing the run
    depends on has changed, `bring_back` brings them back.
    """
    folder = _folder(workspace, run)
    (folder / DEPENDENCIES).unlink(missing_ok=True)
    for path in _made(workspace, run):
        _copy(path, folder / path.relative_to(workspace.build))
    write_text(json.dumps(known), folder / DEPENDENCIES)
    shutil.rmtree(folder / "cells", ignore_errors=True)


def is_set_aside(workspace: Workspace, run: Run) -> bool:
    """Whether it is known from what a run's record was made."""
    return (_folder(workspace, run) / DEPENDENCIES).is_file()


def bring_back(workspace: Workspace, run: Run, known: Mapping[str, str]) -> bool:
    """Bring back what a run made from the very same dependencies; False if there is none, and why."""
    folder = _folder(workspace, run)
    if changed := differing(folder, known):
        print(f"{run.name} runs anew: what is kept of it was made from other {', '.join(changed)}")
    if changed is None or changed:
        return False
    try:
        for path in _made(workspace, run):
            # The notebook keeps its date and tells when it was executed; the record is new to Snakemake.
            _copy(folder / path.relative_to(workspace.build), path)
    except SardinoError as error:
        print(f"{run.name} runs anew: {error}")
        return False
    workspace.record(run.name).touch()
    return True


def changed_runs(workspace: Workspace, runs: list[Run], own: Callable[[Workspace, Run], dict[str, str]]) -> list[str]:
    """The runs whose kept results were made from other code, settings, parameters or input, and from which."""
    told = {run.name: differing(_folder(workspace, run), own(workspace, run)) for run in runs}
    return [f"{name} ({', '.join(changed)})" for name, changed in told.items() if changed]


def differing(folder: Path, known: Mapping[str, str]) -> list[str] | None:
    """Names of these dependencies that what a folder holds was not made from; None where it holds nothing."""
    try:
        kept = json.loads((folder / DEPENDENCIES).read_text(encoding="utf-8"))
        return [name for name, value in known.items() if kept.get(name) != value]
    except (OSError, ValueError, AttributeError):
        return None


def cells_folder(workspace: Workspace, run: Run) -> Path:
    """Where the finished cells of a row under way lie, one file each."""
    return _folder(workspace, run) / "cells"


def begin_cells(workspace: Workspace, run: Run, known: Mapping[str, str]) -> dict[str, str]:
    """Make a row's folder ready, without cells that were made from something else; the kernel's environment."""
    folder = cells_folder(workspace, run)
    if (changed := differing(folder, known)) != []:
        if changed:
            print(f"{run.name}: the finished cells were made from other {', '.join(changed)}, all are trained anew")
        shutil.rmtree(folder, ignore_errors=True)
        write_text(json.dumps(known), folder / DEPENDENCIES)
    for partial in folder.glob(".*"):  # of a process that was killed, and not to be committed
        partial.unlink()
    return {CELLS: str(folder)}


def once(name: str, make: Callable[[], dict[str, Any]], network: Path | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of a part of a row: as they were kept before the row was stopped, or made now and kept.

    Only the engine's runs keep them: of a notebook opened by hand nobody knows what it was made from.

    Args:
        network: weights that making the part leaves behind; where they are others by now, it is made again, as it is
            where the file is damaged.

    Raises Paused where the time that was asked for is over, once the part is kept.
    """
    folder = os.environ.get(CELLS)
    if not folder:
        return {key: np.asarray(value) for key, value in make().items()}
    path = Path(folder) / f"{name}.npz"
    if path.is_file():
        with suppress(Exception), path.open("rb") as file, np.load(file, allow_pickle=False) as kept:  # or damaged
            arrays = dict(kept)
            if arrays.pop("network").item() == _digest(network):
                return arrays
    arrays = {key: np.asarray(value) for key, value in make().items()}
    with whole(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, network=np.array(_digest(network)), **arrays)
    stop_in_time()
    return arrays


def _folder(workspace: Workspace, run: Run) -> Path:
    published = workspace.profile.keep and run.kind in LONG
    return (workspace.results if published else workspace.build) / "kept" / run.name


def _made(workspace: Workspace, run: Run) -> list[Path]:
    """What a run leaves to others, its record last; in build/ its arrays and weights stay where they are."""
    space, profile = workspace, workspace.profile
    told = [space.notebook(run.name), space.record(run.name)]
    if not profile.keep or run.kind not in LONG:
        return told
    if run.kind == "pretrain":
        weights, arm = space.pretrain(**run.parameters), profile.arm(run.parameters["arm"])
        dense = find_recipe(arm.recipe, **arm.overrides).objective == "dense"
        networks = [arm.network, *[f"{arm.network}-unet"] * dense]  # of which hybrids go on with both
        return [*(weights / f"{name}.safetensors" for name in networks), weights / "card.json", *told]
    told = [space.runs / f"{run.name}.npz", *told]
    shown = any(run.name in other.needs for other in plan(profile) if other.kind == "attention")
    weights = space.segmenter(run.name)
    return [*((weights / "segmenter.safetensors", weights / "segmenter.json") if shown else ()), *told]


def _copy(source: Path, target: Path) -> None:
    with whole(target) as partial:
        shutil.copy2(source, partial)


def _digest(path: Path | None) -> str:
    return sha256_of(path) if path and path.is_file() else ""
