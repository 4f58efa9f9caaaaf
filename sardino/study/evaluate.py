"""A segmenter judged on the labelled tiles of a store, alone or beside another on the very same tiles."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sardino.data.tiles.store import TileStore, describe
from sardino.dino.batches import StoreTiles
from sardino.dino.recipe import Precision
from sardino.dino.runtime import best_device
from sardino.errors import SardinoError
from sardino.evaluation.scores import Confusion
from sardino.files import write_csv, writing
from sardino.mapping.model import MapModel, load_landcover
from sardino.progress import track
from sardino.reporting.figures.confusion import draw_confusion
from sardino.reporting.figures.style import save_figure
from sardino.reporting.record import provenance
from sardino.reporting.tables.cells import caution_of_one
from sardino.reporting.tables.evaluation import confusion_table, render_scores, scores_table
from sardino.segmentation.finetune import tile_confusions
from sardino.segmentation.segmenter import Segmenter
from sardino.weights.card import SegmenterCard

SAID = ("fingerprint", "labels", "derived", "synthetic")  # of the store, in each row of the scores


def evaluate(
    model: Path,
    store: Path,
    out: Path,
    *,
    against: Path | None = None,
    split: str = "test",
    regions: Sequence[str] | None = None,
    device: str | None = None,
    precision: Precision = "auto",
) -> tuple[str, list[Path]]:
    """Judge the segmenter in folder `model`, and write scores.csv, confusion.csv and the figure of the latter to `out`.

    Args:
        against: folder of another segmenter; scores then hold the paired differences from it.
        regions: whose tiles are judged, all by default; those of a split that have labels are.

    Returns the scores as a text for readers, and the files. Raises SardinoError: no tile to judge by, or a segmenter of
    other classes, channels, unit, tile size or pixel size than the store's.
    """
    tiles, on = TileStore.open(store), torch.device(device or best_device())
    models = [load_landcover(folder) for folder in (model, *([against] if against else []))]
    for each in models:
        _require_fit(each, tiles)
    listed = tiles.ids(split, regions)
    labelled = {*tiles.index.loc[tiles.index["labelled_share"] > 0, "id"]}
    ids = [tile for tile in listed if tile in labelled]
    if not ids:
        fault = f"none of its {len(listed)} {split} tiles has a label" if listed else f"it has no {split} tile"
        raise SardinoError(f"{store} cannot judge a model, {fault}: import labels, or choose another --split")
    with writing(out):  # before hours of work, not after
        out.mkdir(parents=True, exist_ok=True)
    blocks = tiles.blocks(ids)
    confusions, *other = (_confusions(each, tiles, ids, on, precision) for each in models)
    said = describe(tiles)
    facts: dict[str, Any] = {"model": str(model), "weights": models[0].sha256}
    facts |= {"against": str(against), "against_weights": models[1].sha256} if against else {}
    facts |= {"split": split, "tiles": len(ids), "blocks": len({*blocks}), **{name: said[name] for name in SAID}}
    frame = scores_table(confusions, blocks, tiles.legend.names, *other)
    total, where = confusions.sum(0), provenance(synthetic=tiles.synthetic, derived=tiles.legend.derived)
    caption = f"Confusion matrix of {model.name} on {len(ids)} {split} tiles ({where})"
    files = [write_csv(frame.assign(**facts), out / "scores.csv")]
    files += [write_csv(confusion_table(total, tiles.legend.names), out / "confusion.csv")]
    files += save_figure(draw_confusion(total, tiles.legend, caption), out, "confusion")
    title = f"{model} on the {split} tiles of {store} ({where})" + (f", less {against}" if against else "")
    notes = [caution_of_one(blocks, split)]
    if left := len(listed) - len(ids):
        notes.append(f"{left} more {split} tiles have no label and are left out.")
    if split == "train" and any(each.card.trained_on.get("fingerprint") == tiles.fingerprint for each in models):
        notes.append("These are tiles that may have been learnt from: such scores tell nothing of other land.")
    return render_scores(frame, title, " ".join(notes)), files


def _confusions(
    model: MapModel, store: TileStore, ids: Sequence[str], device: torch.device, precision: Precision
) -> Confusion:
    """(N, classes, classes), as cells of the tables are scored; tiles are read as they are mapped."""
    assert isinstance(model.network, Segmenter)
    tiles, shown = StoreTiles(store, ids, model.normalisation), partial(track, total=len(ids), label=model.folder.name)
    return tile_confusions(model.network.to(device), tiles, len(store.legend), device, precision, shown)


def _require_fit(model: MapModel, store: TileStore) -> None:
    """Refuse a store that does not hold what a segmenter has learnt, by name."""
    card = model.card
    assert isinstance(card, SegmenterCard)
    own, theirs = ([f"{c.code} {c.name}" for c in legend.classes] for legend in (card.classes, store.legend))
    if own != theirs:
        alone = {"the model": [c for c in own if c not in theirs], "the store": [c for c in theirs if c not in own]}
        told = "; ".join(f"only {who} has {', '.join(which)}" for who, which in alone.items() if which)
        raise SardinoError(
            f"{model.folder} tells other classes than {store.path} is labelled with ({told or 'in another order'}): "
            "import labels of the model's legend, or give a model that was trained on such labels"
        )
    card.require_fit(model.folder, store.path, store.channels, store.unit, store.tile_px, store.gsd_m)
