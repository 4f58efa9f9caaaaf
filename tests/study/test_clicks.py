"""Clicks fall on pure patches of the common classes, as many of each; the scene's parts lie over one another."""

import numpy as np

from sardino.study import clicks
from sardino.study.clicks import embed_unseen_land


def test_ten_clicks_lie_on_pure_patches_of_five_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(clicks, "EXTENT_PX", (192, 288))
    scene = embed_unseen_land(tmp_path)
    assert scene.tokens.shape == (24, 36, 96) and scene.levels.shape == (24, 36, 12)
    assert scene.truth.shape == scene.pure.shape == (24, 36) and all(path.is_file() for path in scene.files)
    np.testing.assert_allclose(scene.levels[3, 5], scene.backscatter[:, 24:32, 40:48].mean((1, 2)), rtol=1e-4)
    rows, columns = scene.clicks(0)
    found, counts = np.unique(scene.truth[rows, columns], return_counts=True)
    assert scene.pure[rows, columns].all() and set(found) == set(scene.common) and counts.max() == 2
    assert len({*zip(rows, columns, strict=True)}) == len(rows)
    assert not all(np.array_equal(a, b) for a, b in zip(scene.clicks(0), scene.clicks(1), strict=True))
    assert scene.most_frequent == max(np.mean(scene.truth == one) for one in scene.common)
