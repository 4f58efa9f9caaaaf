"""What readers see is a run that was made, under the prose of today's source; never outputs of other code."""

import jupytext
import nbformat
import publish
import pytest
from minute_world import PROFILE
from publish import publish_notebook, representative

from sardino.errors import SardinoError
from sardino.study.notebook import run_notebook
from sardino.study.workspace import Workspace

SOURCE = """# %% [markdown]
# # Toy

# %% tags=["parameters"]
profile = "smoke"
data = ""
arm = "nobody"

# %% tags=["nbval-check-output"]
print({"b", "a"}, profile, arm)

# %%
from IPython.display import Image

print("bulky")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project in which the pre-training of the first arm was run, and a notebook that is no part of the plan."""
    root = tmp_path_factory.mktemp("project").resolve()
    (root / "minute.toml").write_text(PROFILE)
    source = root / "notebooks" / "02_pretraining.py"
    source.parent.mkdir()
    source.write_text(SOURCE)
    (root / "notebooks" / "10_explorer.py").write_text(SOURCE.replace("nobody", "somebody"))
    space = Workspace.open(str(root / "minute.toml"), root=root)
    given = {"profile": "minute", "arm": "europe"}
    run_notebook(space, source, "pretrain-europe", given)
    return space, source


def cells(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook.cells


def test_the_run_of_the_first_arm_is_shown_with_the_values_that_it_was_given(made):
    space, source = made
    target = publish_notebook(space, source)
    assert target == source.with_suffix(".ipynb")
    shown = cells(target)
    assert [cell.metadata.get("tags", []) for cell in shown][1:4] == [
        ["parameters"],
        ["injected-parameters"],
        ["nbval-check-output"],
    ]
    assert 'arm = "europe"' in shown[2].source and "minute europe" in shown[3].outputs[0].text
    rest = [cell.source for cell in shown if cell is not shown[2]]
    assert rest == [cell.source for cell in jupytext.read(source).cells]
    assert [cell.execution_count for cell in shown if cell.cell_type == "code"] == [1, 2, 3, 4]
    assert target.read_bytes() == publish_notebook(space, source).read_bytes()


def test_prose_and_comments_are_todays_and_other_code_is_refused(made):
    space, source = made
    before = source.read_text()
    try:
        source.write_text(
            before.replace("# # Toy", "# # A better title").replace('print("bulky")', 'print("bulky")  # so')
        )
        shown = cells(publish_notebook(space, source))
        assert shown[0].source == "# A better title" and shown[-1].source.endswith("# so")
        assert shown[-1].outputs[0].text == "bulky\n"
        for other in (before.replace('"bulky"', '"slim"'), before.replace('tags=["nbval-check-output"]', "")):
            source.write_text(other)
            with pytest.raises(SardinoError, match=r"02_pretraining\.py has other code .* run `sardino reproduce"):
                publish_notebook(space, source)
    finally:
        source.write_text(before)


def test_a_run_that_was_never_made_is_named_and_one_too_large_is_refused(made, monkeypatch):
    space, source = made
    with pytest.raises(SardinoError, match=r"tokens-unfrozen\.ipynb does not exist: run `sardino reproduce"):
        publish_notebook(space, source.with_name("03_finetuning.py"))
    monkeypatch.setattr(publish, "MOST_BYTES", 1000)
    with pytest.raises(SardinoError, match=r"more than 0\.001: show less"):
        publish_notebook(space, source)


def test_a_notebook_that_is_no_run_is_executed_as_it_is(made):
    space, source = made
    shown = cells(publish_notebook(space, source.with_name("10_explorer.py")))
    assert [cell.source for cell in shown] == [
        c.source for c in jupytext.read(source.with_name("10_explorer.py")).cells
    ]
    assert "smoke somebody" in shown[2].outputs[0].text


def test_references_keep_what_is_compared_alone(made, monkeypatch):
    space, source = made
    monkeypatch.setattr(publish, "REFERENCE", space.profile.name)
    target = publish_notebook(space, source)
    assert target == space.root / "tests" / "notebooks" / "02_pretraining.ipynb"
    assert [bool(cell.outputs) for cell in cells(target) if cell.cell_type == "code"] == [False, False, True, False]
    monkeypatch.undo()
    smoke = Workspace.open("smoke", root=space.root)
    assert publish_notebook(smoke, source.with_name("10_explorer.py")).parent == target.parent


@pytest.mark.parametrize("name", ["smoke", "laptop", "real", "paper"])
def test_every_profile_has_a_run_to_show_of_each_notebook(name):
    profile = Workspace.open(name).profile
    shown = {stem: representative(profile, stem) for stem in ("02_pretraining", "03_finetuning", "04_baselines")}
    first = profile.arms[0]
    names = [f"pretrain-{first}", f"finetune-{first}-tokens-unfrozen", "floors"]
    assert [run.name if run else "" for run in shown.values()] == names
    assert representative(profile, "10_explorer") is None
