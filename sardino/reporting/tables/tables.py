"""Tables 1, 2 and 3 as tidy frames: our number, its interval, the paper's."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from sardino.reporting.rows import ENCODINGS, INITIALISATIONS, baseline_rows
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import BASELINES, CellKey, paper, paper_arm, paper_cells
from sardino.reporting.tables.table3_notes import as_text, difference, look_up

SCORES = ["encoding", "initialisation", "fraction", "labelled_tiles", "seeds", "miou", "low", "high", "paper_miou"]
LABELS = ["labels", "derived", "synthetic"]


def table1(cells: Cells, titles: Mapping[str, str], fractions: Sequence[float]) -> pd.DataFrame:
    """Attention maps against tokens (paper, Table 1): one row per arm, encoding, initialisation and fraction.

    Args:
        titles: the profile's pre-training arms in order, with their headings.
        fractions: percent of labels; one that the paper lacks gets no paper_miou.

    Raises:
        SardinoError: a cell is missing; names its run.
    """
    keys = [
        CellKey(1, arm, encoding, initialisation, float(fraction))
        for arm in titles
        for encoding in ENCODINGS
        for initialisation in INITIALISATIONS
        for fraction in fractions
    ]
    rows = [{"regions_title": titles[key.regions], **_row(cells, key)} for key in keys]
    return pd.DataFrame(rows, columns=["regions", "regions_title", *SCORES, *LABELS])


def table2(cells: Cells, fractions: Sequence[float]) -> pd.DataFrame:
    """U-Net with and without attention maps (paper, Table 2): 12 rows at three fractions."""
    keys = [
        CellKey(2, "", encoding, initialisation, float(fraction))
        for encoding in BASELINES
        for initialisation in baseline_rows(encoding)
        for fraction in fractions
    ]
    return pd.DataFrame([_row(cells, key) for key in keys], columns=[*SCORES, *LABELS])


def table3(
    records: Sequence[Mapping[str, Any]],
    paper_size: Mapping[str, Mapping[str, Any]] | None = None,
    reference: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Pre-training parameters (paper, Table 3), then what the paper states elsewhere or not at all.

    Args:
        records: of the pre-training runs; one column "ours: <arm>" each.
        paper_size: {"tiny": results, "base": results} of the paper's recipe built by this code at the paper's
            size, in the layout of a pre-training record's results; one column each.
        reference: the reference implementation's recipe, by which numbers that the paper leaves out are explained.

    Returns:
        One row per parameter, text for humans: a missing number is "-"; "difference" says why ours is not the paper's.
    """
    runs = {record["results"]["arm"]: record["results"] for record in records if record["kind"] == "pretrain"}
    columns = {f"ours: {arm}": results for arm, results in runs.items()}
    sized = {f"this code at paper size: ViT {name.title()}": r for name, r in (paper_size or {}).items()}
    rows = []
    for entry in paper()["table3"]:
        row = {"parameter": entry["parameter"], "stated": entry["stated"]}
        row |= {f"paper: ViT {size.title()}": as_text(entry.get(size)) for size in ("tiny", "base")}
        row |= {name: as_text(look_up(results, entry["ours"])) for name, results in {**columns, **sized}.items()}
        row["difference"] = difference(entry, runs, paper_size or {}, reference)
        rows.append(row)
    return pd.DataFrame(rows)


def _row(cells: Cells, key: CellKey) -> dict[str, Any]:
    low, high = cells.interval(key)
    counterpart = replace(key, regions=paper_arm(key.regions) if key.table == 1 else "")
    return {
        **asdict(key),
        "labelled_tiles": cells.labelled[key],
        "seeds": len(cells.seeds),
        "miou": cells.miou(key),
        "low": low,
        "high": high,
        "paper_miou": paper_cells().get(counterpart, np.nan),
        **cells.source,
    }
