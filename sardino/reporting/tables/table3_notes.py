"""Why a pre-training's parameter is not the paper's: a note per row of Table 3, from the recipes and built networks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sardino.reporting.tables.paper import paper_arm

CLASSES = 1000
"""Of the classifier that a ViT carries before anyone takes it off."""
SIZES = {"europe": "tiny", "all": "base"}
"""The ViT of each of the paper's arms (section 3)."""
Results = Mapping[str, Any]


def difference(
    entry: Mapping[str, Any], runs: Mapping[str, Results], built: Mapping[str, Results], reference: Results | None
) -> str:
    """Sentences on one row; "" where nothing differs and nothing is left open.

    Args:
        entry: of paper.toml: parameter, ours (where results hold it), tiny, base, stated.
        runs: results of each pre-training arm.
        built: "tiny" and "base" as this code builds the paper's.
        reference: recipe of the reference implementation (Caron et al. 2021), if it is to be compared.
    """
    place = entry["ours"]
    parts = [_unstated(place, built, reference)] if entry["stated"] == "not stated" else []
    parts += [_built(place, size, entry[size], results, entry) for size, results in built.items() if size in entry]
    parts += _ours(place, entry, runs)
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
    if abs(value) >= 1e4:
        return f"{value:,.0f}"
    return f"{value:g}"


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
    if reference is None or group != "recipe" or name not in reference:
        return f"The paper does not say; this code takes {' and '.join(taken)}."
    theirs = as_text(reference[name])
    if taken == [theirs]:
        return "The paper does not say; this code takes the reference implementation's."
    return f"The paper does not say; this code takes {' and '.join(taken)}, the reference implementation {theirs}."


def _built(place: str, size: str, stated: float, results: Results, entry: Mapping[str, Any]) -> str:
    """What this code makes of the paper's own number."""
    value = look_up(results, place)
    if value is None or rounds_to(value, stated):
        return ""
    over = f"{100 * (value / stated - 1):+.1f} %"
    text = f"ViT {size.title()} has {as_text(value)} as built, {over} of the table's {as_text(stated)}."
    if (said := entry.get(f"{size}_text")) is not None:
        agrees = "what was built, rounded" if rounds_to(value, said) else "neither"
        text += f" The paper's text says {as_text(said)}: {agrees}."
    width = look_up(results, "architecture.width")
    if place == "architecture.parameters" and width:
        whole = value + (width + 1) * CLASSES
        if rounds_to(whole, stated):
            text += (
                f" With a classifier of {CLASSES} classes, which DINO takes off, it would have {as_text(whole)}: "
                "the table may have counted it."
            )
    return text


def _ours(place: str, entry: Mapping[str, Any], runs: Mapping[str, Results]) -> list[str]:
    """Why arms of this run chose another number than the paper's arm; arms of one reason share a sentence."""
    reasons: dict[str, list[str]] = {}
    for arm, results in runs.items():
        value, paper = look_up(results, place), entry.get(SIZES[paper_arm(arm)])
        if paper is None or value is None or rounds_to(value, paper):
            continue
        why = REASONS.get(place, _scaled)
        if text := why(value, paper, results):
            reasons.setdefault(text, []).append(arm)
    return [f"Ours ({', '.join(arms)}): {text}." for text, arms in reasons.items()]


def _scaled(value: float, paper: float, results: Results) -> str:
    recipe, tiles, steps = (look_up(results, place) for place in ("recipe.name", "tiles", "steps"))
    known = None not in (recipe, tiles, steps)
    return f"recipe '{recipe}', scaled to {as_text(tiles)} tiles and {as_text(steps)} steps" if known else ""


def _rate(value: float, paper: float, results: Results) -> str:
    steps = look_up(results, "steps")
    if steps is None:
        return ""
    return (
        f"AdamW moves a weight by about the rate a step: in {as_text(steps)} steps the paper's comes to "
        f"{paper * steps:.2g} at most, {as_text(value)} to {value * steps:.2g}"
    )


def _memory(value: float, paper: float, results: Results) -> str:
    return f"remembers {1 / (1 - value):.0f} steps, the paper's {1 / (1 - paper):.0f}"


def _student(value: float, paper: float, results: Results) -> str:
    return f"gradients grow with 1 / temperature, {1 / value:.0f} here and {1 / paper:.0f} in the paper"


def _teacher(value: float, paper: float, results: Results) -> str:
    return f"cosines divided by it span {2 / value:,.0f}, the paper's {2 / paper:,.0f}: its targets are sharper"


def _warmup(value: float, paper: float, results: Results) -> str:
    return "one temperature throughout" if value == 0 else _scaled(value, paper, results)


REASONS: dict[str, Callable[[float, float, Results], str]] = {
    "recipe.learning_rate": _rate,
    "recipe.centre_momentum": _memory,
    "recipe.student_temperature": _student,
    "recipe.teacher_temperature": _teacher,
    "recipe.warmup_teacher_temperature": _teacher,
    "recipe.teacher_warmup_epochs": _warmup,
}
"""Of the numbers that matter for more than size; any other was scaled."""
