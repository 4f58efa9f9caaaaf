"""One run of a notebook: its workspace and store at the start, its record at the end."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sardino.data.tiles.store import TileStore, describe
from sardino.files import write_csv, write_text
from sardino.reporting.figures.style import Preview, preview, save_figure
from sardino.reporting.record import publish_records, write_record
from sardino.reporting.rows import pretraining_run, row_run
from sardino.study.workspace import Workspace


@dataclass(frozen=True)
class OpenRun:
    """A run that has begun.

    Args:
        name: of the run in the plan, and of its record.
        parameters: the notebook's, as the record tells them.
        seeds: of all that is random in it.
        started: time.time() at the notebook's first line.
    """

    space: Workspace
    kind: str
    name: str
    parameters: Mapping[str, Any]
    seeds: Sequence[int]
    started: float

    @cached_property
    def store(self) -> TileStore:
        """The tiles of the arm it is about; of the profile's first arm, where it is about none."""
        profile = self.space.profile
        arm = self.parameters.get("arm") or self.parameters.get("regions") or profile.arms[0]
        return TileStore.open(self.space.build / profile.arm(arm).store)

    @property
    def stores(self) -> dict[str, TileStore]:
        """The tiles of every pre-training, by its arm."""
        return {
            arm: TileStore.open(self.space.build / each.store) for arm, each in self.space.profile.pretraining.items()
        }

    def save(self, figure: Figure, stem: str) -> Preview:
        """Publish a figure as figures/<profile>/<stem>.png and .pdf; what the notebook shows of it."""
        save_figure(figure, self.space.figures, stem)
        return preview(figure)

    def publish(self, files: Mapping[str, pd.DataFrame | str], records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Write tables and texts, by file name, to results/<profile>/, and the records they were made from."""
        for name, content in files.items():
            if isinstance(content, str):
                write_text(content, self.space.results / name)
            else:
                write_csv(content, self.space.results / name)
        publish_records(records, self.space.runs, self.space.results / "runs")

    def record(self, results: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write the run's record, its last act.

        Args:
            results: numbers, texts, lists and dicts of them.
            data: what the input was; the run's store by default.
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
    """Begin a run: its kind, the notebook's `profile` and `data`, and its other parameters.

    Raises:
        SardinoError: no such profile or data folder.
    """
    started = time.time()
    space = Workspace.open(profile, data=data)
    chosen = space.profile
    name = kind
    if kind == "pretrain":
        if parameters.get("seed") is None:
            parameters["seed"] = chosen.seeds[0]
        name = pretraining_run(chosen.pretrained(**parameters))
    elif "encoding" in parameters:
        name = row_run(**parameters)
    few: dict[str, list[Any]] = {
        "data": [chosen.data.seed],
        "realism": [chosen.data.seed],
        "quickstart": [0],
        "pretrain": [parameters.get("seed")],
        "attention": chosen.seeds[:1],
    }
    seeds = few.get(kind, chosen.seeds)
    return OpenRun(space, kind, name, {"profile": profile, "data": data, **parameters}, seeds, started)
