"""What every command has in common: whatever a person can put right is one sentence, and libraries keep silent."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sardino.cli.app import app

TOLD = """
import logging
import warnings
import sardino.study.doctor
from sardino.cli.app import app
from sardino.errors import SardinoError

def examine():
    warnings.warn("said by a library")
    logging.getLogger("a.library").warning("logged by a library")
    raise SardinoError("said by us")

sardino.study.doctor.examine = examine
app(["doctor"])
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["world", "OUT", "--tiles", "3x2", "--tile-px", "16", "--bands", "5", "--region", "conus"],
        ["scene", "OUT.tif", "--size", "64x64"],
        ["tiles", "grid", "5.5,49.8,5.6,49.9", "OUT.parquet", "--size-px", "96"],
        ["tiles", "grid", "5.5,49.8,5.6,49.9", "OUT.geojson", "--size-px", "96"],
        ["kubernetes", "OUT"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_place_that_cannot_be_written_is_one_sentence_of_any_command(tmp_path: Path, arguments: list[str]) -> None:
    """Under a file no folder can be made, whoever asks; a folder's mode would not stop root."""
    (tmp_path / "a [1] file").write_text("")
    out = str(tmp_path / "a [1] file" / "out")
    done = CliRunner().invoke(app, [word.replace("OUT", out) for word in arguments])
    assert done.exit_code == 2, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "a [1] file" in lines[0] and "choose another name" in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["a [1] file"]


def test_paths_may_have_blanks_and_brackets(tmp_path: Path) -> None:
    """From a world and a list of tiles to maps, packages and checks."""
    folder = tmp_path / "a [1], 'b' {c} #d"
    for command in (
        "world F/store --tiles 3x2 --tile-px 32 --bands 5 --region europe",
        "tiles mosaic F/store F/world.tif --band channels",
        "tiles pack F/store F/store.tar --title T --licence L --source S",
        "tiles unpack F/store.tar F/unpacked",
        "scene F/scene.tif --size 96x64",
        "map F/scene.tif -o F/cover.tif --confidence F/sure.tif",
        "attend F/scene.tif -o F/heads.tif",
        "tiles grid 2.28,48.52,2.32,48.545 F/t.parquet --size-px 32",
        "tiles chop F/t.parquet F/scene.tif F/cut",
        "tiles verify F/store",
    ):
        done = CliRunner().invoke(app, [word.replace("F/", f"{folder}/") for word in command.split()])
        assert done.exit_code == 0, f"{command}: {done.output}"


def test_what_libraries_warn_of_is_told_to_who_asks_for_it() -> None:
    def told(*flags: str) -> str:
        done = subprocess.run([sys.executable, *flags, "-c", TOLD], capture_output=True, text=True)
        assert done.returncode == 2
        return done.stderr

    assert told() == "error: said by us\n"
    assert "said by a library" in told("-W", "default")
