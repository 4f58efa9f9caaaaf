"""What tests of imports share."""

from pathlib import Path

import pytest
from chip_folder import decibels, write_tif


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tif(tmp_path / "chips" / "s1" / "a.tif", decibels(0))
    return tmp_path / "chips"
