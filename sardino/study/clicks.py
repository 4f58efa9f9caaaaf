"""A map from a few clicks: a scene that the package's backbone has not seen, its tokens, and where somebody clicked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sardino.data.rasters.raster import read_raster
from sardino.data.sources.world.synthetic import World, write_scene
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.evaluation.patches import patch_blocks, patch_classes
from sardino.mapping.job import Job
from sardino.mapping.model import default_model
from sardino.mapping.scene_map import make_map
from sardino.study.quickstart import UNSEEN

EXTENT_PX = (384, 512)
PURE = 0.9  # share of a patch that is of one class, where somebody clicks: nobody clicks on an edge


@dataclass(frozen=True)
class EmbeddedScene:
    """A scene by patches, in rows and columns."""

    channels = CHANNELS
    legend = WORLDCOVER

    backscatter: NDArray[np.float32]  # (C, H, W) dB
    tokens: NDArray[np.float32]  # (h, w, D)
    levels: NDArray[np.float32]  # (h, w, C) mean backscatter of a patch, dB
    truth: NDArray[np.uint8]  # (h, w) class index of most of a patch
    pure: NDArray[np.bool_]  # (h, w) whether nearly all of it is of that class
    files: list[Path]  # the scene and its embeddings

    @property
    def common(self) -> NDArray[np.uint8]:
        """The five classes that most pure patches have."""
        classes, counts = np.unique(self.truth[self.pure], return_counts=True)
        return np.sort(classes[np.argsort(-counts, kind="stable")[:5]])

    @property
    def most_frequent(self) -> float:
        """Share of the patches that are of the most frequent class."""
        return float(np.bincount(self.truth[self.truth != IGNORE]).max() / self.truth.size)

    def clicks(self, seed: int, each: int = 2) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of so many pure patches of each common class, drawn by chance."""
        chance = np.random.default_rng(seed)
        drawn = [chance.permutation(np.argwhere(self.pure & (self.truth == one)))[:each] for one in self.common]
        rows, columns = np.concatenate(drawn).T
        return rows, columns


def embed_unseen_land(folder: Path) -> EmbeddedScene:
    """Write a scene of another world as GeoTIFF and embed it, as `sardino embed` does."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, cover, out = (folder / f"{name}.tif" for name in ("scene", "reference", "embeddings"))
    write_scene(World(seed=UNSEEN), "europe", scene, EXTENT_PX, labels=cover, overwrite=True)
    job = Job(scene=scene, out=out, kind="embedding", model=default_model("backbone"), overwrite=True)
    make_map(job.changed(precision="float32"))  # the same numbers on every machine
    backscatter, tokens = read_raster(scene).values, np.moveaxis(read_raster(out).values, 0, -1)
    labels = WORLDCOVER.encode(read_raster(cover).codes[0])
    patch = EXTENT_PX[0] // len(tokens)
    truth = patch_classes(labels[None], patch, len(WORLDCOVER))[0]
    own = patch_blocks(labels, patch) == truth[:, None, :, None]
    pure = (own.mean((1, 3)) >= PURE) & (truth != IGNORE)
    levels = np.moveaxis(patch_blocks(backscatter, patch).mean((2, 4)), 0, -1)
    return EmbeddedScene(backscatter, tokens, levels, truth, pure, [scene, out])
