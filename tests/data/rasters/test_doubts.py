"""Values that cannot be of the unit that is said of them are told, with what has to be corrected; others never are."""

import numpy as np
import pytest

from sardino.data.rasters.doubts import doubts_of, polarisation, sampled

DB = np.random.default_rng(0).normal(-14, 4, (2, 60, 80)).clip(-40, -1)
POWER = 10 ** (DB / 10)


def with_corner(values: np.ndarray, filler: float) -> np.ndarray:
    out = values.copy()
    out[:, :30] = filler
    return out


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (DB, "db"),
        (np.stack([DB[0], DB[0] - 7, np.full_like(DB[0], 7)]), "db"),  # with the difference of its polarisations
        (POWER, "linear"),
        (POWER**0.5, "amplitude"),
        (with_corner(DB, np.nan), "db"),
        (POWER, "counts"),
    ],
)
def test_backscatter_in_its_unit_is_not_doubted(values: np.ndarray, unit: str) -> None:
    assert doubts_of(values, unit) == []


@pytest.mark.parametrize(
    ("values", "unit", "remedy", "words"),
    [
        (POWER, "db", "unit", "holds no negative value and can hardly be in dB"),
        (np.stack([DB[0], POWER[1]]), "db", "unit", "holds no negative value in band 2, unlike its others"),
        (DB, "linear", "unit", "holds negative values .* cannot be linear"),
        (DB, "amplitude", "unit", "cannot be amplitude"),
        (POWER * 1e6, "linear", "unit", "counts of amplitude"),
        (DB * 100, "db", "scale", "values around -1"),
        (with_corner(DB, -9999), "db", "nodata", r"holds -9999 in 50\.0% of its pixels"),
        (with_corner(POWER, -9999), "linear", "nodata", "such as -9999"),
        (with_corner(DB, 0), "db", "nodata", "exactly 0 dB in 50% of its pixels"),
    ],
)
def test_values_of_another_unit_are_told_with_the_remedy(
    values: np.ndarray, unit: str, remedy: str, words: str
) -> None:
    (doubt,) = doubts_of(values, unit)
    assert doubt.remedy == remedy
    with pytest.raises(ValueError, match=words):
        raise ValueError(doubt.said)


def test_samples_reach_the_edges_of_a_scene() -> None:
    scene = np.arange(300 * 500).reshape(1, 300, 500)
    sample = sampled(lambda window: scene[:, *window], (300, 500))
    assert {0, 499, 300 * 500 - 1} <= set(sample.ravel().tolist()) and sample.size < scene.size / 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *[(name, "vh") for name in ("VH", "Sigma0_VH_db", "VHdb", "sigmaVH", "_vh_", "S1VH", "winter_vh")],
        ("vv-vh", "vv vh"),
        ("", ""),
        ("band 2", ""),
        ("angle", ""),
    ],
)
def test_a_name_tells_its_polarisation(name: str, said: str) -> None:
    assert polarisation(name) == said
