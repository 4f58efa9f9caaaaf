"""Files of others are read without running anything of them, or refused with one sentence."""

import os
import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sardino.errors import SardinoError
from sardino.weights.checkpoint import read_tensors

STATE = {"weight": torch.randn(64, 64), "bias": torch.randn(64)}


class Trap:
    """Pickled, it makes a folder wherever it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(SardinoError) as error:
        read_tensors(path)
    assert str(path) in str(error.value) and all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_tensors_of_nested_dictionaries_have_dotted_names(tmp_path):
    """As DINO's repository leaves them: with an optimiser's state, and its settings in an argparse.Namespace."""
    content = {"teacher": STATE, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}, "args": Namespace(lr=0.1)}
    for old in (False, True):
        torch.save(content, tmp_path / "run.pth", _use_new_zipfile_serialization=not old)
        found = read_tensors(tmp_path / "run.pth")
        assert [*found] == ["teacher.weight", "teacher.bias", "optimizer.state.0.step"]
        assert torch.equal(found["teacher.weight"], STATE["weight"])


def test_safetensors_are_known_by_what_they_hold(tmp_path):
    save_file(STATE, tmp_path / "model.bin")
    assert torch.equal(read_tensors(tmp_path / "model.bin")["bias"], STATE["bias"])


@pytest.mark.parametrize("old", [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path, monkeypatch, old):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": STATE, "extra": Trap()}, "trap.pth", _use_new_zipfile_serialization=not old)
    refused(Path("trap.pth"), "mkdir", "would run code of the file", "save its state dictionary alone")
    Path("bare.pkl").write_bytes(pickle.dumps(Trap()))
    refused(Path("bare.pkl"), "a pickle that torch.save did not write", "would run code")
    assert not Path("sprung").exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:")
def test_a_whole_module_is_more_than_its_tensors(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    refused(tmp_path / "module.pt", "torch.nn.modules.linear.Linear", "save its state dictionary alone")
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(2)).save(tmp_path / "script.pt")
    refused(tmp_path / "script.pt", "TorchScript", "save its state dictionary alone")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["safetensors", "archive", "pickle"])
def test_what_was_cut_short_is_refused(tmp_path, kind, share):
    path = tmp_path / "weights"
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "archive")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "cut short, damaged or no file of weights", "fetch it again")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html> not found", b"\x89PNG\r\n\x1a\n\0\0\0"])
def test_what_is_no_file_of_weights_is_refused(tmp_path, content):
    (tmp_path / "page.pth").write_bytes(content)
    refused(tmp_path / "page.pth", "is no file of weights", ".safetensors")
