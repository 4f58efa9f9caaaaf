import numpy as np
import pytest

from sardino.study.attention import head_summary


def test_an_even_head_and_a_head_on_one_patch():
    attention = np.ones((2, 2, 5, 5), np.float32)
    attention[:, 1] = 0
    attention[:, 1, 2, 3] = 25
    even, point = head_summary(attention)
    assert even["mass_share"] == pytest.approx(0.6, abs=1 / 25) and even["peak"] == pytest.approx(1)
    assert point["mass_share"] == pytest.approx(1 / 25) and point["peak"] == pytest.approx(25)


def test_scale_does_not_matter():
    attention = np.random.default_rng(0).random((3, 2, 6, 6), np.float32)
    assert head_summary(attention)[0]["peak"] == pytest.approx(head_summary(5 * attention)[0]["peak"], rel=1e-5)
