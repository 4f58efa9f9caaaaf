import pytest

from sardino.dino.recipe import DINO, PAPER, SMALL


@pytest.mark.parametrize(
    ("images", "prototypes", "hidden", "bottleneck"),
    [(1, 1024, 512, 128), (20_000, 1024, 512, 128), (100_000, 8192, 1024, 128), (10**6, 65536, 2048, 256)],
)
def test_the_small_recipe_grows_with_the_tiles(images: int, prototypes: int, hidden: int, bottleneck: int) -> None:
    fitted = SMALL.fitted(images, 1000)
    assert (fitted.prototypes, fitted.hidden, fitted.bottleneck) == (prototypes, hidden, bottleneck)


def test_the_teacher_forgets_its_start_within_the_run() -> None:
    assert [SMALL.fitted(500, steps).momentum for steps in (1, 100, 250, 10**6)] == [0.9, 0.95, 0.98, DINO.momentum]


def test_other_recipes_stay_as_they_are() -> None:
    assert PAPER.fitted(10, 10) is PAPER and DINO.fitted(10, 10) is DINO
