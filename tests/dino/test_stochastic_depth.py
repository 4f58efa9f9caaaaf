import copy

import pytest
import torch

from sardino.dino.skip_unused import SkippingBlock, add_branch, class_token_only, drop_probability, skip_dropped
from sardino.dino.vit import Architecture, build_vit

ARCHITECTURE = Architecture(width=24, depth=3, heads=3, patch=8, channels=2, tile_px=32)


@pytest.mark.parametrize("drop_path", [0.2, 0.6, 0.99])
@pytest.mark.parametrize("class_only", [False, True])
def test_draws_values_and_gradients_are_timms(drop_path: float, class_only: bool) -> None:
    torch.manual_seed(0)
    whole = build_vit(ARCHITECTURE, drop_path).double().train()
    skipping = copy.deepcopy(whole)
    skipping = skip_dropped(class_token_only(skipping) if class_only else skipping)
    images = torch.randn(6, 2, 32, 32, dtype=torch.float64)
    found = []
    for vit in (whole, skipping):
        torch.manual_seed(1)
        output = vit(images)
        output.square().sum().backward()
        found.append((output, torch.rand(1), [p.grad for p in vit.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])  # as many draws were taken
    for expected, gradient in zip(found[0][2], found[1][2], strict=True):
        torch.testing.assert_close(expected, gradient, rtol=1e-9, atol=1e-12)


def test_without_dropping_nothing_changes() -> None:
    vit = skip_dropped(build_vit(ARCHITECTURE, 0.0))
    assert not any(isinstance(block, SkippingBlock) for block in vit.blocks)
    dropping = skip_dropped(build_vit(ARCHITECTURE, 0.5))
    assert [isinstance(block, SkippingBlock) for block in dropping.blocks] == [False, True, True]
    assert [round(drop_probability(block.drop_path1), 2) for block in dropping.blocks] == [0.0, 0.25, 0.5]
    images = torch.randn(2, 2, 32, 32)
    plain = build_vit(ARCHITECTURE)
    plain.load_state_dict(dropping.state_dict())
    torch.testing.assert_close(dropping.eval()(images), plain.eval()(images))


def test_a_dropped_sample_does_not_pass_the_branch() -> None:
    seen = []

    def branch(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x

    drop = build_vit(ARCHITECTURE, 0.5).train().blocks[-1].drop_path1
    torch.manual_seed(0)
    x = torch.ones(1000, 1, 1)
    result = add_branch(x, x, drop, branch)
    assert seen == [int((result == 3).sum())] and 400 < seen[0] < 600 and int((result == 1).sum()) == 1000 - seen[0]
