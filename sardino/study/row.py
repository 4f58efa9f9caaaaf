"""What all cells of one row of Tables 1 and 2 share, and how they are made alike in all else."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer

import sardino
from sardino.data.tiles.label_fractions import label_fraction, label_order
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore, describe, example_tiles
from sardino.dino.batches import StoreTiles, TileSource, open_tiles
from sardino.dino.vit import Architecture, build_vit, parameter_count
from sardino.errors import SardinoError
from sardino.evaluation.scores import accuracy, class_iou, macro_f1, majority, miou, miou_all
from sardino.reporting.record import revision, write_record
from sardino.segmentation import kept_features as features_module
from sardino.segmentation.finetune import Diverged, Finetuned, finetune, predict, tile_confusions
from sardino.segmentation.kept_features import Features, FeatureTiles
from sardino.segmentation.segmenter import EncodingName, Segmenter, build_segmenter
from sardino.study.stale import fingerprint, import_closure
from sardino.study.workspace import Workspace
from sardino.weights.card import SegmenterCard
from sardino.weights.save import load_backbone, save_segmenter

Initialisation = Literal["scratch", "frozen", "unfrozen"]


@dataclass(frozen=True)
class Experiment:
    """What all cells of one table row share: tiles, normalisation, backbone.

    Args:
        arm: the pre-training whose regions give the normalisation, and whose architecture the ViT has.
        encoding: "attention", "tokens", "unet" or "unet_attention".
        initialisation: "scratch", "frozen" or "unfrozen".
        train_ids: training tiles with labels, of which a fraction is granted.
        judged_ids: validation tiles on which states and learning rates are chosen.
        test_ids: test tiles with labels.
    """

    space: Workspace
    arm: str
    encoding: EncodingName
    initialisation: Initialisation
    store: TileStore
    normalisation: Normalisation
    train_ids: list[str]
    judged_ids: list[str]
    test_ids: list[str]
    device: torch.device
    _kept: dict[int, Features | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls, space: Workspace, arm: str, encoding: str, initialisation: str, device: torch.device) -> "Experiment":
        """Fine-tuning and test are on the first region of the first arm: Europe, in the paper, for both tables."""
        if encoding not in get_args(EncodingName) or initialisation not in get_args(Initialisation):
            raise SardinoError(
                f"there is no arm '{encoding}' / '{initialisation}': encodings are "
                f"{', '.join(get_args(EncodingName))}, initialisations {', '.join(get_args(Initialisation))}"
            )
        profile = space.profile
        space.profile.architecture(arm)
        store = TileStore.open(space.build / profile.arm(arm).store)
        regions = profile.arm(profile.arms[0]).regions[:1]
        # From scratch and pre-trained see the same numbers: those of the arm's pre-training tiles.
        normalisation = Normalisation.of_store(store, store.ids("train", profile.arm(arm).regions))
        labelled = _labelled(store)
        train, val, test = ([i for i in store.ids(s, regions) if i in labelled] for s in ("train", "val", "test"))
        if not (train and val and test):
            raise SardinoError(
                f"{store.path} has {len(train)} training, {len(val)} validation and {len(test)} test tiles with "
                f"labels in {', '.join(regions)}: import labels, or use fewer bands"
            )
        judged = sorted(label_order(val)[: profile.finetuning.validation_tiles])
        return cls(
            space,
            arm,
            encoding,  # type: ignore[arg-type]
            initialisation,  # type: ignore[arg-type]
            store,
            normalisation,
            train,
            judged,
            test,
            device,
        )

    @property
    def run(self) -> str:
        """Name of the row's run: finetune-... is a row of Table 1, baseline-... of Table 2."""
        if self.encoding in ("attention", "tokens"):
            return f"finetune-{self.arm}-{self.encoding}-{self.initialisation}"
        return f"baseline-{self.encoding}-{self.initialisation}"

    @property
    def test_blocks(self) -> list[int]:
        """Geographic band of each test tile: the unit of the bootstrap."""
        return [int(self.store.index["band"].iloc[self.store.row(i)]) for i in self.test_ids]

    @property
    def example_ids(self) -> list[str]:
        """Test tiles shown in figures: the first by hash, fixed before any result is seen."""
        return example_tiles(self.store, self.test_ids, self.space.profile.examples)

    @cached_property
    def validation(self) -> TileSource:
        """Images of the validation tiles."""
        return open_tiles(self.store, self.judged_ids, self.normalisation)

    @cached_property
    def test(self) -> TileSource:
        """Images of the test tiles."""
        return open_tiles(self.store, self.test_ids, self.normalisation)

    def labelled_ids(self, fraction: float, seed: int) -> list[str]:
        """The training tiles whose labels are granted: the same for all arms, and nested over fractions."""
        return label_fraction(self.train_ids, fraction, seed)

    def backbone(self, seed: int) -> VisionTransformer:
        """A ViT: pre-trained with this seed (the network the profile names), or random where trained from scratch."""
        profile = self.space.profile
        if self.initialisation == "scratch":
            shape = profile.architecture(self.arm)
            return build_vit(
                Architecture(**shape.model_dump(), channels=len(self.store.channels), tile_px=self.store.tile_px)
            )
        folder = self.space.pretrain(self.arm, seed)
        network = profile.arm(self.arm).network
        vit, card = load_backbone(folder, tuple(self.store.channels), self.store.unit, network)
        if not np.allclose(card.normalisation["mean"], self.normalisation.mean, atol=1e-6):
            raise SardinoError(f"{folder} was trained on other tiles: run the pre-training again")
        return vit

    def segmenter(self, seed: int) -> Segmenter:
        """The arm's network; the seed decides all random weights, and which pre-training it starts from."""
        torch.manual_seed(seed)
        tuning = self.space.profile.finetuning
        return build_segmenter(
            self.encoding,
            None if self.encoding == "unet" else self.backbone(seed),
            channels=len(self.store.channels),
            classes=len(self.store.legend),
            unet_width=tuning.unet_width,
            unet_depth=tuning.unet_depth,
            decoder_width=tuning.decoder_width,
            frozen=self.initialisation == "frozen",
        ).to(self.device)

    def tiles(self, model: Segmenter, ids: list[str], seed: int) -> TileSource:
        """Labelled tiles as this model trains on them: images, or the kept features of its frozen backbone.

        Args:
            model: `segmenter(seed)`.
        """
        features = self._features(model, seed) if model.frozen else None
        if features is not None and model.encoding != "unet_attention":
            return FeatureTiles(features, ids)
        # Validation and test are read by every cell; a cell's own training tiles by no other.
        if ids == self.judged_ids:
            images = self.validation
        elif ids == self.test_ids:
            images = self.test
        else:
            images = open_tiles(self.store, ids, self.normalisation)
        return images if features is None else FeatureTiles(features, ids, model.join, images)

    def _features(self, model: Segmenter, seed: int) -> Features | None:
        """The frozen backbone's output on all tiles that cells of this seed see, shared by all runs of the plan."""
        if seed not in self._kept:
            profile = self.space.profile
            ids = sorted({*self.labelled_ids(max(profile.fractions), seed), *self.judged_ids, *self.test_ids})
            source = Path(features_module.__file__)
            code = [source, *import_closure(source, Path(sardino.__file__).parent)]
            about = {
                "data": self.store.fingerprint,
                "normalisation": self.normalisation.to_dict(),
                "code": fingerprint(code),
            }
            self._kept[seed] = Features.of(
                model,
                StoreTiles(self.store, ids, self.normalisation),
                ids,
                about,
                self.space.build / "features",
                self.device,
                profile.finetuning.feature_cache_gb * 1e9,
            )
        return self._kept[seed]


