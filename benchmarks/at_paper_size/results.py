"""Results of the run so far, on disk after every stage and every cell."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.at_paper_size.clock import Clock
from benchmarks.at_paper_size.tables import benchmark_rows, markdown
from sardino.errors import SardinoError


@dataclass
class Report:
    """Results so far, on disk after every stage and every cell, so that a kill loses the stage in progress alone."""

    folder: Path
    content: dict[str, Any]
    clock: Clock
    confusions: dict[tuple[str, str, str, float], NDArray[np.int64]] = field(default_factory=dict)

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.folder / "paper_size.json", json.dumps(self.content, indent=1, allow_nan=False) + "\n")
        rows = benchmark_rows(self.content)
        write(self.folder / "paper_size_rows.json", json.dumps(rows, indent=1, allow_nan=False) + "\n")
        write(self.folder / "paper_size.md", markdown(self.content))

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage; one that fails is recorded, and the next one begins."""
        state: dict[str, Any] = {"status": "running"}
        self.content["stages"][name] = state
        started = time.monotonic()
        try:
            yield state
            state["status"] = "done"
        except (SardinoError, RuntimeError, MemoryError) as error:  # CUDA's errors are RuntimeErrors
            text = (str(error) or repr(error)).splitlines()
            state["status"] = f"failed: {text[0]}"
        state["seconds"] = round(time.monotonic() - started, 2)
        say(f"{name}: {state['status']}, {state['seconds']:.1f} s, {self.clock.left():.0f} s left")
        self.save()


def say(text: str) -> None:
    print(text, flush=True)


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
