"""Derived classes: known colours fall into the right class, noise does not decide, and the legend says derived."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sardino.data.sources.folder.derived_labels import DERIVED, derived_classes
from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError

COLOURS = {
    "Water or deep shadow": [(44, 81, 123), (39, 63, 91)],  # ocean, the shaded side of a hill
    "Green vegetation": [(55, 111, 122), (80, 120, 132)],  # irrigated fields
    "Bare or dry ground": [(115, 116, 136), (64, 84, 116), (161, 149, 153)],  # hills in and out of the sun, soil
    "Bright built-up or sand": [(235, 238, 240)],  # roofs
    "Grey built-up": [(140, 158, 175), (122, 140, 154)],  # houses and streets
}


def plain(colour: tuple[int, int, int], size: int = 24) -> np.ndarray:
    return np.tile(np.array(colour, np.uint8)[:, None, None], (1, size, size))


@pytest.mark.parametrize(("name", "colour"), [(name, c) for name, colours in COLOURS.items() for c in colours])
def test_known_ground_gets_its_class_in_spite_of_noise(name: str, colour: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(0, 6, (3, 24, 24))
    noisy = (plain(colour) + noise).clip(0, 255).astype(np.uint8)
    assert (derived_classes(plain(colour)) == DERIVED.names.index(name)).all()
    assert (derived_classes(noisy) == DERIVED.names.index(name)).mean() > 0.95


@given(arrays(np.uint8, (3, 9, 12)))
def test_every_pixel_has_a_class_unless_the_image_is_missing(image: np.ndarray) -> None:
    classes = derived_classes(image)
    missing = (image == 0).all(0)
    assert classes.shape == (9, 12) and classes.dtype == np.uint8
    assert (classes[missing] == IGNORE).all() and (classes[~missing] < len(DERIVED)).all()


@given(st.integers(0, 3))
def test_the_rule_does_not_depend_on_orientation(turns: int) -> None:
    image = np.random.default_rng(1).integers(1, 256, (3, 30, 30)).astype(np.uint8)
    turned = derived_classes(np.rot90(image, turns, (1, 2)))
    np.testing.assert_array_equal(turned, np.rot90(derived_classes(image), turns))


def test_the_legend_says_that_it_is_derived() -> None:
    assert DERIVED.derived and "Derived" in DERIVED.name


@pytest.mark.parametrize("image", [np.zeros((1, 4, 4), np.uint8), np.zeros((3, 4, 4), np.float32)])
def test_anything_but_an_8_bit_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(SardinoError, match="8-bit RGB"):
        derived_classes(image)
