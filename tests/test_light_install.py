"""`pip install .` without extras: tiles, pre-training, fine-tuning and maps work, and the rest says what to install."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections import defaultdict
from pathlib import Path

import pytest
import rasterio
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_layers import MODULES, PACKAGE, ROOT, imported, module_name

from sardino.study.extras import MODULES as OF_EXTRAS

EVERY = {module for modules in OF_EXTRAS.values() for module in modules}
LIGHT = ("data", "evaluation", "dino", "segmentation", "weights", "mapping", "cli")
NEEDED = [name for name in map(module_name, MODULES) if name.split(".")[1:2] and name.split(".")[1] in LIGHT]
NEEDED = [name for name in NEEDED if name != "sardino.data.sources.earthengine"]
NEEDED += [f"sardino.study.{name}" for name in ("arm", "segmenter", "preparation")]  # of pretrain, finetune and world

BLOCKED = f"""
import sys
from importlib.machinery import PathFinder

class WithoutExtras(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {EVERY!r} else PathFinder.find_spec(name, path, target)

sys.meta_path = [WithoutExtras if finder is PathFinder else finder for finder in sys.meta_path]
"""


def light() -> set[str]:
    """Normalised names of what the plain dependencies bring, down to the last that one of them needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plain, waiting = set(), [(Requirement(line).name, "") for line in project["dependencies"]]
    while waiting:
        asked = name, extra = waiting.pop()
        if asked not in plain:
            plain.add(asked)
            for need in map(Requirement, importlib.metadata.requires(name) or ()):
                if not need.marker or need.marker.evaluate({"extra": extra}):
                    waiting += [(canonicalize_name(need.name), each) for each in ("", *need.extras)]
    return {name for name, _ in plain}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, cwd=ROOT)


def test_what_makes_tiles_models_and_maps_needs_no_extra() -> None:
    done = run(f"import importlib\nfor name in {NEEDED!r}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_command_without_its_extra_says_which() -> None:
    told = {"report": "study", "reproduce smoke": "study", "ingest earthengine t.parquet out": "earthengine"}
    done = run(f"""
from typer.testing import CliRunner
from sardino.cli.app import app
for command in {[*told, "doctor"]!r}:
    done = CliRunner().invoke(app, command.split())
    print(done.exit_code, done.output, end=chr(0))
""")
    *refused, doctor, _ = done.stdout.split("\0")
    assert len(refused) == len(told), done.stderr[-2000:]
    for extra, said in zip(told.values(), refused, strict=True):
        assert said.startswith("2 error: ") and f"`pip install '.[{extra}]'`" in said and said.count("\n") == 1
    assert "without study, earthengine, tensorboard (pip install '.[study]')" in doctor


def test_each_module_of_others_is_brought_by_the_dependencies_or_by_a_known_extra() -> None:
    plain = light()
    brought_by = importlib.metadata.packages_distributions()
    for path in MODULES:
        for name in {each.partition(".")[0] for each in imported(path)} - sys.stdlib_module_names - {"sardino", ""}:
            owners = set(map(canonicalize_name, brought_by.get(name, ())))
            assert owners & plain or name in EVERY, f"{module_name(path)} imports {name}, which no dependency brings"


def test_an_extra_is_the_one_that_pyproject_names() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(OF_EXTRAS) <= set(extras)
    (own,) = [item for line in extras["dev"] if (item := Requirement(line)).name == "sardino"]
    assert own.extras == set(OF_EXTRAS), "`make` installs them all"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commands of an environment into which pip installed the wheel, beside links to what its dependencies bring."""
    source, home = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("bare")
    shutil.copytree(PACKAGE, source / "sardino", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    plain, owners = light(), defaultdict(set)
    for each in importlib.metadata.distributions():
        owner = canonicalize_name(each.name)  # parsed anew at each look
        for line in (each.read_text("RECORD") or "").splitlines():
            owners[re.split("[/,]", line, maxsplit=1)[0]].add(owner)
    for name in owners:
        if owners[name] <= plain and name not in ("..", "__pycache__"):
            (packages / name).symlink_to(Path(sysconfig.get_path("purelib")) / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", home, source], check=True)
    (wheel,) = home.glob("*.whl")
    into = ["--python", home / "bin/python", "install", "-q", "--no-deps", "--no-compile", "--no-index"]
    subprocess.run([*pip, *into, wheel], check=True)
    return home / "bin"


def test_a_bare_environment_makes_maps_from_an_empty_folder(bare: Path, tmp_path: Path) -> None:
    """Whatever the wheel lacks, a file of data or a module, stops one of these."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SARDINO", "VIRTUAL"))}

    def sardino(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([bare / "sardino", *words], capture_output=True, text=True, cwd=tmp_path, env=own)
        return done.returncode, done.stdout, done.stderr

    for line in (
        "scene scene.tif --size 96x96",
        "attend scene.tif -o attention.tif",
        "map scene.tif -o landcover.tif",
    ):
        code, _, told = sardino(*line.split())
        assert code == 0, told
    with rasterio.open(tmp_path / "landcover.tif") as land, rasterio.open(tmp_path / "attention.tif") as attention:
        assert land.shape == (96, 96) and attention.count > 1
    assert sardino("reproduce", "smoke") == (
        2,
        "",
        "error: what this needs is not installed: run `pip install '.[study]'` in the folder of sardino\n",
    )
