"""A transcript keeps what was computed and drops what differs from run to run."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from sardino.study.notebook import clean


def executed():
    bar = "\r  0%|          | 0/3\r 66%|######    | 2/3 [00:01<00:00]\r100%|##########| 3/3 [00:01<00:00, 2.0it/s]\n"
    stream = [
        new_output("stream", name="stdout", text="read /home/someone/project/build/store\n"),
        new_output("stream", name="stdout", text="miou 0.25\n"),
        new_output("stream", name="stderr", text=bar),
        new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "bar"}),
        new_output("display_data", {"image/png": "/home/someone/project", "text/plain": "/home/someone/project/x"}),
    ]
    code = new_code_cell("x", outputs=stream, execution_count=1, metadata={"tags": ["nbval-check-output"]})
    code.metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
    code.metadata["papermill"] = {"duration": 0.1}
    notebook = new_notebook(cells=[new_markdown_cell("# A"), code])
    notebook.metadata["papermill"] = {"start_time": "2026-01-01T00:00:00"}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    return notebook


def cleaned():
    return clean(executed(), "01_a", {"/home/someone/project/": "", "/home/someone/project": "."})


def test_a_transcript_is_valid_and_the_same_each_time():
    first, second = cleaned(), cleaned()
    nbformat.validate(first)
    assert nbformat.writes(first) == nbformat.writes(second)
    assert first.cells[0].id != first.cells[1].id != clean(executed(), "02_b", {}).cells[1].id


def test_times_versions_and_paths_of_one_machine_are_gone_and_tags_stay():
    text = nbformat.writes(cleaned())
    for trace in ("2026-01-01", "duration", "3.11.7", "/home/someone/project/"):
        assert trace not in text
    assert cleaned().cells[1].metadata == {"tags": ["nbval-check-output"]}


def test_printed_text_is_joined_and_progress_bars_are_dropped():
    outputs = cleaned().cells[1].outputs
    assert [output.output_type for output in outputs] == ["stream", "display_data"]
    assert outputs[0].text == "read build/store\nmiou 0.25\n"


HOME = "/home/someone"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1/2 of /a and //", "1/2 of /a and //"),
        ("at /home/someone, '/home/someone/x' and file:///home/someone", "at ~, '~/x' and file://~"),
        *[(other, other) for other in (f"{HOME}2", f"{HOME}-2", f"/other{HOME}", f"x{HOME}")],
        ("\x1b[0;32m/home/someone/x\x1b[0m", "~/x"),
        ("/home/someone/project/x of /home/someone/project.", "x of .."),
    ],
)
def test_a_path_is_replaced_as_a_whole_and_the_top_of_all_never(text, shown):
    places = {"/": "~", "/home/someone": "~", "/home/someone/project/": "", "/home/someone/project": "."}
    cell = new_code_cell("1", outputs=[new_output("stream", name="stdout", text=text)])
    assert clean(new_notebook(cells=[cell]), "note", places).cells[0].outputs[0].text == shown


def test_image_bytes_are_left_alone():
    assert cleaned().cells[1].outputs[1].data == {"image/png": "/home/someone/project", "text/plain": "x"}


def test_a_remark_about_widgets_is_no_output():
    hint = "lib/tqdm/auto.py:21: TqdmWarning: IProgress not found. See docs\n  from .autonotebook import tqdm as t\n"
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", name="stderr", text=hint)])
    assert clean(nbformat.v4.new_notebook(cells=[cell]), "note", {}).cells[0].outputs == []
