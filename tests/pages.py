"""What README.md and docs/ say to type, in the order of the page."""

import re
from pathlib import Path
from typing import Any

import typer

from sardino.cli.app import app

ROOT = Path(__file__).parents[1]
GROUP: Any = typer.main.get_command(app)


def page_paths(root: Path = ROOT) -> list[Path]:
    """README.md, then docs/ by name."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def commands_of(text: str) -> list[str]:
    """The lines of bash blocks without comments, and `make` and `sardino` commands within prose."""
    found = []
    for block, inline in re.findall(r"```bash\n(.*?)```|`((?:make|(?:\.venv/bin/)?sardino) [^`]+)`", text, re.DOTALL):
        found += [line.split("  #")[0].strip() for line in block.splitlines()] if block else [inline]
    return list(dict.fromkeys(found))


def verb_of(command: str) -> tuple[Any, list[str]]:
    """The command of the package that a line of `sardino` calls, and the words that are left for it."""
    _, *words = command.split(">")[0].split()
    found = GROUP
    while hasattr(found, "commands") and words and not words[0].startswith("-"):
        assert words[0] in found.commands, f"{command}: known are {sorted(found.commands)}"
        found, words = found.commands[words[0]], words[1:]
    return found, words


def is_whole(command: str) -> bool:
    """Whether a line of `sardino` can be run as it stands; prose also names commands without their arguments."""
    verb, words = verb_of(command)
    if "--help" in words or hasattr(verb, "commands"):
        return "--help" in words
    return bool(words) or not any(parameter.required for parameter in verb.params)
