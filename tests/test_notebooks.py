"""Each notebook is one clean run, at its default parameters, of the source that stands beside it."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
REFERENCES = Path(__file__).parent / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))
LONGEST_FUNCTION, IMPORT_LINES = 10, 6
MOST_BYTES = {NOTEBOOKS: 1_500_000, REFERENCES: 60_000}
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|var|usr|opt|mnt|Users|private)/|\b[A-Z]:\\\\?Users\\")

each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
each_folder = pytest.mark.parametrize("folder", [NOTEBOOKS, REFERENCES], ids=["for readers", "for nbval"])


def executed(source: Path, folder: Path = NOTEBOOKS) -> nbformat.NotebookNode:
    """Return an executed .ipynb of a source, validated: of a trained run for readers, or of smoke for nbval."""
    notebook = nbformat.read(folder / f"{source.stem}.ipynb", as_version=4)
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
    for folder in (NOTEBOOKS, REFERENCES):
        assert sorted(folder.glob("*.ipynb")) == [folder / f"{path.stem}.ipynb" for path in SOURCES]


@each_folder
@each_source
def test_executed_notebook_holds_the_source_cells(source: Path, folder: Path) -> None:
    """Besides them it holds one cell, the values that this run was given, behind the cell of parameters."""
    written = [(cell.cell_type, cell.source.strip(), tags(cell)) for cell in jupytext.read(source).cells]
    ran = [(cell.cell_type, cell.source.strip(), tags(cell)) for cell in executed(source, folder).cells]
    injected = [cell for cell in ran if cell[2] == ["injected-parameters"]]
    assert [cell for cell in ran if cell not in injected] == written, "run 'make notebooks'"
    places = [n for n, cell in enumerate(ran) if cell in injected]
    assert not injected or places == [[cell[2] for cell in ran].index(["parameters"]) + 1]


def test_notebooks_for_readers_show_one_profile_and_references_show_smoke() -> None:
    for source in SOURCES:
        values = [cell.source for cell in executed(source, REFERENCES).cells if "injected-parameters" in tags(cell)]
        assert all('profile = "smoke"' in value for value in values)


@each_folder
@each_source
def test_every_code_cell_ran_once_from_top_to_bottom(source: Path, folder: Path) -> None:
    """nbval passes a cell that was never executed, so that this must be asked first."""
    counts = [
        cell.execution_count for cell in executed(source, folder).cells if cell.cell_type == "code" and cell.source
    ]
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


@each_folder
@each_source
def test_file_is_small_and_free_of_run_metadata(source: Path, folder: Path) -> None:
    assert (folder / f"{source.stem}.ipynb").stat().st_size < MOST_BYTES[folder]
    notebook = executed(source, folder)
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
def test_a_run_is_opened_by_one_call_and_recorded_by_one(source: Path) -> None:
    """What a record needs beside the results is known when the run is opened."""
    text = source.read_text()
    assert "write_record" not in text
    looks = "open_explorer(" in text or "shown_study(" in text  # it is no run: nothing is recorded
    assert len(re.findall(r"\bopen_(?:run|row)\(", text)) == (0 if looks else 1)
    assert len(re.findall(r"\brecord_row\(|\brun\.record\(", text)) == (0 if looks else 1)


@each_source
def test_imports_are_few(source: Path) -> None:
    imports = [
        node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert sum((node.end_lineno or 0) - node.lineno + 1 for node in imports) <= IMPORT_LINES


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
        for cell in executed(source, REFERENCES).cells
        if "nbval-check-output" in tags(cell) and cell.outputs
    ]
    assert checked
