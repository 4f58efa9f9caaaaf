"""What all cells of one row of Tables 1 and 2 share, so that arms differ in what the row names and in nothing else."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

import sardino
from sardino.data.tiles.landcover import label_fraction, label_order
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore, example_tiles
from sardino.dino.batches import StoreTiles, TileSource, open_tiles
from sardino.dino.runtime import best_device
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.reporting.rows import INITIALISATIONS
from sardino.segmentation import kept_features as features_module
from sardino.segmentation.kept_features import Features, FeatureTiles
from sardino.segmentation.segmenter import EncodingName, Segmenter, build_segmenter
from sardino.study.stale import hash_of_code, imported_files
from sardino.study.workspace import Workspace
from sardino.weights.save import load_backbone


@dataclass(frozen=True)
class Experiment:
    """What all cells of one row share: tiles, normalisation, backbone.

    Args:
        arm: the pre-training whose regions give the normalisation, and whose architecture the ViT has.
        train_ids: training tiles with labels, of which a fraction is granted.
        judged_ids: validation tiles on which states and learning rates are chosen.
        test_ids: test tiles with labels.
    """

    space: Workspace
    arm: str
    encoding: EncodingName
    initialisation: str
    store: TileStore
    normalisation: Normalisation
    train_ids: list[str]
    judged_ids: list[str]
    test_ids: list[str]
    device: torch.device
    _kept: dict[int, Features | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(
        cls, space: Workspace, arm: str, encoding: str, initialisation: str, device: torch.device | None = None
    ) -> "Experiment":
        """Fine-tuning and test are on the first region of the first arm: Europe, in the paper, for both tables.

        Raises:
            SardinoError: no such arm, encoding or initialisation, or a split without labels.
        """
        if encoding not in get_args(EncodingName) or initialisation not in INITIALISATIONS:
            raise SardinoError(
                f"there is no arm '{encoding}' / '{initialisation}': encodings are "
                f"{', '.join(get_args(EncodingName))}, initialisations {', '.join(INITIALISATIONS)}"
            )
        profile = space.profile
        store = TileStore.open(space.build / profile.arm(arm).store)
        regions = profile.arm(profile.arms[0]).regions[:1]
        labelled = set(store.index.loc[store.index["labelled_share"] > 0, "id"])
        train, val, test = ([i for i in store.ids(s, regions) if i in labelled] for s in ("train", "val", "test"))
        if not (train and val and test):
            raise SardinoError(
                f"{store.path} has {len(train)} training, {len(val)} validation and {len(test)} test tiles with "
                f"labels in {', '.join(regions)}: import labels, or use fewer bands"
            )
        return cls(
            space,
            arm,
            encoding,  # type: ignore[arg-type]  # checked above
            initialisation,
            store,
            # From scratch and pre-trained see the same numbers: those of the arm's pre-training tiles.
            Normalisation.of_store(store, store.ids("train", profile.arm(arm).regions)),
            train,
            sorted(label_order(val)[: profile.finetuning.validation_tiles]),
            test,
            device or best_device(),
        )

    @property
    def architecture(self) -> Architecture:
        """The arm's ViT for the store's channels and tile size."""
        size = self.space.profile.architecture(self.arm)
        return Architecture.of(size, len(self.store.channels), self.store.tile_px)

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
        """Labelled tiles as `segmenter(seed)` trains on them: images, or what its frozen backbone made of them."""
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
            about = {
                "data": self.store.fingerprint,
                "normalisation": self.normalisation.to_dict(),
                "code": hash_of_code([source, *imported_files(source, Path(sardino.__file__).parent)]),
            }
            tiles = StoreTiles(self.store, ids, self.normalisation)
            most = profile.finetuning.feature_cache_gb * 1e9
            folder = self.space.build / "features"
            self._kept[seed] = Features.of(model, tiles, ids, about, folder, self.device, most)
        return self._kept[seed]
