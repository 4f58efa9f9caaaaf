import os

import pytest
import torch

from sardino.dino import runtime as device
from sardino.dino.parallel import Parallel
from sardino.dino.recipe import SMALL
from sardino.dino.runtime import best_device, cores, precision_on
from sardino.dino.step import Learner
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cpu", "units", "expected"),
    [
        ("AMD EPYC", ["avx512_bf16"], "bfloat16"),
        ("Intel Xeon", ["avx512_bf16", "amx_bf16"], "bfloat16"),
        ("Intel Xeon", ["avx512_bf16"], "float32"),
        ("AMD Ryzen", ["avx2"], "float32"),
        ("Neoverse", ["bf16"], "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_hardware_is_faster_with_it(
    monkeypatch: pytest.MonkeyPatch, cpu: str, units: list[str], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": cpu} | dict.fromkeys(units, True))
    assert precision_on(CPU) == expected
    assert precision_on(CPU, "float32") == "float32" and precision_on(CPU, "bfloat16") == "bfloat16"
    recipe = SMALL.changed(hidden=16, bottleneck=8, prototypes=16)
    learner = Learner(Architecture(24, 1, 3, 8, 2, 32), recipe, Parallel(CPU), seed=0)
    with learner._autocast:
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, expected)


def test_other_devices_stay_in_float32_and_refuse_what_they_lack() -> None:
    mps = torch.device("mps")
    assert precision_on(mps) == "float32"
    with pytest.raises(SardinoError, match="--precision float32"):
        precision_on(mps, "bfloat16")


def test_the_best_device_is_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    assert best_device().type == "cuda"
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device.torch.backends.mps, "is_available", lambda: False)
    assert best_device().type == "cpu"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system ties no process to cores")
def test_a_process_tied_to_one_core_uses_one() -> None:
    before = os.sched_getaffinity(0)
    assert cores() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
