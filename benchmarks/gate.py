"""The gate of pre-training: frozen tokens against features that nothing learnt, before anybody fine-tunes them.

    python benchmarks/gate.py --minutes 20               # all candidates, each with so much processor time
    python benchmarks/gate.py --minutes 20 --only dino   # one of them; what is done is not done again

Each candidate is pre-trained without labels on the profile's European training tiles. Linear probes of its frozen
tokens, alone and beside the hand-made features (sardino.dino.probe), learn from the tiles that the profile's label
fractions grant, in several draws; a third of the validation tiles chooses their penalty and the others judge. Test
tiles are not even made: what is chosen here may still be tested.

A candidate passes that beats the hand-made features at the two smallest numbers of labelled tiles (the interval of the
difference lies above 0), or that adds at least two points to them there. Intervals are of other places and other draws
of the labels (sardino.evaluation.bootstrap), for one training. A run that was stopped goes on where it was.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from row import Row, write_benchmark
from timm.models.vision_transformer import VisionTransformer

from sardino.data.tiles.landcover import label_fraction, label_order
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.dino.batches import StoreTiles, in_batches, open_tiles
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import pretrain
from sardino.dino.probe import Side, Tokens, handmade_tokens, tokens_of, tuned_probe
from sardino.dino.recipe import Recipe, Run, find_recipe
from sardino.dino.vit import Architecture, build_vit
from sardino.evaluation.bootstrap import bounds, copies
from sardino.evaluation.patches import patch_classes
from sardino.evaluation.scores import Confusion, miou
from sardino.files import write_json
from sardino.study.arm import pretrain_on
from sardino.study.preparation import open_or_prepare
from sardino.study.profile import Pretraining
from sardino.study.workspace import Workspace
from sardino.weights.save import load_backbone


class Candidate(NamedTuple):
    """What is pre-trained: a recipe, "" for random weights, and whether patches see texture."""

    recipe: str
    texture: bool


CANDIDATES = {
    "random": Candidate("", False),
    "random, texture": Candidate("", True),
    "dino": Candidate("small", False),
    "dino, texture": Candidate("small", True),
    "dino-masked, texture": Candidate("dino-masked", True),
    "pixels, texture": Candidate("pixels", True),
    "filtered": Candidate("filtered", False),
    "filtered, texture": Candidate("filtered", True),
}
DISTILLED = ("small", "dino-masked")  # recipes that the profile's changes were chosen for
ARM = "europe"
LINE = "hand-made features"
VALIDATION = 768  # tiles, of which a third chooses
TIMED = 20  # steps that tell how many the minutes hold
PATCHES = 15_000  # that a probe learns from at most: all of a hundred tiles
ADDS = 2.0  # points beside the line
DECIDE = 2  # smallest numbers of labelled tiles, at both of which a candidate must hold
CPU = Parallel(torch.device("cpu"))
Probes = dict[str, Confusion]  # by label fraction: (draws, tiles, n, n) patch counts of the tiles that judge


@dataclass(frozen=True)
class World:
    """The tiles that all candidates share: to train on, with labels by fraction and draw, to choose and to judge."""

    store: TileStore
    arm: Pretraining
    shape: Architecture  # the arm's ViT
    granted: dict[str, list[list[str]]]
    choosing: list[str]
    judging: list[str]

    @classmethod
    def make(cls, name: str, build: Path, draws: int) -> "World":
        """A profile's world with so many draws of the labels, made where it is not there yet."""
        space = Workspace.open(name)
        data, none = space.profile.data, dict.fromkeys(space.profile.data.regions, 0)
        wanted = data.changed(pool=none, validation={**none, ARM: VALIDATION}, test=none)
        profile = space.profile.changed(data=wanted, draws=[draws] * len(space.profile.fractions))
        arm = profile.arm(ARM)
        store = open_or_prepare(replace(space, profile=profile, build=build))[arm.store]
        train, judges = store.ids("train", arm.regions, listed=True), label_order(store.ids("val", arm.regions))
        granted = {f"{f:g}": [label_fraction(train, f, draw) for draw in range(draws)] for f in profile.fractions}
        shape, third = Architecture.of(profile.architecture(ARM), len(store.channels), store.tile_px), len(judges) // 3
        return cls(store, arm, shape, granted, judges[:third], judges[third:])

    @property
    def trained_on(self) -> list[str]:
        return self.store.ids("train", self.arm.regions)

    @cached_property
    def normalisation(self) -> Normalisation:
        return Normalisation.of_store(self.store, self.trained_on)

    def features(self, make: Callable[[torch.Tensor], Tokens]) -> dict[str, Tokens]:
        """What is made of the images of each tile that takes part in a probe, by its name: (h, w, D)."""
        labelled = {tile for draws in self.granted.values() for ids in draws for tile in ids}
        ids = [*sorted(labelled), *self.choosing, *self.judging]
        images = StoreTiles(self.store, ids, self.normalisation)
        made = (tokens for part, _ in in_batches(images, 32) for tokens in make(part))
        return dict(zip(ids, made, strict=True))

    def probed(self, features: dict[str, Tokens]) -> Probes:
        """What linear probes make of features, at every fraction and draw."""
        classes = len(self.store.legend)

        def side(ids: Sequence[str]) -> Side:
            labels = patch_classes(self.store.read_array("label", ids), self.shape.patch, classes, known=0.5)
            return np.stack([features[tile] for tile in ids]), labels

        judges = side(self.choosing), side(self.judging)
        return {
            fraction: np.stack(
                [tuned_probe(side(ids), *judges, classes, draw, PATCHES).confusions for draw, ids in enumerate(draws)]
            )
            for fraction, draws in self.granted.items()
        }


