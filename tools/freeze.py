"""Freeze what the package answers, and compare two such lists: the safety net of a change that must change nothing.

    python tools/freeze.py list before.json                 # in the old checkout, with its environment
    python tools/freeze.py list after.json                  # in the new one
    python tools/freeze.py compare before.json after.json   # every difference, exit code 1 if there is any

A list holds the help text of every command, tile ids and fingerprint of a small store, the maps and attention that the
weights of the package make of a synthetic scene, and every table and record of a smoke run (times left out). It asks
through the command line alone, so that it does not mind where code lives.
"""

import argparse
import difflib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import rasterio
import zarr

ROOT = Path(__file__).resolve().parents[1]
TIMES = {"wall_s", "data_wait", "images_per_s", "memory_gib", "peak_memory_mb"}
"""Keys of records that differ from one execution to the next: times and memory."""
SAID = ("name", "kind", "profile", "parameters", "seeds", "data", "results")
"""Keys of a record that say what was found, not when and where."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="write what this checkout answers")
    listing.add_argument("file", type=Path)
    listing.add_argument("--profile", default="smoke", help="run to list, executed first if stale (default: smoke)")
    comparing = verbs.add_parser("compare", help="say every difference of two lists")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.verb == "compare":
        return compare(json.loads(given.before.read_text()), json.loads(given.after.read_text()))
    answers = dict(sorted([*helps(), *store(), *maps(), *run(given.profile)]))
    given.file.write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{given.file}: {len(answers)} answers")
    return 0


def helps(*command: str) -> Iterator[tuple[str, str]]:
    """The help text of a command and of those below it."""
    text = sardino(*command, "--help")
    yield " ".join(["help", *command]), text
    _, _, below = text.partition("Commands:\n")
    for name in re.findall(r"^  ([a-z][\w-]*)", below, re.MULTILINE):
        yield from helps(*command, name)


def store() -> Iterator[tuple[str, str]]:
    """Ids, splits and pixels of a store of two regions."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        sardino("world", path, "--region", "europe", "--region", "china", "--tiles", "6x5", "--tile-px", "32")
        index = pandas.read_parquet(path / "tiles.parquet")
        yield "store ids", digest("\n".join(index["id"]))
        yield "store splits", digest("\n".join(index["split"]))
        group = zarr.open_group(path / "tiles.zarr", mode="r")
        yield "store attributes", digest(json.dumps(dict(group.attrs), sort_keys=True))
        for name, array in sorted(group.arrays()):
            yield f"store {name}", digest(array[:].tobytes())


def maps() -> Iterator[tuple[str, str]]:
    """Land cover and attention by the weights that come with the package, of a scene of which they know nothing."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.tif"
        sardino("scene", scene, "--size", "320x256")
        exact = ("--precision", "float32", "--threads", "1", "--device", "cpu")
        sardino("map", scene, "-o", scene.with_name("landcover.tif"), *exact)
        sardino("attend", scene, "-o", scene.with_name("attention.tif"), *exact)
        for name in ("scene", "landcover", "attention"):
            with rasterio.open(scene.with_name(f"{name}.tif")) as raster:
                yield f"map {name}", digest(raster.read().tobytes() + repr((raster.crs, raster.transform)).encode())


def run(profile: str) -> Iterator[tuple[str, Any]]:
    """Tables and records of a profile's run."""
    sardino("reproduce", profile)
    for path in sorted((ROOT / "results" / profile).glob("*.*")):
        if path.suffix in (".csv", ".md", ".tex") and path.name not in ("forecast.csv", "README.md"):
            yield f"table {path.name}", digest(path.read_text())
    for path in sorted((ROOT / "build" / profile / "runs").glob("*.json")):
        record = json.loads(path.read_text())
        yield f"record {path.stem}", digest(json.dumps(timeless({key: record.get(key) for key in SAID})))


def timeless(value: Any) -> Any:
    """The value without its times."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in sorted(value.items()) if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sardino(*arguments: object) -> str:
    """Run a command of this checkout; its output."""
    command = [sys.executable, "-m", "sardino", *map(str, arguments)]
    # A width of its own, or help texts would follow the terminal's.
    environment = {**os.environ, "COLUMNS": "120", "PYTHONHASHSEED": "0", "TZ": "UTC"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"sardino {' '.join(map(str, arguments))} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def compare(before: dict[str, str], after: dict[str, str]) -> int:
    """Print every difference; 1 if there is one."""
    differing = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    for name in differing:
        if name not in after:
            print(f"- {name}: is gone")
        elif name not in before:
            print(f"+ {name}: is new")
        elif name.startswith("help"):
            lines = difflib.unified_diff(
                before[name].splitlines(), after[name].splitlines(), "before", "after", "", "", 0
            )
            print("\n".join([f"~ {name}", *(f"    {line}" for line in list(lines)[2:])]))
        else:
            print(f"~ {name}: differs")
    print(f"{len(before | after) - len(differing)} answers are the same, {len(differing)} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
