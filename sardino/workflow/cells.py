"""The cells of Tables 1 and 2: one training and one test each, alike in all but what the cell names."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer

from sardino.errors import SardinoError
from sardino.evaluation.confusion import accuracy, class_iou, macro_f1, majority, miou, miou_all
from sardino.models.segmenter import EncodingName, Segmenter, build_segmenter
from sardino.models.vit import Architecture, build_vit, parameter_count
from sardino.tiles.examples import example_tiles
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.splits import label_fraction, label_order
from sardino.tiles.tileset import TileStore
from sardino.training.checkpoint import load_backbone
from sardino.training.finetune import Settings, finetune, predict, tile_confusions
from sardino.training.source import TileSource
from sardino.training.store_tiles import StoreTiles, open_tiles
from sardino.workflow.workspace import Workspace

Initialisation = Literal["scratch", "frozen", "unfrozen"]


@dataclass(frozen=True)
class Experiment:
    """What all cells of one table row share: tiles, normalisation, backbone.

    Args:
        arm: the pre-training whose regions give the normalisation, and whose architecture the ViT has.
        encoding: "attention", "tokens", "unet" or "unet_attention".
        initialisation: "scratch", "frozen" or "unfrozen".
    """

    space: Workspace
    arm: str
    encoding: EncodingName
    initialisation: Initialisation
    store: TileStore
    normalisation: Normalisation
    train_ids: list[str]
    validation: TileSource
    test: TileSource
    test_ids: list[str]
    device: torch.device

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
        store = TileStore.open(space.build / profile.pretraining[arm].store)
        regions = profile.pretraining[profile.arms[0]].regions[:1]
        # From scratch and pre-trained see the same numbers: those of the arm's pre-training tiles.
        normalisation = Normalisation.of_store(store, store.ids("train", profile.pretraining[arm].regions))
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
            open_tiles(store, judged, normalisation),
            open_tiles(store, test, normalisation),
            test,
            device,
        )

    @property
    def test_blocks(self) -> list[int]:
        """Geographic band of each test tile: the unit of the bootstrap."""
        return [int(self.store.index["band"].iloc[self.store.row(i)]) for i in self.test_ids]

    @property
    def example_ids(self) -> list[str]:
        """Test tiles shown in figures: the first by hash, fixed before any result is seen."""
        return example_tiles(self.store, self.test_ids, self.space.profile.examples)

    def backbone(self) -> VisionTransformer:
        """A ViT: pre-trained (the network the profile names), or random where the cell trains from scratch."""
        if self.initialisation == "scratch":
            shape = self.space.profile.architecture(self.arm)
            return build_vit(
                Architecture(**shape.model_dump(), channels=len(self.store.channels), tile_px=self.store.tile_px)
            )
        network = self.space.profile.pretraining[self.arm].network
        folder = self.space.pretrain(self.arm)
        vit, card = load_backbone(folder, tuple(self.store.channels), self.store.unit, network)
        if not np.allclose(card.normalisation["mean"], self.normalisation.mean, atol=1e-6):
            raise SardinoError(f"{folder} was trained on other tiles: run the pre-training again")
        return vit

    def segmenter(self, seed: int) -> Segmenter:
        """The arm's network; the seed decides all random weights."""
        torch.manual_seed(seed)
        tuning = self.space.profile.finetuning
        return build_segmenter(
            self.encoding,
            None if self.encoding == "unet" else self.backbone(),
            channels=len(self.store.channels),
            classes=len(self.store.legend),
            unet_width=tuning.unet_width,
            unet_depth=tuning.unet_depth,
            decoder_width=tuning.decoder_width,
            frozen=self.initialisation == "frozen",
        ).to(self.device)


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


def train_cell(experiment: Experiment, fraction: float, seed: int) -> Cell:
    """Fine-tune on a fraction of the labels, keep the best on validation, touch the test tiles once.

    Args:
        fraction: percent of the training tiles whose labels are used; the subset follows from the seed,
            so that arms compared at one seed learn from the same tiles.
    """
    started = time.monotonic()
    tuning = experiment.space.profile.finetuning
    ids = label_fraction(experiment.train_ids, fraction, seed)
    steps = tuning.steps_for(len(ids))
    settings = Settings(
        steps,
        tuning.batch,
        tuning.lr,
        tuning.backbone_lr / tuning.lr,
        validations=max(1, round(steps / tuning.validate_every)),
    )
    model = experiment.segmenter(seed)
    classes = len(experiment.store.legend)
    result = finetune(
        model,
        open_tiles(experiment.store, ids, experiment.normalisation),
        experiment.validation,
        settings,
        classes=classes,
        seed=seed,
        device=experiment.device,
        label=f"{experiment.arm} {experiment.encoding} {experiment.initialisation} {fraction:g} % seed {seed}",
    )
    confusions = tile_confusions(model, experiment.test, classes, experiment.device)
    total = confusions.sum(0)
    examples, _ = StoreTiles(experiment.store, experiment.example_ids, experiment.normalisation).read(
        range(len(experiment.example_ids))
    )
    present = total.sum(-1) > 0
    row = {
        "table": 1 if experiment.encoding in ("attention", "tokens") else 2,
        "regions": experiment.arm,
        "encoding": experiment.encoding.replace("_", "+"),
        "initialisation": experiment.initialisation,
        "fraction": fraction,
        "seed": seed,
        "labelled_tiles": len(ids),
        "steps": steps,
        "lr": tuning.lr,
        "backbone_lr": tuning.backbone_lr,
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


def _labelled(store: TileStore) -> set[str]:
    return set(store.index.loc[store.index["labelled_share"] > 0, "id"])
