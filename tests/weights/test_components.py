"""Principal components are scikit-learn's, in whatever parts tokens come, and are read of their weights alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from sardino.errors import SardinoError
from sardino.weights.components import Components

ABOUT = {"weights_sha256": "a" * 64, "fingerprint": "f", "tiles": 3, "synthetic": True}


def tokens(count=200, width=6, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 1, (count, width)) * 2.0 ** -np.arange(width) + rng.normal(0, 3, width)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 199), max_size=4), seed=st.integers(0, 99))
def test_they_are_those_of_scikit_learn_however_tokens_are_parted(cuts, seed):
    all_tokens = tokens(seed=seed)
    found, wanted = Components.of_tokens(np.split(all_tokens, sorted(cuts)), ABOUT), PCA().fit(all_tokens.astype(float))
    np.testing.assert_allclose(found.mean, wanted.mean_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.explained, wanted.explained_variance_ratio_, rtol=1e-3, atol=1e-6)
    assert (np.abs((found.axes.numpy() * wanted.components_).sum(1)) > 0.999).all()
    assert (found.axes[np.arange(6), found.axes.abs().argmax(1)] > 0).all()
    scores = found.of(torch.from_numpy(all_tokens))
    np.testing.assert_allclose((scores @ found.axes + found.mean), all_tokens, atol=1e-4)
    torch.testing.assert_close(found.first(2).of(torch.from_numpy(all_tokens)), scores[:, :2])


def test_they_are_read_as_they_were_saved_and_of_their_weights_alone(tmp_path):
    found = Components.of_tokens([tokens()], ABOUT)
    path = found.save(tmp_path / "kept.safetensors")
    again = Components.read(path, "a" * 64)
    assert torch.equal(again.axes, found.axes) and again.about == ABOUT and len(again.sha256) == 64
    with pytest.raises(SardinoError, match=r"of other weights: fit them again with --fit STORE"):
        Components.read(path, "b" * 64)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SardinoError, match=r"kept\.safetensors holds no principal components .*--fit STORE"):
        Components.read(path, "a" * 64)


def test_tokens_that_are_all_alike_have_none():
    with pytest.raises(SardinoError, match="do not differ"):
        Components.of_tokens([np.ones((9, 3), np.float32)], ABOUT)
