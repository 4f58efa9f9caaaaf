"""The segmenter that a row of Table 1 or 2 leaves behind, for maps of whole scenes."""

from pathlib import Path
from typing import Any

from sardino.models.segmenter import Segmenter
from sardino.models.vit import Architecture
from sardino.reporting.record import revision
from sardino.tiles.description import describe
from sardino.training.saved_segmenter import save_segmenter
from sardino.training.segmenter_card import SegmenterCard
from sardino.workflow.experiment import Experiment

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
