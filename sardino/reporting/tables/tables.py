"""Tables 1, 2 and 3 as tidy frames: our number, its interval, the paper's; floors; in Table 3 why ours is another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from sardino.evaluation.floors import MODELS
from sardino.reporting.rows import ENCODINGS, HYBRID, INITIALISATIONS, SELF_TRAINED, WIDE, baseline_rows
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import BASELINES, CellKey, paper, paper_arm, paper_cells

SCORES = ["encoding", "initialisation", "fraction", "labelled_tiles", "draws", "seeds", "miou", "low", "high"]
SCORES += ["paper_miou", "steps", "gain_last_fifth", "rising", "strongest", "parameters", "decoder_parameters"]
LABELS = ["labels", "derived", "synthetic"]
CLASSES = 1000  # of the classifier that a ViT carries before anyone takes it off
SIZES = {"europe": "tiny", "all": "base"}  # the ViT of each of the paper's arms (section 3)
Results = Mapping[str, Any]


def table1(cells: Cells, titles: Mapping[str, str], fractions: Sequence[float]) -> pd.DataFrame:
    """Attention maps against tokens (paper, Table 1): one row per arm, encoding, initialisation and fraction; floors.

    `titles`: the profile's pre-training arms in order, with their headings; one that has cells of one encoding alone is
    shown with them. `fractions`: percent of labels; one that
    the paper lacks gets no paper_miou. Raises SardinoError: a cell is missing; names its run.
    """
    there = {(key.regions, key.encoding) for key in cells.arms}
    groups = [each for each in product(titles, ENCODINGS) if each in there] or product(titles, ENCODINGS)
    keys = [CellKey(1, *group, start, float(f)) for group in groups for start in INITIALISATIONS for f in fractions]
    return _frame(cells, keys, fractions, {**titles, "": "Floors"})


def table2(cells: Cells, fractions: Sequence[float]) -> pd.DataFrame:
    """U-Net with and without attention maps (paper, Table 2), and what else of U-Nets was run; floors."""
    there = {(key.encoding, key.initialisation) for key in cells.arms}
    encodings = [*BASELINES, *(each for each in (WIDE, HYBRID) if each in dict(there))]
    rows = [(encoding, start) for encoding in encodings for start in (*baseline_rows(encoding), SELF_TRAINED)]
    rows = [row for row in rows if row[1] != SELF_TRAINED or row in there]
    keys = [CellKey(2, "", *row, float(fraction)) for row in rows for fraction in fractions]
    return _frame(cells, keys, fractions)


def arms_and_floors(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a table's arms, and those of the floors below them."""
    floor = frame["encoding"].isin(MODELS)
    return frame[~floor], frame[floor]


