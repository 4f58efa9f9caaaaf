"""Finished tiles waiting to become a store: one file a tile, written whole, checked by hash, bound to one plan."""

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sardino.data.sources.source import Source, SourceChip
from sardino.data.tiles.radiometry import pack, unpack
from sardino.data.tiles.tile import Chip
from sardino.errors import SardinoError
from sardino.files import write_bytes, write_json

FORMAT = 2
PLAN = "plan.json"
_DIGEST = 64


@dataclass(frozen=True)
class Staging:
    """The folder of finished tiles beside a store; `open` binds it to the source that fills it.

    Splits and the list of tiles are not part of the plan: a tile's pixels do not depend on them, so that another
    list or another split of the same source takes up what is there.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path, source: Source, restart: bool = False) -> "Staging":
        """The folder, made if need be; one that another plan has filled is refused, or emptied where `restart`."""
        plan, file = plan_of(source), folder / PLAN
        if restart and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            # Beside what a killed run left of the plan nothing else may lie here.
            if any(not (path.name.startswith(".") and ".partial" in path.name) for path in folder.iterdir()):
                raise SardinoError(f"{folder} is no staging folder of an ingest: move it away, or choose another store")
            write_json(plan, file)
            return cls(folder)
        try:
            old = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise SardinoError(f"{file} is damaged ({error}): restart the ingest, or remove {folder}") from error
        if old != plan:
            keys = ", ".join(sorted(key for key in {*old, *plan} if old.get(key) != plan.get(key)))
            raise SardinoError(f"{folder} is of another plan ({keys} differ): finish, restart, or name another store")
        return cls(folder)

    def has(self, tile_id: str) -> bool:
        return self._file(tile_id).exists()

    def read(self, tile_id: str) -> Chip:
        """A finished tile; a damaged file is removed and refused, so that the next run makes it again."""
        file = self._file(tile_id)
        try:
            return unpack_chip(file.read_bytes())
        except Exception as error:
            file.unlink(missing_ok=True)
            raise SardinoError(f"{file} is damaged ({error}) and was removed: run the ingest again") from error

    def facts(self, tile_id: str) -> dict[str, Any]:
        """Notes and passes of a finished tile."""
        facts: dict[str, Any] = json.loads(self._file(tile_id, "json").read_bytes())
        return facts

    def write(self, tile_id: str, content: bytes, facts: dict[str, Any]) -> None:
        """Keep a finished tile, from `pack_chip`; its pixels last, as they say that it is finished."""
        write_json(facts, self._file(tile_id, "json"))
        write_bytes(content, self._file(tile_id))
        self._file(tile_id, "left").unlink(missing_ok=True)

    def leave_out(self, tile_id: str, reason: str, final: bool) -> None:
        """Remember why a tile is left out; one that is not final is tried again by the next run."""
        write_json({"reason": reason, "final": final}, self._file(tile_id, "left"))

    def left_out(self, tile_id: str) -> tuple[str, bool]:
        """Why a tile is not here, and whether that is final."""
        try:
            facts = json.loads(self._file(tile_id, "left").read_bytes())
        except (FileNotFoundError, ValueError):
            return "its staged file was lost", False
        return str(facts["reason"]), bool(facts["final"])

    def remove(self) -> None:
        """Remove the folder, its plan last: a removal that is killed leaves what `open` still knows."""
        for entry in self.folder.iterdir():
            if entry.name != PLAN:
                entry.unlink()
        (self.folder / PLAN).unlink()
        self.folder.rmdir()

    def _file(self, tile_id: str, kind: str = "tile") -> Path:
        return self.folder / f"{tile_id}.{kind}"


def plan_of(source: Source) -> dict[str, Any]:
    """What decides a tile's pixels, as JSON values."""
    plan = {
        "staging": FORMAT,
        "channels": list(source.channels),
        "legend": source.legend.to_dict(),
        "product": source.product,
        "synthetic": source.synthetic,
        **{f"source.{key}": value for key, value in source.metadata().items()},
    }
    result: dict[str, Any] = json.loads(json.dumps(plan))
    return result


def pack_chip(chip: Chip) -> tuple[bytes, dict[str, Any]]:
    """A chip as bytes that end with their own SHA-256, and its facts.

    Backscatter is rounded to 0.01 dB as in the store; no pickle. Facts: "notes", and "passes", the median number
    of passes of each season (None where unknown).
    """
    facts: dict[str, Any] = {"notes": list(chip.notes) if isinstance(chip, SourceChip) else [], "passes": None}
    arrays: dict[str, Any] = {"backscatter": pack(chip.backscatter_db), "label": chip.label}
    arrays |= {f"layer_{name}": layer for name, layer in chip.layers.items()}
    if chip.counts is not None:
        facts["passes"] = [int(np.median(season)) for season in chip.counts]
        arrays["counts"] = chip.counts
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()
    return content + hashlib.sha256(content).hexdigest().encode(), facts


def unpack_chip(content: bytes) -> Chip:
    """The chip; ValueError where the bytes are not whole."""
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("the digest does not match")
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        layers = {name.removeprefix("layer_"): arrays[name] for name in arrays.files if name.startswith("layer_")}
        return Chip(unpack(arrays["backscatter"]), arrays["label"], layers, arrays.get("counts"))
