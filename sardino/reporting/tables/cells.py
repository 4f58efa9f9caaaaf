"""The cells of Tables 1 and 2 as runs left them: confusion matrices per seed and test tile."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import Statistic, copies, interval
from sardino.evaluation.scores import majority
from sardino.evaluation.scores import miou as mean_iou
from sardino.reporting.record import provenance
from sardino.reporting.tables.paper import CellKey

KINDS = ("finetune", "baseline")
BOOTSTRAP_SEED = 0  # one for all cells: every cell is resampled alike, hence differences are paired


@dataclass
class Cells:
    """All cells of one profile, on one set of test tiles."""

    profile: str
    confusions: dict[CellKey, NDArray[np.int64]]  # per cell (seeds, tiles, n, n) pixel counts
    labelled: dict[CellKey, int]  # labelled training tiles
    blocks: NDArray[Any]  # (tiles,) geographic band of each test tile
    seeds: tuple[int, ...]  # of the trainings, the same for every cell
    labels: str  # name of the reference labels
    derived: bool  # the labels were computed from another image
    synthetic: bool  # pixels and labels are of the synthetic world
    _copies: dict[CellKey, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def matrices(self, key: CellKey) -> NDArray[np.int64]:
        """(seeds, tiles, n, n) of a cell; SardinoError names the run that is missing."""
        if key not in self.confusions:
            raise SardinoError(f"the cell '{key}' is missing: run {key.run} of profile '{self.profile}' first")
        return self.confusions[key]

    def miou(self, key: CellKey) -> float:
        """mIoU over the whole test set, averaged over seeds."""
        return float(mean_iou(self.matrices(key).sum(1)).mean())

    def interval(self, key: CellKey, statistic: Statistic = mean_iou) -> tuple[float, float]:
        """95 % interval of a score averaged over seeds; `caution` says what it holds."""
        return interval(self.matrices(key), self.blocks, statistic, seed=BOOTSTRAP_SEED)

    def copies(self, key: CellKey) -> NDArray[np.float64]:
        """(DRAWS,) bootstrap copies of `miou`; copy i of every cell holds the same draw of seeds and blocks."""
        if key not in self._copies:
            self._copies[key] = copies(self.matrices(key), self.blocks, seed=BOOTSTRAP_SEED)
        return self._copies[key]

    @property
    def miou_majority(self) -> float:
        """What always predicting the test set's most frequent class scores."""
        reference = next(iter(self.confusions.values()))
        return float(mean_iou(majority(reference[0].sum(0))))

    @property
    def provenance(self) -> str:
        """What every caption says about the pixels and the labels."""
        return provenance(synthetic=self.synthetic, derived=self.derived)

    def facts(self, key: CellKey) -> dict[str, Any]:
        """What the rows of every table say about a cell."""
        return {**asdict(key), "labelled_tiles": self.labelled[key], "seeds": len(self.seeds)}

    @property
    def source(self) -> dict[str, Any]:
        """What the rows of every table say about the reference labels."""
        return {"labels": self.labels, "derived": self.derived, "synthetic": self.synthetic}

    @property
    def caution(self) -> str:
        """What the intervals hold, in one sentence."""
        bands, tiles, seeds = len(np.unique(self.blocks)), len(self.blocks), len(self.seeds)
        places = f"the spread over {bands} geographic blocks of {tiles} test tiles"
        if bands == 1:
            places = f"no spread over places, because all {tiles} test tiles lie in one geographic block"
        if seeds == 1:
            return f"One seed: 95 % intervals hold {places}, and not the spread over trainings."
        return f"95 % intervals hold the spread over {seeds} seeds, few as they are (Student's t), and {places}."


def read_cells(records: Sequence[Mapping[str, Any]], folder: Path) -> Cells:
    """Gather the cells of all fine-tuning and baseline records of one profile, whose .npz files lie in a folder.

    Raises:
        SardinoError: none of these kinds, a missing or damaged .npz, a cell told twice, or runs that
            differ in test tiles, seeds or data, and so cannot be compared.
    """
    chosen = [record for record in records if record["kind"] in KINDS]
    if not chosen:
        raise SardinoError(f"{folder} holds no fine-tuning or baseline record: run those notebooks first")
    first = chosen[0]
    by_seed: dict[CellKey, dict[int, NDArray[np.int64]]] = {}
    labelled: dict[CellKey, int] = {}
    for record in chosen:
        _require_alike(record, first)
        for cell, matrices in _cells_of(record, folder):
            table, seed = int(cell["table"]), int(cell["seed"])
            arm, encoding, start = (str(cell[name]) for name in ("regions", "encoding", "initialisation"))
            key = CellKey(table, arm if table == 1 else "", encoding, start, float(cell["fraction"]))
            if seed in by_seed.setdefault(key, {}):
                raise SardinoError(f"two records of {folder} hold the cell '{key}' of seed {seed}: delete one")
            by_seed[key][seed] = matrices
            labelled[key] = int(cell["labelled_tiles"])
    seeds = tuple(sorted(next(iter(by_seed.values()))))
    for key, draws in by_seed.items():
        if tuple(sorted(draws)) != seeds:
            raise SardinoError(f"the cell '{key}' has seeds {sorted(draws)}, others have {list(seeds)}: run {key.run}")
    results = first["results"]
    return Cells(
        profile=str(first["profile"]),
        confusions={key: np.stack([draws[seed] for seed in seeds]) for key, draws in by_seed.items()},
        labelled=labelled,
        blocks=np.asarray(results["test_blocks"]),
        seeds=seeds,
        labels=str(results["labels_name"]),
        derived=bool(results["derived"]),
        synthetic=bool(first["data"]["synthetic"]),
    )


def _cells_of(record: Mapping[str, Any], folder: Path) -> list[tuple[Mapping[str, Any], NDArray[np.int64]]]:
    """A record's cells with their (tiles, n, n) matrices, checked against the mIoU the record states."""
    results = record["results"]
    path = folder / results["confusion_file"]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pairs = [(cell, arrays[cell["confusion_key"]].astype(np.int64)) for cell in results["cells"]]
    except (OSError, KeyError, ValueError) as error:
        raise SardinoError(f"{path} is missing or damaged ({error}): run {record['name']} again") from error
    tiles = len(results["test_blocks"])
    for cell, matrices in pairs:
        if matrices.ndim != 3 or len(matrices) != tiles or matrices.shape[1] != matrices.shape[2]:
            raise SardinoError(f"{path}: '{cell['confusion_key']}' is {matrices.shape}, not ({tiles} tiles, n, n)")
        if abs(float(mean_iou(matrices.sum(0))) - float(cell["miou"])) > 1e-4:
            raise SardinoError(f"{path} does not give the mIoU of its record: run {record['name']} again")
    return pairs


def _require_alike(record: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    """Cells are compared only on the same pixels and test tiles."""
    for part, name in (("data", "fingerprint"), ("results", "test_blocks"), ("results", "labels_name")):
        if record[part][name] != first[part][name]:
            raise SardinoError(f"{record['name']} and {first['name']} differ in {name}: run both again on one store")
    if record["profile"] != first["profile"]:
        raise SardinoError(f"{record['name']} is of profile '{record['profile']}', not of '{first['profile']}'")
