"""The cells of Tables 1 and 2: every row fine-tuned and tested, one label fraction after the other."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.at_paper_size.lab import Lab
from benchmarks.at_paper_size.preset import TABLE_ROWS
from benchmarks.at_paper_size.probes import peak_gb
from benchmarks.at_paper_size.results import Report, say
from benchmarks.at_paper_size.scenes import Packed
from sardino.data.tiles.label_fractions import label_fraction, label_order
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.vit import build_vit, parameter_count
from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import interval
from sardino.evaluation.scores import accuracy, class_iou, macro_f1, majority, miou, miou_all
from sardino.segmentation.finetune import Settings, finetune, tile_confusions
from sardino.segmentation.segmenter import Segmenter, build_segmenter


@dataclass(frozen=True)
class Europe:
    """Labelled tiles of the cells, normalised for one arm."""

    train: Packed
    validation: Packed
    test: Packed

    @classmethod
    def of(cls, lab: Lab, arm: str, fraction: float) -> "Europe":
        numbers = {split: lab.scenes.numbers(split, ("europe",)) for split in ("train", "val", "test")}
        by_id = {lab.scenes.tiles[i].id: i for group in numbers.values() for i in group}

        def ids(split: str) -> list[str]:
            return [lab.scenes.tiles[i].id for i in numbers[split]]

        granted = label_fraction(ids("train"), fraction, lab.seed)
        judged = label_order(ids("val"))[: lab.preset.validation_tiles]
        chosen = ([by_id[i] for i in granted], [by_id[i] for i in judged], numbers["test"])
        return cls(*(lab.scenes.source(group, arm, lab.device) for group in chosen))


def segmenter(lab: Lab, arm: str, encoding: str, initialisation: str) -> Segmenter:
    """The row's network, its random weights decided by the seed."""
    torch.manual_seed(lab.seed)
    vit = None
    if encoding != "unet":
        vit = build_vit(lab.architecture(arm))
        if initialisation != "scratch":
            if arm not in lab.teachers:
                raise SardinoError(f"no backbone was pre-trained for '{arm}'")
            vit.load_state_dict(lab.teachers[arm])
    return build_segmenter(
        encoding,  # type: ignore[arg-type]
        vit,
        channels=len(CHANNELS),
        classes=len(WORLDCOVER),
        unet_width=lab.preset.unet_width,
        unet_depth=lab.preset.unet_depth,
        decoder_width=lab.preset.decoder_width,
        frozen=initialisation == "frozen",
    ).to(lab.device)


def tune(lab: Lab, model: Segmenter, tiles: Europe, steps: int, validations: int) -> Any:
    rate = lab.preset.cell_rate
    settings = Settings(
        steps=steps,
        batch=lab.preset.cell_batch,
        lr=rate,
        backbone_lr=rate / 10,
        validate_every=max(1, round(steps / validations)),
    )
    return finetune(
        model, tiles.train, tiles.validation, settings, classes=len(WORLDCOVER), seed=lab.seed, device=lab.device
    )


def choose_steps(lab: Lab, budget_s: float) -> int:
    """Steps that all cells can make, such that two fractions of every row fit: one number, so that rows compare."""
    ends, seconds, probe = time.monotonic() + budget_s, [], 10
    for arm, encoding in (("all", "attention"), ("europe", "tokens"), ("europe", "unet_attention")):
        tiles = Europe.of(lab, arm, max(lab.preset.fractions))
        model = segmenter(lab, arm, encoding, "scratch")
        tune(lab, model, tiles, 2, 1)
        started = time.monotonic()
        tile_confusions(model, tiles.test, len(WORLDCOVER), lab.device)
        test_s = time.monotonic() - started
        judge_s = test_s * len(tiles.validation) / len(tiles.test)
        started = time.monotonic()
        tune(lab, model, tiles, probe, 1)
        trained_s = time.monotonic() - started
        seconds.append((max(trained_s - judge_s, trained_s / 10) / probe, test_s + lab.preset.validations * judge_s))
    step_s, fixed_s = np.mean(seconds, axis=0)
    cells = len(TABLE_ROWS) * min(2, len(lab.preset.fractions))
    fits = int((0.9 * (ends - time.monotonic()) / cells - fixed_s - 0.3) / step_s)
    return min(lab.preset.cell_steps, max(20, fits))


def train_cell(
    lab: Lab, arm: str, encoding: str, initialisation: str, fraction: float, steps: int
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """One cell, keyed as in the notebooks' records, with a bootstrap interval over bands; and its confusions."""
    started = time.monotonic()
    tiles = Europe.of(lab, arm, fraction)
    model = segmenter(lab, arm, encoding, initialisation)
    if lab.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(lab.device)
    result = tune(lab, model, tiles, steps, lab.preset.validations)
    confusions = tile_confusions(model, tiles.test, len(WORLDCOVER), lab.device)
    total = confusions.sum(0)
    low, high = interval(confusions[None], lab.scenes.band[tiles.test.numbers], seed=lab.seed)
    row = {
        "table": 1 if encoding in ("attention", "tokens") else 2,
        "regions": arm,
        "encoding": encoding,
        "initialisation": initialisation,
        "fraction": fraction,
        "seed": lab.seed,
        "labelled_tiles": len(tiles.train),
        "steps": len(result.losses),
        "lr": lab.preset.cell_rate,
        "best_step": result.best_step,
        "loss_first": result.loss_first,
        "loss_last": result.loss_last,
        "val_miou": result.validation_miou,
        "miou": float(miou(total)),
        "low": low,
        "high": high,
        "miou_all": float(miou_all(total)),
        "accuracy": float(accuracy(total)),
        "macro_f1": float(macro_f1(total)),
        "class_iou": [float(v) if here else None for v, here in zip(class_iou(total), total.sum(-1) > 0, strict=True)],
        "miou_majority": float(miou(majority(total))),
        "parameters": parameter_count(model),
        "peak_memory_gb": peak_gb(lab.device),
        "wall_s": round(time.monotonic() - started, 3),
    }
    return row, confusions


def cells_stage(lab: Lab, report: Report, steps: int) -> None:
    """All rows at one fraction, then at the next, until the time is spent; what is left out is listed."""
    content, longest = report.content, 0.0
    for fraction in lab.preset.fractions:
        for arm, encoding, initialisation in TABLE_ROWS:
            name = f"{arm} {encoding} {initialisation} {fraction:g} %"
            if lab.clock.left() < 1.1 * longest:
                content["skipped"].append({"cell": name, "why": "the time was spent"})
                continue
            try:
                row, confusions = train_cell(lab, arm, encoding, initialisation, fraction, steps)
            except (SardinoError, torch.OutOfMemoryError) as error:
                content["skipped"].append({"cell": name, "why": str(error).splitlines()[0]})
                continue
            longest = max(longest, row["wall_s"])
            content["cells"].append(row)
            report.confusions[(arm, encoding, initialisation, fraction)] = confusions
            say(f"  {name}: mIoU {row['miou']:.3f} [{row['low']:.3f}, {row['high']:.3f}], {row['wall_s']:.1f} s")
            report.save()
