"""The pages beside saved weights, README.md: what a network is, what it saw, how it is loaded, its limits."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sardino.dino.health import History
from sardino.dino.vit import Architecture
from sardino.weights.card import Card, SegmenterCard

SOURCE = "Exploring DINO: Emergent Properties and Limitations for Synthetic Aperture Radar Imagery"


def model_card(
    card: Card, digests: Mapping[str, str], measured: Mapping[str, float], warnings: Sequence[str] = ()
) -> str:
    """A backbone's page: Markdown with YAML front matter, as model hubs read it; it follows from the arguments alone.

    Args:
        digests: sha256 of each network's weights file.
        measured: name and value of what the end of the run was judged by; may be empty.
        warnings: what was wrong with the run, a sentence each.
    """
    shape, data, unit = card.architecture, card.trained_on, card.unit
    synthetic = data.get("synthetic")
    world = "a synthetic Sentinel-1 world" if synthetic else "Sentinel-1"
    statistics = zip(card.channels, card.normalisation["mean"], card.normalisation["std"], strict=True)
    parts = [
        _front_matter(synthetic),
        f"# DINO on {world}: ViT {shape.width}-{shape.depth}/{shape.patch}, {shape.channels} channels",
        f"A Vision Transformer of {shape.depth} blocks, width {shape.width}, {shape.heads} heads and patches of "
        f"{shape.patch} px, pre-trained without labels by DINO (Caron et al. 2021) on "
        f"{'simulated Sentinel-1' if synthetic else 'Sentinel-1'} backscatter of "
        f"tiles of {shape.tile_px} x {shape.tile_px} px, after *{SOURCE}*.",
        "## Training data",
        _origin(data),
        _table(("training data", "value"), [(name, _text(value)) for name, value in data.items()]),
        "## Input",
        f"{len(card.channels)} channels in this order, in {unit}, each normalised by the mean and standard "
        "deviation of the training tiles; a missing pixel becomes 0 after that, the mean.",
        _table(
            ("channel", f"mean ({unit})", f"standard deviation ({unit})"),
            [(f"`{name}`", f"{mean:.4f}", f"{std:.4f}") for name, mean, std in statistics],
        ),
        "## Loading",
        "With timm alone, every weight or none:",
        f"```python\n{_timm_code(card)}```",
        "With sardino, which checks channels, unit and file, and reads attention maps as well:",
        f"```python\n{_sardino_code(card)}```",
        "The teacher is the moving average of the student; DINO evaluates the teacher, the paper the student.",
        "## Recipe",
        _table(("setting", "value"), [(name, _text(value)) for name, value in (card.recipe | card.run).items()]),
        "## Measured at the end",
        _table(("measure", "value"), [(k, f"{v:.4g}") for k, v in measured.items()]) if measured else "Nothing.",
        *(["Warnings:", _points(warnings)] if warnings else []),
        "## Limits",
        _points(_limits(card)),
        "## Files",
        _table(("file", "sha256"), [(f"{name}.safetensors", f"`{digest}`") for name, digest in digests.items()]),
        f"Code revision: {card.code_revision or 'not known'}.",
    ]
    return "\n\n".join(parts) + "\n"


def segmenter_page(card: SegmenterCard, digest: str) -> str:
    """A segmenter's page: what it is, what it saw, how well it did, its limits."""
    shape, classes = card.architecture, card.classes
    network = {
        "attention": "A U-Net on the attention maps of a Vision Transformer",
        "tokens": "A convolutional decoder on the tokens of a Vision Transformer",
        "unet": "A U-Net on backscatter",
        "unet_attention": "A U-Net on backscatter and the attention maps of a Vision Transformer",
    }[card.encoding]
    vit = f" (width {shape.width}, {shape.depth} blocks, {shape.heads} heads, patches of {shape.patch} px)"
    synthetic = bool(card.trained_on.get("synthetic"))
    said = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in {**card.trained_on, **card.training}.items()
    }
    lines = [
        f"# Land cover from Sentinel-1{' (synthetic)' if synthetic else ''}: {card.encoding.replace('_', ' + ')}",
        "",
        f"{network}{'' if card.encoding == 'unet' else vit}, trained to tell "
        f"{len(classes)} classes of {classes.name}{', labels derived from another image' if classes.derived else ''}.",
        "",
        "`sardino map SCENE -o landcover.tif --model FOLDER` maps a scene with it.",
        "",
        f"Input: {', '.join(card.channels)}, in {card.unit}. Classes: {', '.join(classes.names)}.",
        "",
        *(f"- {name}: {value}" for name, value in said.items()),
        "",
        *(f"- **{name}: {value:.3f}**" for name, value in card.measured.items()),
        "",
        *(["Trained on a synthetic world: it shows that the method runs, and is no model of the Earth."] * synthetic),
        f"sha256 of the weights: `{digest}`. Code revision: {card.code_revision or 'not known'}.",
    ]
    return "\n".join(lines) + "\n"


