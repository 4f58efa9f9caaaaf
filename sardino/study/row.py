"""One row of Table 1 or 2: its learning rate, its cells, each trained and tested, and what is kept of them."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.data.tiles.store import describe
from sardino.dino.vit import parameter_count
from sardino.errors import SardinoError
from sardino.evaluation.scores import accuracy, class_iou, macro_f1, majority, miou, miou_all
from sardino.files import whole
from sardino.reporting.record import revision
from sardino.reporting.rows import ENCODINGS, row_kind, row_run, written
from sardino.segmentation.finetune import Diverged, Finetuned, finetune, predict, tile_confusions
from sardino.segmentation.segmenter import Segmenter
from sardino.study.experiment import Experiment
from sardino.study.run import OpenRun, open_run
from sardino.weights.card import SegmenterCard
from sardino.weights.save import save_segmenter

TRAINING = ("initialisation", "fraction", "seed", "steps", "lr", "backbone_lr", "best_step")
MEASURED = {
    "miou": "mIoU on the test tiles",
    "accuracy": "accuracy on the test tiles",
    "macro_f1": "macro F1 on the test tiles",
    "miou_majority": "mIoU of always the most frequent class",
}


def open_row(profile: str, data: str, regions: str, encoding: str, initialisation: str) -> tuple[OpenRun, Experiment]:
    """Begin a row's run: of Table 1, which tells of the regions of its pre-training, or of Table 2."""
    arm = {"regions": regions} if encoding in ENCODINGS else {}
    run = open_run(row_kind(encoding), profile, data, **arm, encoding=encoding, initialisation=initialisation)
    return run, Experiment.open(run.space, regions, encoding, initialisation)


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
        return asdict(self) | {"scores": [{"lr": rate, "val_miou": score} for rate, score in self.scores.items()]}


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
    test = experiment.tiles(model, experiment.test_ids, seed)
    confusions = tile_confusions(model, test, len(experiment.store.legend), experiment.device)
    total = confusions.sum(0)
    present = total.sum(-1) > 0
    examples = experiment.tiles(model, experiment.example_ids, seed)
    row = {
        "table": 1 if experiment.encoding in ENCODINGS else 2,
        "regions": experiment.arm,
        "encoding": written(experiment.encoding),
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
        run = row_run(experiment.encoding, experiment.initialisation, experiment.arm)
        folder = experiment.space.segmenter(run)
    if folder is not None:
        save_segmenter(folder, model, _card(experiment, row))
    return Cell(row, confusions, predict(model, examples, experiment.device), result.losses)


def save_confusions(path: Path, cells: Sequence[Cell]) -> None:
    """Per-tile confusion matrices and example maps of several cells, in one compressed file without pickle."""
    arrays: dict[str, NDArray[Any]] = {}
    for cell in cells:
        key = cell.row["confusion_key"]
        arrays[key] = cell.confusions.astype(np.int32)
        arrays[key.replace("confusion", "example")] = cell.examples
    with whole(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, **arrays)


def record_row(run: OpenRun, experiment: Experiment, search: RateSearch, cells: Sequence[Cell]) -> dict[str, Any]:
    """Save a row's matrices and example maps, then its record, which is returned."""
    store = experiment.store
    save_confusions(run.space.runs / f"{run.name}.npz", cells)
    results = {
        "cells": [cell.row for cell in cells],
        "confusion_file": f"{run.name}.npz",
        "test_blocks": experiment.test_blocks,
        "example_ids": experiment.example_ids,
        "labels_name": store.legend.name,
        "derived": store.legend.derived,
        "loss": run.space.profile.finetuning.loss,
        "learning_rates": search.to_dict(),
    }
    return run.record(results, describe(store))


def _train(experiment: Experiment, fraction: float, seed: int, lr: float) -> tuple[Segmenter, Finetuned]:
    """One training; all arms differ in their network and perhaps their learning rate, in nothing else."""
    tuning = experiment.space.profile.finetuning
    ids = experiment.labelled_ids(fraction, seed)
    model = experiment.segmenter(seed)
    result = finetune(
        model,
        experiment.tiles(model, ids, seed),
        experiment.tiles(model, experiment.judged_ids, seed),
        tuning,
        classes=len(experiment.store.legend),
        seed=seed,
        device=experiment.device,
        lr=lr,
        label=f"{experiment.arm} {experiment.encoding} {experiment.initialisation} {fraction:g} % seed {seed}",
    )
    return model, result


def _card(experiment: Experiment, row: dict[str, Any]) -> SegmenterCard:
    """The card of the segmenter that a row leaves behind, for maps of whole scenes."""
    profile, store = experiment.space.profile, experiment.store
    said = describe(store)
    return SegmenterCard(
        encoding=experiment.encoding,
        architecture=experiment.architecture,
        decoder={name: getattr(profile.finetuning, name) for name in ("unet_width", "unet_depth", "decoder_width")},
        channels=tuple(store.channels),
        unit=store.unit,
        normalisation=experiment.normalisation.to_dict(),
        legend=store.legend.to_dict(),
        trained_on={
            "regions": profile.arm(profile.arms[0]).regions[:1],
            "labelled_tiles": row["labelled_tiles"],
            "test_tiles": len(experiment.test_ids),
            "gsd_m": store.gsd_m,
            **{name: said[name] for name in ("source", "labels", "synthetic", "fingerprint")},
        },
        training={**{name: row[name] for name in TRAINING}, "loss": profile.finetuning.loss},
        measured={title: float(row[name]) for name, title in MEASURED.items()},
        code_revision=revision(),
    )
