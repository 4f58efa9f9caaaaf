"""What surrounds the steps of one pre-training: its history, log, probes and snapshots."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.dino import snapshot
from sardino.dino.batches import Order
from sardino.dino.health import History, measure, warnings_of
from sardino.dino.parallel import weights_of
from sardino.dino.recipe import Rates, Run
from sardino.dino.run_log import RunLog, read_log
from sardino.dino.step import Learner, Seen
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.files import whole

Probe = Callable[[VisionTransformer], dict[str, float]]
"""Judges a frozen backbone: {"knn": mIoU, "linear": mIoU}."""


@dataclass(frozen=True)
class Pretrained:
    """Both backbones, because the paper uses the student and DINO the teacher, and what was watched."""

    teacher: dict[str, Tensor]
    student: dict[str, Tensor]
    history: History
    warnings: list[str]


class Session:
    """One run, from where it starts or goes on to its end."""

    def __init__(
        self,
        learner: Learner,
        config: dict[str, Any],
        folder: Path | None,
        run: Run,
        order: Order,
        tensorboard: bool,
        probe: Probe | None,
        architecture: Architecture,
        mismatch: str,
    ) -> None:
        self.learner, self.config, self.folder, self.run, self.order = learner, config, folder, run, order
        self.probe, self.architecture, self.parallel = probe, architecture, learner.parallel
        self.history = History(ln_k=math.log(learner.recipe.prototypes))
        self.step = 0
        self.snapshots = None if folder is None else folder / "snapshots"
        found = snapshot.newest(self.snapshots) if self.snapshots else None
        if found is not None and mismatch == "restart" and snapshot.differences(found.config, config):
            self.parallel.wait()  # until all have looked
            if self.parallel.first:
                snapshot.prune(found.folder.parent, keep=0)
            found = None
        if found is not None:
            snapshot.restore(found, learner, config)
            self.step, self.history = found.step, History.from_dict(found.history)
        self.log = RunLog(folder, tensorboard, self.step) if folder is not None and self.parallel.first else None
        told = read_log(folder) if self.log and folder else []  # by the run that was stopped
        self._told = {_sign(line["warning"]) for line in told if "warning" in line}
        self._busy_s, self._waited_s, self._done = 0.0, 0.0, 0

    @property
    def warnings(self) -> list[str]:
        """What is wrong so far."""
        return warnings_of(self.history, self.run.steps, self.learner.recipe.warmup_epochs)

    def watches(self, step: int) -> bool:
        """Whether a step is looked at: every so many, and the last."""
        return step + 1 == self.run.steps or (self.run.watch_every > 0 and step % self.run.watch_every == 0)

    def look(self, step: int, seen: Seen, rates: Rates, busy_s: float, waited_s: float) -> None:
        """After a step of `busy_s` seconds, of which it waited for tiles: watch, probe and save where it is time."""
        self.step = step + 1
        self._busy_s += busy_s
        self._waited_s += waited_s
        self._done += 1
        last = self.step == self.run.steps
        if self.watches(step):
            self._watch(step, seen, rates)
        if self.probe and (last or (self.run.probe_every and self.step % self.run.probe_every == 0)):
            self._judge()
        if last or (self.run.save_every and self.step % self.run.save_every == 0):
            self.save()

    def _watch(self, step: int, seen: Seen, rates: Rates) -> None:
        busy_s = max(self._busy_s, 1e-9)
        values = measure(seen, rates.teacher_temperature) | {
            "epoch": step / self.order.steps_per_epoch,
            "distance": self.learner.distance(),
            "learning_rate": rates.learning_rate,
            "weight_decay": rates.weight_decay,
            "momentum": rates.momentum,
            "teacher_temperature": rates.teacher_temperature,
            "images_per_s": self._done * self.run.batch / busy_s,
            "data_wait": self._waited_s / busy_s,
            "memory_gib": _memory_gib(self.parallel.device),
        }
        self.history.append(step, values)
        if self.log is not None:
            self.log.write(step, values)
            for sentence in self.warnings:
                if _sign(sentence) not in self._told:
                    self._told.add(_sign(sentence))
                    self.log.warn(step, sentence)
        self._busy_s, self._waited_s, self._done = 0.0, 0.0, 0

    def _judge(self) -> None:
        weights = weights_of(self.learner.teacher.backbone)  # all ranks gather, the first one probes
        if self.probe is None or not self.parallel.first:
            return
        vit = build_vit(self.architecture)
        vit.load_state_dict(weights, strict=True)
        with torch.random.fork_rng(devices=[]):
            scores = self.probe(vit.to(self.parallel.device).eval())
        self.history.append_probe(self.step, scores)
        if self.log is not None:
            self.log.write(self.step - 1, {f"probe_{name}": value for name, value in scores.items()})

    def save(self) -> None:
        """Keep the state; every rank calls."""
        if self.snapshots is None:
            return
        if self.log is not None:
            self.log.flush()
        snapshot.save(self.snapshots, self.learner, self.step, self.config, self.history.to_dict())
        if self.parallel.first:
            snapshot.prune(self.snapshots, self.run.keep, self.history.best_probe())
        self.parallel.wait()

    def lost(self, step: int, inputs: Tensor, ids: list[str], rates: Rates) -> SardinoError:
        """Keep the batch that broke the run; the error to raise."""
        kept = ""
        if self.folder is not None:
            path = self.folder / f"nonfinite-step-{step:08d}-rank-{self.parallel.rank}.safetensors"
            with whole(path) as partial:
                save_file({"inputs_db": inputs.contiguous()}, partial, {"tile_ids": json.dumps(ids)})
            kept = f"; the batch is kept in {path}"
        return SardinoError(
            f"the pre-training loss is not finite at step {step}, on tiles {', '.join(ids)}{kept}: lower the learning "
            f"rate ({rates.learning_rate:g}) or raise the teacher temperature ({rates.teacher_temperature:g})"
        )

    def close(self) -> None:
        """Nothing more to log."""
        if self.log is not None:
            self.log.close()

    def end(self) -> Pretrained:
        """The result, on the CPU."""
        learner = self.learner
        teacher, student = weights_of(learner.teacher.backbone), weights_of(learner.student.backbone)
        return Pretrained(teacher, student, self.history, self.warnings)


def _sign(sentence: str) -> str:
    """Which warning it is, whatever its numbers."""
    return sentence.split(":")[0]


def _memory_gib(device: torch.device) -> float:
    """Most memory taken so far on a GPU, memory taken now on a CPU."""
    taken = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss
    return float(taken) / 2**30
