"""The gallery is one page with the published figures of every profile; it asks no server and no link of it is dead."""

import re
import shutil
from pathlib import Path

import pytest
from gallery import make_gallery
from html_page import Page

import sardino
from sardino.errors import SardinoError
from sardino.reporting.pages import illustrations

ROOT = Path(sardino.__file__).parents[1]
LARGEST = 5_000_000
FROM_TABLES = ("label_efficiency", "pretraining", "validation")
PROFILES = {"laptop": "Synthetic world, scaled down to a laptop", "real": "Real Sentinel-1"}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The published profiles in a project of their own; benchmarks are none, though they have figures."""
    return published(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """The same with one figure of each profile."""
    return published(tmp_path_factory.mktemp("small"), "*[!1].p??")


def published(root: Path, *without: str) -> Path:
    (root / "pyproject.toml").touch()
    for folder in ("notebooks", "results", "figures"):
        ignored = shutil.ignore_patterns("*.npz", "gallery.html", "smoke", *without)
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    return root.resolve()


@pytest.fixture(scope="module")
def gallery(root) -> Path:
    return make_gallery(root)


@pytest.fixture(scope="module")
def page(gallery) -> Page:
    return Page(gallery)


@pytest.fixture(scope="module")
def figures(root) -> int:
    return sum(len(illustrations(root / "figures" / name)) for name in PROFILES)


def test_it_is_one_small_file_with_nothing_left_beside_it(gallery, root):
    assert gallery == root / "results/gallery.html" and gallery.stat().st_size < LARGEST
    assert [path.name for path in root.glob("results/*gallery*")] == ["gallery.html"]


def test_it_shows_every_published_figure_with_words_for_who_cannot_see_it(page, figures):
    alts = page.all("img", "alt")
    assert all(alts) and len(set(alts)) == len(alts) == figures
    for title in PROFILES.values():
        assert title in page.words
    assert "Synthetic world (profile laptop)" in page.words and "benchmarks" not in page.words
    assert "Real chips, derived labels (profile real)" in page.words
    assert page.words.count("Code revision") == page.words.count("Seeds") == len(PROFILES)


def test_no_server_is_asked_and_no_link_is_dead(gallery, page, root):
    assert not {"script", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    loaded = [values["src"] for _, values in page.tags if "src" in values] + page.all("link", "href")
    assert loaded and all(source.startswith("data:") for source in loaded)
    assert not re.search(r"@import|url\(", gallery.read_text(encoding="utf-8"))
    ids = {values["id"] for _, values in page.tags if "id" in values}
    links = page.all("a", "href")
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    outside = [link for link in links if not link.startswith("#")]
    assert all((gallery.parent / link).is_file() for link in outside)
    assert {"laptop/report.html", "real/report.html"} <= set(outside)
    notebooks = {Path(link).name for link in outside if link.endswith(".ipynb")}
    assert notebooks == {path.name for path in root.glob("notebooks/*.ipynb")}


def test_every_figure_leads_to_the_notebook_that_draws_it(page):
    (fig5,) = [part for part in page.words.split("Figure 5.")[1:2]]
    assert fig5.splitlines()[0].endswith("05_attention")
    drawn = [f"figures/{name}/{stem}.png" for name in PROFILES for stem in FROM_TABLES]
    assert page.words.count("06_tables") == sum((ROOT / path).is_file() for path in drawn)


def test_it_is_the_same_each_time_and_shows_what_is_named_and_published_alone(small, tmp_path):
    before = make_gallery(small).read_bytes()
    assert make_gallery(small).read_bytes() == before
    assert make_gallery(small, ["real"]) == small / "results/gallery.html"
    words = Page(small / "results/gallery.html").words
    assert PROFILES["real"] in words and PROFILES["laptop"] not in words
    with pytest.raises(SardinoError, match="'smoke' has no published figures: run `sardino reproduce smoke`"):
        make_gallery(small, ["smoke"])
    with pytest.raises(SardinoError, match="no profile is published"):
        make_gallery(tmp_path)


def test_a_browser_shows_it_whole_and_without_complaint(browser, gallery, figures):
    view = browser.new_page(viewport={"width": 390, "height": 844})
    view.set_default_timeout(120_000)
    said, asked = [], []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    view.goto(gallery.as_uri(), wait_until="load")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [gallery.as_uri()]
    assert view.evaluate("Array.from(document.images, image => image.naturalWidth > 0)") == [True] * figures
    for width, beside in ((390, 1), (1600, 2)):
        view.set_viewport_size({"width": width, "height": 844})
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        lefts = view.evaluate("Array.from(document.images, image => Math.round(image.getBoundingClientRect().left))")
        assert len(set(lefts)) == beside
    view.close()
