"""Notebooks: a py:percent source run in a fresh kernel with checked parameters, and cleaned of what differs."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from sardino.errors import Paused, RunFailed, SardinoError
from sardino.files import write_text
from sardino.progress import stop_in_time, write_beat
from sardino.study.kept import ROWS, begin_cells, bring_back, set_aside
from sardino.study.plan import Run, dependencies
from sardino.study.report import publish_report
from sardino.study.workspace import Workspace

FINAL = ".final"  # suffix of the mark beside a failed notebook that another try would fail the same way
TRACEBACK_LINES = 12  # of a failed cell that the terminal shows; the notebook holds all
# papermill refuses a notebook without one; a fixed one keeps differences small.
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
PAIRING = {"formats": "ipynb,py:percent"}  # opened in Jupyter, the notebook stays paired with its source
PROGRESS_BAR = re.compile(r"\d+%\|.*\||\d+(it|s)/(s|it)\b|\b\d+it \[")
# A dependency's remark that progress widgets are not installed: about one machine, not about the result.
WIDGET_HINT = re.compile(r"TqdmWarning: IProgress not found|from \.autonotebook import tqdm")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# A path as a whole: neither the end of a longer one nor the beginning of another name. Before it may stand a colour's
# code, or the \n of a text that is shown with its quotes.
_PLACE = r"(?:(?<![\w.~-])|(?<=\dm)|(?<=\\n)){}(?:(?<=/)|(?![\w-]))"
INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds


class NotebookError(RunFailed):
    """A notebook stopped half way; `path` holds it up to the failure.

    The sentence is the SardinoError's, which says it all, or the last line of the traceback, whose end is `tail`. A
    fault of the input is `final`, not of the moment: another try would end the same.
    """

    def __init__(self, sentence: str, path: Path, tail: str = "", final: bool = False) -> None:
        super().__init__(sentence)
        self.sentence, self.path, self.tail, self.final = sentence, path, tail, final

    def __str__(self) -> str:
        return f"{self.tail}\n{self.path}" if self.tail else self.sentence


def run_planned(
    workspace: Workspace,
    run: Run,
    threads: int = 1,
    extra: Mapping[str, Any] | None = None,
    if_stale: bool = False,
    attempt: int = 1,
) -> bool:
    """Execute one run of the plan: its record, notebook and heartbeat lie in the workspace.

    Args:
        extra: parameters that replace the plan's.
        if_stale: leave it at the record of the last execution if nothing it depends on has changed.
        attempt: counted from 1; a later one is not made where the last failed for good.

    Returns False if the last record was kept.
    """
    failed, beat = workspace.failed(run.name), workspace.progress(run.name)
    if attempt > 1 and failed.with_suffix(FINAL).is_file():
        raise SardinoError(failed.with_suffix(".txt").read_text(encoding="utf-8").strip())
    known = {} if extra else dependencies(workspace, run)
    write_beat(beat, "", 0, 0)
    try:
        if if_stale and known and bring_back(workspace, run, known):
            return False
        stop_in_time()
        source = workspace.root / "notebooks" / f"{run.notebook}.py"
        parameters = {**workspace.given, **run.parameters, **(extra or {})}
        environment = {"SARDINO_PROGRESS": str(beat)}
        if known and run.kind in ROWS:
            environment |= begin_cells(workspace, run, known)
        run_notebook(workspace, source, run.name, parameters, workspace.record(run.name), threads, environment)
        if run.kind == "report":
            publish_report(workspace)
        if known:
            set_aside(workspace, run, known)
        return True
    except Paused:
        raise
    except SardinoError as error:
        write_text(f"{error}\n", failed.with_suffix(".txt"))
        raise
    finally:
        beat.unlink(missing_ok=True)


def make_report(workspace: Workspace) -> Path:
    """Execute the report's notebook on a profile's published results and write results/<profile>/report.html."""
    run_notebook(workspace, workspace.root / "notebooks" / "09_report.py", "report", workspace.given)
    return publish_report(workspace)


def run_notebook(
    workspace: Workspace,
    source: Path,
    name: str,
    parameters: Mapping[str, Any] | None = None,
    record: Path | None = None,
    threads: int = 1,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Execute a py:percent notebook in a fresh kernel and write it, cleaned of what tells about one machine.

    Args:
        name: of the .ipynb in the workspace, written whole or not at all; also of what a failing cell leaves.
        parameters: values of names in its cell tagged `parameters`; an unknown name is refused.
        record: what the notebook must leave behind; removed first, and again on failure.
        threads: CPU threads of the kernel's numerical libraries.
        environment: further environment variables of the kernel.

    Raises NotebookError: a cell failed, the kernel died, or the record is missing.
    """
    import jupytext
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if not source.is_file():
        raise SardinoError(f"no notebook source at {source}")
    root, output, failed = workspace.root, workspace.notebook(name), workspace.failed(name)
    parameters = dict(parameters or {})
    for stale in (failed, failed.with_suffix(".txt"), failed.with_suffix(FINAL), output, record):
        if stale is not None:
            stale.unlink(missing_ok=True)
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata["kernelspec"] = KERNELSPEC
    error: NotebookError | None = None
    with tempfile.TemporaryDirectory(prefix="sardino-") as temporary, _environment(threads, temporary, environment):
        draft, executed = Path(temporary) / f"{source.stem}.ipynb", Path(temporary) / "executed.ipynb"
        nbformat.write(nbformat.v4.upgrade(notebook), draft)
        # papermill only warns of a name that the notebook does not have, and goes on with its default.
        known = set(papermill.inspect_notebook(str(draft)))
        if unknown := ", ".join(sorted(set(parameters) - known)):
            there = ", ".join(sorted(known)) or "none"
            raise SardinoError(f"notebook {source.name} has no parameter {unknown}; it has {there}")
        options = {"cwd": str(root), "progress_bar": False, "start_timeout": 180}
        try:
            papermill.execute_notebook(str(draft), str(executed), parameters, **options)
        except PapermillExecutionError as fault:
            if fault.ename == Paused.__name__:
                raise Paused(fault.evalue) from None
            error = _error_of(fault, failed)
        except DeadKernelError:
            error = NotebookError(f"{source.name}: the kernel died, most likely for want of memory", failed)
        content = nbformat.read(executed if executed.is_file() else draft, as_version=4)
    if error is None and record is not None and not record.is_file():
        error = NotebookError(f"{source.name} ended without writing its record {record.name}", failed)
    # What a notebook says instead of folders of this machine.
    paths = {f"{root}{os.sep}": "", str(root): ".", os.path.expanduser("~"): "~"}
    if (data := Path(parameters.get("data") or "")).is_absolute():
        paths[str(data)] = data.name
    write_text(nbformat.writes(clean(content, source.stem, paths)) + "\n", failed if error else output)
    if error is not None:
        if record is not None:
            record.unlink(missing_ok=True)
        write_text(error.sentence + "\n", failed.with_suffix(".txt"))
        if error.final:
            write_text("", failed.with_suffix(FINAL))
        raise error


