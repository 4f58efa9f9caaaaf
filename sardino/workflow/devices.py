"""Devices a run may be forecast for: a table of them with sources, and this machine, measured."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sardino.errors import SardinoError

HERE = "here"
"""The name that means: this machine's CPU, measured now."""
SPEED = Path(__file__).with_name("cpu_speed.json")
"""What sardino.workflow.calibration writes."""
ROUNDS = 3
GPU_SHARES = (0.35, 0.25)
"""Of a GPU's peak that trainings like these are assumed to keep up, in matrix products and in convolutions."""


@dataclass(frozen=True)
class Device:
    """What one run gets.

    Args:
        matrix_gflops, convolution_gflops: speed kept up in training; narrow U-Nets reach less of a GPU than ViTs.
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


def _gpu(name: str, title: str, peak_tflops: float, memory_gb: float, source: str) -> Device:
    """A GPU by its maker's dense bfloat16 peak."""
    matrix, convolution = (1000 * peak_tflops * share for share in GPU_SHARES)
    shares = " and ".join(f"{100 * share:g} %" for share in GPU_SHARES)
    return Device(name, title, matrix, convolution, memory_gb, f"{peak_tflops:g} TFLOP/s, {source}; {shares} assumed")


def _core() -> Device:
    """One core as the last `sardino plan PROFILE --calibrate` found it, with the memory of a small machine."""
    speed = json.loads(SPEED.read_text(encoding="utf-8"))
    source = (
        f"fitted to {speed['runs']} trainings of `{speed['profile']}`, {speed['cpu']}, revision {speed['revision']}"
    )
    matrix, convolution = speed["matrix_gflops"], speed["convolution_gflops"]
    return Device("cpu-1", "one core of a server CPU", matrix, convolution, 8, source)


TABLE = (
    _core(),
    _gpu("rtx4090", "NVIDIA GeForce RTX 4090", 165.2, 24, "NVIDIA Ada whitepaper"),
    _gpu("a100", "NVIDIA A100 80 GB", 312, 80, "NVIDIA A100 data sheet"),
    _gpu("h100", "NVIDIA H100 SXM", 989.4, 80, "NVIDIA H100 data sheet"),
)


def find_device(name: str, threads: int = 1) -> Device:
    """A device by name; "here" is measured on so many threads, which takes seconds."""
    if name == HERE:
        return measured(threads)
    table = {device.name: device for device in TABLE}
    if name not in table:
        raise SardinoError(f"no device is named '{name}': there are {HERE}, {', '.join(table)}")
    return table[name]


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
