"""One run of a notebook: its workspace and store at the start, its record at the end."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.data.tiles.store import TileStore, describe
from sardino.files import whole, write_csv, write_text
from sardino.reporting.figures.style import Preview, preview, save_figure
from sardino.reporting.record import publish_records, write_record
from sardino.reporting.rows import pretraining_run, row_run
from sardino.study.workspace import Workspace, setting_aside


@dataclass(frozen=True)
class OpenRun:
    """A run that has begun."""

    space: Workspace
    kind: str
    name: str  # in the plan, and of its record
    parameters: Mapping[str, Any]  # the notebook's, as the record tells them
    seeds: Sequence[int]  # of all that is random in it
    started: float  # time.time() at the notebook's first line

    @cached_property
    def store(self) -> TileStore:
        """The tiles of the arm it is about; of the profile's first arm, where it is about none."""
        profile = self.space.profile
        arm = self.parameters.get("arm") or self.parameters.get("regions") or profile.arms[0]
        return TileStore.open(self.space.build / profile.arm(arm).store)

    @property
    def stores(self) -> dict[str, TileStore]:
        """The tiles of every pre-training, by its arm."""
        arms = self.space.profile.pretraining
        return {arm: TileStore.open(self.space.build / each.store) for arm, each in arms.items()}

    def save(self, figure: Figure, stem: str) -> Preview:
        """Publish a figure as figures/<profile>/<stem>.png and .pdf; what the notebook shows of it."""
        save_figure(figure, self.space.figures, stem)
        return preview(figure)

    def keep(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Save arrays, compressed and without pickle, beside the run's record; the file's name, for the record."""
        with whole(self.space.runs / f"{self.name}.npz") as partial:
            np.savez_compressed(partial, allow_pickle=False, **arrays)
        return f"{self.name}.npz"

    def publish(self, files: Mapping[str, pd.DataFrame | str], records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Write tables and texts, by file name, to results/<profile>/, and the records they were made from.

        What others published there is set aside first, for `sardino verify`.
        """
        records = list(records)
        with setting_aside(self.space, [*files, *(f"runs/{record['name']}.json" for record in records)]):
            for name, content in files.items():
                path = self.space.results / name
                write_text(content, path) if isinstance(content, str) else write_csv(content, path)
            publish_records(records, self.space.runs, self.space.results / "runs")

    def record(self, results: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write the run's record, its last act: numbers, texts, lists and dicts of them.

        `data` says what the input was; the run's store by default.
        """
        return write_record(
            self.space.record(self.name),
            kind=self.kind,
            profile=self.space.profile.name,
            parameters=self.parameters,
            seeds=self.seeds,
            data=describe(self.store) if data is None else data,
            results=results,
            started=self.started,
        )


def open_run(kind: str, profile: str, data: str = "", **parameters: Any) -> OpenRun:
    """Begin a run: its kind, the notebook's `profile` and `data`, and its other parameters."""
    started = time.time()
    space = Workspace.open(profile, data=data)
    chosen, name, seeds = space.profile, kind, space.profile.seeds
    if kind == "pretrain":
        if parameters.get("seed") is None:
            parameters["seed"] = chosen.seeds[0]
        name, seeds = pretraining_run(chosen.pretrained(**parameters)), [parameters["seed"]]
    elif "encoding" in parameters:
        name = row_run(**parameters)
    elif kind in ("data", "realism"):
        seeds = [chosen.data.seed]
    elif kind in ("quickstart", "embeddings"):
        seeds = [0]
    elif kind == "attention":
        seeds = chosen.seeds[:1]
    return OpenRun(space, kind, name, {"profile": profile, "data": data, **parameters}, seeds, started)