def timm_call(architecture: Architecture, weights: str = "") -> str:
    """Python text that builds this ViT with timm alone; its state dictionary has the names of the saved one.

    Any ViT of timm would do as the named one: what differs is said in full.

    Args:
        weights: file to load, every weight or none; "" leaves the ViT random.
    """
    said: dict[str, Any] = {
        "img_size": architecture.tile_px,
        "patch_size": architecture.patch,
        "in_chans": architecture.channels,
        "embed_dim": architecture.width,
        "depth": architecture.depth,
        "num_heads": architecture.heads,
        "num_classes": 0,
        "global_pool": "token",
        "dynamic_img_size": True,
    }
    if weights:
        said["checkpoint_path"] = weights
    quoted = {name: f'"{value}"' if isinstance(value, str) else str(value) for name, value in said.items()}
    lines = "".join(f"    {name}={value},\n" for name, value in quoted.items())
    return f'timm.create_model(\n    "vit_tiny_patch16_224",\n{lines})'


def measured_at_end(history: History) -> dict[str, float]:
    """What a run's history says of its end, by name; nothing of what was not watched."""
    found: dict[str, float] = {}
    if history.probes["step"]:
        found |= {
            "linear probe on frozen tokens, validation tiles, mIoU": history.probes["linear"][-1],
            "nearest neighbours on frozen tokens, validation tiles, mIoU": history.probes["knn"][-1],
        }
    if history.columns["step"]:
        found |= {
            "distance of the student from its start, share of its length": history.columns["distance"][-1],
            "loss": history.columns["loss"][-1],
            "loss of a teacher that says nothing, ln K": history.ln_k,
            "entropy of a target": history.columns["teacher_entropy"][-1],
            "effective rank of the features": history.columns["effective_rank"][-1],
        }
    return found


def _front_matter(synthetic: bool | None) -> str:
    tags = ["sentinel-1", "sar", "remote-sensing", "dino", "vision-transformer"]
    tags += ["synthetic-data"] if synthetic else []
    lines = ["library_name: timm", "license: apache-2.0", "pipeline_tag: image-feature-extraction", "tags:"]
    return "\n".join(["---", *lines, *(f"- {tag}" for tag in tags), "---"])


def _origin(data: Mapping[str, Any]) -> str:
    if "synthetic" not in data:
        return "Whether the tiles were measured or simulated is not recorded."
    if data["synthetic"]:
        return "The tiles are **synthetic**: simulated backscatter of invented land. No pixel was ever measured."
    return "The tiles are measured Sentinel-1 backscatter."


def _limits(card: Card) -> list[str]:
    lines = [
        f"Other channels, another order or another unit than {card.unit} give numbers without meaning, and no error "
        "with timm alone.",
        f"Trained on tiles of {card.architecture.tile_px} px; other multiples of {card.architecture.patch} px work by "
        "interpolated positions, untested here.",
        "Trained on the regions above alone; other climates, seasons and sensors were not seen.",
        "An attention map is no land-cover map: judge it against a reference and against what position explains.",
    ]
    if card.trained_on.get("synthetic"):
        lines.insert(0, "Weights from a synthetic world show that the method runs. They are no model of the Earth.")
    return lines


def _timm_code(card: Card, network: str = "teacher") -> str:
    """Python text that loads the weights and defines `tokens`, without sardino; runs in the weights' folder."""
    mean, std = (_numbers(card.normalisation[name]) for name in ("mean", "std"))
    size = card.architecture.tile_px
    return f'''import timm
import torch

vit = {timm_call(card.architecture, f"{network}.safetensors")}.eval()
mean = torch.tensor({mean})
std = torch.tensor({std})


def tokens(values: torch.Tensor) -> torch.Tensor:
    """(B, {len(card.channels)}, {size}, {size}) in {card.unit}, missing as NaN; the class token, then the patches."""
    normal = (values - mean[:, None, None]) / std[:, None, None]
    return vit.forward_features(normal.nan_to_num(0.0, 0.0, 0.0))
'''


def _sardino_code(card: Card, network: str = "teacher") -> str:
    """Python text that loads the weights by sardino; runs in the weights' folder."""
    channels = "".join(f"    {json.dumps(name)},\n" for name in card.channels)
    return f'''from pathlib import Path

from sardino.dino.vit import encode
from sardino.data.tiles.normalisation import Normalisation
from sardino.weights.save import load_backbone

channels = (
{channels})
vit, card = load_backbone(Path("."), channels, {json.dumps(card.unit)}, "{network}")
normalisation = Normalisation.from_dict(card.normalisation)
# encode(vit.eval(), torch.from_numpy(normalisation.apply(values))) has tokens and attention.
'''


def _numbers(values: Sequence[float]) -> str:
    """A list as Python text, three to a line; every digit, so that the input is sardino's to rounding."""
    texts = [repr(float(value)) for value in values]
    lines = [", ".join(texts[i : i + 3]) for i in range(0, len(texts), 3)]
    return "[\n" + "".join(f"    {line},\n" for line in lines) + "]"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_text(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _points(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(text).replace("|", "\\|") for text in line) + " |" for line in lines)
