"""A project of toy notebooks around a copy of the package: real kernels, a real Snakemake, in seconds."""

import multiprocessing
import shutil
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from html_page import QUIET
from minute_world import PROFILE, minute_workspace

import sardino
from sardino.study.workspace import Workspace

# What keeps the repository is tested too, and imported as its scripts import it.
sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("benchmarks", "tools")]

TOY = """# %% [markdown]
# # {name}

# %% tags=["parameters"]
profile = "smoke"
data = ""
{parameters}

# %%
import os
import time
from pathlib import Path

from sardino.reporting.record import write_record
from sardino.study.workspace import Workspace
{imports}

started = time.time()
space = Workspace.open(profile, data)
run = Path(os.environ["SARDINO_PROGRESS"]).stem

# %%
{body}

# %%
_ = write_record(space.record(run), kind="{kind}", profile=profile, parameters={{}}, seeds=[0], data={{}},
                 results={{"threads": os.environ["OMP_NUM_THREADS"]}}, started=started)
"""

NOTEBOOKS = {
    "00_quickstart": ("quickstart", ""),
    "01_data_preparation": ("data", ""),
    "02_pretraining": ("pretrain", 'arm = "europe"'),
    "03_finetuning": ("finetune", 'regions = "europe"\nencoding = "attention"\ninitialisation = "scratch"'),
    "04_baselines": ("floors", ""),
    "05_attention": ("attention", ""),
    "06_tables": ("tables", ""),
    "07_claims": ("claims", ""),
    "08_realism": ("realism", ""),
    "09_report": ("report", ""),
}


LONGEST = ("test_benchmarks.py", "test_kubernetes.py", "test_reproduce.py", "test_page_commands.py", "test_forecast.py")
"""Files that take a minute or more begin, so that no worker waits for one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


class Project:
    """A project folder whose notebooks can be rewritten."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(Path(sardino.__file__).parent, root / "sardino", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "pyproject.toml").write_text("")
        (root / "requirements.lock").write_text("numpy==2\n")
        (root / "notebooks").mkdir()
        for name in NOTEBOOKS:
            self.notebook(name)

    def notebook(self, name: str, body: str = "print(run)", imports: str = "") -> Path:
        kind, parameters = NOTEBOOKS[name]
        path = self.root / "notebooks" / f"{name}.py"
        path.write_text(TOY.format(name=name, kind=kind, parameters=parameters, body=body, imports=imports))
        return path

    def records(self) -> dict[str, bytes]:
        """Bytes of each record: a run executed again writes another time."""
        return {path.stem: path.read_bytes() for path in (self.root / "build/smoke/runs").glob("*.json")}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project").resolve())


@pytest.fixture(scope="module")
def small_world(tmp_path_factory) -> Path:
    """A project folder with the profile of a minute, minute.toml, and no notebook yet."""
    root = tmp_path_factory.mktemp("small").resolve()
    (root / "notebooks").mkdir()
    (root / "pyproject.toml").touch()
    (root / "minute.toml").write_text(PROFILE)
    return root


@pytest.fixture(scope="session")
def minute_tiles(tmp_path_factory) -> Path:
    """The tile store of the profile of a minute, to be copied and not to be changed."""
    return minute_workspace(tmp_path_factory.mktemp("tiles")).store


@pytest.fixture(scope="module")
def minute(tmp_path_factory, minute_tiles) -> Workspace:
    """A workspace of the profile of a minute, with its tiles."""
    return minute_workspace(tmp_path_factory.mktemp("minute").resolve(), minute_tiles)


@pytest.fixture(autouse=True)
def _no_other_build(monkeypatch):
    monkeypatch.delenv("SARDINO_BUILD", raising=False)


@pytest.fixture(scope="module")
def browser():
    """The browser that is installed, which asks for nothing; while it is open, no event loop can be started here."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        pytest.skip("no browser: no page was opened in one (install chromium)")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found[0], args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """Processes that begin with torch and the package loaded; a test process has one server of them, whoever asks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["sardino.dino.pretrain", "sardino.dino.session", "sardino.data.sources.ingest", "made_source", "rank"]
    )
    return context
