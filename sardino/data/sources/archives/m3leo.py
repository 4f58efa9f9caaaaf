"""M3LEO's public tiles from the Hugging Face hub, into a folder in the authors' own layout; stopped, it goes on."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sardino.data.sources.archives.hub import HubFile, HubFolder
from sardino.data.sources.archives.layout import IDENTIFIER, Layout, open_layout
from sardino.data.sources.source import Progress
from sardino.errors import SardinoError
from sardino.files import write_json

ORGANISATION = "M3LEO-miniset"
"""5,000 tiles an area, single files; the whole of M3LEO lies in parquet files elsewhere and is not read here."""
AREAS = {
    "china": ("23489d30a312b", "15"),
    "conus": ("293d95e3ee589", "09"),
    "europe": ("2f8bd3f01ddd5", "09"),
    "middleeast": ("0a596e5469add", "15"),
    "pakin": ("0f26dc7030c75", "15"),
    "southamerica": ("3219aa0f411c2", "02"),
}
"""Area: hash of its partition, and angle of its bands in tenths of a radian, as in the files' names."""
DATASETS = ("s1grd-2020", "esaworldcover-2020", "s2rgbm-2020", "modis44b006veg", "biomass-2020", "ghsbuilts-2020")
"""What a tile store holds: backscatter, labels and the reference layers."""
RECORD = ".m3leo.json"


@dataclass(frozen=True)
class Area:
    """One area of M3LEO, a key of AREAS, and the names of its files."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in AREAS:
            raise SardinoError(f"M3LEO has no area '{self.name}': choose {', '.join(AREAS)}")

    @property
    def repository(self) -> str:
        return f"{ORGANISATION}/{self.name}"

    @property
    def stem(self) -> str:
        """Name of the folder with the data sets."""
        return f"{self.name}_partitions_aschips_{AREAS[self.name][0]}"

    @property
    def tables(self) -> tuple[str, str]:
        """Names of the table of tiles and of the list of splits."""
        splits = f"{self.stem}_splits_60bands_angle{AREAS[self.name][1]}_60-20-20_miniset.csv"
        return f"{self.stem}_miniset.geojson", splits


@dataclass(frozen=True)
class Downloaded:
    """What lies in the folder after a download.

    Args:
        layout: the tiles asked for.
        revision: commit of the repository that all files come from.
        fetched, present: files that this run transferred, and that were there already.
        absent: <data set>/<identifier> that the repository does not hold.
    """

    layout: Layout
    revision: str
    fetched: int
    present: int
    absent: tuple[str, ...]


def download(
    area: Area,
    folder: Path,
    *,
    datasets: Sequence[str] = DATASETS,
    per_split: int | None = None,
    identifiers: Sequence[str] | None = None,
    tile_px: int = 432,
    revision: str = "main",
    endpoint: str | None = None,
    workers: int = 4,
    progress: Progress = lambda numbers, total: numbers,
) -> Downloaded:
    """Fetch the tables of an area and the files of some of its tiles.

    All files come from one commit, noted in `folder`, so that a later run cannot mix two. A file that is whole is never
    fetched again; one that was cut off goes on at its last byte, also in another process, and is checked
    against the hub's hash before it gets its name.

    Args:
        folder: where the authors' layout is to stand.
        per_split: so many tiles of each split, in the table's order; all where None.
        identifiers: these tiles only.
        tile_px: edge of a tile on its metre grid, see `open_layout`.
        revision: branch, tag or commit; a commit noted in the folder has precedence.
        endpoint: the hub's address; HF_ENDPOINT or the public hub where None.
        workers: files at once.
        progress: wraps the loop over files.

    Raises:
        SardinoError: the hub cannot be reached, holds no such data, or names files outside the folder.
    """
    hub = HubFolder(area.repository, _commit(folder, area, revision, endpoint), endpoint)
    root = {file.path: file for file in hub.files("")}
    for name in area.tables:
        if name not in root:
            there = ", ".join(sorted(root)[:8]) or "none"
            raise SardinoError(f"{area.repository} has no file {name}: it holds {there}")
    fetched = sum(hub.fetch(root[name], folder) for name in area.tables)
    (folder / area.stem).mkdir(exist_ok=True)
    layout = open_layout(folder / area.tables[0], tile_px=tile_px)
    layout = layout if identifiers is None else layout.named(identifiers)
    layout = layout if per_split is None else layout.first(per_split)
    files, absent = _wanted(hub, area, datasets, layout)
    with ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(hub.fetch, file, folder) for file in files]
        try:
            for number in progress(range(len(pending)), len(pending)):
                fetched += pending[number].result()
        finally:
            for future in pending:
                future.cancel()
    present = len(area.tables) + len(files) - fetched
    return Downloaded(layout, hub.revision, fetched, present, tuple(absent))


def _wanted(hub: HubFolder, area: Area, datasets: Sequence[str], layout: Layout) -> tuple[list[HubFile], list[str]]:
    """The files of the tiles, and what the repository does not hold."""
    files, absent = [], []
    for dataset in datasets:
        if not IDENTIFIER.fullmatch(dataset):
            raise SardinoError(f"'{dataset}' is no name of a data set: M3LEO has {', '.join(DATASETS)}")
        listed = {Path(file.path).stem: file for file in hub.files(f"{area.stem}/{dataset}")}
        files += [listed[name] for name in layout.identifiers if name in listed]
        absent += [f"{dataset}/{name}" for name in layout.identifiers if name not in listed]
    return files, absent


def _commit(folder: Path, area: Area, revision: str, endpoint: str | None) -> str:
    """The commit to read from: noted at the first run, kept by the later ones."""
    record = folder / RECORD
    if not record.is_file():
        commit = HubFolder(area.repository, revision, endpoint).commit()
        write_json({"repository": area.repository, "asked": revision, "commit": commit}, record)
        return commit
    try:
        noted = json.loads(record.read_text())
        repository, asked, commit = str(noted["repository"]), str(noted["asked"]), str(noted["commit"])
    except (ValueError, KeyError, TypeError) as error:
        raise SardinoError(f"{record} is damaged ({error}): remove it, and the tiles are checked again") from error
    if repository != area.repository or revision not in (asked, commit):
        raise SardinoError(
            f"{folder} holds tiles of {repository} at {asked}: choose another folder for {area.repository} at "
            f"{revision}"
        )
    return commit
