"""Progress that a person sees, in a terminal or through the engine that runs the notebook."""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from sardino.errors import Paused
from sardino.files import write_json

Item = TypeVar("Item")


def track(items: Iterable[Item], total: int, label: str, *, done: int = 0, images: int = 0) -> Iterator[Item]:
    """Yield the items and show how far it is and how long it still takes.

    Of `total`, an earlier run has done `done`; with `images` of an item, images/s are shown instead of items/s. Under
    the engine (environment variable SARDINO_PROGRESS names a file) the state goes to that file once a second instead,
    because several runs share one terminal.
    """
    beat = os.environ.get("SARDINO_PROGRESS")
    if not beat:
        scale: dict[str, Any] = {"unit": "img", "unit_scale": images} if images else {}
        yield from tqdm(items, total=total, initial=done, desc=label, dynamic_ncols=True, mininterval=0.5, **scale)
        return
    last = 0.0
    for number, item in enumerate(items, done):
        if time.monotonic() - last > 1:
            last = time.monotonic()
            write_beat(Path(beat), label, number, total)
        yield item
    write_beat(Path(beat), label, total, total)


def write_beat(path: Path, label: str, done: int, total: int) -> None:
    """State of a run for those who watch it, replaced as a whole so that no reader sees half of it."""
    write_json({"label": label, "done": done, "total": total}, path)


def stop_in_time() -> None:
    """Raise Paused at a checkpoint where it is later than the environment variable SARDINO_UNTIL says (time.time())."""
    if time.time() > float(os.environ.get("SARDINO_UNTIL", "inf")):
        raise Paused("the time that was given is over: the same command goes on from here")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever a reader would say."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
