"""The log of a pre-training while it runs: one JSON object a line, and the same numbers for TensorBoard."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sardino.files import write_text

LOG = "log.jsonl"


class RunLog:
    """Lines of what was watched, appended as it happens.

    Args:
        folder: gets log.jsonl, and tensorboard/ where asked.
        tensorboard: write event files too.
        start: the first step still to be done; lines of it and later, of a run that was stopped, are dropped.
    """

    def __init__(self, folder: Path, tensorboard: bool = False, start: int = 0) -> None:
        kept = [line for line in read_log(folder) if line["step"] < start]
        path = write_text("".join(_line(line) for line in kept), folder / LOG)
        self._file = path.open("a", encoding="utf-8")
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step; what is not finite is written as its name."""
        plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        self._append({"step": step, **plain})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def warn(self, step: int, sentence: str) -> None:
        """A warning, in the log and before the person who waits."""
        self._append({"step": step, "warning": sentence})
        tqdm.write(f"warning at step {step}: {sentence}")

    def flush(self) -> None:
        """Hand on what TensorBoard still holds: what a snapshot follows must be there when a run goes on from it."""
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _append(self, values: dict[str, Any]) -> None:
        self._file.write(_line(values))
        self._file.flush()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log, none where there is none; a last line that a kill has torn is left out."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"