def _frame(
    cells: Cells, keys: Sequence[CellKey], fractions: Sequence[float], titles: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Rows of these cells, then of the floors at these fractions, as far as they were run."""
    strongest = {floors[-1] for fraction in fractions if (floors := cells.floors(fraction))}
    below = [key for key in cells.confusions if not key.table and key.fraction in fractions]
    rows = []
    for key in [*keys, *below]:
        low, high = cells.interval(key)
        counterpart = replace(key, regions=paper_arm(key.regions) if key.table == 1 else "")
        row = {**cells.facts(key), "miou": cells.miou(key), "low": low, "high": high, **cells.source}
        row |= {"paper_miou": paper_cells().get(counterpart, np.nan), "strongest": key in strongest}
        rows.append({**row, "regions_title": (titles or {}).get(key.regions, "")})
    frame = pd.DataFrame(rows, columns=[*(["regions", "regions_title"] if titles else []), *SCORES, *LABELS])
    return frame.astype(dict.fromkeys(("steps", "parameters", "decoder_parameters"), "Int64"))


def table3(
    records: Sequence[Mapping[str, Any]],
    paper_size: Mapping[str, Results] | None = None,
    reference: Results | None = None,
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
    columns |= {f"this code at paper size: ViT {name.title()}": r for name, r in (paper_size or {}).items()}
    rows = []
    for entry in paper()["table3"]:
        row = {"parameter": entry["parameter"], "stated": entry["stated"]}
        row |= {f"paper: ViT {size.title()}": as_text(entry.get(size)) for size in ("tiny", "base")}
        row |= {name: as_text(look_up(results, entry["ours"])) for name, results in columns.items()}
        rows.append({**row, "difference": difference(entry, runs, paper_size or {}, reference)})
    return pd.DataFrame(rows)


def difference(
    entry: Mapping[str, Any], runs: Mapping[str, Results], built: Mapping[str, Results], reference: Results | None
) -> str:
    """Sentences on one row of Table 3; "" where nothing differs and nothing is left open.

    Args:
        entry: of paper.toml: parameter, ours (where results hold it), tiny, base, stated.
        runs: results of each pre-training arm.
        built: "tiny" and "base" as this code builds the paper's.
        reference: recipe of the reference implementation (Caron et al. 2021), if it is to be compared.
    """
    place = entry["ours"]
    parts = [_unstated(place, built, reference)] if entry["stated"] == "not stated" else []
    parts += [_built(place, size, results, entry) for size, results in built.items() if size in entry]
    reasons: dict[str, list[str]] = {}  # arms of one reason share a sentence
    for arm, results in runs.items():
        value, theirs = look_up(results, place), entry.get(SIZES[paper_arm(arm)])
        if theirs is None or value is None or rounds_to(value, theirs):
            continue
        if why := _why(place, value, theirs, results):
            reasons.setdefault(why, []).append(arm)
    parts += [f"Ours ({', '.join(arms)}): {why}." for why, arms in reasons.items()]
    return " ".join(part for part in parts if part)


def look_up(results: Results, place: str) -> Any:
    """A value by dotted place; None where the run does not state it."""
    value: Any = results
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def as_text(value: Any) -> str:
    """1e-06, 0.0005, 6,079,680, 0.4 to 1, or "-"."""
    if value is None:
        return "-"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, Sequence):
        return " to ".join(map(as_text, value))
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:g}"


def rounds_to(value: float, stated: float) -> bool:
    """Whether a number, rounded to as many digits as the stated one shows, is the stated one."""
    digits = len(f"{stated:e}".split("e")[0].rstrip("0").replace(".", "").lstrip("-"))
    return float(f"{value:.{max(digits, 1) - 1}e}") == float(stated)


def _unstated(place: str, built: Mapping[str, Results], reference: Results | None) -> str:
    """Where a number that the paper leaves out is taken from."""
    group, _, name = place.partition(".")
    taken = sorted({as_text(look_up(results, place)) for results in built.values()} - {"-"})
    if not taken:
        return "The paper does not say, and the recipe leaves it to the run."
    takes = f"The paper does not say; this code takes {' and '.join(taken)}"
    if reference is None or group != "recipe" or name not in reference:
        return f"{takes}."
    theirs = as_text(reference[name])
    if taken == [theirs]:
        return "The paper does not say; this code takes the reference implementation's."
    return f"{takes}, the reference implementation {theirs}."


def _built(place: str, size: str, results: Results, entry: Mapping[str, Any]) -> str:
    """What this code makes of the paper's own number."""
    value, stated = look_up(results, place), entry[size]
    if value is None or rounds_to(value, stated):
        return ""
    over = f"{100 * (value / stated - 1):+.1f} %"
    text = f"ViT {size.title()} has {as_text(value)} as built, {over} of the table's {as_text(stated)}."
    if (said := entry.get(f"{size}_text")) is not None:
        agrees = "what was built, rounded" if rounds_to(value, said) else "neither"
        text += f" The paper's text says {as_text(said)}: {agrees}."
    width = look_up(results, "architecture.width")
    if place == "architecture.parameters" and width and rounds_to(whole := value + (width + 1) * CLASSES, stated):
        text += f" With a classifier of {CLASSES} classes, which DINO takes off, it would have {as_text(whole)}: "
        text += "the table may have counted it."
    return text


def _why(place: str, value: float, theirs: float, results: Results) -> str:
    """Why a run chose its own number: of those that matter for more than size; any other was scaled."""
    steps = look_up(results, "steps")
    match place.removeprefix("recipe."):
        case "learning_rate":
            if steps is None:
                return ""
            moved = f"in {as_text(steps)} steps the paper's comes to {theirs * steps:.2g} at most"
            return f"AdamW moves a weight by about the rate a step: {moved}, {as_text(value)} to {value * steps:.2g}"
        case "centre_momentum":
            return f"remembers {1 / (1 - value):.0f} steps, the paper's {1 / (1 - theirs):.0f}"
        case "student_temperature":
            return f"gradients grow with 1 / temperature, {1 / value:.0f} here and {1 / theirs:.0f} in the paper"
        case "teacher_temperature" | "warmup_teacher_temperature":
            span = f"{2 / value:,.0f}, the paper's {2 / theirs:,.0f}"
            return f"cosines divided by it span {span}: its targets are sharper"
        case "teacher_warmup_epochs" if value == 0:
            return "one temperature throughout"
    recipe, tiles = look_up(results, "recipe.name"), look_up(results, "tiles")
    if None in (recipe, tiles, steps):
        return ""
    return f"recipe '{recipe}', scaled to {as_text(tiles)} tiles and {as_text(steps)} steps"
