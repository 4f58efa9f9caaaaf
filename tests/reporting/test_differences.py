"""Notes of Table 3 follow from numbers, and are silent where nothing differs."""

from typing import Any

import pytest

from sardino.reporting.tables.paper import paper
from sardino.reporting.tables.tables import as_text, difference, rounds_to

TINY = {"architecture": {"width": 192, "depth": 12, "parameters": 6_079_680}, "recipe": {"learning_rate": 1e-6}}
BASE = {"architecture": {"width": 768, "depth": 12, "parameters": 88_019_712}, "recipe": {"learning_rate": 1e-6}}
BUILT = {"tiny": TINY, "base": BASE}
ENTRIES = {entry["ours"]: entry for entry in paper()["table3"]}


def arm(**results: Any) -> dict[str, Any]:
    """A small run."""
    return {"steps": 240, "tiles": 576, "recipe": {"name": "small"}, "architecture": {}, **results}


def test_numbers_that_agree_need_no_note() -> None:
    for place in ("architecture.width", "recipe.learning_rate", "architecture.channels"):
        assert difference(ENTRIES[place], {}, BUILT, None) == ""
    assert difference(ENTRIES["architecture.width"], {"europe": TINY, "all": BASE}, BUILT, None) == ""


def test_the_large_vit_is_not_what_the_papers_table_says() -> None:
    """88.8 M in the table, 88 M in the text, 88,019,712 as built, 88,788,712 with a classifier of 1000 classes."""
    note = difference(ENTRIES["architecture.parameters"], {}, BUILT, None)
    assert "ViT Base has 88,019,712 as built, -0.9 %" in note and "ViT Tiny" not in note
    assert "text says 88,000,000: what was built, rounded" in note
    assert f"{88_019_712 + 768 * 1000 + 1000:,}" in note and "88,788,712" in note


def test_another_size_of_network_is_not_explained_by_a_classifier() -> None:
    other = {"base": {"architecture": {"width": 768, "parameters": 80_000_000}}}
    note = difference(ENTRIES["architecture.parameters"], {}, other, None)
    assert "-9.9 %" in note and "neither" in note and "classifier" not in note


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("learning_rate", 1e-3, "in 240 steps the paper's comes to 0.00024 at most, 0.001 to 0.24"),
        ("centre_momentum", 0.9, "remembers 10 steps, the paper's 100"),
        ("student_temperature", 0.1, "10 here and 33 in the paper"),
        ("teacher_temperature", 0.04, "span 50, the paper's 2,000"),
        ("teacher_warmup_epochs", 0, "one temperature throughout"),
        ("teacher_warmup_epochs", 2, "recipe 'small', scaled to 576 tiles and 240 steps"),
    ],
)
def test_reasons_are_computed(place: str, value: float, told: str) -> None:
    run = arm(recipe={"name": "small", place: value})
    note = difference(ENTRIES[f"recipe.{place}"], {"europe": run, "los-angeles": run}, {}, None)
    assert note.startswith("Ours (europe, los-angeles): ") and told in note


def test_each_arm_is_read_beside_its_own_vit() -> None:
    """The paper trained ViT-Tiny on Europe and ViT-Base on all: 12 heads are the paper's on all alone."""
    run = arm(architecture={"heads": 12})
    assert difference(ENTRIES["architecture.heads"], {"all": run}, {}, None) == ""
    assert "Ours (europe)" in difference(ENTRIES["architecture.heads"], {"europe": run}, {}, None)


def test_what_the_paper_leaves_out_has_its_source() -> None:
    built = {"tiny": {"recipe": {"prototypes": 65536, "local_crops": 4}, "architecture": {"depth": 12}}}
    reference = {"prototypes": 65536, "local_crops": 8}
    assert "takes the reference implementation's" in difference(ENTRIES["recipe.prototypes"], {}, built, reference)
    note = difference(ENTRIES["recipe.local_crops"], {}, built, reference)
    assert "this code takes 4, the reference implementation 8" in note
    assert "this code takes 12." in difference(ENTRIES["architecture.depth"], {}, built, reference)
    assert "leaves it to the run" in difference(ENTRIES["batch"], {"europe": arm(batch=32)}, built, reference)
    assert "this code takes 65,536." in difference(ENTRIES["recipe.prototypes"], {}, built, None)


def test_a_record_that_tells_little_gets_no_reason() -> None:
    assert difference(ENTRIES["recipe.learning_rate"], {"europe": {"recipe": {"learning_rate": 1.0}}}, {}, None) == ""
    assert difference(ENTRIES["architecture.width"], {"europe": {"architecture": {"width": 1}}}, {}, None) == ""


@pytest.mark.parametrize(
    ("value", "stated", "same"),
    [(6_079_680, 6.1e6, True), (88_019_712, 88.8e6, False), (88_019_712, 88e6, True), (448, 448, True), (0, 5, False)],
)
def test_rounding_is_to_the_digits_that_are_stated(value: float, stated: float, same: bool) -> None:
    assert rounds_to(value, stated) is same


def test_values_as_text() -> None:
    assert [as_text(v) for v in (None, 1e-6, 65536, [0.4, 1.0], True)] == ["-", "1e-06", "65,536", "0.4 to 1", "True"]
