"""The size of a Vision Transformer, as profiles and records name it; loads without torch."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from pydantic import ConfigDict

from sardino.errors import SardinoError
from sardino.options import Count


@dataclass(frozen=True)
class ViTSize:
    """ViT-Tiny/16 is (192, 12, 3, 16), ViT-Base/16 is (768, 12, 12, 16) (paper, section 3 and Table 3).

    Args:
        width: embedding dimension.
        depth: number of blocks.
        heads: attention heads; divides the width.
        patch: side of a patch in pixels; divides the tile.
    """

    width: Count
    depth: Count
    heads: Count
    patch: Count

    # Read as a part of a profile, a misspelt key is an error.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise SardinoError(f"{self.heads} heads do not divide a width of {self.width}")

    def to_dict(self) -> dict[str, int]:
        """As JSON values."""
        return asdict(self)


NAMED = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "laptop": (96, 6, 3)}
"""Width, blocks and heads: timm's ViT-Tiny, -Small and -Base, and what a laptop trains in minutes."""


def size_of(name: str, patch: int) -> ViTSize:
    """The size of a named ViT, or of "WIDTHxBLOCKSxHEADS"."""
    if name in NAMED:
        return ViTSize(*NAMED[name], patch)
    parts = name.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise SardinoError(f"a ViT is {', '.join(NAMED)} or WIDTHxBLOCKSxHEADS such as 192x12x3, not {name}")
    width, depth, heads = map(int, parts)
    return ViTSize(width, depth, heads, patch)
