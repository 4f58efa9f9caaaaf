"""One row of Table 1 or 2: what its cells share, its learning rate, and each cell trained, tested and kept.

Arms differ in what the row names and in nothing else.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer

from sardino.data.tiles.landcover import label_fraction
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore, describe, example_tiles
from sardino.dino.batches import StoreTiles, TileSource, open_tiles
from sardino.dino.runtime import best_device
from sardino.dino.vit import Architecture, build_vit, parameter_count
from sardino.errors import SardinoError
from sardino.evaluation.scores import RISING, SCORES, Confusion, class_iou, majority, miou
from sardino.reporting.rows import ENCODINGS, INITIALISATIONS, SELF_TRAINED, WIDE, row_kind, row_run, written
from sardino.segmentation.finetune import Diverged, Finetuned, finetune, predict, tile_confusions
from sardino.segmentation.kept_features import Features, FeatureTiles
from sardino.segmentation.segmenter import Segmenter, build_segmenter
from sardino.segmentation.self_training import SelfTraining
from sardino.segmentation.settings import EncodingName, Settings
from sardino.study.arm import architecture_of
from sardino.study.kept import once
from sardino.study.profile import Finetuning
from sardino.study.run import OpenRun, open_run
from sardino.study.supervision import MEASURED, RateSearch, frozen_features, labelled_splits, segmenter_card
from sardino.study.workspace import Workspace
from sardino.weights.card import Card, SegmenterCard
from sardino.weights.save import SEGMENTER_WEIGHTS, load_backbone, load_unet, save_segmenter

TRAINING = ("initialisation", "fraction", "draw", "seed", "steps", "lr", "backbone_lr")


@dataclass(frozen=True)
class Experiment:
    """What all cells of one row share: tiles, normalisation, backbone."""

    space: Workspace
    arm: str  # the pre-training whose regions give the normalisation, and whose architecture the ViT has
    encoding: str  # of a network, or WIDE
    initialisation: str
    store: TileStore
    normalisation: Normalisation
    train_ids: list[str]  # training tiles with labels, as they are listed, of which a fraction is granted
    judged_ids: list[str]  # validation tiles on which states and learning rates are chosen
    test_ids: list[str]  # test tiles with labels
    device: torch.device
    adopted: Card | None = None  # of weights that were pre-trained elsewhere
    _kept: dict[tuple[int, bool], Features | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(
        cls, space: Workspace, arm: str, encoding: str, initialisation: str, device: torch.device | None = None
    ) -> "Experiment":
        """Fine-tuning and test are on the first region of the first arm: Europe, in the paper, for both tables.

        An unknown arm, encoding or initialisation and a split without labels are refused.
        """
        profile = space.profile
        known = [*get_args(EncodingName), *[WIDE] * bool(profile.wide_unet_width)]
        starts = [*INITIALISATIONS, *[SELF_TRAINED] * (encoding in profile.self_trained)]
        if encoding not in known or initialisation not in starts:
            there = f"encodings are {', '.join(known)}, initialisations {', '.join(starts)}"
            raise SardinoError(f"there is no arm '{encoding}' / '{initialisation}': {there}")
        store = TileStore.open(space.build / profile.arm(arm).store)
        # A fraction is of all training tiles; those whose labels it grants have pixels, as do all that judge.
        regions, most = [profile.labelled_region], profile.finetuning.validation_tiles
        train, judged, test = labelled_splits(store, regions, most, listed=True)
        # From scratch and pre-trained see the same numbers: those of the arm's pre-training tiles, or the adopted ones.
        adopted = _adopted(space, arm, store)
        if adopted:
            statistics = Normalisation.from_dict(adopted.normalisation)
        else:
            statistics = Normalisation.of_store(store, store.ids("train", profile.arm(arm).regions))
        device = device or best_device()
        return cls(space, arm, encoding, initialisation, store, statistics, train, judged, test, device, adopted)

    @property
    def network(self) -> EncodingName:
        """What is trained."""
        return self.space.profile.row(self.encoding, self.initialisation)[0]

    @property
    def tuning(self) -> Finetuning:
        """How, and of which size."""
        return self.space.profile.row(self.encoding, self.initialisation)[1]

    @property
    def architecture(self) -> Architecture:
        """The ViT of the arm, or the adopted one, though the encoding may have none."""
        return self.adopted.architecture if self.adopted else architecture_of(self.space, self.arm, self.store)

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

    def labelled_ids(self, fraction: float, draw: int) -> list[str]:
        """The training tiles whose labels are granted: the same for all arms, and nested over fractions."""
        return label_fraction(self.train_ids, fraction, draw)

    def without_labels(self, fraction: float, draw: int) -> TileSource:
        """Images of the arm's other training tiles, with which their labels come and are not looked at."""
        granted = {*self.labelled_ids(fraction, draw)}
        ids = self.store.ids("train", [self.space.profile.labelled_region])
        return StoreTiles(self.store, [tile for tile in ids if tile not in granted], self.normalisation)

    def backbone(self, seed: int) -> VisionTransformer:
        """A ViT: pre-trained with this seed (the network the profile names), or random where trained from scratch."""
        if self.initialisation == "scratch":
            return build_vit(self.architecture)
        folder = self.space.pretrain(self.arm, seed)
        network = self.space.profile.arm(self.arm).network
        vit, card = load_backbone(folder, tuple(self.store.channels), self.store.unit, network)
        if not np.allclose(card.normalisation["mean"], self.normalisation.mean, atol=1e-6):
            raise SardinoError(f"{folder} was trained on other tiles: run the pre-training again")
        return vit

    def segmenter(self, seed: int) -> Segmenter:
        """The arm's network; the seed decides all random weights, and which pre-training it starts from."""
        torch.manual_seed(seed)
        model = build_segmenter(
            self.network,
            None if self.network == "unet" else self.backbone(seed),
            channels=len(self.store.channels),
            classes=len(self.store.legend),
            frozen=self.initialisation == "frozen",
            **self.tuning.decoder,
        )
        if self.initialisation != "scratch" and model.vit is not None:
            load_unet(self.space.pretrain(self.arm, seed), model, self.space.profile.arm(self.arm).network)
        return model.to(self.device)

    def tiles(self, model: Segmenter, ids: list[str], seed: int) -> TileSource:
        """Labelled tiles as `segmenter(seed)` sees them: images, or what its frozen backbone made of them."""
        training = not {*ids} <= {*self.judged_ids, *self.test_ids}
        features = self._features(model, seed, training) if model.frozen else None
        if features is not None and not model.sees_images:
            return FeatureTiles(features, ids)
        # Validation and test are read by every cell; a cell's own training tiles by no other.
        if ids == self.judged_ids:
            images = self.validation
        elif ids == self.test_ids:
            images = self.test
        else:
            images = open_tiles(self.store, ids, self.normalisation)
        return images if features is None else FeatureTiles(features, ids, model.join, images)

    def _features(self, model: Segmenter, seed: int, training: bool) -> Features | None:
        """The frozen backbone's output on all tiles of training, or of validation and test, that cells of this seed
        see, shared by all runs of the plan.
        """
        if (seed, training) not in self._kept:
            profile = self.space.profile
            draws = [(f, draw) for f in profile.fractions for draw, of in profile.repetitions(f) if of == seed]
            labelled = {tile for fraction, draw in draws for tile in self.labelled_ids(fraction, draw)}
            ids = sorted(labelled if training else {*self.judged_ids, *self.test_ids})
            turned, folder = training and profile.finetuning.turns, self.space.build / "features"
            tiles, most = StoreTiles(self.store, ids, self.normalisation), profile.finetuning.feature_cache_gb
            self._kept[seed, training] = frozen_features(model, tiles, turned, folder, self.device, most)
        return self._kept[seed, training]


