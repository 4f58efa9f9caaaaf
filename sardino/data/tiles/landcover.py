"""Land cover: legends with official codes, names and colours, class indices, and which training tiles have labels."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError

IGNORE = 255  # class index of pixels without a label: neither trained on nor counted
RAREST = 1e-4  # share of the labelled pixels below which a class weighs no more
_MOST_NAMED = 8


@dataclass(frozen=True)
class LandCoverClass:
    """One class: the code in the product's raster, its name, its official colour."""

    code: int
    name: str
    color: str


@dataclass(frozen=True)
class Legend:
    """An ordered set of classes; a class's index is its place in it."""

    name: str
    classes: tuple[LandCoverClass, ...]
    # Whether the labels were computed from another image and are nobody's reference product; every caption says so.
    derived: bool = False

    def __post_init__(self) -> None:
        if not self.codes or len(set(self.codes)) != len(self.codes) or not all(0 <= c <= 255 for c in self.codes):
            raise SardinoError(f"legend '{self.name}' needs distinct class codes from 0 to 255")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.classes]

    @property
    def colors(self) -> list[str]:
        return [c.color for c in self.classes]

    @property
    def codes(self) -> list[int]:
        return [c.code for c in self.classes]

    def encode(self, codes: NDArray[Any]) -> NDArray[np.uint8]:
        """Product codes to class indices, any shape; a code outside the legend becomes IGNORE."""
        table = np.full(257, IGNORE, np.uint8)
        table[self.codes] = np.arange(len(self), dtype=np.uint8)
        values = np.asarray(codes)
        return table[np.where((values >= 0) & (values <= 255), values, 256).astype(np.uint16)]

    def outside(self, counts: Mapping[int, int]) -> str:
        """Of labels with so many pixels of each code, the codes that are no class with their share; "" where none is.

        SardinoError where no pixel has a class.
        """
        total, foreign = sum(counts.values()), [code for code in sorted(counts) if code not in self.codes]
        shares = ", ".join(f"{code} in {100 * counts[code] / total:.3g} %" for code in foreign[:_MOST_NAMED])
        said = f"{shares} of pixels{', and more' if len(foreign) > _MOST_NAMED else ''}"
        if foreign and len(foreign) == len(counts):
            known = ", ".join(map(str, self.codes))
            raise SardinoError(f"no label has a class of '{self.name}' ({known}), but {said}: correct the codes")
        return said if foreign else ""

    def decode(self, index: NDArray[np.uint8], nodata: int = 0) -> NDArray[np.uint8]:
        """Class indices to product codes; IGNORE becomes `nodata`."""
        table = np.full(256, nodata, np.uint8)
        table[: len(self)] = self.codes
        return table[index]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "derived": self.derived, "classes": [asdict(each) for each in self.classes]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Legend":
        classes = tuple(LandCoverClass(int(c["code"]), str(c["name"]), str(c["color"])) for c in data["classes"])
        return cls(str(data["name"]), classes, bool(data.get("derived", False)))


def codes_in(bands: NDArray[Any], file: Path) -> NDArray[Any]:
    """The class codes (H, W) of a label raster (bands, H, W), NaN where missing.

    SardinoError tells labels of another kind by name: one band a class, a picture in colours, fractions.
    """
    fault, remedy = "", "write one band that holds the code of each pixel"
    if len(bands) > 1 and np.nanmax(bands) <= 1:
        fault = f"one-hot labels, a band each of {len(bands)} classes"
    elif len(bands) > 1:
        fault = f"{'an RGB picture of its classes' if len(bands) in (3, 4) else 'labels'} in {len(bands)} bands"
    elif bands.dtype.kind == "f" and (np.isfinite(bands) & (bands != np.rint(bands))).any():
        fault, remedy = "fractions, as averaging leaves them between codes", "warp the labels anew with -r near"
    if fault:
        raise SardinoError(f"{file} holds {fault}: {remedy}")
    return bands[0]


# The 11 classes of ESA WorldCover with the product's codes and colours; code 0 is nodata.
WORLDCOVER = Legend(
    "ESA WorldCover",
    (
        LandCoverClass(10, "Tree cover", "#006400"),
        LandCoverClass(20, "Shrubland", "#FFBB22"),
        LandCoverClass(30, "Grassland", "#FFFF4C"),
        LandCoverClass(40, "Cropland", "#F096FF"),
        LandCoverClass(50, "Built-up", "#FA0000"),
        LandCoverClass(60, "Bare / sparse vegetation", "#B4B4B4"),
        LandCoverClass(70, "Snow and ice", "#F0F0F0"),
        LandCoverClass(80, "Permanent water bodies", "#0064C8"),
        LandCoverClass(90, "Herbaceous wetland", "#0096A0"),
        LandCoverClass(95, "Mangroves", "#00CF75"),
        LandCoverClass(100, "Moss and lichen", "#FAE6A0"),
    ),
)


def label_order(ids: Sequence[str], draw: int = 0) -> list[str]:
    """Tile ids in the order in which labels are granted: by hash of id and draw, so no position matters."""
    return sorted(ids, key=lambda tile: hashlib.sha256(f"{draw}:{tile}".encode()).hexdigest())


def label_fraction(ids: Sequence[str], percent: float, draw: int = 0) -> list[str]:
    """The labelled subset of training tiles, at least one: 0.1, 1, 10 or 100 percent in the paper's tables.

    A smaller fraction lies inside a larger one of the same draw; arms that are compared use the same draw.
    """
    if not ids or not 0 < percent <= 100:
        raise SardinoError(f"a label fraction needs training tiles and a percentage in (0, 100], not {percent}")
    return label_order(ids, draw)[: max(1, round(len(ids) * percent / 100))]


def class_weights(pixels: NDArray[np.integer], balance: float) -> NDArray[np.float32]:
    """What a labelled pixel of each class weighs: (n,) by (n,) counts, 1 on average over all pixels.

    By a class's frequency to the power of -balance: an mIoU counts classes alike, and where pixels count alike the rare
    ones are learnt last. None weighs more than one of RAREST, since a handful of pixels must not outweigh a batch.
    """
    share = pixels / max(1, pixels.sum())
    weights = np.maximum(share, RAREST) ** -balance
    return (weights / max(float((share * weights).sum()), RAREST)).astype(np.float32)
