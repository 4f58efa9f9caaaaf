"""The paper's own tables, loaded from the one file that holds them (paper.toml)."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sardino.evaluation.floors import MODELS
from sardino.files import read_toml
from sardino.reporting.rows import HYBRID, SELF_TRAINED, UNETS, WIDE, encoding_of, row_run, written

BASELINES = tuple(map(written, UNETS))  # column groups of Table 2
# Headings, after the paper's.
TITLES = {"attention": "Attention maps", "tokens": "Tokens"}
TITLES |= {"unet": "U-Net (only SAR)", "unet+attention": "U-Net (SAR + attention maps)"}
TITLES |= {WIDE: "U-Net (only SAR), wide", HYBRID: "U-Net (SAR + tokens)"}  # which the paper lacks
TITLES |= {"scratch": "From scratch", "frozen": "Pre-trained, frozen", "unfrozen": "Pre-trained, not frozen"}
TITLES |= {SELF_TRAINED: "Self-trained"}
# Of floors, which the paper lacks: the model, and what it is told of a pixel.
TITLES |= {model: title.capitalize() for model, title in MODELS.items()}
TITLES |= {"none": "-", "channels": "Channels", "surroundings": "Channels and surroundings"}


@dataclass(frozen=True, order=True)
class CellKey:
    """One cell of Table 1 or 2."""

    table: int  # 0 of a floor, which stands below both
    regions: str  # pre-training arm, "europe" or "all" in the paper; "" in Table 2
    encoding: str  # of ENCODINGS or BASELINES, WIDE, HYBRID; of a floor its model
    initialisation: str  # of a floor what its model is told of a pixel
    fraction: float  # percent of the training tiles whose labels are used

    @property
    def run(self) -> str:
        """Name of the run that makes this cell."""
        return "floors" if self.table == 0 else row_run(encoding_of(self.encoding), self.initialisation, self.regions)

    def __str__(self) -> str:
        where = f"{self.regions} " if self.regions else ""
        return f"{where}{self.encoding} {self.initialisation} at {self.fraction:g} %"


@cache
def paper() -> dict[str, Any]:
    """The content of paper.toml."""
    return read_toml(Path(__file__).with_name("paper.toml"))


@cache
def paper_cells() -> dict[CellKey, float]:
    """Every filled cell of the paper's Tables 1 (36) and 2 (12): mIoU."""
    content = paper()
    rows = {(1, arm, enc): r for arm, group in content["table1"].items() for enc, r in group.items()}
    rows |= {(2, "", enc): r for enc, r in content["table2"].items()}
    return {
        CellKey(table, arm, encoding, initialisation, float(fraction)): float(value)
        for (table, arm, encoding), by_row in rows.items()
        for initialisation, values in by_row.items()
        for fraction, value in zip(content["fractions"], values, strict=True)
    }


def paper_arm(arm: str) -> str:
    """The paper's arm that ours is read beside: "all" with its own, any other with Europe."""
    return "all" if arm == "all" else "europe"
