"""One segmenter of a user's own, without a profile: from a store of labelled tiles to weights with a card and a page.

It is trained as the cells of the tables are, and what it needs to go on after it was stopped lies in its folder.
"""

import copy
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer

from sardino.data.tiles.landcover import label_fraction
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.dino.batches import StoreTiles, TileSource, open_tiles
from sardino.dino.parallel import Parallel
from sardino.dino.recipe import Network, size_of
from sardino.dino.snapshot import differences
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError
from sardino.evaluation.scores import Confusion, majority, miou
from sardino.files import read_text, sha256_of, write_json
from sardino.mapping.model import default_model
from sardino.reporting.tables.cells import caution_of_one
from sardino.reporting.tables.evaluation import scores_table
from sardino.segmentation.finetune import Diverged, Finetuned, finetune, tile_confusions
from sardino.segmentation.kept_features import FeatureTiles
from sardino.segmentation.segmenter import Segmenter, build_segmenter
from sardino.segmentation.self_training import SelfTraining
from sardino.segmentation.settings import EncodingName, Settings
from sardino.study.profile import Finetuning
from sardino.study.supervision import MEASURED, RateSearch, frozen_features, labelled_splits, segmenter_card
from sardino.weights.card import Card, SegmenterCard
from sardino.weights.save import load_backbone, load_segmenter, load_unet, save_segmenter

HISTORY = "finetuning.json"  # with which options it was begun; once it is finished, losses, curve and rates too


@dataclass(frozen=True)
class Task:
    """What all trainings of one segmenter share: the learning rates that are tried, and the one that is chosen."""

    store: TileStore
    encoding: EncodingName
    backbone: Path | None  # folder of the ViT, where there is one
    network: Network
    vit: VisionTransformer | None
    frozen: bool
    normalisation: Normalisation
    tuning: Finetuning
    seed: int
    parallel: Parallel
    folder: Path
    unlabelled: Sequence[str]  # training tiles whose labels are not used, if they have any

    def segmenter(self) -> Segmenter:
        """The network before its first step."""
        torch.manual_seed(self.seed)
        sizes = self.tuning.decoder
        sizes |= {"channels": len(self.store.channels), "classes": len(self.store.legend)}
        model = build_segmenter(self.encoding, copy.deepcopy(self.vit), frozen=self.frozen, **sizes)
        if self.backbone is not None:
            load_unet(self.backbone, model, self.network)
        return model.to(self.parallel.device)

    def tiles(self, ids: Sequence[str], turned: bool = False) -> TileSource:
        """Labelled tiles, or what the frozen backbone makes of them, in their eight ways where they are `turned`."""
        model, images = self.segmenter(), open_tiles(self.store, ids, self.normalisation)
        if not model.frozen:
            return images
        tiles, most = StoreTiles(self.store, ids, self.normalisation), self.tuning.feature_cache_gb
        device = self.parallel.device
        with self.parallel.one_by_one():  # the first one makes them
            features = frozen_features(model, tiles, turned, self.folder / "features", device, most)
        if features is None:
            return images
        return FeatureTiles(features, ids, model.join, images) if model.sees_images else FeatureTiles(features, ids)

    def train(
        self, train: TileSource, judged: TileSource, settings: Settings, name: str
    ) -> tuple[Segmenter, Finetuned]:
        """One training, which goes on where it was stopped."""
        model, snapshots = self.segmenter(), self.folder / "snapshots" / name.replace(" ", "-")
        given: dict[str, Any] = {"classes": len(self.store.legend), "seed": self.seed}
        given |= {"device": self.parallel.device, "parallel": self.parallel}
        given |= {"pretrained": self.vit is not None, "label": name, "snapshots": snapshots}
        if settings.unlabelled:
            images = StoreTiles(self.store, self.unlabelled, self.normalisation)
            given["beside"] = SelfTraining(images, self.store.channels, settings, self.seed)
        return model, finetune(model, train, judged, settings, **given)

    def search(self, train: TileSource, judged: TileSource, blocks: NDArray[np.int64], percent: float) -> RateSearch:
        """The learning rate of the grid, by validation tiles of such blocks."""

        def trial(settings: Settings) -> Confusion | None:
            try:
                model, _ = self.train(train, judged, settings, f"learning rate {settings.lr:g}")
            except Diverged:
                return None
            return self.confusions(model, judged)

        return RateSearch.over(self.tuning, trial, blocks, percent, self.seed)

    def confusions(self, model: Segmenter, tiles: TileSource) -> Confusion:
        """(tiles, n, n) pixel counts."""
        given: dict[str, Any] = {"device": self.parallel.device, "parallel": self.parallel}
        return tile_confusions(model, tiles, len(self.store.legend), precision=self.tuning.precision, **given)


