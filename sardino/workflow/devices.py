"""Devices a run may be forecast for: a table of them with sources, and this machine, measured."""

import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sardino.errors import SardinoError

TABLE = Path(__file__).with_name("devices.toml")
HERE = "here"
"""The name that means: this machine's CPU, measured now."""
ROUNDS = 3


@dataclass(frozen=True)
class Device:
    """What one run gets.

    Args:
        matrix_gflops, convolution_gflops: speed kept up in training.
        source: where the figures come from.
    """

    name: str
    title: str
    matrix_gflops: float
    convolution_gflops: float
    memory_gb: float
    source: str

    def seconds(self, matrix: float, convolution: float) -> float:
        """Time for so many floating-point operations of each kind."""
        return matrix / self.matrix_gflops / 1e9 + convolution / self.convolution_gflops / 1e9


def find_device(name: str, threads: int = 1) -> Device:
    """A device by name; "here" is measured on so many threads, which takes seconds."""
    if name == HERE:
        return measured(threads)
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    if name not in table:
        raise SardinoError(f"no device is named '{name}': there are {HERE}, {', '.join(table)} (see {TABLE.name})")
    return Device(name, **table[name])


def measured(threads: int) -> Device:
    """This machine's CPU in the small profiles' own kind of step: a small ViT, a narrow U-Net, 96 px, batch of 8."""
    import psutil
    import torch

    from sardino.models.unet import UNet
    from sardino.models.vit import Architecture, build_vit
    from sardino.reporting.record import hardware
    from sardino.training.allocator import keep_memory

    keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        images = torch.zeros(8, 12, 96, 96)
        vit, unet = build_vit(Architecture(96, 6, 3, 8, 12, 96)), UNet(12, 11, 8)
        matrix = _speed(lambda: vit(images).sum().backward())
        convolution = _speed(lambda: unet(images).sum().backward())
    finally:
        torch.set_num_threads(before)
    title = f"this machine, {hardware()['cpu']}, {threads} {'thread' if threads == 1 else 'threads'}"
    memory = psutil.virtual_memory().total / 1e9
    return Device(HERE, title, matrix, convolution, memory, f"measured now, best of {ROUNDS} steps")


def _speed(step: Callable[[], object]) -> float:
    """GFLOP/s of a step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return float(counter.get_total_flops()) / min(seconds) / 1e9
