"""The files of a run are what its source imports, however it is written, and nothing else."""

import pytest

from sardino.errors import SardinoError
from sardino.study.plan import hash_of_code, imported_files


@pytest.fixture
def package(tmp_path):
    files = {
        "__init__.py": "",
        "errors.py": "x = 1",
        "tiles/__init__.py": "",
        "tiles/grid.py": "from sardino.errors import x",
        "tiles/store.py": "from . import grid",
        "tiles/legend.csv": "1,2",
        "training/__init__.py": "",
        "training/loop.py": "def f():\n    from ..tiles.grid import y",
        "reporting/__init__.py": "",
        "reporting/figure.py": "import sardino.tiles.store",
    }
    for name, text in files.items():
        path = tmp_path / "sardino" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "sardino"


def imported(package, code):
    source = package.parent / "notebook.py"
    source.write_text("# %% [markdown]\n# prose\n# %%\n# %matplotlib inline\n" + code)
    return {path.relative_to(package).as_posix() for path in imported_files(source, package)}


TILES = {"__init__.py", "errors.py", "tiles/__init__.py", "tiles/grid.py", "tiles/legend.csv"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import numpy", set()),
        ("import sardino", {"__init__.py"}),
        ("from sardino.errors import x", {"__init__.py", "errors.py"}),
        ("from sardino import errors", {"__init__.py", "errors.py"}),
        ("from sardino.tiles import store", TILES | {"tiles/store.py"}),
        ("import sardino.tiles.store as s", TILES | {"tiles/store.py"}),
        ("from sardino.training.loop import f", TILES | {"training/__init__.py", "training/loop.py"}),
        ("from sardinopsis import errors", set()),
    ],
)
def test_files_follow_every_form_of_import(package, code, expected):
    assert imported(package, code) == expected


def test_code_that_a_source_does_not_import_is_not_in_it(package):
    assert not any(name.startswith("reporting") for name in imported(package, "from sardino.training import loop"))


def test_the_hash_sees_code_and_data_but_no_comment_or_layout(package):
    files = [package / "tiles" / "grid.py", package / "tiles" / "legend.csv"]
    before = hash_of_code(files)
    files[0].write_text("# why\nfrom sardino.errors import (\n    x,\n)\n")
    assert hash_of_code(files) == before
    files[0].write_text("from sardino.errors import x as y")
    changed = hash_of_code(files)
    files[1].write_text("1,3")
    assert len({before, changed, hash_of_code(files)}) == 3


def test_a_source_that_is_no_python_is_named(package):
    with pytest.raises(SardinoError, match=r"notebook\.py cannot be read as Python"):
        imported(package, "def :")
