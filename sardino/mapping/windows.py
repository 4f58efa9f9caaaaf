"""Where the windows of a scene lie, and how much each counts at each place: overlap, weights, stripes."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError

FLOOR = 1e-3  # least weight, of a window's outermost cells: at the edge of a scene no other window covers them


@dataclass(frozen=True)
class Axis:
    """Windows along one side of a scene, in cells of the map: pixels, or patches."""

    size: int  # cells of the scene, those that it fills in part included
    window: int
    stride: int  # cells from one window to the next; the last one is moved to the scene's edge
    step: int = 1  # every window begins at a multiple of it: the last one may reach so far beyond the edge

    def __post_init__(self) -> None:
        if self.size < 1 or not 1 <= self.stride <= self.window:
            raise SardinoError(f"windows of {self.window} every {self.stride} do not cover {self.size} cells")

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First cell of each window; (0,) for a scene smaller than a window, which is then padded."""
        last = math.ceil(max(self.size - self.window, 0) / self.step) * self.step
        return (*range(0, last, self.stride), last)

    @cached_property
    def profile(self) -> NDArray[np.float32]:
        """(window,) weights: 1, and towards either end the square of a raised cosine over the overlap.

        The square, because what a window says near its end, seeing nothing beyond, is worth little.
        """
        overlap = min(self.window - self.stride, self.window // 2)
        ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 4
        ramp = FLOOR + (1 - FLOOR) * ramp
        return np.concatenate([ramp, np.ones(self.window - 2 * overlap), ramp[::-1]]).astype(np.float32)

    @cached_property
    def total(self) -> NDArray[np.float64]:
        """Sum of the weights of all windows at each cell, those that the last window has beyond the scene too."""
        total = np.zeros(max(self.size, self.starts[-1] + self.window))
        for start in self.starts:
            total[start : start + self.window] += self.profile
        return total

    def final(self, number: int) -> int:
        """The cell before which nothing changes after window `number`, counted along the axis."""
        return self.starts[number + 1] if number + 1 < len(self.starts) else self.size


@dataclass(frozen=True)
class Layout:
    """All windows of a scene: an axis down, an axis across, and the stripes in which they are taken.

    A stripe is a few windows wide and runs from the top to the bottom; what its windows say of the next stripe's
    cells is carried over. So memory depends on the stripe's width (`across` windows) and not on the scene's.
    """

    rows: Axis
    columns: Axis
    cell: int
    across: int

    @classmethod
    def of(
        cls, shape: tuple[int, int], window_px: int, stride_px: int, cell: int, across: int, patch: int = 0
    ) -> "Layout":
        """The layout of a scene of (rows, columns) pixels; window and stride are whole cells.

        With a `patch`, windows lie on one grid of patches and are no larger than the scene: none is padded with what
        a network would attend to.
        """
        if window_px % cell or stride_px % cell or across < 1:
            raise SardinoError(f"windows of {window_px} px every {stride_px} px are not whole cells of {cell} px")
        axes = []
        for size in shape:
            window = min(window_px, math.ceil(size / patch) * patch) if patch else window_px
            step = max(patch // cell, 1)
            axes.append(Axis(math.ceil(size / cell), window // cell, min(stride_px, window) // cell, step))
        rows, columns = axes
        return cls(rows, columns, cell, across)

    @cached_property
    def weight(self) -> NDArray[np.float32]:
        """(window, window) of a window's cells."""
        return np.outer(self.rows.profile, self.columns.profile)

    @property
    def axes(self) -> tuple[Axis, Axis]:
        return self.rows, self.columns

    @cached_property
    def stripes(self) -> tuple[tuple[int, int], ...]:
        """First window of each stripe and the one behind its last."""
        count = len(self.columns.starts)
        return tuple((first, min(first + self.across, count)) for first in range(0, count, self.across))

    def span(self, stripe: int) -> tuple[int, int, int]:
        """Of a stripe: its first column, the column behind its own cells, and the one behind its windows."""
        first, behind = self.stripes[stripe]
        starts = self.columns.starts
        return starts[first], self.columns.final(behind - 1), starts[behind - 1] + self.columns.window

    @property
    def carried(self) -> int:
        """Most columns that a stripe's windows reach beyond its own."""
        return max((self.span(n)[2] - self.span(n)[1] for n in range(len(self.stripes) - 1)), default=0)

    @property
    def windows(self) -> int:
        """How many, numbered row by row."""
        return len(self.rows.starts) * len(self.columns.starts)

    def before(self, stripe: int, row: int) -> int:
        """Windows that come before a row of a stripe."""
        first, behind = self.stripes[stripe] if stripe < len(self.stripes) else (len(self.columns.starts),) * 2
        return first * len(self.rows.starts) + (behind - first) * row


def stride_of(window_px: int, overlap_px: int | None, step_px: int) -> int:
    """Pixels from one window to the next: a multiple of `step_px`, a third of the window overlapping by default.

    Refused are a window that is no multiple of the step, and an overlap that leaves nothing new.
    """
    if window_px < step_px or window_px % step_px:
        raise SardinoError(f"a window is a multiple of {step_px} px for this model, not {window_px}")
    overlap = window_px // 3 // step_px * step_px if overlap_px is None else overlap_px
    stride = (window_px - overlap) // step_px * step_px
    if overlap < 0 or stride < step_px:
        most = window_px - step_px
        raise SardinoError(
            f"an overlap of {overlap} px leaves a window of {window_px} px nothing new: take 0 to {most}"
        )
    return stride
