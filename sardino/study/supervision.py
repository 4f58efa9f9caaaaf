"""What a row's cells and `sardino finetune` share: labelled tiles, a frozen backbone's features, rates, card."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import sardino
from sardino.data.tiles.landcover import label_order
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import SPLITS, TileStore, describe
from sardino.dino.batches import StoreTiles
from sardino.dino.turns import Turned, turned_ids
from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import bounds, copies
from sardino.evaluation.scores import Confusion, miou
from sardino.reporting.record import revision
from sardino.segmentation import kept_features
from sardino.segmentation.kept_features import Features
from sardino.segmentation.segmenter import Segmenter
from sardino.study.plan import hash_of_code, imported_files
from sardino.study.profile import Finetuning
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
        remedy = "import labels, use fewer bands, or leave `split` out of the folder spec, so that bands decide"
        raise SardinoError(f"{store.path} has {counts} with {where}: {remedy}")
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
    """An arm's learning rate, and how it was chosen: on validation tiles, once, for all its fractions and seeds.

    The usual rate is kept unless another is clearly better. The best score alone would often be that of chance: rates
    whose short trainings end within the spread of the land would be chosen by another processor's rounding.
    """

    chosen: float  # the decoder's peak rate
    why: str = "as given; no search"
    fraction: float | None = None  # with the seed, of the trainings that decided; None where there was no search
    seed: int | None = None
    usual: float | None = None
    scores: dict[float, float | None] = field(default_factory=dict)  # validation mIoU by rate, None where it diverged
    # By rate, where known: the 95 % interval of its mIoU less that of the usual rate.
    intervals: dict[float, tuple[float, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.scores:
            return f"learning rate {self.chosen:g}, {self.why}"
        said = (f"{rate:g}: {'diverged' if score is None else f'{score:.3f}'}" for rate, score in self.scores.items())
        edge = ", at the edge of the grid" if self.chosen in (min(self.scores), max(self.scores)) else ""
        how = f"validation mIoU with {self.fraction:g} % of the labels, seed {self.seed}"
        return f"learning rate {self.chosen:g}{edge}, {self.why}; {how}: {', '.join(said)}"

    @classmethod
    def over(
        cls,
        tuning: Finetuning,
        trial: Callable[[Finetuning], Confusion | None],
        blocks: NDArray[np.integer],
        fraction: float,
        seed: int,
    ) -> "RateSearch":
        """The rate of `tuning.lr_grid`, or without a grid `tuning.lr`.

        The usual rate is `tuning.lr` where the grid holds it, else the grid's middle one, of two the lower. Another is
        clearly better if its mIoU is higher and the 95 % interval of the paired difference lies above 0; of several the
        best is taken. Where the usual rate diverged, the best of the others is.

        Args:
            trial: (tiles, n, n) pixel counts of each validation tile after a training with these settings; None where
                it diverged.
            blocks: (tiles,) geographic block of each, the unit that is resampled; a single one makes nothing clear.

        Raises SardinoError: all diverged.
        """
        if not tuning.lr_grid:
            return cls(tuning.lr)
        short, grid = tuning.shortened(tuning.grid_share), sorted(tuning.lr_grid)
        trials = {rate: trial(short.scaled(rate)) for rate in tuning.lr_grid}
        kept = {rate: confusions for rate, confusions in trials.items() if confusions is not None}
        if not kept:
            told = ", ".join(f"{rate:g}" for rate in tuning.lr_grid)
            raise SardinoError(f"fine-tuning diverged with every learning rate of the grid ({told}): give smaller ones")
        scores = {rate: float(miou(confusions.sum(0))) for rate, confusions in kept.items()}

        def best(rates: Iterable[float]) -> float:
            return max(rates, key=lambda rate: (scores[rate], -rate))

        usual = tuning.lr if tuning.lr in grid else grid[(len(grid) - 1) // 2]
        intervals: dict[float, tuple[float, float]] = {}
        if usual in kept and len(np.unique(blocks)) > 1:
            drawn = {rate: copies(confusions[None], blocks) for rate, confusions in kept.items()}
            intervals = {rate: bounds(drawn[rate] - drawn[usual]) for rate in kept if rate != usual}
        clear = [rate for rate, (low, _) in intervals.items() if low > 0 and scores[rate] > scores[usual]]
        if usual not in kept:
            chosen = best(kept)
            why = f"the best of the others, as {usual:g} diverged"
        elif clear:
            chosen = best(clear)
            low, high = intervals[chosen]
            why = f"clearly better than {usual:g}: {scores[chosen] - scores[usual]:+.3f} [{low:+.3f}, {high:+.3f}]"
        else:
            chosen, why = usual, "kept, as no other is clearly better"
            if len(kept) > 1 and not intervals:
                why = "kept, as validation tiles of a single block make no difference clear"
        return cls(chosen, why, fraction, seed, usual, {rate: scores.get(rate) for rate in trials}, intervals)

    def to_dict(self) -> dict[str, Any]:
        """For a record: the fields, scores and intervals as one list, in the order of the grid."""
        said = {name: value for name, value in asdict(self).items() if name != "intervals"}
        told = ((rate, score, self.intervals.get(rate)) for rate, score in self.scores.items())
        return said | {"scores": [{"lr": r, "val_miou": s, "interval": each and [*each]} for r, s, each in told]}


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
