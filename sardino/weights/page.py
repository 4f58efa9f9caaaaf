"""The page that goes with a pre-trained backbone, README.md: what it is, what it saw, how to load it, its limits."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sardino.dino.health import History
from sardino.weights.card import Card, timm_call

SOURCE = "Exploring DINO: Emergent Properties and Limitations for Synthetic Aperture Radar Imagery"


def model_card(
    card: Card, digests: Mapping[str, str], measured: Mapping[str, float], warnings: Sequence[str] = ()
) -> str:
    """Markdown with YAML front matter, as model hubs read it; all of it follows from the arguments.

    Args:
        card: of the backbone.
        digests: sha256 of each network's weights file.
        measured: name and value of what the end of the run was judged by; may be empty.
        warnings: what was wrong with the run, a sentence each.
    """
    shape, data = card.architecture, card.trained_on
    parts = [
        _front_matter(card),
        f"# {_title(card)}",
        f"A Vision Transformer of {shape.depth} blocks, width {shape.width}, {shape.heads} heads and patches of "
        f"{shape.patch} px, pre-trained without labels by DINO (Caron et al. 2021) on {_what(data)} backscatter of "
        f"tiles of {shape.tile_px} x {shape.tile_px} px, after *{SOURCE}*.",
        "## Training data",
        _training_data(data),
        "## Input",
        f"{len(card.channels)} channels in this order, in {card.unit}, each normalised by the mean and standard "
        "deviation of the training tiles; a missing pixel becomes 0 after that, the mean.",
        _table(("channel", f"mean ({card.unit})", f"standard deviation ({card.unit})"), _statistics(card)),
        "## Loading",
        "With timm alone, every weight or none:",
        f"```python\n{timm_code(card)}```",
        "With sardino, which checks channels, unit and file, and reads attention maps as well:",
        f"```python\n{sardino_code(card)}```",
        "The teacher is the moving average of the student; DINO evaluates the teacher, the paper the student.",
        "## Recipe",
        _table(("setting", "value"), [(name, _text(value)) for name, value in _settings(card)]),
        "## Measured at the end",
        _measured(measured, warnings),
        "## Limits",
        _limits(card),
        "## Files",
        _table(("file", "sha256"), [(f"{name}.safetensors", f"`{digest}`") for name, digest in digests.items()]),
        f"Code revision: {card.code_revision or 'not known'}.",
    ]
    return "\n\n".join(parts) + "\n"


def timm_code(card: Card, network: str = "teacher") -> str:
    """Python text that loads the weights and defines `tokens`, without sardino; runs in the weights' folder."""
    call = timm_call(card.architecture, f"{network}.safetensors")
    mean, std = (_numbers(card.normalisation[name]) for name in ("mean", "std"))
    size = card.architecture.tile_px
    return f'''import timm
import torch

vit = {call}.eval()
mean = torch.tensor({mean})
std = torch.tensor({std})


def tokens(values: torch.Tensor) -> torch.Tensor:
    """(B, {len(card.channels)}, {size}, {size}) in {card.unit}, missing as NaN; the class token, then the patches."""
    normal = (values - mean[:, None, None]) / std[:, None, None]
    return vit.forward_features(normal.nan_to_num(0.0, 0.0, 0.0))
'''


def sardino_code(card: Card, network: str = "teacher") -> str:
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


def _front_matter(card: Card) -> str:
    tags = ["sentinel-1", "sar", "remote-sensing", "dino", "vision-transformer"]
    tags += ["synthetic-data"] if card.trained_on.get("synthetic") else []
    lines = ["library_name: timm", "license: apache-2.0", "pipeline_tag: image-feature-extraction", "tags:"]
    return "\n".join(["---", *lines, *(f"- {tag}" for tag in tags), "---"])


def _title(card: Card) -> str:
    shape = card.architecture
    source = "a synthetic Sentinel-1 world" if card.trained_on.get("synthetic") else "Sentinel-1"
    return f"DINO on {source}: ViT {shape.width}-{shape.depth}/{shape.patch}, {shape.channels} channels"


def _what(data: Mapping[str, Any]) -> str:
    return "simulated Sentinel-1" if data.get("synthetic") else "Sentinel-1"


def _training_data(data: Mapping[str, Any]) -> str:
    rows = [(name, _text(value)) for name, value in data.items()]
    return f"{_origin(data)}\n\n{_table(('training data', 'value'), rows)}"


def _origin(data: Mapping[str, Any]) -> str:
    if "synthetic" not in data:
        return "Whether the tiles were measured or simulated is not recorded."
    if data["synthetic"]:
        return "The tiles are **synthetic**: simulated backscatter of invented land. No pixel was ever measured."
    return "The tiles are measured Sentinel-1 backscatter."


def _limits(card: Card) -> str:
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
    return "\n".join(f"- {line}" for line in lines)


def _measured(measured: Mapping[str, float], warnings: Sequence[str]) -> str:
    said = _table(("measure", "value"), [(k, f"{v:.4g}") for k, v in measured.items()]) if measured else "Nothing."
    return "\n\n".join([said, *([f"Warnings:\n\n{chr(10).join(f'- {w}' for w in warnings)}"] if warnings else [])])


def _settings(card: Card) -> list[tuple[str, Any]]:
    return [*card.recipe.items(), *card.run.items()]


def _statistics(card: Card) -> list[tuple[str, str, str]]:
    taken = card.normalisation
    return [
        (f"`{name}`", f"{mean:.4f}", f"{std:.4f}")
        for name, mean, std in zip(card.channels, taken["mean"], taken["std"], strict=True)
    ]


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


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(text).replace("|", "\\|") for text in line) + " |" for line in lines)
