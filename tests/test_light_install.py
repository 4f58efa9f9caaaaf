"""`pip install .` without extras: tiles, pre-training, fine-tuning and maps work, and the rest says what to install."""

import importlib.metadata
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_layers import MODULES, ROOT, imported, module_name

from sardino.study.extras import MODULES as OF_EXTRAS

EVERY = {module for modules in OF_EXTRAS.values() for module in modules}
LIGHT = ("data", "evaluation", "dino", "segmentation", "weights", "mapping", "cli")
NEEDED = [name for name in map(module_name, MODULES) if name.split(".")[1:2] and name.split(".")[1] in LIGHT]
NEEDED = [name for name in NEEDED if name != "sardino.data.sources.earthengine"]
NEEDED += ["sardino.study.arm", "sardino.study.preparation"]  # of `sardino pretrain` and `sardino world`

BLOCKED = f"""
import sys
from importlib.machinery import PathFinder

class WithoutExtras(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {EVERY!r} else PathFinder.find_spec(name, path, target)

sys.meta_path = [WithoutExtras if finder is PathFinder else finder for finder in sys.meta_path]
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, cwd=ROOT)


def test_what_makes_tiles_models_and_maps_needs_no_extra() -> None:
    done = run(f"import importlib\nfor name in {NEEDED!r}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_command_without_its_extra_says_which() -> None:
    told = {"gallery": "study", "reproduce smoke": "study", "ingest earthengine t.parquet out": "earthengine"}
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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plain, waiting = set(), [Requirement(line).name for line in project["dependencies"]]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in plain:
            plain.add(name)
            needs = map(Requirement, importlib.metadata.requires(name) or ())
            waiting += [each.name for each in needs if not each.marker or each.marker.evaluate({"extra": ""})]
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
