"""The cells of Tables 1 and 2, and their floors, as runs left them: confusion matrices per repetition and test tile."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import Statistic, copies, interval
from sardino.evaluation.scores import RISING, majority
from sardino.evaluation.scores import miou as mean_iou
from sardino.reporting.record import provenance
from sardino.reporting.rows import HYBRID
from sardino.reporting.tables.paper import CellKey

KINDS = ("finetune", "baseline", "floors")
Pair = tuple[int, int]  # draw of the labelled tiles and seed of the training: a repetition
ONE = "One draw of the labels and one seed"
BOOTSTRAP_SEED = 0  # one for all cells: every cell is resampled alike, hence differences are paired


@dataclass
class Cells:
    """All cells of one profile, on one set of test tiles."""

    profile: str
    confusions: dict[CellKey, NDArray[np.int64]]  # per cell (repetitions, tiles, n, n) pixel counts
    told: dict[CellKey, list[Mapping[str, Any]]]  # what the records say of each repetition, in the same order
    blocks: NDArray[Any]  # (tiles,) geographic band of each test tile
    labels: str  # name of the reference labels
    derived: bool  # the labels were computed from another image
    synthetic: bool  # pixels and labels are of the synthetic world
    whole: bool = False  # the U-Net with tokens was pre-trained too, not its ViT alone
    _copies: dict[tuple[CellKey, Statistic], NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def matrices(self, key: CellKey) -> NDArray[np.int64]:
        """(repetitions, tiles, n, n) of a cell; SardinoError names the run that is missing."""
        if key not in self.confusions:
            raise SardinoError(f"the cell '{key}' is missing: run {key.run} of profile '{self.profile}' first")
        return self.confusions[key]

    def miou(self, key: CellKey) -> float:
        """mIoU over the whole test set, averaged over repetitions."""
        return float(mean_iou(self.matrices(key).sum(1)).mean())

    def interval(self, key: CellKey, statistic: Statistic = mean_iou) -> tuple[float, float]:
        """95 % interval of a score averaged over repetitions; `caution` says what it holds."""
        return interval(self.copies(key, statistic))

    def copies(self, key: CellKey, statistic: Statistic = mean_iou) -> NDArray[np.float64]:
        """(DRAWS,) bootstrap copies of a score; copy i of every cell has the same chance (see bootstrap)."""
        if (key, statistic) not in self._copies:
            self._copies[key, statistic] = copies(self.matrices(key), self.blocks, statistic, seed=BOOTSTRAP_SEED)
        return self._copies[key, statistic]

    @property
    def miou_majority(self) -> float:
        """What always predicting the test set's most frequent class scores."""
        reference = next(iter(self.confusions.values()))
        return float(mean_iou(majority(reference[0].sum(0))))

    @property
    def provenance(self) -> str:
        """What every caption says about the pixels and the labels."""
        return provenance(synthetic=self.synthetic, derived=self.derived)

    @property
    def arms(self) -> list[CellKey]:
        """The cells of Tables 1 and 2."""
        return [key for key in self.confusions if key.table]

    def floors(self, fraction: float) -> list[CellKey]:
        """The floors at a percentage of labels, from weak to strong; none where they were not run."""
        return sorted((k for k in self.confusions if not k.table and k.fraction == fraction), key=self.miou)

    def gain(self, key: CellKey) -> float | None:
        """mIoU that the last fifth of steps gained on validation, mean over repetitions; None where not recorded."""
        values: list[Any] = [each.get("gain_last_fifth") for each in self.told[key]]
        return None if None in values else float(np.mean(values))

    def rising(self, *keys: CellKey) -> bool | None:
        """Whether one of these had not ended, by more than RISING; None where its records do not tell."""
        gains = [self.gain(key) for key in keys if key.table]
        known = [gain for gain in gains if gain is not None]
        return max(known) > RISING if known and len(known) == len(gains) else None

    def curve(self, key: CellKey) -> tuple[list[int], NDArray[np.float64]]:
        """Steps, and mIoU on the validation tiles averaged over repetitions; empty where the records do not tell."""
        curves = [each.get("curve", []) for each in self.told[key]]
        return [look["step"] for look in curves[0]], np.array([[x["val_miou"] for x in c] for c in curves]).mean(0)

    def facts(self, key: CellKey) -> dict[str, Any]:
        """What the rows of every table say about a cell."""
        rows = self.told[key]
        return {
            **asdict(key),
            "draws": len({row["draw"] for row in rows}),
            "seeds": len({row["seed"] for row in rows}),
            **{name: rows[0].get(name) for name in ("labelled_tiles", "steps", "parameters", "decoder_parameters")},
            "gain_last_fifth": self.gain(key),
            "rising": self.rising(key),
        }

    @property
    def source(self) -> dict[str, Any]:
        """What the rows of every table say about the reference labels."""
        return {"labels": self.labels, "derived": self.derived, "synthetic": self.synthetic}

    @property
    def caution(self) -> str:
        """What the intervals hold, in one sentence."""
        numbers: dict[tuple[int, int], dict[str, None]] = {}
        for key in sorted(self.arms or self.confusions, key=lambda key: key.fraction):
            facts = self.facts(key)
            numbers.setdefault((facts["draws"], facts["seeds"]), {})[f"{key.fraction:g} %"] = None
        if set(numbers) == {(1, 1)}:
            return caution_of_one(self.blocks)
        told = []
        for (draws, seeds), fractions in numbers.items():
            where = f" at {' and '.join(fractions)}" if len(numbers) > 1 else ""
            told.append(f"{_counted(draws, 'draw')} of the labels and {_counted(seeds, 'seed')}{where}")
        spread = f"the spread over repetitions ({', '.join(told)}), few as they are (Student's t)"
        places = _places(self.blocks, "test")
        few = any(1 in pair for pair in numbers)
        lacking = " One draw tells nothing of other labels, one seed little of other trainings." * few
        return f"95 % intervals hold {spread}, and {places}.{lacking}"


