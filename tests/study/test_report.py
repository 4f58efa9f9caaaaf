"""The report is one file that shows everything published, asks no server and reads well on a phone."""

import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from html_page import Page

import sardino
from sardino.reporting.pages import illustrations
from sardino.study.notebook import NotebookError, make_report
from sardino.study.plan import code_files, dependencies, hash_of_published, plan
from sardino.study.workspace import Workspace

ROOT = Path(sardino.__file__).parents[1]
LARGEST = 3_000_000
# Table 1 has a grid for each arm, Tables 1 and 2 the floors below; the claims, what runs share and the runs are too.
TABLES = (2 + 1) + (1 + 1) + 1 + 3


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Workspace:
    """The published laptop profile in a project of its own."""
    root = tmp_path_factory.mktemp("project").resolve()
    (root / "pyproject.toml").touch()
    for folder in ("notebooks", "results/laptop", "figures/laptop"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("*.pdf", "*.npz", "*.html"))
    return Workspace.open("laptop", root=root)


@pytest.fixture(scope="module")
def report(space) -> Path:
    return make_report(space)


@pytest.fixture(scope="module")
def figures(space) -> int:
    return len(illustrations(space.figures))


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report)


def test_it_is_one_small_file_and_nothing_is_left_beside_it(report, space):
    assert report == space.results / "report.html" and report.stat().st_size < LARGEST
    assert [path.name for path in space.results.iterdir() if "report" in path.name] == ["report.html"]


def test_nothing_in_it_makes_a_browser_ask_a_server(report, page):
    assert not {"script", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    loaded = [values["src"] for _, values in page.tags if "src" in values] + page.all("link", "href")
    assert loaded and all(source.startswith("data:") for source in loaded)
    assert not re.search(r"@import|url\(", report.read_text(encoding="utf-8"))
    (policy,) = [values["content"] for tag, values in page.tags if tag == "meta" and "http-equiv" in values]
    assert policy.startswith("default-src 'none'")


def test_no_link_is_dead_and_the_contents_lead_to_every_section(report, page):
    ids = {values["id"] for _, values in page.tags if "id" in values}
    links = [values["href"] for tag, values in page.tags if tag == "a" and values.get("class") != "anchor-link"]
    inside = {link[1:] for link in links if link.startswith("#")}
    sections = [values["id"] for tag, values in page.tags if tag == "h2"]
    assert inside <= ids and set(sections) == inside and len(sections) == 6
    outside = {link for link in links if not link.startswith("#")}
    assert all((report.parent / link).is_file() for link in outside)
    assert {Path(link).name for link in outside} >= {"02_pretraining.ipynb", "03_finetuning.ipynb"}


def test_it_shows_all_tables_claims_figures_and_runs(page, space, figures):
    assert Counter(tag for tag, _ in page.tags)["table"] == TABLES
    alts = page.all("img", "alt")
    assert all(alts) and len(set(alts)) == len(alts) == figures >= 7
    for name in ("Figure 1", "Figure 5", "Pretraining", "Realism", "Table 3 (synthetic world)"):
        assert name in page.words
    text = (space.results / "claims.md").read_text(encoding="utf-8")
    assert all(claim in page.words for claim in re.findall(r"^\| [\w.-]+ \| ([A-Z][^|]+?) \|", text, re.MULTILINE))
    assert "import time" not in page.words
    for record in (space.results / "runs").glob("finetune-*.json"):
        assert record.stem in page.words


def test_a_redrawn_figure_or_another_frame_makes_it_stale(space):
    before = hash_of_published(space)
    figure = space.figures / "fig1.png"
    content = figure.read_bytes()
    figure.write_bytes(content + b"\0")
    assert hash_of_published(space) != before
    figure.write_bytes(content)
    assert hash_of_published(space) == before
    run = {run.name: run for run in plan(space.profile)}["report"]
    assert dependencies(space, replace(run, needs=()))["published"] == before
    assert {"report.py", "report.css", "index.html.j2"} <= {path.name for path in code_files(space, run)}


def test_without_results_it_says_what_to_run(space, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    shutil.copytree(space.root / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("*.ipynb"))
    with pytest.raises(NotebookError, match="run `sardino reproduce laptop`"):
        make_report(Workspace.open("laptop", root=tmp_path))


def test_a_browser_shows_it_whole_and_without_complaint(browser, report, figures):
    view = browser.new_page(viewport={"width": 390, "height": 844})
    said, asked = [], []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    view.goto(report.as_uri(), wait_until="load")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert view.evaluate("Array.from(document.images, image => image.naturalWidth > 0)") == [True] * figures
    for width in (390, 1280):
        view.set_viewport_size({"width": width, "height": 844})
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        tall = view.evaluate("Array.from(document.querySelectorAll('table'), t => t.offsetHeight > 50)")
        assert tall == [True] * TABLES
    light = "getComputedStyle(document.body).backgroundColor"
    assert view.evaluate(light) == "rgb(255, 255, 255)"
    view.get_by_label("dark").check()
    assert view.evaluate(light) != "rgb(255, 255, 255)"
    view.close()
