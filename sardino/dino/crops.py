"""Multi-crop for SAR: random resized crops and horizontal flips, nothing that would alter backscatter (section 2)."""

import functools
import itertools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sardino.errors import SardinoError

Array = NDArray[Any]
CACHED_BYTES = 1 << 19  # of image, which a core's own cache holds while all views are cut from it


def random_boxes(count: int, height: int, width: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Crop boxes that lie inside an image of so many pixels, drawn by a CPU generator.

    `scale`: smallest and largest share of the image's area. Returns (count, 4) float: top, left, height, width in
    pixels; aspect ratio 3:4 to 4:3, drawn in its logarithm.
    """
    area = torch.empty(count).uniform_(*scale, generator=generator) * (height * width)
    ratio = torch.empty(count).uniform_(math.log(3 / 4), math.log(4 / 3), generator=generator).exp()
    box_height = (area / ratio).sqrt().clamp(max=height)
    box_width = (area * ratio).sqrt().clamp(max=width)
    top = torch.rand(count, generator=generator) * (height - box_height)
    left = torch.rand(count, generator=generator) * (width - box_width)
    return torch.stack([top, left, box_height, box_width], dim=1)


def random_flips(count: int, generator: torch.Generator) -> Tensor:
    """Which of `count` views to mirror: (count,) bool, each with probability one half."""
    return torch.rand(count, generator=generator) < 0.5


def crop_views(
    images: Tensor,
    boxes: Tensor,
    flips: Tensor,
    sizes: Sequence[int],
    outs: Sequence[Tensor] | None = None,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> list[Tensor]:
    """Cut one box per view from each image and resample it bilinearly on the images' device.

    Pixels are areas, edges repeat. On a CPU float32 images go through a compiled kernel, on as many threads as torch
    uses; the result does not depend on their number. All else goes through `grid_sample`, which computes the same.

    Args:
        images: (B, C, H, W), any size from one pixel; without gradient, crops are not differentiated through.
        boxes: (V, B, 4) top, left, height, width in pixels.
        flips: (V, B) bool, mirror east and west.
        sizes: side of each view in pixels.
        outs: a tensor (B, C, size, size) per view, of the images' type and device, contiguous, to write to: kept
            memory saves the system's handing out fresh pages, which takes longer than the resampling.
        statistics: mean and standard deviation per channel, (C, 1, 1) each, to normalise the views with; None for not.

    Returns (B, C, size, size) per view; `outs` where given. Refused where anything is of another shape or kind.
    """
    if images.ndim != 4 or images.numel() == 0 or images.requires_grad:
        raise SardinoError(f"crops need pixels (B, C, H, W) without gradient, not {tuple(images.shape)}: detach them")
    count, channels = images.shape[:2]
    if boxes.shape != (len(sizes), count, 4) or flips.shape != boxes.shape[:2] or min(sizes, default=1) < 1:
        raise SardinoError(f"{count} images need as many boxes and flips per view and views of a pixel or more")
    if outs is None:
        outs = [images.new_empty(count, channels, size, size) for size in sizes]
    if len(outs) != len(sizes):
        raise SardinoError(f"{len(sizes)} views do not go to {len(outs)} places: make the memory anew")
    kind = images.dtype, images.device
    for size, out in zip(sizes, outs, strict=True):
        if out.shape != (count, channels, size, size) or (out.dtype, out.device) != kind or not out.is_contiguous():
            raise SardinoError(f"crops of {size} px do not fit the memory given, {tuple(out.shape)}: make it anew")
    if images.device.type == "cpu" and images.dtype == torch.float32:
        if not torch.isfinite(boxes).all():
            raise SardinoError("a crop box is not finite: its scale or the tile's size is wrong")
        _crop_on_cpu(images, boxes, flips, outs, statistics)
        return list(outs)
    for box, flip, out in zip(boxes, flips, outs, strict=True):
        _grid_sample(images, box, flip, out)
        if statistics is not None:
            standardise(out, statistics)
    return list(outs)


def standardise(view: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    """A view (B, C, h, w) to zero mean and unit variance per channel, in place."""
    mean, std = statistics
    return view.sub_(mean).div_(std)


def _grid_sample(images: Tensor, boxes: Tensor, flip: Tensor, out: Tensor) -> None:
    height, width = images.shape[-2:]
    top, left, box_height, box_width = boxes.to(images.device, images.dtype).unbind(1)
    sign = torch.where(flip.to(images.device), -1.0, 1.0).to(images.dtype)
    zero = torch.zeros_like(top)
    # Normalised coordinates run from -1 to 1 over the pixel area (align_corners=False).
    x = torch.stack([sign * box_width / width, zero, (2 * left + box_width) / width - 1], 1)
    y = torch.stack([zero, box_height / height, (2 * top + box_height) / height - 1], 1)
    grid = F.affine_grid(torch.stack([x, y], 1), list(out.shape), align_corners=False)
    out.copy_(F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False))


def _crop_on_cpu(
    images: Tensor, boxes: Tensor, flips: Tensor, outs: Sequence[Tensor], statistics: tuple[Tensor, Tensor] | None
) -> None:
    channels = images.shape[1]
    planes = images.contiguous().flatten(0, 1).numpy()
    mean, std = (torch.zeros(channels), torch.ones(channels)) if statistics is None else statistics
    constants = mean.float().flatten().numpy(), (1 / std).float().flatten().numpy()
    views = [
        (box.double().cpu().contiguous().numpy(), flip.cpu().contiguous().numpy(), out.flatten(0, 1).numpy())
        for box, flip, out in zip(boxes, flips, outs, strict=True)
    ]
    kernel, step = _kernel(), max(1, CACHED_BYTES // planes[0].nbytes)

    def work(start: int, stop: int) -> None:
        # All views of a few planes before the next planes: they are read from memory once.
        for first in range(start, stop, step):
            for box, flip, out in views:
                kernel(planes, box, flip, *constants, out, first, min(first + step, stop))

    threads = min(torch.get_num_threads(), len(planes))
    edges = [len(planes) * part // threads for part in range(threads + 1)]
    others = [_pool(threads - 1, os.getpid()).submit(work, *edge) for edge in itertools.pairwise(edges[1:])]
    work(edges[0], edges[1])
    for other in others:
        other.result()


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork inherits the pool but not its threads, hence the process in the key."""
    return ThreadPoolExecutor(threads, thread_name_prefix="crops")


@functools.cache
def _kernel() -> Any:
    """The compiled kernel, made at the first crop or read from the cache beside this file."""
    import numba  # half a second that only a CPU's crops need

    # Only fused multiply-add is allowed of the fast maths: a missing pixel (NaN) must stay one.
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(_planes, cache=True, **options)
    except RuntimeError:  # neither this folder nor the user's own can be written: compile once per process
        return numba.njit(_planes, **options)


def _planes(
    images: Array, boxes: Array, flip: Array, mean: Array, inverse: Array, out: Array, start: int, stop: int
) -> None:
    """Resample planes `start` to `stop` of (B x C, H, W): rows first, into a buffer that stays in cache, then columns.

    The rows are normalised on the way: mean and inverse standard deviation per channel, 0 and 1 for none. All is
    float32, but boxes float64 and flip bool. Unsigned indices let inner loops become vector code.
    """
    height, width = images.shape[1:]
    rows, columns = out.shape[1:]
    one = np.uint64(1)
    row = np.zeros(width + 1, np.float32)
    west = np.empty(columns, np.uint32)
    share = np.empty(columns, np.float32)
    for plane in range(start, stop):
        b, c = np.uint64(plane // len(mean)), np.uint64(plane % len(mean))
        zero, unit = mean[c], inverse[c]
        top, left, box_height, box_width = boxes[b, 0], boxes[b, 1], boxes[b, 2], boxes[b, 3]
        for j in range(columns):
            x = min(max(left + (j + 0.5) * box_width / columns - 0.5, 0.0), width - 1.0)
            low = max(min(int(x), width - 2), 0)
            k = columns - 1 - j if flip[b] else j
            west[k] = low
            share[k] = x - low
        first = np.uint64(west.min())
        last = np.uint64(min(np.int64(west.max()) + 2, width))
        for i in range(rows):
            y = min(max(top + (i + 0.5) * box_height / rows - 0.5, 0.0), height - 1.0)
            low = max(min(int(y), height - 2), 0)
            down = np.float32(y - low)
            north = images[plane, np.uint64(low)]
            south = images[plane, np.uint64(min(low + 1, height - 1))]
            for j in range(first, last):
                row[j] = (north[j] + down * (south[j] - north[j]) - zero) * unit
            line = out[plane, np.uint64(i)]
            for j in range(columns):
                q = np.uint64(west[j])
                line[j] = row[q] + share[j] * (row[q + one] - row[q])
