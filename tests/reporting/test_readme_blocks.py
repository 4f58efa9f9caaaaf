"""Blocks of README and docs come from results/, twice the same, and nothing around them moves."""

import json
from pathlib import Path

import pandas as pd
import pytest
from readme import refresh, rendered

from sardino.errors import SardinoError

TEXT = """# Title

<!-- sardino:timing -->
an earlier number
<!-- /sardino:timing -->
between
<!-- sardino:table1 laptop -->
<!-- /sardino:table1 -->
<!-- sardino:claims real -->
<!-- /sardino:claims -->
after
"""
RUN = {
    "profile": "laptop",
    "wall_s": 2580.0,
    "peak_memory_mb": 2048.0,
    "hardware": {"cpu": "A processor", "cores": 2, "gpu": None, "memory_gb": 8.0, "platform": "Linux x86_64"},
    "finished": "2026-01-02T03:04:05+00:00",
    "revision": "0123456789abcdef",
    "runs": 23,
}

CLAIMS = """claim,ours,low,high,verdict
"a, with a comma",0.04,0.01,0.07,supported
b,,,,undecided
c,-0.1,-0.2,-0.05,supported
"""


@pytest.fixture()
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    (folder / "laptop").mkdir(parents=True)
    (folder / "laptop" / "run.json").write_text(json.dumps(RUN))
    (folder / "laptop" / "table1.md").write_text("**Table 1**\n\n| a |\n| --- |\n| 0.412 |\n")
    (folder / "real").mkdir()
    (folder / "real" / "claims.csv").write_text(CLAIMS)
    return tmp_path


def test_blocks_show_what_was_published(project: Path) -> None:
    text = rendered(TEXT, project)
    assert "| `laptop` | 23 | 43 min | 2.0 GB | A processor, 2 cores, 8 GB | 2026-01-02 | `0123456789` |" in text
    assert "0.412" in text
    assert "3 claims: 2 supported, 1 undecided." in text
    assert "| a, with a comma | +0.040 [+0.010, +0.070] | supported |" in text
    assert "| b | - | undecided |" in text
    assert "an earlier number" not in text
    assert [line for line in text.splitlines() if line in {"# Title", "between", "after"}] == [
        "# Title",
        "between",
        "after",
    ]


def test_refreshing_twice_changes_nothing(project: Path) -> None:
    (project / "docs").mkdir()
    pages = [project / "README.md", project / "docs" / "results.md"]
    for page in pages:
        page.write_text(TEXT)
    assert refresh(project) == pages
    once = pages[0].read_text()
    assert refresh(project) == []
    assert [page.read_text() for page in pages] == [once, once]
    assert not list(project.glob(".README*"))


def test_a_changed_result_changes_the_readme(project: Path) -> None:
    before = rendered(TEXT, project)
    (project / "results" / "laptop" / "run.json").write_text(json.dumps(RUN | {"wall_s": 9000.0}))
    after = rendered(before, project)
    assert "2 h 30 min" in after
    assert after.replace("2 h 30 min", "43 min") == before


def test_what_was_not_run_says_how_to_run_it(tmp_path: Path) -> None:
    text = rendered(TEXT, tmp_path / "none")
    assert "`make reproduce PROFILE=real`" in text
    assert "0.412" not in text


@pytest.mark.parametrize(
    "text",
    [
        "<!-- sardino:timing -->\nno end",
        "<!-- sardino:colour laptop -->\n<!-- /sardino:colour -->",
        "<!-- sardino:table1 -->\n<!-- /sardino:table1 -->",
        "<!-- sardino:timing -->\n<!-- /sardino:table1 -->",
    ],
)
def test_a_wrong_block_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match=r"README\.md"):
        rendered(text, tmp_path)


def test_the_check_profile_is_no_result(project: Path) -> None:
    (project / "results" / "smoke").mkdir()
    (project / "results" / "smoke" / "run.json").write_text(json.dumps(RUN | {"profile": "smoke"}))
    assert "`smoke`" not in rendered(TEXT, project)


def test_a_damaged_run_is_named(project: Path) -> None:
    (project / "results" / "laptop" / "run.json").write_text('{"profile": "laptop"}')
    with pytest.raises(SardinoError, match=r"run\.json"):
        rendered(TEXT, project)


def test_notebooks_are_counted_and_asked(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    for number, question in enumerate(("Why?", "What\n# for?")):
        text = f"# %% [markdown]\n# # 0{number} A title\n#\n# **{question}**\n"
        (tmp_path / "notebooks" / f"0{number}_x.py").write_text(text)
    text = rendered("<!-- sardino:notebooks -->\n<!-- /sardino:notebooks -->\n", tmp_path)
    assert "2 notebooks" in text and "| [01 A title](notebooks/01_x.ipynb) | What for? |" in text
    (tmp_path / "notebooks" / "02_y.py").write_text("# # No question")
    with pytest.raises(SardinoError, match="02_y"):
        rendered(text, tmp_path)


def test_findings_have_a_row_for_each_model(project: Path) -> None:
    cell = {"initialisation": "scratch", "fraction": 10.0, "miou": 0.2, "low": 0.1, "high": 0.3, "paper_miou": 0.4}
    first = [{"regions": arm, "encoding": e, **cell} for arm in ("europe", "all") for e in ("attention", "tokens")]
    pd.DataFrame(first).assign(miou=[0.1, 0.1, 0.2, 0.2]).to_csv(project / "results/real/table1.csv")
    pd.DataFrame([{"encoding": "unet", **cell}]).to_csv(project / "results/real/table2.csv")
    block = "<!-- sardino:findings real -->\n<!-- /sardino:findings -->\n"
    text = rendered(block, project)
    assert "| Attention maps | 0.200 [0.100, 0.300] (0.400) | - | - |" in text and "| U-Net (only SAR) | 0.200" in text
    assert "Of the paper's 3 claims: 2 supported, 1 undecided." in text
    assert "PROFILE=laptop" in rendered(block.replace("real", "laptop"), project) and "floor" not in text
    floor = {**cell, "regions": None, "encoding": "logistic", "initialisation": "channels", "strongest": True}
    pd.DataFrame([{**first[0], "rising": True}, floor | {"miou": 0.3}]).to_csv(project / "results/real/table1.csv")
    text = rendered(block, project)
    assert "| Strongest floor: logistic regression of single pixels | 0.300* [0.100, 0.300] | - | - |" in text
    assert "| Attention maps | 0.200\N{UPWARDS ARROW} [" in text and "\N{UPWARDS ARROW} still rising" in text
