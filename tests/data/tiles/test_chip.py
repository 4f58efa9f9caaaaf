"""A chip holds planes of one size, under known names."""

import numpy as np
import pytest

from sardino.data.tiles.tile import LAYERS, Chip
from sardino.errors import SardinoError

DB = np.zeros((2, 8, 8), np.float32)
LABEL = np.zeros((8, 8), np.uint8)


def test_planes_of_one_size_are_accepted_under_every_known_name() -> None:
    layers = {name: np.zeros((3, 8, 8) if name == "optical" else (8, 8), np.uint8) for name in LAYERS}
    assert Chip(DB, LABEL, layers).layers.keys() == LAYERS.keys()


@pytest.mark.parametrize(("db", "label"), [(DB[0], LABEL), (DB, LABEL[:4]), (DB, LABEL[None])])
def test_another_shape_is_refused(db: np.ndarray, label: np.ndarray) -> None:
    with pytest.raises(SardinoError, match="one size"):
        Chip(db, label)


@pytest.mark.parametrize("layers", [{"biomass_t_ha": np.zeros((4, 4))}, {"height": np.zeros((8, 8))}])
def test_a_layer_that_does_not_fit_is_refused(layers: dict[str, np.ndarray]) -> None:
    with pytest.raises(SardinoError, match="does not fit"):
        Chip(DB, LABEL, layers)
