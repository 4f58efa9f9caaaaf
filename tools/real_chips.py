"""The built-in models for one image of VV and VH, held against real chips, which they never saw.

python tools/real_chips.py FOLDER    (it holds terramesh/ and bigearthnet-s1/; writes results/real/one_date.csv,
                                     and one_date.json: by which weights and code)
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import torch

from sardino.data.sources.folder.source import import_folder
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.dino.attention import class_attention
from sardino.dino.vit import build_vit
from sardino.evaluation.attention_scores import attention_scores
from sardino.files import files_in, sha256_of, write_csv, write_json
from sardino.mapping.job import Job
from sardino.mapping.model import default_model, load_vit
from sardino.mapping.scene_map import make_map
from sardino.reporting.record import revision
from sardino.study.attention import SEED, patch_references

WATER = WORLDCOVER.codes[WORLDCOVER.names.index("Permanent water bodies")]
CHANNELS, BANDS = ("vv", "vh"), 10
DATA, OUT = ("terramesh", "bigearthnet-s1"), Path("results/real/one_date.csv")


def water_of(scene: Path, channels: tuple[str, ...], out: Path) -> np.ndarray:
    """(H, W) bool, where the built-in segmenter maps water on a chip in dB."""
    model = default_model("segmenter", channels)
    make_map(Job(scene=scene, out=out, kind="landcover", model=model, channels=channels, unit="db", overwrite=True))
    with rasterio.open(out) as made:
        return made.read(1) == WATER


def water(folder: Path, out: Path) -> list[dict[str, Any]]:
    """How mapped water agrees with the land cover of TerraMesh, and with the labels of BigEarthNet's patches."""
    rows, sites = [], []
    for scene in sorted(folder.glob("terramesh/*/S1RTC.tif")):
        with rasterio.open(scene.with_name("LULC.tif")) as labels:
            sites.append((labels.read(1) == 1, water_of(scene, CHANNELS, out)))
    true, found = (np.concatenate([each.ravel() for each in part]) for part in zip(*sites, strict=True))
    both, told = (true & found).sum(), f"{len(sites)} TerraMesh sites"
    for measure, of in (("recall", true), ("precision", found), ("IoU", true | found)):
        rows.append({"what": "mapped water", "on": told, "measure": measure, "value": both / max(of.sum(), 1)})
    listed = json.loads((folder / "bigearthnet-s1/v2/labels.json").read_text())
    shares: dict[bool, list[float]] = {True: [], False: []}
    for each in listed:
        scene = folder / f"bigearthnet-s1/v2/{each['tortilla:id']}_s1.tif"
        wet = any("water" in label for label in each["labels"])
        shares[wet].append(float(water_of(scene, ("vh", "vv"), out).mean()))
    for wet, name in ((True, "of water"), (False, "of land")):
        on = f"{len(shares[wet])} BigEarthNet patches {name}"
        rows.append({"what": "mapped water", "on": on, "measure": "share", "value": np.mean(shares[wet])})
    return rows


def attention(folder: Path, out: Path) -> list[dict[str, Any]]:
    """How each head follows optical brightness and water, beyond the best of three nulls."""
    model = load_vit(default_model("backbone", CHANNELS))
    shape = model.card.architecture
    # A band for each site or so: places are what the intervals hold.
    store = import_folder(folder / "terramesh", FolderSpec.load("terramesh"), out, shape.tile_px, BANDS, 0.0)
    torch.manual_seed(SEED)
    networks, ids = (model.network, build_vit(shape).eval()), store.ids()
    images = torch.from_numpy(model.normalisation.apply(store.read(ids)[0]))
    with torch.inference_mode():
        seen, untrained = (class_attention(network, images)[0].float().numpy() for network in networks)
    frame = attention_scores(seen, untrained, patch_references(store, ids, shape.patch), store.blocks(ids))
    kept = frame[((frame["layer"] == "optical") | (frame["class"] == "Water")) & (frame["measure"] == "separation")]
    return [
        {"what": f"attention, head {row['head']}", "on": f"{row['class'] or 'optical image'}, {row['tiles']} tiles"}
        | {name: row[name] for name in ("measure", "value", "best_null", "beyond", "beyond_low", "beyond_high")}
        for row in kept.fillna({"class": ""}).to_dict("records")
    ]  # fmt: skip


def record() -> dict[str, Any]:
    """What the numbers were made from: sha256 of the weights, revision of the code, folders of the data."""
    models = [default_model(kind, CHANNELS) for kind in ("backbone", "segmenter")]
    weights = {f"{model.name}/{path.name}": path for model in models for path in files_in(model, "*.safetensors")}
    digests = {name: sha256_of(path) for name, path in weights.items()}
    return {"weights_sha256": digests, "code_revision": revision(), "data": DATA}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of real chips")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as place:
        rows = water(folder, Path(place) / "map.tif") + attention(folder, Path(place) / "store")
    write_json(record(), OUT.with_suffix(".json"))
    print(write_csv(pd.DataFrame(rows), OUT))


if __name__ == "__main__":
    main()