def _labelled(store: TileStore) -> set[str]:
    return set(store.index.loc[store.index["labelled_share"] > 0, "id"])


# The segmenter that a row of Table 1 or 2 leaves behind, for maps of whole scenes.

TRAINING = ("initialisation", "fraction", "seed", "steps", "lr", "backbone_lr", "best_step")
MEASURED = {
    "miou": "mIoU on the test tiles",
    "accuracy": "accuracy on the test tiles",
    "macro_f1": "macro F1 on the test tiles",
    "miou_majority": "mIoU of always the most frequent class",
}


def keep_segmenter(experiment: Experiment, model: Segmenter, row: dict[str, Any], folder: Path) -> str:
    """Save a trained cell's network with its card.

    Args:
        row: the cell's numbers.
        folder: to save in.

    Returns:
        sha256 of the weights.
    """
    space, store = experiment.space, experiment.store
    tuning = space.profile.finetuning
    shape = space.profile.architecture(experiment.arm).model_dump()
    said = describe(store)
    card = SegmenterCard(
        encoding=experiment.encoding,
        architecture=Architecture(**shape, channels=len(store.channels), tile_px=store.tile_px),
        decoder={name: getattr(tuning, name) for name in ("unet_width", "unet_depth", "decoder_width")},
        channels=tuple(store.channels),
        unit=store.unit,
        normalisation=experiment.normalisation.to_dict(),
        legend=store.legend.to_dict(),
        trained_on={
            "regions": space.profile.arm(space.profile.arms[0]).regions[:1],
            "labelled_tiles": row["labelled_tiles"],
            "test_tiles": len(experiment.test_ids),
            "gsd_m": store.gsd_m,
            **{name: said[name] for name in ("source", "labels", "synthetic", "fingerprint")},
        },
        training={**{name: row[name] for name in TRAINING}, "loss": tuning.loss},
        measured={title: float(row[name]) for name, title in MEASURED.items()},
        code_revision=revision(),
    )
    return save_segmenter(folder, model, card)


# The cells of Tables 1 and 2: one training and one test each, alike in all but what the cell names.


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