@dataclass(frozen=True)
class Cell:
    """A trained and tested cell."""

    row: dict[str, Any]  # its numbers, as the run record holds them
    confusions: NDArray[np.int64]  # (test tiles, n, n)
    examples: NDArray[np.uint8]  # (examples, H, W) predicted class index of the example tiles
    losses: list[float]  # training loss per step

    def __str__(self) -> str:
        said = (
            "{fraction:>5g} % of labels ({labelled_tiles} tiles), draw {draw}, seed {seed}: loss {loss_first:.3f} -> "
            "{loss_last:.3f}, mIoU {miou:.3f} (predicting the majority class: {miou_majority:.3f})"
        ).format_map(self.row)
        rising = self.row["gain_last_fifth"] > RISING
        return said + f"; still rising after {self.row['steps']} steps" * rising


def open_row(profile: str, data: str, regions: str, encoding: str, initialisation: str) -> tuple[OpenRun, Experiment]:
    """Begin a row's run: of Table 1, which tells of the regions of its pre-training, or of Table 2."""
    arm = {"regions": regions} if encoding in ENCODINGS else {}
    run = open_run(row_kind(encoding), profile, data, **arm, encoding=encoding, initialisation=initialisation)
    return run, Experiment.open(run.space, regions, encoding, initialisation)


