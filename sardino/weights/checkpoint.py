"""Others' files of weights: safetensors, or what torch.save wrote; nothing that a file holds is ever run."""

import pickle
import re
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sardino.errors import SardinoError, first_line


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, on the CPU, by its name; names of dictionaries within dictionaries are joined by dots.

    Raises SardinoError: no file of weights, cut short or damaged, or one of objects whose making would run code.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":  # behind the length of the header
        try:
            return load_file(path)
        except SafetensorError as error:
            raise _damaged(path, error) from None
    if not start.startswith((b"PK", b"\x80")):  # a zip archive, or a pickle of before torch 1.6
        raise SardinoError(f"{path} is no file of weights: give a .safetensors file, or one that torch.save wrote")
    try:
        # DINO and MAE put the settings of a run beside its weights, in the one class that is let in: it holds values.
        with torch.serialization.safe_globals([Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused in a moment
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken archive or pickle makes the reader meet
        if not isinstance(error, pickle.UnpicklingError) and "TorchScript" not in str(error):
            raise _damaged(path, error) from None
        named = re.search(r"GLOBAL (\S+)|TorchScript", str(error))
        kind = (named[1] or named[0]) if named else "a pickle that torch.save did not write"
        raise SardinoError(
            f"{path} holds more than tensors ({kind}), which would run code of the file: where you trust it, save its "
            "state dictionary alone and adopt that"
        ) from None
    return dict(_tensors(content))


def _tensors(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _damaged(path: Path, error: Exception) -> SardinoError:
    return SardinoError(f"{path} is cut short, damaged or no file of weights ({first_line(error)}): fetch it again")
