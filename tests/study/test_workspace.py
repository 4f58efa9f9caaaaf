"""All paths of a profile lie in one project folder, and wrong ones are refused."""

import pytest

from sardino.errors import SardinoError
from sardino.study.workspace import Workspace, project_root


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("SARDINO_BUILD", raising=False)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path.resolve()


def test_paths_lie_in_build_results_and_figures(project):
    space = Workspace.open("smoke", root=project)
    assert space.record("data") == project / "build/smoke/runs/data.json"
    assert space.store == project / "build/smoke/store"
    assert space.pretrain("europe") == project / "build/smoke/pretrain/europe"
    assert space.results == project / "results/smoke" and space.figures == project / "figures/smoke"
    with pytest.raises(SardinoError, match="no arm"):
        space.pretrain("asia")


def test_the_build_folder_moves_with_the_environment(project, monkeypatch, tmp_path):
    monkeypatch.setenv("SARDINO_BUILD", str(tmp_path / "scratch"))
    assert Workspace.open("smoke", root=project).build == tmp_path / "scratch" / "smoke"


def test_the_root_is_found_from_any_folder_inside(project, monkeypatch):
    inside = project / "notebooks"
    assert project_root(inside) == project
    monkeypatch.chdir(inside)
    assert Workspace.open("smoke").root == project


def test_outside_a_project_there_is_no_root(tmp_path):
    with pytest.raises(SardinoError, match="not inside the sardino project"):
        project_root(tmp_path)


def test_a_missing_data_folder_is_refused(project):
    with pytest.raises(SardinoError, match=r"nowhere does not exist.*--data"):
        Workspace.open("real", project / "nowhere", project)
    with pytest.raises(SardinoError, match="los-angeles"):
        Workspace.open("real", root=project).input_folder()
    assert Workspace.open("real", project, project).input_folder() == project
