"""Real chips, where a folder of them is named: what becomes of them is plausible."""

import os
from pathlib import Path

import numpy as np
import pytest
from chip_folder import spec

from sardino.data.sources.folder.derived_labels import DERIVED
from sardino.data.sources.folder.source import import_folder
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.tiles.radiometry import CHANNELS
from sardino.errors import SardinoError


@pytest.fixture
def real() -> Path:
    place = os.environ.get("SARDINO_DATA", "")
    if not (Path(place) / "los-angeles").is_dir():
        pytest.skip("SARDINO_DATA names no folder of real chips")
    return Path(place)


@pytest.mark.real
@pytest.mark.parametrize("name", ["finland-biomass", "belgium-monthly"])
def test_a_real_series_becomes_twelve_plausible_channels(real: Path, tmp_path: Path, name: str) -> None:
    store = import_folder(real / name, FolderSpec.load(name), tmp_path / "store", 96, 5, 0.0)
    db = store.read(store.ids())[0]
    assert store.channels == list(CHANNELS) and np.isfinite(db).all()
    assert -14 < db[:, 0::3].mean() < -5 and -22 < db[:, 1::3].mean() < -13  # VV and VH over land
    np.testing.assert_allclose(db[:, 2::3], db[:, 0::3] - db[:, 1::3], atol=0.016)


@pytest.mark.real
def test_real_land_cover_with_a_legend_of_its_own(real: Path, tmp_path: Path) -> None:
    store = import_folder(real / "terramesh", FolderSpec.load("terramesh"), tmp_path / "store", 96, 5, 0.0, 4)
    assert len(store) == 12 and store.index["labelled_share"].min() > 0.9 and store.index["crs"].nunique() == 3
    ndvi, height = (store.read_layer(name, store.ids()) for name in ("ndvi", "elevation_m"))
    assert -0.5 < ndvi.min() < 0 < ndvi.max() < 1 and np.isfinite(height).all() and np.ptp(height) > 100


@pytest.mark.real
def test_los_angeles_is_split_by_place(real: Path, tmp_path: Path) -> None:
    for layer in ("s1_vh", "s2_rgb"):
        (tmp_path / "some" / layer).mkdir(parents=True)
        for chip in sorted((real / "los-angeles" / layer).iterdir())[::4]:
            (tmp_path / "some" / layer / chip.name).symlink_to(chip.resolve())
    store = import_folder(tmp_path / "some", FolderSpec.load("los-angeles"), tmp_path / "store", 448, 15, 120.0, 1)
    assert len(store) == 18 and set(store.index["split"]) == {"train", "val", "test"}
    assert store.metadata["gsd_m"] == pytest.approx(8.3, abs=0.1) and store.metadata["calibrated"] is False
    assert (store.index[[f"share_{code}" for code in DERIVED.codes]].mean() > 0.005).all()  # no class is empty


@pytest.mark.real
def test_real_chips_in_degrees_are_refused_with_the_zone_to_warp_to(real: Path, tmp_path: Path) -> None:
    source = {"files": "{time}_{band}.tif", "bands": ["VV", "VH"], "names": {"VV": "vv", "VH": "vh"}}
    pakistan = spec(backscatter=source | {"composite": "seasonal", "time_format": "%Y%m%d"}, channels=["summer_vv"])
    with pytest.raises(SardinoError, match=r"in degrees .*EPSG:32643"):
        import_folder(real / "pakistan-two-seasons", pakistan, tmp_path / "store", 96, 5, 0.0)
