"""What the repository holds: nothing that works on one machine only, nothing too large, no broken record."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LARGEST = 15_000_000

# Folders of one machine; `$HOME`, `~` and /home/someone are no machine's.
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:work|root|home|Users|workspace|mnt|scratch)/(?!someone\b)\w")
# The folder of real chips is the reader's own: only examples of DATA= may name one place for it, and only this one.
SHARED = re.compile(r"shared/[\w./-]*")
SHARED_EXAMPLE = "shared/data/real"
MAY_SHOW_EXAMPLE = {"README.md", "docs/data.md", "Makefile", "sardino/study/profiles/real.toml"}


def tracked() -> list[Path]:
    """Return every file that is, or would be, committed."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout: there is no list of the project's files")
    paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and not path.name.endswith(".partial")]


def text_of(path: Path) -> str | None:
    """Return a text file's content, without images inlined as base64; None for a binary file."""
    content = path.read_bytes()
    if b"\0" in content[:8192] or path.suffix in {".pdf", ".png"}:
        return None
    text = content.decode("utf-8", errors="replace")
    return re.sub(r'("image/png": ")[^"]*', r"\1", text)


def test_no_file_names_a_machine() -> None:
    wrong = []
    for path in tracked():
        text = text_of(path)
        if text is None:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if found := MACHINE_PATH.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {found.group()}")
    assert wrong == []


def test_the_shared_folder_appears_only_as_an_example_of_data() -> None:
    wrong = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        text = text_of(path)
        if text is None or path == Path(__file__):
            continue
        for found in SHARED.findall(text):
            if not (name in MAY_SHOW_EXAMPLE and found.rstrip("./").startswith(SHARED_EXAMPLE)):
                wrong.append(f"{name}: {found}")
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("cd /work" + "/main", True),
        ("path=/home" + "/ada/data", True),
        ("https://example.org/home/ada", False),
        ("build/work/a", False),
        ("~/root/x", False),
        ("the /home page", False),
    ],
)
def test_the_rule_for_paths_tells_machines_from_links(line: str, refused: bool) -> None:
    assert bool(MACHINE_PATH.search(line)) is refused


def test_no_file_is_large() -> None:
    assert {path.name: path.stat().st_size for path in tracked() if path.stat().st_size > LARGEST} == {}


def test_every_published_record_is_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    for path in sorted(ROOT.glob("results/*/runs/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        assert record["format"] == "sardino-run", path


def test_nothing_is_pickled_and_no_module_is_compiled_in() -> None:
    forbidden = {".pkl", ".pickle", ".pt", ".pth", ".pyc", ".so", ".npy"}
    assert [path.name for path in tracked() if path.suffix in forbidden] == []
