"""The engine: windows through the network in batches, blended where they overlap, written as rows become final."""

from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import Tensor

from sardino.mapping.fit import FittedScene
from sardino.mapping.prediction import Prediction, batches
from sardino.mapping.product import Product
from sardino.mapping.strips import Strip, ahead, strips
from sardino.mapping.unfinished import Unfinished
from sardino.mapping.windows import Layout
from sardino.tiles.normalisation import Normalisation
from sardino.training.device import Precision


class Blend:
    """The open rows of one stripe: weighted sums of what its windows say.

    Args:
        planes: that are blended.
        layout: of the scene.
        device: of the sums.
    """

    def __init__(self, planes: int, layout: Layout, device: torch.device) -> None:
        self.planes, self.layout, self.device = planes, layout, device
        self._weight = torch.from_numpy(np.outer(layout.rows.profile, layout.columns.profile)).to(device)
        self._open = torch.empty(0)

    def begin(self, stripe: int) -> None:
        """Start at the top of a stripe, or where it goes on."""
        left, _, right = self.layout.span(stripe)
        self._open = torch.zeros((self.planes, self.layout.rows.window, right - left), device=self.device)

    def add(self, places: Sequence[int], maps: Tensor) -> None:
        """Add what windows say, (windows, planes, h, w), each at its place."""
        width = self.layout.columns.window
        for place, one in zip(places, maps, strict=True):
            self._open[:, :, place : place + width].addcmul_(one, self._weight)

    def take(self, count: int) -> Tensor:
        """The first `count` open rows (planes, count, width), which are complete; zeros come in at the bottom."""
        done = self._open[:, :count].clone()
        kept = self._open.shape[1] - count
        if kept > 0:
            self._open[:, :kept] = self._open[:, count:].clone()
        self._open[:, max(kept, 0) :] = 0
        return done


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
    precision: Precision = "auto",
) -> Generator[int, None, None]:
    """Fill the rasters of an unfinished map from where it stands; yields the number of windows after each batch.

    Rows that are final are written and noted in the journal, so that an interruption costs the open rows alone; going
    on gives the same bits on the same device with the same batch, however many threads there are.
    """
    begin = unfinished.done
    if begin[0] >= len(layout.stripes):
        return
    blend, reached, stripe = Blend(product.planes, layout, device), _first_needed(layout, begin[1]), -1
    with (
        ahead(strips(source, layout, normalisation, (begin[0], reached), threads)) as coming,
        Prediction(product, layout, device, threads, precision) as prediction,
    ):
        for each, maps in prediction.each(batches(coming, layout, batch)):
            strip = each.strip
            if strip.stripe != stripe:
                stripe = strip.stripe
                blend.begin(stripe)
            blend.add(each.places, maps)
            again = (stripe, strip.row) < begin
            if not again:
                yield each.windows
            if not each.last:
                continue
            sums = blend.take(layout.rows.final(strip.row) - layout.rows.starts[strip.row])
            if not again:
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
