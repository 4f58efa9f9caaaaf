"""What a frozen backbone makes of tiles, kept on disk: computed once, read by every training that decodes it."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor

from sardino.dino.batches import TileSource, in_batches
from sardino.dino.turns import Turned, turned_ids
from sardino.dino.vit import head_count, patch_px
from sardino.errors import SardinoError
from sardino.files import sha256_of
from sardino.segmentation.segmenter import Segmenter

ARRAYS = ("features.npy", "labels.npy")
CARD = "features.json"
BATCH = 16
TRIES = 3  # a run that opens a cache while another replaces a damaged one looks again


@dataclass(frozen=True)
class Features:
    """A frozen backbone's output on some tiles, memory-mapped."""

    folder: Path  # holds the arrays and their digests
    values: NDArray[np.float32]  # (N, h, w, D) tokens or (N, heads, h, w) attention maps
    labels: NDArray[np.uint8]  # (N, H, W) class index
    row: Mapping[str, int]  # place of each tile id

    @classmethod
    def of(
        cls,
        model: Segmenter,
        tiles: TileSource,
        ids: Sequence[str],
        about: Mapping[str, Any],
        folder: Path,
        device: torch.device,
        most_bytes: float = float("inf"),
        tell: Callable[[str], None] = print,
    ) -> "Features | None":
        """The features of these tiles by a frozen backbone: as an earlier run left them in `folder`, else made now.

        Several runs may ask for the same ones at once: each makes its own, and the first to finish serves all. What is
        damaged or was left half-written is made anew. Each opening reads all of it once, to compare digests.

        Args:
            tiles, ids: the images and their names, in one order.
            about: what else the features follow from, as JSON: the data, its normalisation, the code.
            folder: caches live here, one folder each; it may be removed at any time.
            most_bytes: a larger cache is not made; None is returned.
        """
        if not model.frozen or model.vit is None:
            raise SardinoError("only a frozen backbone's features can be kept: others change at each step")
        done = folder / key_of(model, ids, about, device)
        what = f"{model.sees} of {len(ids)} tiles ({done.name})"
        x, y = tiles.read([0])
        size = len(tiles) * (model.encode(x.to(device)).nbytes + y.nbytes)
        if size > most_bytes:
            tell(f"{what} would take {size / 1e9:.3g} GB, more than the {most_bytes / 1e9:.3g} GB allowed: not kept")
            return None
        story = "read from disk"
        for _ in range(TRIES):
            try:
                values, labels = _read(done)
            except FileNotFoundError:
                story = "made and kept"
            except ValueError as error:
                story = f"made anew, for {error}"
                # Out of the way; another run may have done so, and may still read what it had opened.
                away = Path(tempfile.mkdtemp(prefix=f"{done.name}.", suffix=".damaged", dir=folder))
                with contextlib.suppress(OSError):
                    os.rename(done, away / "it")
                shutil.rmtree(away, ignore_errors=True)
            else:
                tell(f"{what}, {size / 1e6:.3g} MB: {story}")
                return cls(done, values, labels, {tile: row for row, tile in enumerate(ids)})
            _make(model, tiles, done, device)
        raise SardinoError(f"the features in {done} are damaged again and again: check the disk, then delete them")


@dataclass(frozen=True)
class FeatureTiles:
    """A `TileSource` that gives what the decoder takes instead of images."""

    features: Features  # of these tiles and perhaps more
    ids: Sequence[str]
    join: Callable[[Tensor, Tensor], Tensor] | None = None  # of the model, where the decoder takes images too
    images: TileSource | None = None  # the same tiles', given with `join`

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = [self.features.row[self.ids[n]] for n in numbers]
        values = torch.from_numpy(np.array(self.features.values[rows]))
        if self.images is not None and self.join is not None:
            values = self.join(self.images.read(numbers)[0], values)
        return values, torch.from_numpy(np.array(self.features.labels[rows]))

    def turned(self) -> "FeatureTiles":
        """Each tile in its eight ways, as `Turned` has images; the features must be of those."""
        images = None if self.images is None else Turned(self.images)
        return FeatureTiles(self.features, turned_ids(self.ids), self.join, images)


def key_of(model: Segmenter, ids: Sequence[str], about: Mapping[str, Any], device: torch.device) -> str:
    """Name of a cache: a digest of all that its content follows from, the weights' own bytes among it."""
    assert model.vit is not None, "only a backbone has features"
    digest = hashlib.sha256()
    for name, weights in sorted(model.vit.state_dict().items()):
        digest.update(f"{name} {tuple(weights.shape)} {weights.dtype};".encode())
        digest.update(weights.detach().cpu().contiguous().numpy().data)
    # The weights' shapes do not tell the heads.
    said: dict[str, Any] = {"kind": model.sees, "heads": head_count(model.vit), "patch": patch_px(model.vit)}
    said |= {"precision": f"float32 on {device.type}", "libraries": [torch.__version__, timm.__version__]}
    said |= {"about": about, "ids": list(ids)}
    digest.update(json.dumps(said, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _read(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The two arrays, mapped; FileNotFoundError where there is no cache, ValueError where it is damaged."""
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        digests = json.loads((folder / CARD).read_text(encoding="utf-8"))
        for name in ARRAYS:
            if sha256_of(folder / name) != digests[name]:
                raise ValueError(f"{name} is not what was written")
        values, labels = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ARRAYS)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the kept ones were damaged ({type(error).__name__})") from error
    return values, labels


@torch.no_grad()
def _make(model: Segmenter, tiles: TileSource, done: Path, device: torch.device) -> None:
    """Write a cache under another name, then give it its own."""
    model.eval()
    done.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{done.name}.", suffix=".partial", dir=done.parent))
    try:
        (partial / CARD).write_text(json.dumps(_write(model, tiles, partial, device)), encoding="utf-8")
        if not done.exists():
            os.rename(partial, done)
    except OSError as error:
        if not done.is_dir():  # else another run has made the same cache meanwhile
            remedy = "free disk, or set finetuning.feature_cache_gb = 0"
            raise SardinoError(f"features cannot go to {done.parent} ({error}): {remedy}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(model: Segmenter, tiles: TileSource, folder: Path, device: torch.device) -> dict[str, str]:
    """Both arrays batch by batch, no larger in memory than one; their digests."""
    with (folder / ARRAYS[0]).open("wb") as features, (folder / ARRAYS[1]).open("wb") as labels:
        for x, y in in_batches(tiles, BATCH):
            for file, part in ((features, model.encode(x.to(device)).float().cpu().numpy()), (labels, y.cpu().numpy())):
                if not file.tell():
                    kind, shape = np.lib.format.dtype_to_descr(part.dtype), (len(tiles), *part.shape[1:])
                    head = {"descr": kind, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, head)
                file.write(np.ascontiguousarray(part).data)
    return {name: sha256_of(folder / name) for name in ARRAYS}
