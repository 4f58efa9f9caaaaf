"""The spec of a folder: known by name, read from a file, wrong keys named."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from sardino.data.sources.folder.specification import FolderSpec, built_in_specs
from sardino.errors import SardinoError


def test_the_built_in_specs_load() -> None:
    assert {"belgium-monthly", "finland-biomass", "los-angeles", "mapinwild", "terramesh"} <= set(built_in_specs())
    for name in built_in_specs():
        assert FolderSpec.load(name).name == name


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text + "\ncolour = 1\n", "labels.colour: Extra inputs"),
        (lambda text: text.replace('unit = "amplitude"', 'unit = "volt"'), "backscatter.unit"),
        (lambda text: text.replace("channels = [", "channels = [["), "not valid TOML"),
        (lambda text: text.replace("[layers.optical]", "[layers.photo]"), "unknown layer photo"),
    ],
)
def test_a_wrong_spec_is_refused_by_key(tmp_path: Path, edit: Callable[[str], str], message: str) -> None:
    text = (resources.files("sardino.data.sources.folder") / "specs" / "los-angeles.toml").read_text("utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8-sig")  # as Windows' Notepad saves it
    assert FolderSpec.load(path) == FolderSpec.load("los-angeles")
    path.write_text(edit(text))
    with pytest.raises(SardinoError, match=message):
        FolderSpec.load(path)


def test_an_unknown_spec_names_the_known_ones() -> None:
    with pytest.raises(SardinoError, match=r"use belgium-monthly, .*, terramesh-shards, or the path"):
        FolderSpec.load("atlantis")
