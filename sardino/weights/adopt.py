"""Weights of others become a backbone folder, with what they were fed said once, on its card."""

from pathlib import Path
from typing import Any

from sardino.data.tiles.normalisation import Normalisation
from sardino.errors import SardinoError
from sardino.files import read_toml, sha256_of
from sardino.weights.adoption import Adoption
from sardino.weights.card import Card
from sardino.weights.checkpoint import read_tensors
from sardino.weights.layouts import as_own, find_backbone
from sardino.weights.save import save_backbone


def adopt(path: Path, folder: Path, adoption: Adoption, overwrite: bool = False) -> Card:
    """Write the ViT in a file of others as a backbone folder, under the name of a teacher; returns its card.

    `path`: safetensors, or what torch.save wrote. Raises SardinoError: a file that `read_tensors`, `find_backbone` or
    `as_own` refuse, something that neither the options nor the origin say, or a folder that holds a backbone.
    """
    if (folder / Card.FILE).exists() and not overwrite:
        raise SardinoError(f"{folder} holds a backbone already: choose another folder, or say --overwrite")
    place, found = find_backbone(read_tensors(path), adoption.take, path)
    architecture, weights = as_own(found, path, adoption.heads, adoption.tile_px)
    published = read_toml(Path(__file__).with_name("origins.toml"))[adoption.origin]
    said = _said(adoption, published, architecture.channels, path)
    card = Card(
        architecture,
        said["channels"],
        said["unit"],
        Normalisation(said["channels"], said["mean"], said["std"], said["unit"]).to_dict(),
        {name: said[name] for name in ("product", "gsd_m") if said[name]},
        recipe={},
        adopted={
            "origin": published["title"],
            "file": path.name,
            "sha256": sha256_of(path),
            "place": place,
            "licence": adoption.licence,
        },
    )
    save_backbone(folder, {"teacher": weights}, card)
    return card


def _said(adoption: Adoption, published: dict[str, Any], count: int, path: Path) -> dict[str, Any]:
    """What is said of the input of `count` channels, by the options or else by the origin; all of it, or refused."""
    said = adoption.model_dump()
    known = published.get("channels", [])
    # Statistics of VV are not those of a first channel that is called otherwise; summer_vv is VV's.
    if len(known) == count and (not adoption.channels or [c.rpartition("_")[2] for c in adoption.channels] == known):
        said |= {name: value for name, value in published.items() if not said.get(name)}
    if missing := [f"--{name}" for name in ("channels", "unit", "mean", "std") if not said[name]]:
        raise SardinoError(f"{path} does not say what its {count} channels were fed with: say {', '.join(missing)}")
    for name in ("channels", "mean", "std"):
        alike = len(said[name]) == 1 and name != "channels"
        said[name] = tuple(said[name]) * (count if alike else 1)
        if len(said[name]) != count:
            raise SardinoError(f"the ViT in {path} takes {count} channels, and --{name} gives {len(said[name])}")
    if said["value_range"]:
        if said["unit"] != "0..1" or len(said["value_range"]) != 2 or said["value_range"][0] >= said["value_range"][1]:
            raise SardinoError("--range is two rising numbers of decibels, as in -25,0, with --unit 0..1")
        low, high = said["value_range"]  # (dB - low) / (high - low), then mean and std: one linear step of decibels
        said["mean"] = tuple(low + (high - low) * mean for mean in said["mean"])
        said["std"] = tuple((high - low) * std for std in said["std"])
        said["unit"] = "dB"
    return said