def recipe_of(world: World, candidate: Candidate, steps: int) -> Recipe:
    """The candidate's recipe, with the profile's changes where they are meant for it."""
    changes = world.arm.overrides if candidate.recipe in DISTILLED else {}
    return find_recipe(candidate.recipe).fitted(len(world.trained_on), steps).changed(**changes)


def steps_in(minutes: float, world: World, candidate: Candidate, folder: Path) -> int:
    """How many steps of the candidate so much processor time holds; measured once a folder."""
    kept = folder / f"steps-of-{minutes:g}-minutes.json"
    if not kept.is_file():
        shape, ids = replace(world.shape, texture=candidate.texture), world.trained_on[: 4 * world.arm.batch]
        tiles = open_tiles(world.store, ids, None)
        run, began = Run(steps=TIMED, batch=world.arm.batch, watch_every=0), time.process_time()
        pretrain(tiles, ids, world.normalisation, shape, recipe_of(world, candidate, TIMED), run, CPU, label="timing")
        write_json(max(1, round(60 * minutes * TIMED / (time.process_time() - began))), kept)
    return int(json.loads(kept.read_text(encoding="utf-8")))


def backbone(world: World, candidate: Candidate, folder: Path, steps: int) -> VisionTransformer:
    """The candidate, pre-trained in its folder from where it was stopped."""
    shape = replace(world.shape, texture=candidate.texture)
    if not candidate.recipe:
        torch.manual_seed(0)
        return build_vit(shape)
    run = Run(steps=steps, batch=world.arm.batch, save_every=max(1, steps // 20), keep=1)
    told: dict[str, Any] = {"mismatch": "restart", "label": folder.name}
    pretrain_on(world.store, world.arm.regions, shape, recipe_of(world, candidate, steps), run, CPU, folder, **told)
    return load_backbone(folder, tuple(world.store.channels), world.store.unit)[0]


def cells(line: Probes, alone: Probes, beside: Probes, world: World) -> list[dict[str, Any]]:
    """By label fraction: points of mIoU in each draw, and intervals of the mean differences from the line."""
    bands, found = world.store.index.set_index("id").loc[world.judging, "band"].to_numpy(), []
    for fraction, draws in world.granted.items():
        of = {"line": line[fraction], "alone": alone[fraction], "beside": beside[fraction]}
        spread = {name: 100 * copies(each, bands) for name, each in of.items()}
        points: dict[str, Any] = {name: (100 * miou(each.sum(1))).tolist() for name, each in of.items()}
        points |= {f"{name}_gain": bounds(spread[name] - spread["line"]) for name in ("alone", "beside")}
        found.append({"tiles": len(draws[0]), **points})
    return found


def rows_of(name: str, done: dict[str, Any]) -> list[Row]:
    """A candidate's rows: at each number of labelled tiles its tokens against the line, and what they add to it."""
    rows = []
    for number, cell in enumerate(done["cells"]):
        where = f"{name}, {done['steps']} steps, {cell['tiles']} labelled tiles"
        line, alone, beside = (float(np.mean(cell[each])) for each in ("line", "alone", "beside"))
        (low, high), (least, most) = cell["alone_gain"], cell["beside_gain"]
        told = f"{where}: tokens alone, gain {low:+.1f} to {high:+.1f}"
        rows.append(Row(told, alone, "mIoU points", LINE, line, alone / line))
        told, bar = f"{where}: gain beside {LINE}, {least:+.1f} to {most:+.1f}", ADDS if number < DECIDE else None
        rows.append(Row(told, beside - line, "mIoU points", bar=bar, kind="least"))
    return rows


def passes(done: dict[str, Any]) -> bool:
    """Whether a candidate beats the line, or adds enough to it, wherever few tiles have labels."""
    few = done["cells"][:DECIDE]
    beats = all(cell["alone_gain"][0] > 0 for cell in few)
    return beats or all(np.mean(cell["beside"]) - np.mean(cell["line"]) >= ADDS for cell in few)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="processor time of each pre-training")
    parser.add_argument("--steps", type=int, default=None, help="instead of minutes")
    parser.add_argument("--only", action="append", choices=CANDIDATES, help="this candidate; repeat for more")
    parser.add_argument("--draws", type=int, default=5, help="of the labelled tiles")
    parser.add_argument("--profile", default="laptop", help="whose world and ViT")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--build", type=Path, default=Path("build/gate"), help="of tiles and weights, which are kept")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/gate.json"), help="where the rows go")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    world = World.make(options.profile, options.build, options.draws)
    handmade = world.features(partial(handmade_tokens, patch=world.shape.patch))
    line, done = world.probed(handmade), {}
    for name, candidate in CANDIDATES.items():
        folder = options.build / name.replace(", ", "-")
        kept, about = folder / "gate.json", f"{world.store.fingerprint}, {options.draws} draws"
        if name in (options.only or CANDIDATES):
            steps = options.steps or steps_in(options.minutes, world, candidate, folder) if candidate.recipe else 0
            if not is_done(kept, about, steps):
                tokens = world.features(partial(tokens_of, backbone(world, candidate, folder, steps)))
                both = {tile: np.concatenate([handmade[tile], found], -1) for tile, found in tokens.items()}
                judged = cells(line, world.probed(tokens), world.probed(both), world)
                write_json({"about": about, "steps": steps, "cells": judged}, kept)
        if is_done(kept, about):
            done[name] = json.loads(kept.read_text(encoding="utf-8"))
    print(write_benchmark([row for name, each in done.items() for row in rows_of(name, each)], options.out))
    for name, each in done.items():
        print(f"{name}: {'passes' if passes(each) else 'does not pass'}")


def is_done(path: Path, about: str, steps: int | None = None) -> bool:
    """Whether a candidate was judged on this world, after so many steps where that is asked."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found.get("about") == about and steps in (None, found["steps"])


if __name__ == "__main__":
    main()
