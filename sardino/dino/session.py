"""What surrounds the steps of one pre-training: its history, log, probes and snapshots."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from tqdm import tqdm

from sardino.dino import snapshot
from sardino.dino.health import History, measure, warnings_of
from sardino.dino.parallel import weights_of
from sardino.dino.recipe import Rates, Run
from sardino.dino.step import Learner, Seen
from sardino.dino.vit import build_vit
from sardino.errors import SardinoError
from sardino.files import whole, write_text
from sardino.progress import stop_in_time

LOG = "log.jsonl"
Probe = Callable[[VisionTransformer], dict[str, float]]  # judges a frozen backbone: {"knn": mIoU, "linear": mIoU}


@dataclass(frozen=True)
class Pretrained:
    """Both backbones, because the paper uses the student and DINO the teacher, and what was watched."""

    teacher: dict[str, Tensor]
    student: dict[str, Tensor]
    history: History
    warnings: list[str]
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # what either keeps besides: "teacher-unet"


class Session:
    """One run, from where it starts or goes on to its end; arguments as of `pretrain`."""

    def __init__(
        self,
        learner: Learner,
        config: dict[str, Any],
        run: Run,
        steps_per_epoch: int,
        folder: Path | None,
        probe: Probe | None,
        tensorboard: bool,
        mismatch: str,
    ) -> None:
        self.learner, self.config, self.run, self.steps_per_epoch = learner, config, run, steps_per_epoch
        self.folder, self.probe, self.parallel = folder, probe, learner.parallel
        self.step, self.history = 0, History(ln_k=learner.objective.ln_k)
        self.snapshots = None if folder is None else folder / "snapshots"
        found = snapshot.newest(self.snapshots) if self.snapshots else None
        if found and mismatch == "restart" and snapshot.differences(found.config, config):
            self.parallel.wait()  # until all have looked
            if self.parallel.first:
                snapshot.prune(found.folder.parent, keep=0)
            found = None
        if found:
            snapshot.restore(found, learner, config)
            self.step, self.history = found.step, History.from_dict(found.history)
        self.log = RunLog(folder, tensorboard, self.step) if folder and self.parallel.first else None
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
            self._judge(self.probe)
        if last or (self.run.save_every and self.step % self.run.save_every == 0):
            self.save()

    def _watch(self, step: int, seen: Seen, rates: Rates) -> None:
        busy_s, device = max(self._busy_s, 1e-9), self.parallel.device
        on_gpu = device.type == "cuda"  # the most memory taken so far; on a CPU what is taken now
        memory = torch.cuda.max_memory_allocated(device) if on_gpu else psutil.Process().memory_info().rss
        values = {
            **measure(seen, rates.teacher_temperature),
            "epoch": step / self.steps_per_epoch,
            "distance": self.learner.distance(),
            "learning_rate": rates.learning_rate,
            "weight_decay": rates.weight_decay,
            "momentum": rates.momentum,
            "images_per_s": self._done * self.run.batch / busy_s,
            "data_wait": self._waited_s / busy_s,
            "memory_gib": memory / 2**30,
        }
        if seen.answers:
            values["teacher_temperature"] = rates.teacher_temperature
        self.history.append(step, values)
        if self.log:
            self.log.write(step, values)
            for sentence in self.warnings:
                self.log.warn(step, sentence)
        self._busy_s, self._waited_s, self._done = 0.0, 0.0, 0

    def _judge(self, probe: Probe) -> None:
        weights = weights_of(self.learner.teacher.backbone)  # all ranks gather, the first one probes
        if not self.parallel.first:
            return
        vit = build_vit(self.learner.architecture)
        vit.load_state_dict(weights, strict=True)
        with torch.random.fork_rng(devices=[]):
            scores = probe(vit.to(self.parallel.device).eval())
        self.history.append_probe(self.step, scores)
        if self.log:
            self.log.write(self.step - 1, {f"probe_{name}": value for name, value in scores.items()})

    def save(self) -> None:
        """Keep the state; every rank calls."""
        if self.snapshots is None:
            return
        if self.log:
            self.log.flush()
        snapshot.save(self.snapshots, self.learner, self.step, self.config, self.history.to_dict())
        if self.parallel.first:
            snapshot.prune(self.snapshots, self.run.keep, self.history.best_probe())
        self.parallel.wait()
        if self.step < self.run.steps:
            stop_in_time()

    def lost(self, step: int, inputs: Tensor, ids: list[str], rates: Rates) -> SardinoError:
        """Keep the batch that broke the run; the error to raise."""
        kept = ""
        if self.folder is not None:
            path = self.folder / f"nonfinite-step-{step:08d}-rank-{self.parallel.rank}.safetensors"
            with whole(path) as partial:
                save_file({"inputs_db": inputs.contiguous()}, partial, {"tile_ids": json.dumps(ids)})
            kept = f"; the batch is kept in {path}"
        warmer = f" or raise the teacher temperature ({rates.teacher_temperature:g})"
        return SardinoError(
            f"the pre-training loss is not finite at step {step}, on tiles {', '.join(ids)}{kept}: lower the learning "
            f"rate ({rates.learning_rate:g}){'' if self.history.ln_k is None else warmer}"
        )

    def close(self) -> None:
        """Nothing more to log."""
        if self.log:
            self.log.close()

    def end(self) -> Pretrained:
        """The result, on the CPU."""
        networks = {"teacher": self.learner.teacher, "student": self.learner.student}
        teacher, student = (weights_of(network.backbone) for network in networks.values())
        parts = [(f"{name}-{part}", each) for name, of in networks.items() for part, each in of.kept.items()]
        kept = {name: weights_of(each) for name, each in parts}
        return Pretrained(teacher, student, self.history, self.warnings, kept)


class RunLog:
    """The log of a pre-training while it runs: one JSON object a line, and the same numbers for TensorBoard.

    Args:
        folder: gets log.jsonl, and tensorboard/ where asked.
        start: the first step still to be done; lines of it and later, of a run that was stopped, are dropped.
    """

    def __init__(self, folder: Path, tensorboard: bool = False, start: int = 0) -> None:
        kept = [line for line in read_log(folder) if line["step"] < start]
        self._told = {_sign(line["warning"]) for line in kept if "warning" in line}
        path = write_text("".join(_line(line) for line in kept), folder / LOG)
        self._file = path.open("a", encoding="utf-8", buffering=1)  # each line at once
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step; what is not finite is written as its name."""
        plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        self._file.write(_line({"step": step, **plain}))
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def warn(self, step: int, sentence: str) -> None:
        """A warning, in the log and before the person who waits; once, whatever its numbers."""
        if _sign(sentence) not in self._told:
            self._told.add(_sign(sentence))
            self._file.write(_line({"step": step, "warning": sentence}))
            tqdm.write(f"warning at step {step}: {sentence}")

    def flush(self) -> None:
        """Hand on what TensorBoard still holds: what a snapshot follows must be there when a run goes on from it."""
        if self._board:
            self._board.flush()

    def close(self) -> None:
        self._file.close()
        if self._board:
            self._board.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log, none where there is none; a last line that a kill has torn is left out."""
    path, found = folder / LOG, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"


def _sign(sentence: str) -> str:
    """Which warning it is."""
    return sentence.split(":")[0]
