"""What a row's cells and `sardino finetune` share: labelled tiles, a frozen backbone's features, rates, card."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import sardino
from sardino.data.tiles.landcover import label_order
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import SPLITS, TileStore, describe
from sardino.dino.batches import StoreTiles
from sardino.dino.turns import Turned, turned_ids
from sardino.errors import SardinoError
from sardino.reporting.record import revision
from sardino.segmentation import kept_features
from sardino.segmentation.kept_features import Features
from sardino.segmentation.segmenter import Segmenter
from sardino.study.plan import hash_of_code, imported_files
from sardino.weights.card import SegmenterCard

MEASURED = {
    "miou": "mIoU on the test tiles",
    "accuracy": "accuracy on the test tiles",
    "macro_f1": "macro F1 on the test tiles",
    "miou_majority": "mIoU of always the most frequent class",
}


def labelled_splits(
    store: TileStore, regions: Sequence[str], judged: int, listed: bool = False
) -> tuple[list[str], list[str], list[str]]:
    """The tiles with labels in some regions: for training (where `listed`, those without pixels too), for validation
    at most so many, and for test. A split without any is refused.
    """
    labelled = {*store.listed.loc[store.listed["labelled_share"] > 0, "id"]}
    ids = [store.ids(split, regions, listed=listed and split == "train") for split in SPLITS]
    train, val, test = ([tile for tile in each if tile in labelled] for each in ids)
    if not (train and val and test):
        counts = f"{len(train)} training, {len(val)} validation and {len(test)} test tiles"
        where = f"labels in {', '.join(regions)}"
        raise SardinoError(f"{store.path} has {counts} with {where}: import labels, or use fewer bands")
    return train, sorted(label_order(val)[:judged]), test


def frozen_features(
    model: Segmenter, tiles: StoreTiles, turned: bool, folder: Path, device: torch.device, most_gb: float
) -> Features | None:
    """What a frozen backbone makes of a store's tiles, in their eight ways where `turned`, kept in a folder."""
    source, store = Path(kept_features.__file__), tiles.store
    assert tiles.normalisation
    about = {
        "data": store.fingerprint,
        "normalisation": tiles.normalisation.to_dict(),
        "code": hash_of_code([source, *imported_files(source, Path(sardino.__file__).parent)]),
    }
    ways, ids = (Turned(tiles), turned_ids(tiles.ids)) if turned else (tiles, list(tiles.ids))
    return Features.of(model, ways, ids, about, folder, device, most_gb * 1e9)


@dataclass(frozen=True)
class RateSearch:
    """An arm's learning rate, and how it was chosen: on validation tiles, once, for all its fractions and seeds."""

    chosen: float  # the decoder's peak rate
    fraction: float | None = None  # with the seed, of the trainings that decided; None where there was no search
    seed: int | None = None
    scores: dict[float, float | None] = field(default_factory=dict)  # validation mIoU by rate, None where it diverged

    def __str__(self) -> str:
        if not self.scores:
            return f"learning rate {self.chosen:g}, as given; no search"
        said = (f"{rate:g}: {'diverged' if score is None else f'{score:.3f}'}" for rate, score in self.scores.items())
        edge = ", at the edge of the grid" if self.chosen in (min(self.scores), max(self.scores)) else ""
        how = f"validation mIoU with {self.fraction:g} % of the labels, seed {self.seed}"
        return f"learning rate {self.chosen:g}{edge}; {how}: {', '.join(said)}"

    @classmethod
    def over(cls, rates: Sequence[float], score: Callable[[float], float], fraction: float, seed: int) -> "RateSearch":
        """The rate with the best score, which is nan where it diverged; refused where all did."""
        found = {rate: score(rate) for rate in rates}
        scores = {rate: None if math.isnan(score) else score for rate, score in found.items()}
        kept = {rate: score for rate, score in scores.items() if score is not None}
        if not kept:
            told = ", ".join(f"{rate:g}" for rate in rates)
            raise SardinoError(f"fine-tuning diverged with every learning rate of the grid ({told}): give smaller ones")
        return cls(max(kept, key=lambda rate: kept[rate]), fraction, seed, scores)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"scores": [{"lr": rate, "val_miou": score} for rate, score in self.scores.items()]}


def segmenter_card(
    store: TileStore, normalisation: Normalisation, decoder: dict[str, int], trained_on: dict[str, Any], **said: Any
) -> SegmenterCard:
    """The card of a segmenter of a store's classes: with what is true of the store, and what else is `said`."""
    known = describe(store)
    facts = {"gsd_m": store.gsd_m, **{name: known[name] for name in ("source", "labels", "synthetic", "fingerprint")}}
    return SegmenterCard(
        decoder=decoder,
        channels=tuple(store.channels),
        unit=store.unit,
        normalisation=normalisation.to_dict(),
        legend=store.legend.to_dict(),
        trained_on={**trained_on, **facts},
        code_revision=revision(),
        **said,
    )