def clean(notebook: NotebookNode, name: str, replacements: Mapping[str, str]) -> NotebookNode:
    """Take out of an executed notebook what differs from run to run or tells about one machine, in place.

    Cell ids come from the notebook's name and the cell's index; timestamps, durations, progress bars and the split of
    printed text into pieces go; `replacements` turns absolute paths into relative ones.
    """
    version = notebook.metadata.get("language_info", {})
    language = {key: version[key] for key in ("name", "file_extension", "mimetype") if key in version}
    notebook.metadata = NotebookNode({"kernelspec": KERNELSPEC, "language_info": language, "jupytext": PAIRING})
    for index, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(f"{name}:{index}".encode()).hexdigest()[:8]
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = [_replaced(output, replacements) for output in _outputs(cell.outputs)]
            if INJECTED in tags:
                cell.source = _replaced(cell.source, replacements)
    return notebook


def _error_of(fault: Any, path: Path) -> NotebookError:
    """A SardinoError speaks for itself; any other exception needs its traceback."""
    if fault.ename == SardinoError.__name__:
        return NotebookError(fault.evalue, path, final=True)
    lines = ANSI.sub("", "\n".join(fault.traceback)).rstrip().splitlines()
    sentence = f"{fault.ename}: {fault.evalue}".splitlines()[0]
    return NotebookError(sentence, path, "\n".join(lines[-TRACEBACK_LINES:]) or sentence)


@contextmanager
def _environment(threads: int, temporary: str, extra: Mapping[str, str] | None) -> Iterator[None]:
    """The kernel's environment: it is fixed before the kernel starts, because hashing and threads read it once."""
    before = dict(os.environ)
    os.environ |= {
        "PYTHONHASHSEED": "0",
        "TZ": "UTC",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "NO_COLOR": "1",
        "TQDM_DISABLE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        **{f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")},
        # This interpreter's kernel, not one of the same name in the home folder; no history shared between kernels.
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_RUNTIME_DIR": temporary,
        "IPYTHONDIR": temporary,
        **(extra or {}),
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def _outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with printed text joined, as a terminal would show it in the end, and progress bars dropped."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        elif "application/vnd.jupyter.widget-view+json" not in output.get("data", {}):
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":  # text before a carriage return is overwritten
            lines = [line.rstrip("\r").rpartition("\r")[2] for line in ANSI.sub("", output.text).split("\n")]
            told = (line for line in lines if not (PROGRESS_BAR.search(line) or WIDGET_HINT.search(line)))
            output.text = "\n".join(told)
    return [output for output in joined if output.output_type != "stream" or output.text.strip()]


def _replaced(value: Any, replacements: Mapping[str, str]) -> Any:
    """Every text in a nested value with paths replaced, longest first; image data is left alone.

    The folder at the top of all is none of them: in a container it may be the home, and each slash is one.
    """
    if isinstance(value, str):
        for old in sorted(replacements, key=len, reverse=True):
            if Path(old).name:
                value = re.sub(_PLACE.format(re.escape(old)), replacements[old].replace("\\", r"\\"), value)
        return value
    if isinstance(value, list):
        return [_replaced(item, replacements) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not str(key).startswith("image/"):
                value[key] = _replaced(value[key], replacements)
    return value
