"""What all cells of one row of Tables 1 and 2 share, and how they are made alike in all else."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

import sardino
from sardino.errors import SardinoError
from sardino.models.segmenter import EncodingName, Segmenter, build_segmenter
from sardino.models.vit import Architecture, build_vit
from sardino.tiles.examples import example_tiles
from sardino.tiles.normalisation import Normalisation
from sardino.tiles.splits import label_fraction, label_order
from sardino.tiles.tileset import TileStore
from sardino.training import features as features_module
from sardino.training.checkpoint import load_backbone
from sardino.training.features import Features, FeatureTiles
from sardino.training.source import TileSource
from sardino.training.store_tiles import StoreTiles, open_tiles
from sardino.workflow.closure import fingerprint, import_closure
from sardino.workflow.workspace import Workspace

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