def caution_of_one(blocks: NDArray[Any], split: str = "test") -> str:
    """What the intervals of a single training hold: `blocks` (tiles,) are the geographic blocks of a split's tiles."""
    held = _places(blocks, split)
    return f"{ONE}: 95 % intervals hold {held}, and not the spread over other labels and trainings."


def read_cells(records: Sequence[Mapping[str, Any]], folder: Path) -> Cells:
    """Gather the cells of all fine-tuning, baseline and floors records of one profile, whose .npz lie in a folder.

    Records of pre-trainings among them tell what hybrids start from.

    Raises SardinoError: none of these kinds, a missing or damaged .npz, a cell told twice, or runs that differ in test
    tiles, data, or repetitions of the same percentage of labels, and so cannot be compared.
    """
    chosen = [record for record in records if record["kind"] in KINDS]
    if not chosen:
        raise SardinoError(f"{folder} holds no fine-tuning, baseline or floors record: run those notebooks first")
    first = chosen[0]
    found: dict[CellKey, dict[Pair, tuple[Mapping[str, Any], NDArray[np.int64]]]] = {}
    for record in chosen:
        _require_alike(record, first)
        for cell, matrices in _cells_of(record, folder):
            table, pair = int(cell["table"]), (int(cell["draw"]), int(cell["seed"]))
            arm, encoding, start = (str(cell[name]) for name in ("regions", "encoding", "initialisation"))
            key = CellKey(table, arm if table == 1 else "", encoding, start, float(cell["fraction"]))
            if pair in found.setdefault(key, {}):
                raise SardinoError(f"two records of {folder} hold the cell '{key}' of draw and seed {pair}: delete one")
            found[key][pair] = cell, matrices
    pairs: dict[tuple[bool, float], list[Pair]] = {}  # of each percentage of labels, in the first cell's order
    for key, cells in found.items():
        expected = pairs.setdefault((key.table == 0, key.fraction), list(cells))
        if set(cells) != set(expected):
            has, others = sorted(cells), sorted(expected)
            raise SardinoError(f"the cell '{key}' has (draw, seed) {has}, others have {others}: run {key.run} again")
    ordered = {key: [cells[pair] for pair in pairs[key.table == 0, key.fraction]] for key, cells in found.items()}
    told = {key: [cell for cell, _ in cells] for key, cells in ordered.items()}
    results = first["results"]
    pretrained = [record["results"] for record in records if record["kind"] == "pretrain"]
    dense = {each["arm"] for each in pretrained if each["recipe"].get("objective") == "dense"}
    return Cells(
        profile=str(first["profile"]),
        confusions={key: np.stack([matrices for _, matrices in cells]) for key, cells in ordered.items()},
        told=told,
        blocks=np.asarray(results["test_blocks"]),
        labels=str(results["labels_name"]),
        derived=bool(results["derived"]),
        synthetic=bool(first["data"]["synthetic"]),
        whole=any(cells[0]["regions"] in dense for key, cells in told.items() if key.encoding == HYBRID),
    )


def _places(blocks: NDArray[Any], split: str) -> str:
    bands, tiles = len(np.unique(blocks)), len(blocks)
    if bands == 1:
        return f"no spread over places, because all {tiles} {split} tiles lie in one geographic block"
    return f"the spread over {bands} geographic blocks of {tiles} {split} tiles"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)}"


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
