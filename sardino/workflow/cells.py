"""The cells of Tables 1 and 2: one training and one test each, alike in all but what the cell names."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.confusion import accuracy, class_iou, macro_f1, majority, miou, miou_all
from sardino.models.segmenter import Segmenter
from sardino.models.vit import parameter_count
from sardino.reporting.record import write_record
from sardino.tiles.description import describe
from sardino.training.finetune import Diverged, Finetuned, Settings, finetune, predict, tile_confusions
from sardino.workflow.experiment import Experiment as Experiment  # notebooks open one and train its cells
from sardino.workflow.kept_segmenter import keep_segmenter


@dataclass(frozen=True)
class Cell:
    """A trained and tested cell.

    Args:
        row: its numbers, as the run record holds them.
        confusions: (test tiles, n, n) one confusion matrix per test tile.
        examples: (examples, H, W) predicted class index of the example tiles.
        losses: training loss per step.
    """

    row: dict[str, Any]
    confusions: NDArray[np.int64]
    examples: NDArray[np.uint8]
    losses: list[float]

    def __str__(self) -> str:
        row = self.row
        return (
            f"{row['fraction']:>5g} % of labels ({row['labelled_tiles']} tiles), seed {row['seed']}: "
            f"loss {row['loss_first']:.3f} -> {row['loss_last']:.3f}, "
            f"mIoU {row['miou']:.3f} (predicting the majority class: {row['miou_majority']:.3f})"
        )


@dataclass(frozen=True)
class RateSearch:
    """An arm's learning rate, and how it was chosen: on validation tiles, once, for all its fractions and seeds.

    Args:
        chosen: the decoder's peak rate.
        fraction, seed: of the trainings that decided; None where the profile asks for no search.
        scores: per rate of the grid, the validation mIoU of the best state; None where the training diverged.
    """

    chosen: float
    fraction: float | None = None
    seed: int | None = None
    scores: dict[float, float | None] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.scores:
            return f"learning rate {self.chosen:g}, the profile's; no search"
        said = (f"{rate:g}: {'diverged' if score is None else f'{score:.3f}'}" for rate, score in self.scores.items())
        edge = ", at the edge of the grid" if self.chosen in (min(self.scores), max(self.scores)) else ""
        return (
            f"learning rate {self.chosen:g}{edge}; validation mIoU with {self.fraction:g} % of the labels, "
            f"seed {self.seed}: {', '.join(said)}"
        )

    def to_dict(self) -> dict[str, Any]:
        scores = [{"lr": rate, "val_miou": score} for rate, score in self.scores.items()]
        return {"chosen": self.chosen, "fraction": self.fraction, "seed": self.seed, "scores": scores}


def choose_rate(experiment: Experiment) -> RateSearch:
    """The rate of the profile's grid that does best on validation tiles; test tiles are not read.

    Raises:
        SardinoError: the training diverged with every rate.
    """
    profile = experiment.space.profile
    if not profile.finetuning.lr_grid:
        return RateSearch(profile.finetuning.lr)
    fraction, seed = profile.rate_fraction, profile.seeds[0]
    scores: dict[float, float | None] = {}
    for rate in profile.finetuning.lr_grid:
        try:
            scores[rate] = _train(experiment, fraction, seed, rate)[1].validation_miou
        except Diverged:
            scores[rate] = None
    kept = {rate: score for rate, score in scores.items() if score is not None}
    if not kept:
        raise SardinoError("fine-tuning diverged with every rate of finetuning.lr_grid: give smaller ones")
    return RateSearch(max(kept, key=lambda rate: kept[rate]), fraction, seed, scores)


def train_cell(experiment: Experiment, fraction: float, seed: int, lr: float, folder: Path | None = None) -> Cell:
    """Fine-tune on a fraction of the labels, keep the best on validation, touch the test tiles once.

    Args:
        fraction: percent of the training tiles whose labels are used; the subset follows from the seed,
            so that arms compared at one seed learn from the same tiles.
        lr: the decoder's peak learning rate, as `choose_rate` found it.
        folder: where the network is kept; by default the row's, for all its labels and the first seed.
    """
    started = time.monotonic()
    profile = experiment.space.profile
    model, result = _train(experiment, fraction, seed, lr)
    classes = len(experiment.store.legend)
    test = experiment.tiles(model, experiment.test_ids, seed)
    confusions = tile_confusions(model, test, classes, experiment.device)
    total = confusions.sum(0)
    examples = experiment.tiles(model, experiment.example_ids, seed)
    present = total.sum(-1) > 0
    row = {
        "table": 1 if experiment.encoding in ("attention", "tokens") else 2,
        "regions": experiment.arm,
        "encoding": experiment.encoding.replace("_", "+"),
        "initialisation": experiment.initialisation,
        "fraction": fraction,
        "seed": seed,
        "labelled_tiles": len(experiment.labelled_ids(fraction, seed)),
        "steps": len(result.losses),
        "lr": lr,
        "backbone_lr": lr * profile.finetuning.backbone_lr / profile.finetuning.lr,
        "best_step": result.best_step,
        "loss_first": result.loss_first,
        "loss_last": result.loss_last,
        "val_miou": result.validation_miou,
        "miou": float(miou(total)),
        "miou_all": float(miou_all(total)),
        "accuracy": float(accuracy(total)),
        "macro_f1": float(macro_f1(total)),
        "class_iou": [float(v) if here else None for v, here in zip(class_iou(total), present, strict=True)],
        "miou_majority": float(miou(majority(total))),
        "parameters": parameter_count(model),
        "confusion_key": f"confusion_{fraction:g}_{seed}",
        "wall_s": time.monotonic() - started,
    }
    if folder is None and fraction == max(profile.fractions) and seed == profile.seeds[0]:
        folder = experiment.space.segmenter(experiment.run)
    if folder is not None:
        keep_segmenter(experiment, model, row, folder)
    return Cell(row, confusions, predict(model, examples, experiment.device), result.losses)


def save_confusions(path: Path, cells: Sequence[Cell]) -> None:
    """Per-tile confusion matrices and example maps of several cells, in one compressed file without pickle."""
    arrays: dict[str, NDArray[Any]] = {}
    for cell in cells:
        key = cell.row["confusion_key"]
        arrays[key] = cell.confusions.astype(np.int32)
        arrays[key.replace("confusion", "example")] = cell.examples
    partial = path.with_suffix(".partial.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(partial, allow_pickle=False, **arrays)
    partial.replace(path)


def record_row(
    experiment: Experiment,
    parameters: dict[str, Any],
    search: RateSearch,
    cells: Sequence[Cell],
    started: float,
) -> dict[str, Any]:
    """Save a row's matrices and example maps, then its record, which is returned.

    Args:
        parameters: the notebook's.
        started: time.time() at the notebook's first line.
    """
    space, store, name = experiment.space, experiment.store, experiment.run
    save_confusions(space.runs / f"{name}.npz", cells)
    return write_record(
        space.record(name),
        kind=name.partition("-")[0],
        profile=space.profile.name,
        parameters=parameters,
        seeds=space.profile.seeds,
        data=describe(store),
        results={
            "cells": [cell.row for cell in cells],
            "confusion_file": f"{name}.npz",
            "test_blocks": experiment.test_blocks,
            "example_ids": experiment.example_ids,
            "labels_name": store.legend.name,
            "derived": store.legend.derived,
            "loss": space.profile.finetuning.loss,
            "learning_rates": search.to_dict(),
        },
        started=started,
    )


def _train(experiment: Experiment, fraction: float, seed: int, lr: float) -> tuple[Segmenter, Finetuned]:
    """One training; all arms differ in their network and perhaps their learning rate, in nothing else."""
    tuning = experiment.space.profile.finetuning
    ids = experiment.labelled_ids(fraction, seed)
    steps = tuning.steps_for(len(ids))
    settings = Settings(
        steps,
        tuning.batch,
        lr,
        tuning.backbone_lr / tuning.lr,
        validations=max(1, round(steps / tuning.validate_every)),
        loss=tuning.loss,
    )
    model = experiment.segmenter(seed)
    result = finetune(
        model,
        experiment.tiles(model, ids, seed),
        experiment.tiles(model, experiment.judged_ids, seed),
        settings,
        classes=len(experiment.store.legend),
        seed=seed,
        device=experiment.device,
        label=f"{experiment.arm} {experiment.encoding} {experiment.initialisation} {fraction:g} % seed {seed}",
    )
    return model, result
