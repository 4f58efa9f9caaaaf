"""Principal components of a backbone's tokens: fitted once on training tiles, kept in a file beside its weights."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sardino.errors import SardinoError
from sardino.files import sha256_of, whole

FILE, KEY = "components.safetensors", "sardino-components"
REMEDY = "fit them again with --fit STORE"


@dataclass(frozen=True)
class Components:
    """Directions in which tokens differ, that of the most variance first."""

    mean: Tensor  # (D,) float32
    axes: Tensor  # (n, D) float32 unit vectors; the largest entry of each is positive, so no solver decides the sign
    explained: Tensor  # (n,) float32, share of the variance
    about: Mapping[str, Any]  # sha256 of the weights, fingerprint of the store, how many tiles, whether synthetic
    sha256: str = ""  # of the file that it was read from

    @classmethod
    def of_tokens(cls, parts: Iterable[NDArray[np.float32]], about: Mapping[str, Any]) -> "Components":
        """Of tokens (M, D) in parts, of which one is in memory at a time; refused where they do not differ."""
        count, sums, products = 0, np.zeros(1), np.zeros((1, 1))
        for part in parts:
            tokens = part.astype(np.float64)
            count, sums, products = count + len(tokens), sums + tokens.sum(0), products + tokens.T @ tokens
        mean = sums / max(count, 1)
        variance, vectors = np.linalg.eigh(products / max(count, 1) - np.outer(mean, mean))
        if not np.isfinite(variance).all() or variance[-1] <= 1e-12:
            raise SardinoError("the tokens of the training tiles do not differ: look for a pre-training that collapsed")
        variance, axes = np.maximum(variance[::-1], 0), vectors.T[::-1]
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
        shares = variance / variance.sum()
        kept = [torch.from_numpy(each.astype(np.float32)) for each in (mean, axes, shares)]
        return cls(kept[0], kept[1], kept[2], about)

    @classmethod
    def read(cls, path: Path, weights_sha256: str) -> "Components":
        """Of these weights alone; SardinoError where they are of others, or the file is damaged."""
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})[KEY])
                mean, axes, explained = (file.get_tensor(name) for name in ("mean", "axes", "explained"))
                found = cls(mean, axes, explained, about, sha256_of(path))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise SardinoError(f"{path} holds no principal components ({error}): {REMEDY}") from None
        if about.get("weights_sha256") != weights_sha256:
            raise SardinoError(f"{path} holds the principal components of other weights: {REMEDY}")
        return found

    def save(self, path: Path) -> Path:
        """Write all of them, whole or not at all."""
        with whole(path) as partial:
            tensors = {name: getattr(self, name).contiguous() for name in ("mean", "axes", "explained")}
            save_file(tensors, partial, {KEY: json.dumps(self.about, sort_keys=True)})
        return path

    def first(self, count: int) -> "Components":
        """The first of them."""
        return replace(self, axes=self.axes[:count], explained=self.explained[:count])

    def of(self, tokens: Tensor) -> Tensor:
        """(..., D) float32 tokens to (..., n), in float32 also where matrix products are rounded."""
        with torch.autocast(tokens.device.type, enabled=False):
            mean, axes = self.mean.to(tokens.device), self.axes.to(tokens.device)
            return (tokens - mean) @ axes.T

    @property
    def tags(self) -> dict[str, str]:
        """What a raster says of them."""
        fitted = f"{self.about['tiles']} training tiles of the store {self.about['fingerprint']}"
        return {"components_fitted_on": fitted, "components_sha256": self.sha256}
