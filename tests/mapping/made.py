"""Small models and scenes for the tests of whole-scene mapping."""

from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.transform import Affine

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.dino.vit import Architecture, build_vit
from sardino.weights.card import Card, SegmenterCard
from sardino.weights.save import save_backbone, save_segmenter

CHANNELS = ("winter_vv", "winter_vh", "winter_vv-vh")
UTM = "EPSG:32631"
ORIGIN = (500_000.0, 5_500_000.0)
ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=3, tile_px=32)
NORMALISATION = {"channels": list(CHANNELS), "mean": [-11.5, -18.25, 7.0], "std": [2.5, 3.0, 1.5], "unit": "dB"}
TRAINED_ON = {"regions": ["europe"], "gsd_m": 10.0, "synthetic": True, "product": "Sentinel-1 gamma0"}


def segmenter(folder: Path, encoding: str = "unet", seed: int = 0, trained_on: dict = TRAINED_ON) -> Path:
    """A random segmenter; its classes differ from place to place, as a trained one's do."""
    torch.manual_seed(seed)
    card = SegmenterCard(
        encoding=encoding,  # type: ignore[arg-type]
        architecture=ARCHITECTURE,
        decoder={"unet_width": 4, "unet_depth": 2, "decoder_width": 16},
        channels=CHANNELS,
        unit="dB",
        normalisation=NORMALISATION,
        legend=WORLDCOVER.to_dict(),
        trained_on=trained_on,
    )
    model = card.build().eval()
    with torch.no_grad():
        model.decoder.classify.weight.mul_(20)
        for block in [] if model.vit is None else model.vit.blocks:
            block.attn.qkv.weight.mul_(20)
    save_segmenter(folder, model, card)
    return folder


def backbone(folder: Path, seed: int = 0) -> Path:
    """A random teacher and another random student."""
    torch.manual_seed(seed)
    nets = {name: build_vit(ARCHITECTURE) for name in ("teacher", "student")}
    with torch.no_grad():
        for net in nets.values():
            for block in net.blocks:
                block.attn.qkv.weight.mul_(20)
    card = Card(ARCHITECTURE, CHANNELS, "dB", NORMALISATION, TRAINED_ON, {})
    save_backbone(folder, {name: net.state_dict() for name, net in nets.items()}, card)
    return folder


def backscatter(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """(3, rows, columns) dB: fields of some pixels' size under noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 3, (2, -(-rows // 6), -(-columns // 6))).repeat(6, 1).repeat(6, 2)[:, :rows, :columns]
    vv, vh = coarse + np.array([-11.5, -18.25])[:, None, None] + rng.normal(0, 1, (2, rows, columns))
    return np.stack([vv, vh, vv - vh]).astype(np.float32)


def write_scene(path: Path, values: np.ndarray, **changed: object) -> Path:
    """A GeoTIFF as `sardino tiles mosaic` writes it; `changed` are other facts of it."""
    facts = {
        "crs": UTM,
        "transform": Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]),
        "names": CHANNELS,
        "tags": {"unit": "dB", "product": "Sentinel-1 gamma0"},
        "nodata": np.nan,
        "block": 64,
    } | changed
    profile = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": facts["crs"],
        "transform": facts["transform"],
        "nodata": facts["nodata"],
        "tiled": True,
        "blockxsize": facts["block"],
        "blockysize": facts["block"],
        "interleave": "band",
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)
        dataset.descriptions = tuple(facts["names"])
        dataset.update_tags(**facts["tags"])
    return path


def store(folder: Path, channels: tuple[str, ...] = CHANNELS) -> TileStore:
    """Six tiles of 32 px of the fields, one with a single valid patch, one with all but one."""
    tiles = list(tile_grid("europe", UTM, ORIGIN, 32, 10.0, 3, 2))
    values = backscatter(64, 96)
    values[:, 40:, :32] = values[:, 32:40, 8:32] = values[:, 8:16, 40:48] = np.nan

    def chip(number: int) -> Chip:
        row, column = divmod(number, 3)
        here = slice(32 * row, 32 * row + 32), slice(32 * column, 32 * column + 32)
        return Chip(values[: len(channels), *here], np.zeros((32, 32), np.uint8))

    splits = ["train", "train", "val", "train", "test", "train"]
    facts = {"product": "Sentinel-1 gamma0", "synthetic": True, "metadata": {"gsd_m": 10.0}, "bands": [0] * 6}
    return write_store(folder, tiles, splits, chip, channels=channels, legend=WORLDCOVER, **facts)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()