def finetune_on(
    store: TileStore,
    regions: list[str],
    encoding: EncodingName,
    tuning: Finetuning,
    folder: Path,
    parallel: Parallel,
    *,
    backbone: Path | None = None,
    network: Network = "teacher",
    frozen: bool = False,
    percent: float = 100.0,
    seed: int = 0,
    restart: bool = False,
) -> tuple[SegmenterCard, dict[str, Any]]:
    """Fine-tune on a store's labelled training tiles, score its test tiles once, and save the segmenter.

    Args:
        regions: whose labelled tiles are learnt from, and judge.
        tuning: as `Finetuning.of` has it for this encoding; with its `lr_grid`, of which validation tiles choose the
            rate (see RateSearch).
        folder: of the weights, and of snapshots while it trains. What is finished there is opened only.
        parallel: this process; ranks share each batch and the tiles that judge, the first one writes.
        backbone: folder of a pre-training, by default the built-in one; an encoding without a ViT takes none.
        percent: of the training tiles with labels, those that are used.
        restart: throw away what an earlier fine-tuning has left in the folder.

    Returns the card, and the history: "learning_rates", "curve" and "losses".

    Raises:
        SardinoError: labels are missing or of one class, the backbone does not fit, the batch does not divide, or the
            folder holds another model or a fine-tuning with other options.
        Stopped: after SIGTERM or SIGUSR1, once the state is saved.
    """
    if tuning.batch % parallel.world:
        fault = f"a batch of {tuning.batch} does not divide into {parallel.world} ranks"
        raise SardinoError(f"{fault}: choose a multiple of {parallel.world}")
    where = None if encoding == "unet" else backbone or default_model("backbone", store.channels)
    vit, card, source = _backbone(store, encoding, backbone, network, frozen)
    train_ids, judged_ids, test_ids = labelled_splits(store, regions, tuning.validation_tiles)
    train_ids = label_fraction(train_ids, percent)
    _require_classes(store, train_ids)
    began: dict[str, Any] = {"data": store.fingerprint, "regions": regions, "encoding": encoding, "frozen": frozen}
    began |= {"labels_percent": percent, "seed": seed, **source, **tuning.model_dump(exclude={"feature_cache_gb"})}
    done = _finished(folder, began, restart)
    parallel.wait()  # until all have looked
    if parallel.first:
        if done or restart:
            _tidy(folder)
        if not done:
            write_json({"began": began}, folder / HISTORY)
    if done:
        return done
    parallel.wait()
    if card:
        normalisation, architecture = Normalisation.from_dict(card.normalisation), card.architecture
    else:  # no ViT: an architecture tells the tiles, and by how much windows may shift
        normalisation = Normalisation.of_store(store, store.ids("train", regions))
        patch = math.gcd(store.tile_px, 2**tuning.unet_depth)
        architecture = Architecture.of(size_of("1x1x1", patch), len(store.channels), store.tile_px)
    granted = {*train_ids}
    others = [tile for tile in store.ids("train", regions) if tile not in granted]
    task = Task(store, encoding, where, network, vit, frozen, normalisation, tuning, seed, parallel, folder, others)
    with _binding_if_learnt(folder, parallel):
        train, judged = task.tiles(train_ids, tuning.turns), task.tiles(judged_ids)
        search = task.search(train, judged, store.blocks(judged_ids), percent)
        settings = tuning.scaled(search.chosen)
        model, result = task.train(train, judged, settings, "fine-tuning")
    confusions = task.confusions(model, task.tiles(test_ids))
    start = "scratch" if vit is None else "frozen" if frozen else "unfrozen"
    training = {"initialisation": start, **source, "labels_percent": percent, "seed": seed, "steps": len(result.losses)}
    training |= {"lr": settings.lr, "backbone_lr": settings.pretrained_lr if start == "unfrozen" else None}
    training |= {"loss": settings.loss, "balance": settings.balance}
    training |= {"unlabelled": settings.unlabelled} if settings.unlabelled else {}
    training |= {"val_miou": result.validation_miou, "gain_last_fifth": result.gain_last_fifth}
    trained_on = {"regions": regions, "labelled_tiles": len(train_ids), "test_tiles": len(test_ids)}
    said = {"encoding": encoding, "architecture": architecture, "training": training}
    said |= _measured(confusions, store.blocks(test_ids), store.legend.names)
    made = segmenter_card(store, normalisation, tuning.decoder, trained_on, **said)
    history = {"learning_rates": search.to_dict(), "curve": result.curve, "losses": result.losses}
    if parallel.first:
        save_segmenter(folder, model, made)
        write_json({"began": began, **history}, folder / HISTORY)
        _tidy(folder)
    return made, history


