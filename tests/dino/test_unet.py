import pytest
import torch

from sardino.dino.unet import UNet


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_unet_keeps_the_size_even_where_it_does_not_halve(depth):
    assert UNet(12, 11, 4, depth)(torch.randn(2, 12, 37, 50)).shape == (2, 11, 37, 50)