def choose_rate(experiment: Experiment) -> RateSearch:
    """The arm's rate, of the profile's grid, by validation tiles and no test tile; refused where all diverge."""
    profile = experiment.space.profile
    fraction, seed = profile.rate_fraction, profile.seeds[0]

    def trial(settings: Settings) -> Confusion | None:
        made = once(f"rate_{settings.lr:g}", partial(_try, experiment, fraction, seed, settings))["confusions"]
        return made if len(made) else None

    blocks = experiment.store.blocks(experiment.judged_ids)
    return RateSearch.over(experiment.tuning, trial, blocks, fraction, seed)


def train_cell(
    experiment: Experiment, fraction: float, draw: int, seed: int, lr: float, folder: Path | None = None
) -> Cell:
    """Fine-tune on a fraction of the labels, touch the test tiles once.

    Args:
        fraction, draw: percent of the training tiles whose labels are used, and which; all arms learn from the same.
        seed: of the training's chance, and of the pre-training it starts from.
        lr: the decoder's peak learning rate, as `choose_rate` found it.
        folder: where the network is kept; by default the row's, for all its labels, the first draw and the first seed.

    In a row that goes on where it was stopped, a cell that was finished is not trained again.
    """
    profile = experiment.space.profile
    if folder is None and (fraction, draw, seed) == (max(profile.fractions), 0, profile.seeds[0]):
        run = row_run(experiment.encoding, experiment.initialisation, experiment.arm)
        folder = experiment.space.segmenter(run)
    made = once(
        f"cell_{fraction:g}_{draw}_{seed}",
        partial(_train_cell, experiment, fraction, draw, seed, lr, folder),
        folder and folder / SEGMENTER_WEIGHTS,
    )
    return Cell(json.loads(made["row"].item()), made["confusions"], made["examples"], made["losses"].tolist())


def _try(experiment: Experiment, fraction: float, seed: int, settings: Settings) -> dict[str, Confusion]:
    """What a short training makes of each validation tile; of none where it diverged."""
    try:
        model, _ = _train(experiment, fraction, 0, seed, settings)
    except Diverged:
        return {"confusions": np.empty(0, np.int64)}
    return {"confusions": _confusions(experiment, model, experiment.judged_ids, seed, settings)}


def _confusions(experiment: Experiment, model: Segmenter, ids: list[str], seed: int, settings: Settings) -> Confusion:
    """(tiles, n, n) pixel counts."""
    tiles, classes = experiment.tiles(model, ids, seed), len(experiment.store.legend)
    return tile_confusions(model, tiles, classes, experiment.device, settings.precision)


def _train_cell(
    experiment: Experiment, fraction: float, draw: int, seed: int, lr: float, folder: Path | None
) -> dict[str, Any]:
    """What a Cell holds, its row as JSON."""
    started = time.monotonic()
    settings = experiment.tuning.scaled(lr)
    rate_of = dict.fromkeys(("unfrozen", SELF_TRAINED), settings.pretrained_lr) | {"scratch": settings.backbone_lr}
    model, result = _train(experiment, fraction, draw, seed, settings)
    confusions = _confusions(experiment, model, experiment.test_ids, seed, settings)
    total = confusions.sum(0)
    present = total.sum(-1) > 0
    examples = experiment.tiles(model, experiment.example_ids, seed)
    row = {
        **{"table": 1 if experiment.encoding in ENCODINGS else 2, "regions": experiment.arm},
        **{"encoding": written(experiment.encoding), "initialisation": experiment.initialisation},
        **{"fraction": fraction, "draw": draw, "seed": seed},
        **{"labelled_tiles": len(experiment.labelled_ids(fraction, draw)), "steps": len(result.losses), "lr": lr},
        "backbone_lr": None if model.vit is None else rate_of.get(experiment.initialisation),
        **{"loss_first": result.loss_first, "loss_last": result.loss_last, "curve": result.curve},
        **{"val_miou": result.validation_miou, "gain_last_fifth": result.gain_last_fifth},
        **{name: float(score(total)) for name, score in SCORES.items()},
        "class_iou": [float(v) if here else None for v, here in zip(class_iou(total), present, strict=True)],
        "miou_majority": float(miou(majority(total))),
        **{"parameters": parameter_count(model), "decoder_parameters": parameter_count(model.decoder)},
        **{"confusion_key": f"confusion_{fraction:g}_{draw}_{seed}", "wall_s": time.monotonic() - started},
    }
    if folder is not None:
        save_segmenter(folder, model, _card(experiment, row))
    shown = predict(model, examples, experiment.device, settings.precision)
    return {"row": json.dumps(row), "confusions": confusions, "examples": shown, "losses": result.losses}


