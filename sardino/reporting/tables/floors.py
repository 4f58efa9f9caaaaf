"""The floors beside Table 2's U-Nets: what single pixels give with the same labels, for readers."""

import pandas as pd

from sardino.evaluation.floors import FEATURES, MODELS
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import TITLES
from sardino.reporting.tables.render import aligned, markdown


def floors_markdown(floors: pd.DataFrame, unets: pd.DataFrame, cells: Cells) -> str:
    """A Markdown table: models down, label fractions across.

    Args:
        floors: of sardino.evaluation.floors.
        unets: Table 2.
        cells: say what the pixels are, and what the intervals hold.
    """
    return f"**{_title(cells)}**\n\n{markdown(*_grid(floors, unets))}\n\n{_notes(floors, cells)}\n"


def floors_text(floors: pd.DataFrame, unets: pd.DataFrame, cells: Cells) -> str:
    """The same as plain text."""
    return f"{_title(cells)}\n\n{aligned(*_grid(floors, unets))}\n\n{_notes(floors, cells)}\n"


def _title(cells: Cells) -> str:
    return f"Floors ({cells.provenance}). mIoU of simple models of single pixels, beside the U-Nets of Table 2"


def _grid(floors: pd.DataFrame, unets: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    fractions = list(dict.fromkeys(floors["fraction"]))
    told: dict[str, dict[float, str]] = {}
    for row in floors.itertuples():
        told.setdefault(_floor(str(row.model), str(row.features)), {})[float(str(row.fraction))] = _entry(row)
    for row in unets.itertuples():
        name = f"{TITLES[str(row.encoding)]}, {TITLES[str(row.initialisation)].lower()}"
        told.setdefault(name, {})[float(str(row.fraction))] = _entry(row)
    rows = [[name, *(entries.get(fraction, "-") for fraction in fractions)] for name, entries in told.items()]
    return ["", *(f"{fraction:g} %" for fraction in fractions)], rows


def _floor(model: str, features: str) -> str:
    said = MODELS[model].capitalize()
    if features == "channels":
        return f"{said}: {FEATURES[features]}"
    return said if features == "none" else f"{said}: these {FEATURES[features]}"


def _entry(row: object) -> str:
    return f"{row.miou:.3f} [{row.low:.3f}, {row.high:.3f}]"  # type: ignore[attr-defined]


def _notes(floors: pd.DataFrame, cells: Cells) -> str:
    return (
        f"Each cell: mIoU [its interval]. All rows learn from the same labelled tiles; a floor from "
        f"{floors['pixels'].max():,} of their pixels at most. {cells.caution} Reference: {cells.labels}."
    )