@contextmanager
def _binding_if_learnt(folder: Path, parallel: Parallel) -> Iterator[None]:
    """Options that are refused before anything was learnt with them are forgotten: corrected ones may follow."""
    try:
        yield
    except SardinoError:
        if parallel.first and not any(folder.glob("snapshots/*/*")):
            (folder / HISTORY).unlink(missing_ok=True)
            _tidy(folder)
        raise


def _backbone(
    store: TileStore, encoding: EncodingName, given: Path | None, network: Network, frozen: bool
) -> tuple[VisionTransformer | None, Card | None, dict[str, Any]]:
    """The ViT that an encoding takes, its card, and what tells it from others; refused where it does not fit."""
    if encoding == "unet":
        if given or frozen:
            refused = "the encoding 'unet' has no backbone"
            raise SardinoError(f"{refused}: leave --backbone and --frozen out, or choose another --encoding")
        return None, None, {}
    folder = given or default_model("backbone", store.channels)
    try:
        vit, card = load_backbone(folder, store.channels, store.unit, network, store.tile_px)
    except SardinoError as error:
        if given:
            raise
        remedy = f"make one with `sardino pretrain {store.path} FOLDER`, and give it with --backbone FOLDER"
        raise SardinoError(f"the built-in backbone does not fit ({error}): {remedy}") from None
    weights = sha256_of(folder / f"{network}.safetensors")
    said = {"backbone": weights, "backbone_synthetic": card.trained_on.get("synthetic")}
    return vit, card, said | ({"backbone_origin": card.origin} if card.adopted else {})


def _require_classes(store: TileStore, ids: Sequence[str]) -> None:
    """Refuse labels of one class: nothing could be told apart."""
    shares = store.index.set_index("id").loc[list(ids), [f"share_{code}" for code in store.legend.codes]]
    known = [name for name, share in zip(store.legend.names, shares.max(), strict=True) if share > 0]
    if len(known) < 2:
        only = f"all labels of the {len(ids)} training tiles of {store.path} are '{', '.join(known)}'"
        raise SardinoError(f"{only}: a map needs two classes at least, import labels that have them")


def _measured(confusions: Confusion, blocks: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """What a card says of the test tiles: scores, IoU of each class that occurs there, and intervals where known."""
    found, intervals = {MEASURED["miou_majority"]: float(miou(majority(confusions.sum(0))))}, {}
    for row in scores_table(confusions, blocks, classes).to_dict("records"):
        title = f"IoU of {row['class']}" if row["score"] == "iou" else MEASURED.get(row["score"])
        if title and row["reference_pixels"]:
            found[title] = row["value"]
            if not math.isnan(row["low"]):
                intervals[title] = [row["low"], row["high"]]
    measured = {title: found[title] for title in MEASURED.values()} | found
    return {"measured": measured, "intervals": intervals, "caution": caution_of_one(blocks)}


def _finished(folder: Path, began: dict[str, Any], restart: bool) -> tuple[SegmenterCard, dict[str, Any]] | None:
    """What this fine-tuning has made, if it is finished.

    Refused where it holds another model, or a fine-tuning with other options.
    """
    path = folder / HISTORY
    held = [name for name in (Card.FILE, SegmenterCard.FILE) if (folder / name).is_file()]
    if held and not path.is_file():
        raise SardinoError(f"{folder} holds another model ({held[0]}): choose another folder")
    if path.is_file() and not restart:
        try:
            known = json.loads(read_text(path))
            differing = differences(known["began"], began)
        except (ValueError, KeyError, TypeError):
            raise SardinoError(f"{path} is damaged: say --restart, or use another folder") from None
        if differing:
            told = f"{folder} holds another fine-tuning ({'; '.join(differing)})"
            raise SardinoError(f"{told}: say --restart, or use another folder")
        with suppress(SardinoError):  # weights that were damaged since are made anew
            if "curve" in known:
                card = load_segmenter(folder)[1]
                return card, known
    return None


def _tidy(folder: Path) -> None:
    """Remove what is needed only to go on."""
    for name in ("snapshots", "features"):
        shutil.rmtree(folder / name, ignore_errors=True)
