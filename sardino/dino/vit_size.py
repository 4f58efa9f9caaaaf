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
