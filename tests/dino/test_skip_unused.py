import copy

import pytest
import torch

from sardino.dino.skip_unused import class_token_only
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError

ARCHITECTURE = Architecture(width=24, depth=3, heads=3, patch=8, channels=2, tile_px=32)


@pytest.mark.parametrize("size", [32, 16])
@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_value_and_gradient_are_the_whole_vits(size: int, drop_path: float) -> None:
    torch.manual_seed(0)
    whole = build_vit(ARCHITECTURE, drop_path).double().train()
    short = class_token_only(copy.deepcopy(whole))
    images = torch.randn(4, 2, size, size, dtype=torch.float64)
    results = []
    for vit in (whole, short):
        torch.manual_seed(1)
        output = vit(images)
        output.square().sum().backward()
        results.append((output, [p.grad for p in vit.parameters()]))
    torch.testing.assert_close(results[0][0], results[1][0])
    for expected, found in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(expected, found, rtol=1e-9, atol=1e-12)


def test_names_and_weights_stay() -> None:
    vit = build_vit(ARCHITECTURE)
    names = list(vit.state_dict())
    assert list(class_token_only(vit).state_dict()) == names
    build_vit(ARCHITECTURE).load_state_dict(vit.state_dict(), strict=True)


def test_a_vit_that_pools_its_patches_is_refused() -> None:
    vit = build_vit(ARCHITECTURE)
    vit.global_pool = "avg"
    with pytest.raises(SardinoError, match="class token"):
        class_token_only(vit)
