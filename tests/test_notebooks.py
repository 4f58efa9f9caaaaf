"""Each notebook is one clean run, at its default parameters, of the source that stands beside it."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))
LONGEST_FUNCTION = 10
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|var|usr|opt|mnt|Users|private)/|\b[A-Z]:\\\\?Users\\")

each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def executed(source: Path) -> nbformat.NotebookNode:
    """Return the committed .ipynb of a source, validated."""
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    return notebook


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """Return a cell's tags."""
    return list(cell.metadata.get("tags", []))


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the outputs of all code cells."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_notebooks_are_numbered_without_a_gap_and_all_paired() -> None:
    assert SOURCES, "no notebook"
    assert [int(path.name[:2]) for path in SOURCES] == list(range(len(SOURCES)))
    assert sorted(NOTEBOOKS.glob("*.ipynb")) == [path.with_suffix(".ipynb") for path in SOURCES]


@each_source
def test_executed_notebook_holds_the_source_cells(source: Path) -> None:
    written = [(cell.cell_type, cell.source.strip(), tags(cell)) for cell in jupytext.read(source).cells]
    run = [(cell.cell_type, cell.source.strip(), tags(cell)) for cell in executed(source).cells]
    assert run == written, "run 'make notebooks'"


@each_source
def test_every_code_cell_ran_once_from_top_to_bottom(source: Path) -> None:
    """nbval passes a cell that was never executed, so that this must be asked first."""
    counts = [cell.execution_count for cell in executed(source).cells if cell.cell_type == "code" and cell.source]
    assert counts == list(range(1, len(counts) + 1))
    assert counts


@each_source
def test_outputs_are_clean(source: Path) -> None:
    for output in outputs(executed(source)):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text[:300]
        data = {"text/plain": output.text} if output.output_type == "stream" else output.data
        assert "application/vnd.jupyter.widget-view+json" not in data, "a widget without state breaks on code hosts"
        for mime, content in data.items():
            if mime.startswith("text/"):
                found = ABSOLUTE_PATH.search(content)
                assert not found, f"{mime}: {content[max(0, found.start() - 60) : found.end() + 60]}"


@each_source
def test_file_is_small_and_free_of_run_metadata(source: Path) -> None:
    path = source.with_suffix(".ipynb")
    assert path.stat().st_size < 1_000_000
    notebook = executed(source)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    stamps = {"execution", "papermill"}
    assert not [cell.id for cell in notebook.cells if stamps & set(cell.metadata)], "timestamps: run 'make notebooks'"
    assert not re.search(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d", str(notebook.metadata))


@each_source
def test_parameters_are_literals(source: Path) -> None:
    """papermill sets them in a later cell: a value derived inside this one would keep the default."""
    (cell,) = [cell for cell in jupytext.read(source).cells if "parameters" in tags(cell)]
    values = {}
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.Assign | ast.AnnAssign), ast.unparse(statement)
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        assert isinstance(target, ast.Name)
        assert statement.value is not None
        values[target.id] = ast.literal_eval(statement.value)
    assert values["profile"] == "smoke"
    assert values["data"] == ""


@each_source
def test_notebook_calls_the_package_instead_of_defining_things(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text())):
        assert not isinstance(node, ast.ClassDef), f"class {getattr(node, 'name', '')}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= LONGEST_FUNCTION, f"{node.name} is too long"


@each_source
def test_notebook_asks_its_question_first(source: Path) -> None:
    first = jupytext.read(source).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


def test_a_number_that_nbval_compares_exists() -> None:
    """With --nbval-lax only tagged cells are compared; without any, the step would check no number."""
    checked = [
        (source.stem, cell.source)
        for source in SOURCES
        for cell in executed(source).cells
        if "nbval-check-output" in tags(cell)
    ]
    assert checked
