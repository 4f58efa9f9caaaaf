"""What messages, helps, pages and notebooks tell a person to type exists: each command, and each option on it."""

import ast
import re
from collections.abc import Iterator
from typing import Any

from pages import GROUP, ROOT, page_paths

PACKAGE = ROOT / "sardino"
TEXT_FILES = [path for path in PACKAGE.rglob("*.*") if path.suffix in {".toml", ".md", ".sbatch", ".yaml"}]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))

COMMAND = re.compile(r"(`|Example: |Command: +|: |; |; then |^[#>\s]*)sardino ([^`\n;>|]+)", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
QUOTED_COMMAND = re.compile(r"`[a-z][^`]*`")
FOREIGN = re.compile(
    r"torchrun [^.;]*|lower --nproc-per-node|tensorboard --logdir|rio [^`,;]*|sbatch(, as in| pretrain).*|--hash=.*"
    r"|geetiles.*"
)
"""Options of other programs, and those that users of geetiles know their counterparts by."""

ADVISED_BY = {
    "data/places/leakage.py": ["tiles split"],
    "data/rasters/axes.py": ["tiles chop"],
    "data/rasters/chop.py": ["tiles chop"],
    "data/rasters/label_shares.py": ["tiles shares"],
    "data/rasters/mosaic.py": ["tiles mosaic"],
    "dino/parallel.py": ["pretrain"],
    "dino/runtime.py": ["pretrain", "attend", "map", "embed", "evaluate"],
    "mapping/model.py": ["attend", "map", "embed"],
    "mapping/resume.py": ["attend", "map", "embed"],
    "mapping/scene_map.py": ["attend", "map", "embed"],
    "mapping/store_tokens.py": ["embed"],
    "mapping/table.py": ["embed"],
    "study/evaluate.py": ["evaluate"],
    "study/cluster.py": ["reproduce"],
    "study/segmenter.py": ["finetune"],
    "study/workspace.py": ["reproduce", "report", "notebook"],
    "weights/adopt.py": ["adopt"],
    "weights/adoption.py": ["adopt"],
    "weights/components.py": ["embed"],
    "weights/layouts.py": ["adopt"],
}
"""Files outside the command line whose sentences name an option, and the commands that may say them."""


def verbs(group: Any = GROUP, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its whole name."""
    for word, command in group.commands.items():
        yield from verbs(command, f"{name}{word} ") if hasattr(command, "commands") else [(f"{name}{word}", command)]


VERBS = dict(verbs())


def options_of(command: Any) -> set[str]:
    return {"--help"} | {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


def strings_of(tree: ast.AST) -> list[str]:
    """The texts of a module; what an f-string puts in is an X."""
    found, parts = [], set()
    for node in ast.walk(tree):  # an f-string comes before its own parts
        if isinstance(node, ast.JoinedStr):
            parts |= set(map(id, node.values))
            found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            found.append(node.value)
    return found


def fault_of(command: str) -> str | None:
    """What of a line behind `sardino` does not exist."""
    command_or_group, words = GROUP, [word.rstrip(".,:)") for word in command.split()]
    while hasattr(command_or_group, "commands") and words and re.match("[a-z]", words[0]):
        if words[0] not in command_or_group.commands:
            return f"sardino {command}: no command {words[0]}"
        command_or_group = command_or_group.commands[words.pop(0)]
    named = {found[0] for word in words if (found := re.match(r"--?[a-z][\w-]*", word))}
    if unknown := named - options_of(command_or_group):
        return f"sardino {command}: no option {', '.join(unknown)}"
    return None


def commands_in(text: str) -> Iterator[str]:
    """Lines behind `sardino`; prose about the package, in which no option stands, is none."""
    for before, command in COMMAND.findall(text):
        known = command.split()[0].rstrip(".,:)") in GROUP.commands
        if before in ("`", "Example: ") or before.startswith("Command") or known or " --" in command:
            yield command


def options_in(text: str) -> set[str]:
    """Options that a sentence names by themselves; a text of nothing but options is a list for another program."""
    if re.fullmatch(r"\s*--?[\w=-]+(\s+--?[\w=-]+)*\s*", text):
        return set()
    named = OPTION.findall(FOREIGN.sub("", QUOTED_COMMAND.sub("", COMMAND.sub("", text))))
    return {option for option in named if "_" not in option}


def test_every_command_that_is_told_exists() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*TEXT_FILES, *NOTEBOOKS, *page_paths())]
    for path in PACKAGE.rglob("*.py"):
        texts += strings_of(ast.parse(path.read_text(encoding="utf-8")))
    commands = {command for text in texts for command in commands_in(text)}
    assert len(commands) > len(VERBS)
    assert [fault for command in sorted(commands) if (fault := fault_of(command))] == []


def test_every_option_that_a_sentence_names_is_one_of_its_commands() -> None:
    """The help of a command speaks of its own options; a sentence of another room, of those that may say it."""
    wrong, used, every = [], set(), set().union(*map(options_of, VERBS.values()))
    by_function = {(each.callback.__module__, each.callback.__name__): options_of(each) for each in VERBS.values()}
    for path in sorted(PACKAGE.rglob("*.py")):
        tree, name = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(PACKAGE).as_posix()
        said_by = [options_of(VERBS[verb]) for verb in ADVISED_BY.get(name, ())]
        for node in tree.body:
            named = {option for text in strings_of(node) for option in options_in(text)}
            function = f"sardino.{name.removesuffix('.py').replace('/', '.')}", getattr(node, "name", "")
            known = set.intersection(*said_by) if said_by else by_function.get(function, every)
            wrong += [f"{name}:{node.lineno}: {option}" for option in sorted(named - known)]
            used |= {name} if named else set()
    assert wrong == []
    assert set(ADVISED_BY) <= used


def test_every_option_on_a_page_or_in_a_notebook_exists() -> None:
    known = set().union(*map(options_of, VERBS.values()))
    for path in (*page_paths(), *NOTEBOOKS):
        named = set(re.findall(r"`(--[a-z][\w-]*)", path.read_text(encoding="utf-8")))
        # sbatch's, and the one that the page on development makes to show how.
        assert named <= known | {"--gres", "--koleo"}, path.name


def test_what_does_not_exist_is_found() -> None:
    assert list(map(fault_of, ["tiles grid", "map SCENE -o m.tif --model X", "plan X --profile smoke"])) == [None] * 3
    assert fault_of("import-folder") and fault_of("tiles fly out") and fault_of("map SCENE --epsg 1")
    assert list(commands_in("run `sardino fly`, or sardino flies")) == ["fly"]
    assert options_in("say --unit db; torchrun --nproc-per-node 4") == {"--unit"}
    assert options_in("--executor") == options_in("`pip install --user x`") == set()
