"""The engine: windows through the network in batches, blended where they overlap, written as rows become final."""

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sardino.mapping.fit import FittedScene
from sardino.mapping.product import Product
from sardino.mapping.strips import Strip, ahead, strips
from sardino.mapping.unfinished import Unfinished
from sardino.mapping.windows import Layout
from sardino.tiles.normalisation import Normalisation


class Blend:
    """The open rows of one stripe: weighted sums of what its windows say.

    Args:
        product: what is predicted.
        layout: of the scene.
        batch: windows at once.
        device: of the network and of the sums.
    """

    def __init__(self, product: Product, layout: Layout, batch: int, device: torch.device) -> None:
        self.product, self.layout, self.batch, self.device = product, layout, batch, device
        rows, columns = layout.rows, layout.columns
        self._weight = torch.from_numpy(np.outer(rows.profile, columns.profile)).to(device)
        self._open = torch.empty(0)

    def begin(self, stripe: int) -> None:
        """Start at the top of a stripe, or where it goes on."""
        left, _, right = self.layout.span(stripe)
        shape = (self.product.planes, self.layout.rows.window, right - left)
        self._open = torch.zeros(shape, device=self.device)

    def add(self, strip: Strip) -> Iterator[int]:
        """Predict a row of windows and add them; yields the number of windows after each batch.

        A window without a valid cell is left out: nobody reads the cells that it alone would tell.
        """
        layout, width = self.layout, self.layout.columns.window
        first, behind = layout.stripes[strip.stripe]
        left = layout.columns.starts[first]
        places = [start - left for start in layout.columns.starts[first:behind]]
        seen = [place for place in places if strip.valid[:, place : place + width].any()]
        yield len(places) - len(seen)
        images = torch.from_numpy(strip.images).to(self.device)
        # Batches begin anew with each row of windows, so that a run that goes on computes in the same ones.
        for number in range(0, len(seen), self.batch):
            chosen = seen[number : number + self.batch]
            maps = self._predict(images, chosen)
            for place, one in zip(chosen, maps, strict=True):
                self._open[:, :, place : place + width].addcmul_(one, self._weight)
            yield len(chosen)

    def take(self, count: int) -> Tensor:
        """The first `count` open rows (planes, count, width), which are complete; zeros come in at the bottom."""
        done = self._open[:, :count].clone()
        kept = self._open.shape[1] - count
        if kept > 0:
            self._open[:, :kept] = self._open[:, count:].clone()
        self._open[:, max(kept, 0) :] = 0
        return done

    def _predict(self, images: Tensor, places: list[int]) -> Tensor:
        cell, width = self.layout.cell, self.layout.columns.window
        windows = torch.stack([images[:, :, p * cell : (p + width) * cell] for p in places])
        half: Any = torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()
        with half:
            return self.product.predict(windows)


@torch.inference_mode()
def blend_scene(
    source: FittedScene,
    layout: Layout,
    product: Product,
    normalisation: Normalisation,
    unfinished: Unfinished,
    *,
    batch: int,
    device: torch.device,
    threads: int,
) -> Generator[int, None, None]:
    """Fill the rasters of an unfinished map from where it stands; yields the number of windows after each batch.

    Rows that are final are written and noted in the journal, so that an interruption costs the open rows alone; going
    on gives the same bits on the same device with the same batch.
    """
    product.network.eval().to(device)
    begin = unfinished.done
    if begin[0] >= len(layout.stripes):
        return
    blend = Blend(product, layout, batch, device)
    reached = _first_needed(layout, begin[1])
    with ahead(strips(source, layout, normalisation, (begin[0], reached), threads)) as coming:
        stripe = -1
        for strip in coming:
            if strip.stripe != stripe:
                stripe = strip.stripe
                blend.begin(stripe)
            again = (stripe, strip.row) < begin
            for count in blend.add(strip):
                if not again and count:
                    yield count
            start, stop = layout.rows.starts[strip.row], layout.rows.final(strip.row)
            sums = blend.take(stop - start)
            if again:
                continue
            _write(sums, strip, layout, product, unfinished)
            last = strip.row + 1 == len(layout.rows.starts)
            unfinished.reached(*((stripe + 1, 0) if last else (stripe, strip.row + 1)))


def _write(sums: Tensor, strip: Strip, layout: Layout, product: Product, unfinished: Unfinished) -> None:
    """Finish complete rows of a stripe: what came from the stripe before, what goes to the next, the values."""
    left, own, right = layout.span(strip.stripe)
    top, height = layout.rows.starts[strip.row], sums.shape[1]
    if strip.stripe > 0:
        _, before, behind = layout.span(strip.stripe - 1)
        carried = unfinished.carried[(strip.stripe - 1) % 2].read(top, 0, height, behind - before)
        sums[:, :, : behind - before] += torch.from_numpy(carried).to(sums.device)
    if strip.stripe + 1 < len(layout.stripes) and right > own:
        onward = sums[:, :, own - left :].cpu().numpy()
        unfinished.write(unfinished.carried[strip.stripe % 2], onward, top, 0)
    total = np.outer(layout.rows.total[top : top + height], layout.columns.total[left:own]).astype(np.float32)
    blended = sums[:, :, : own - left] / torch.from_numpy(total).to(sums.device)
    for name, values in product.finish(blended, strip.valid[:height, : own - left]).items():
        unfinished.write(unfinished.rasters[name], values, top, left)


def _first_needed(layout: Layout, row: int) -> int:
    """The first row of windows that reaches into those that are still open when `row` is next."""
    starts, window = layout.rows.starts, layout.rows.window
    return next(number for number in range(row + 1) if starts[number] + window > starts[row] or number == row)