def record_row(run: OpenRun, experiment: Experiment, search: RateSearch, cells: Sequence[Cell]) -> dict[str, Any]:
    """Save each cell's matrices and example maps, in one compressed file without pickle, then the row's record."""
    arrays: dict[str, NDArray[Any]] = {}
    for cell in cells:
        key = cell.row["confusion_key"]
        arrays[key] = cell.confusions.astype(np.int32)
        arrays[key.replace("confusion", "example")] = cell.examples
    store = experiment.store
    results: dict[str, Any] = {"cells": [cell.row for cell in cells], "confusion_file": run.keep(arrays)}
    results |= {"test_blocks": experiment.test_blocks, "example_ids": experiment.example_ids}
    results |= {"labels_name": store.legend.name, "derived": store.legend.derived}
    results |= {"adopted": experiment.adopted.adopted} if experiment.adopted else {}
    results |= {"loss": run.space.profile.finetuning.loss, "learning_rates": search.to_dict()}
    return run.record(results, describe(store))


def _adopted(space: Workspace, arm: str, store: TileStore) -> Card | None:
    """The card of an arm's adopted weights; refused where they take other tiles, or are not of the size it names."""
    if not space.profile.arm(arm).adopted:
        return None
    folder = space.pretrain(arm)
    card, _ = Card.read(folder)
    asked, has = Architecture.of(space.profile.architecture(arm), len(store.channels), store.tile_px), card.architecture
    if asked != replace(has, registers=0):
        raise SardinoError(
            f"the weights in {folder} are of {_shape(has)}, and arm {arm} asks for {_shape(asked)}: correct "
            "[architectures], or adopt them for this tile size and these channels"
        )
    Normalisation.from_dict(card.normalisation).require(store.channels, store.unit)
    return card


def _shape(vit: Architecture) -> str:
    size = f"width {vit.width}, {vit.depth} blocks, {vit.heads} heads, patches of {vit.patch} px"
    return f"{size}, {vit.channels} channels and tiles of {vit.tile_px} px"


def _train(
    experiment: Experiment, fraction: float, draw: int, seed: int, settings: Settings
) -> tuple[Segmenter, Finetuned]:
    """One training; all arms differ in their network and perhaps their learning rate, in nothing else."""
    model = experiment.segmenter(seed)
    train = experiment.tiles(model, experiment.labelled_ids(fraction, draw), seed)
    judged = experiment.tiles(model, experiment.judged_ids, seed)
    label = f"{experiment.arm} {experiment.encoding} {experiment.initialisation} {fraction:g} % draw {draw} seed {seed}"
    common: dict[str, Any] = {"classes": len(experiment.store.legend), "device": experiment.device}
    common["pretrained"] = experiment.initialisation != "scratch"
    if settings.unlabelled:
        common["beside"] = SelfTraining(
            experiment.without_labels(fraction, draw), experiment.store.channels, settings, seed
        )
    return model, finetune(model, train, judged, settings, seed=seed, label=label, **common)


def _card(experiment: Experiment, row: dict[str, Any]) -> SegmenterCard:
    """The card of the segmenter that a row leaves behind, for maps of whole scenes."""
    profile = experiment.space.profile
    training = {**{name: row[name] for name in TRAINING}, "loss": profile.finetuning.loss}
    training["balance"] = profile.finetuning.balance
    if experiment.tuning.unlabelled:
        training["unlabelled"] = experiment.tuning.unlabelled
    if experiment.adopted:
        training["backbone_origin"] = experiment.adopted.origin
    return segmenter_card(
        experiment.store,
        experiment.normalisation,
        experiment.tuning.decoder,
        {
            "regions": [profile.labelled_region],
            "labelled_tiles": row["labelled_tiles"],
            "test_tiles": len(experiment.test_ids),
        },
        encoding=experiment.network,
        architecture=experiment.architecture,
        training=training,
        measured={title: float(row[name]) for name, title in MEASURED.items()},
    )
