import pytest
import torch
from torch import nn

from sardino.segmentation.token_decoder import TokenDecoder


@pytest.mark.parametrize(("patch", "blocks"), [(16, 4), (8, 3), (4, 2)])
def test_decoder_comes_back_to_the_tile(patch, blocks):
    decoder = TokenDecoder(24, 11, patch, 32)
    assert decoder(torch.randn(2, 6, 5, 24)).shape == (2, 11, 6 * patch, 5 * patch)
    assert sum(isinstance(m, nn.ReLU) for m in decoder.modules()) == blocks
    assert isinstance(decoder.classify, nn.Conv2d)


def test_logits_may_be_negative():
    torch.manual_seed(0)
    assert TokenDecoder(8, 3, 8, 16)(torch.randn(1, 4, 4, 8)).min() < 0
