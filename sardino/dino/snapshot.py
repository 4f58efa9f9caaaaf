"""The whole state of a training on disk, to go on from exactly: weights, optimiser, what else moves, step, history."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from sardino.dino.parallel import Parallel, gathered, weights_of
from sardino.errors import SardinoError
from sardino.files import sha256_of, whole

FORMAT, VERSION = "sardino-snapshot", 1
FILES = ("student", "teacher", "optimiser")


class Learner(Protocol):
    """What a snapshot holds: a network, its moving average, the optimiser of the first; `sardino.dino.step.Learner`."""

    @property
    def student(self) -> nn.Module: ...
    @property
    def teacher(self) -> nn.Module: ...
    @property
    def optimiser(self) -> torch.optim.Optimizer: ...
    @property
    def moving(self) -> dict[str, Tensor]:
        """What else moves; going on fills it in place."""

    @property
    def parallel(self) -> Parallel: ...


@dataclass(frozen=True)
class Snapshot:
    """A finished snapshot, its hashes checked: steps done, and config and history as `save` was given them."""

    folder: Path
    step: int
    config: dict[str, Any]
    history: dict[str, Any]


def save(folder: Path, learner: Learner, step: int, config: dict[str, Any], history: dict[str, Any]) -> None:
    """Write the state after `step` steps, whole or not at all; every rank calls, the first one writes."""
    # AdamW's moments and step counts by parameter name; a parameter that was never stepped has none.
    optimiser = {
        f"{key}/{name}": gathered(value)
        for name, parameter in learner.student.named_parameters()
        for key, value in learner.optimiser.state.get(parameter, {}).items()
    }
    tensors = {
        "student": weights_of(learner.student),
        "teacher": weights_of(learner.teacher),
        "optimiser": optimiser | {name: gathered(value) for name, value in learner.moving.items()},
    }
    if not learner.parallel.first:
        return
    target = folder / f"step-{step:08d}"
    for leftover in folder.glob(".*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    with whole(target) as partial:
        partial.mkdir()
        for name in FILES:
            save_file(tensors[name], partial / f"{name}.safetensors")
        digests = {name: sha256_of(partial / f"{name}.safetensors") for name in FILES}
        state = {"format": FORMAT, "version": VERSION, "step": step, "config": config, "history": history}
        (partial / "state.json").write_text(json.dumps(state | {"sha256": digests}, indent=1), encoding="utf-8")
        # To the disk before the name: after a power cut a snapshot is whole or absent.
        for path in [*partial.iterdir(), partial]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        # A later one was passed over as damaged when the run went on from an earlier one.
        for outdated in [path for path in _folders(folder) if path.name >= target.name]:
            shutil.rmtree(outdated)


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Keep the newest `keep` snapshots and the one of step `best`."""
    for old in _folders(folder)[:-keep] if keep else _folders(folder):
        if best is None or old.name != f"step-{best:08d}":
            shutil.rmtree(old, ignore_errors=True)


def newest(folder: Path) -> Snapshot | None:
    """The newest whole snapshot; a damaged one is passed over for the one before it. None where there is none."""
    for candidate in reversed(_folders(folder)):
        try:
            return open_snapshot(candidate)
        except SardinoError:
            continue
    return None


def open_snapshot(folder: Path) -> Snapshot:
    """One snapshot, every hash checked; refused where it is missing, of another version or damaged."""
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        if (state["format"], state["version"]) != (FORMAT, VERSION):
            raise SardinoError(f"{folder} is no {FORMAT} of version {VERSION}: start the training anew")
        for name in FILES:
            if sha256_of(folder / f"{name}.safetensors") != state["sha256"][name]:
                raise SardinoError(f"{folder / name}.safetensors is damaged: resume from an older snapshot")
        return Snapshot(folder, int(state["step"]), state["config"], state["history"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SardinoError(f"{folder} is no whole snapshot ({error!r}): resume from an older one") from error


def restore(snapshot: Snapshot, learner: Learner, config: dict[str, Any]) -> None:
    """Put a learner where the snapshot's was, every tensor or none.

    Raises:
        SardinoError: the snapshot is of another run: each difference is named; or its tensors do not fit.
    """
    # Code may have changed since in ways that change nothing; who is not sure restarts.
    if differing := "; ".join(differences(snapshot.config | {"code": ""}, config | {"code": ""})):
        raise SardinoError(f"{snapshot.folder} is another training ({differing}): restart, or use another folder")
    try:
        files = {name: load_file(snapshot.folder / f"{name}.safetensors") for name in FILES}
        moved = {name: files["optimiser"].pop(name) for name in learner.moving}
        for check in (True, False):
            _load(learner.student, files["student"], check)
            _load(learner.teacher, files["teacher"], check)
        for name, tensor in learner.moving.items():
            tensor.copy_(moved[name])
        parameters = dict(learner.student.named_parameters())
        learner.optimiser.state.clear()
        for name, value in files["optimiser"].items():
            key, _, parameter_name = name.partition("/")
            parameter = parameters[parameter_name]
            # The count of steps is a plain scalar, on the device where the fused step wants it, else on the CPU.
            home = learner.parallel.device if learner.optimiser.defaults["fused"] else "cpu"
            placed = value.to(home) if key == "step" else _like(value, parameter)
            learner.optimiser.state[parameter][key] = placed
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise SardinoError(f"{snapshot.folder} does not fit this network ({error}): start anew") from error


def differences(old: dict[str, Any], new: dict[str, Any], place: str = "") -> list[str]:
    """Where two configurations differ, each as "name: was A, is B"."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        was, is_now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(is_now, dict):
            found += differences(was, is_now, f"{place}{key}.")
        elif json.dumps(was) != json.dumps(is_now):
            found.append(f"{place}{key}: was {_short(was)}, is {_short(is_now)}")
    return found


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


@torch.no_grad()
def _load(module: nn.Module, saved: dict[str, Tensor], check: bool) -> None:
    """See that names and shapes agree, or take the values over."""
    state = module.state_dict()
    if state.keys() != saved.keys():
        raise KeyError(f"{', '.join(sorted(state.keys() ^ saved.keys())[:3])} is on one side only")
    for name, value in state.items():
        if tuple(value.shape) != tuple(saved[name].shape):
            raise KeyError(f"{name} has shape {tuple(saved[name].shape)}, not {tuple(value.shape)}")
        if not check:
            value.copy_(_like(saved[name], value))


def _like(value: Tensor, model: Tensor) -> Tensor:
    """On the other's device, sharded as the other is, or laid out as it: the next step is then the same bit for bit."""
    if isinstance(model, DTensor):
        return distribute_tensor(value.to(model.device), model.device_mesh, model.placements)
    return torch.empty_like(model).copy_(value)
