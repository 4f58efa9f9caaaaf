"""What README.md and docs/ say to type exists, what they link to is there, and their numbers are those of results/."""

import ast
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from pages import GROUP, ROOT, commands_of, page_paths, verb_of
from readme import rendered
from test_layers import ALLOWED

from sardino.data.sources.folder.specification import FolderSpec

TEXTS = {path: path.read_text(encoding="utf-8") for path in page_paths()}
README = TEXTS[ROOT / "README.md"]
LINES = [part.strip() for text in TEXTS.values() for line in commands_of(text) for part in line.split("&&")]
MAKES = sorted({line for line in LINES if line.startswith("make ")})
VERBS = sorted({line for line in LINES if re.match(r"(?:\.venv/bin/)?sardino ", line)})
LINKS = [(path, link) for path, text in TEXTS.items() for link in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text)]


def test_readme_is_short_and_shows_the_two_commands() -> None:
    assert len(README.splitlines()) <= 150
    assert {"make reproduce", "make test"} <= set(MAKES)
    assert VERBS


@pytest.mark.parametrize("command", MAKES)
def test_make_target_exists(command: str) -> None:
    """A dry run with every file taken as new enough: the commands are resolved, none is executed."""
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("command", VERBS)
def test_sardino_verb_and_its_options_exist(command: str) -> None:
    verb, words = verb_of(command)
    known = {name for option in verb.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if re.match("--?[a-z]", word)} <= known | {"--help"}


def test_makefile_calls_verbs_and_options_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for verb, rest in re.findall(r"\$\(BIN\)/sardino ([a-z]+)(.*)", makefile):
        assert verb in GROUP.commands
        known = {name for option in GROUP.commands[verb].params for name in option.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= known


def test_every_makefile_target_has_its_line_of_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in phony.split():
        assert re.search(rf"^  make {target} +\S", shown, re.MULTILINE), target


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    }


@pytest.mark.parametrize(("page", "link"), [(page, link) for page, link in LINKS if "://" not in link])
def test_link_leads_somewhere(page: Path, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    assert target.exists() and target.is_relative_to(ROOT), link
    if anchor:
        assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_readme_leads_to_every_page() -> None:
    assert {f"docs/{page.name}" for page in page_paths()[1:]} <= {link for _, link in LINKS}


NAMED = sorted({n for text in TEXTS.values() for n in re.findall(r"`((?:tests|notebooks|sardino)/[\w./]+\w)`", text)})


@pytest.mark.parametrize("name", NAMED)
def test_named_file_exists(name: str) -> None:
    assert "NN" in name or (ROOT / name).exists()


SENTENCES = re.findall(r"^\| (.+?) \| .+? \| `(sardino/[\w/]+\.py)` \| `([\w.]+)` \|$", README, re.MULTILINE)


@pytest.mark.parametrize(("sentence", "file", "symbol"), SENTENCES)
def test_the_papers_sentence_is_in_the_code(sentence: str, file: str, symbol: str) -> None:
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for name in symbol.split("."):
        (found,) = [node for node in body if name in defined_by(node)]
        body = getattr(found, "body", [])
    assert len(sentence.split()) <= 12, "our own words, and few"


def defined_by(node: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_the_paper_in_the_code_has_a_row_for_each_part_of_the_method() -> None:
    assert len(SENTENCES) >= 12
    told = " ".join(sentence.lower() for sentence, _, _ in SENTENCES)
    for part in ("vv-vh", "bands", "crops", "ema", "centring", "u-net", "decoder", "labels", "cross-entropy", "miou"):
        assert part in told, part


def test_what_was_found_is_what_the_claims_say() -> None:
    """README tells these verdicts in prose."""
    verdicts = pd.read_csv(ROOT / "results/laptop/claims.csv").set_index("id")["verdict"]
    supported = ["unet-generally-wins", "sar-adds-to-attention", "attention-follows-land-cover"]
    assert set(verdicts[supported]) == {"supported"} and verdicts["small-gain-overall"] == "not supported"
    scores = pd.read_csv(ROOT / "results/laptop/metrics.csv")
    best = scores.loc[scores.groupby("fraction")["miou"].idxmax()].set_index("fraction")
    assert (best.loc[[0.1, 1.0], "table"] == 0).all() and best.loc[10.0, "encoding"] == "unet"
    against = pd.read_csv(ROOT / "results/laptop/differences.csv")
    against = against[(against["comparison"] == "arm - strongest floor") & (against["fraction"] == 10.0)]
    above = against[against["low"] > 0].groupby("encoding")["initialisation"].agg(set)
    assert above.to_dict() == {
        "tokens": {"scratch"}, "unet": {"scratch"}, "unet+attention": {"scratch", "frozen", "unfrozen"}}  # fmt: skip


def test_rooms_and_their_imports_are_those_of_the_rule() -> None:
    text = TEXTS[ROOT / "docs/development.md"]
    (ground,) = re.findall(r"under all of\s+them: (.+?)\. ", text)
    told: dict[str, set[str]] = {}
    for room, needs in re.findall(r"^\| `([\w.]+)` \| .* \| (.+) \|$", text, re.MULTILINE):
        told[room] = set(told) if needs == "all above" else set(re.findall(r"`([\w.]+)`", needs))
    under = set(re.findall(r"`(\w+)`", ground))
    assert told == {room: needs - under for room, needs in ALLOWED.items() if room not in {*under, "__main__"}}


def test_folder_specification_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", TEXTS[ROOT / "docs/data.md"], re.DOTALL)
    path = tmp_path / "my-chips.toml"
    path.write_text(example)
    spec = FolderSpec.load(path)
    assert spec.channels == ["vv", "vh"]
    assert len(spec.legend.classes) == 2


@pytest.mark.parametrize("page", page_paths(), ids=lambda path: path.name)
def test_numbers_are_those_of_the_results(page: Path) -> None:
    assert rendered(TEXTS[page], ROOT, page.name) == TEXTS[page], "run 'make readme'"
