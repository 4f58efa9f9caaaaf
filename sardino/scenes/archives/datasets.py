"""Opening an archive folder: which data sets belong together, and how their numbers are stored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sardino.errors import SardinoError
from sardino.scenes.archives.archive import (
    CODES,
    DIRECTIONS,
    SUSPECTS,
    ArchiveSource,
    dataset_year,
    is_constant,
    season_planes,
)
from sardino.scenes.archives.layers import LAYER_DATASETS
from sardino.scenes.archives.layouts import Layout
from sardino.scenes.archives.legacy import ENCODINGS, recognise
from sardino.scenes.archives.raster import read_archive_raster, tile_file
from sardino.scenes.source import LeftOut
from sardino.tiles.landcover import IGNORE, WORLDCOVER


def open_archive(
    layout: Layout,
    *,
    backscatter: str = "",
    label: str = "",
    direction: str = "asc",
    encoding: str = "",
    codes: str = "",
    suspects: str = "missing",
    other_year: bool = False,
    layers: bool = True,
    min_valid: float = 0.0,
    optical_month: int = 7,
) -> ArchiveSource:
    """Choose the data sets of a layout and find out how they are stored.

    Args:
        layout: tiles and folder.
        backscatter: a data set named s1grd-<year>; by default the only one.
        label: a data set named esaworldcover-<year>; by default the one of the same year.
        direction: "asc" or "des".
        encoding, codes: stated where the files do not tell.
        suspects: "missing" or "keep".
        other_year: accept labels and layers of another year than the backscatter.
        layers: read the reference layers that the folder has.
        min_valid, optical_month: see ArchiveSource.

    Raises:
        SardinoError: a data set is missing or of another year, or the files do not tell how they are stored.
    """
    if direction not in DIRECTIONS or suspects not in SUSPECTS or not 1 <= optical_month <= 12:
        raise SardinoError("choose the direction asc or des, suspects missing or keep, and a month from 1 to 12")
    if (encoding and encoding not in ENCODINGS) or (codes and codes not in CODES):
        raise SardinoError(f"an encoding is {', '.join(ENCODINGS)}; label codes are {', '.join(CODES)}")
    backscatter = backscatter or _only(layout, "s1grd")
    year = dataset_year(layout.dataset(backscatter).name)
    label = label or (f"esaworldcover-{year}" if f"esaworldcover-{year}" in layout.datasets() else "")
    label = label or _only(layout, "esaworldcover")
    if dataset_year(layout.dataset(label).name) != year and not other_year:
        raise SardinoError(
            f"the labels {label} and the backscatter {backscatter} are of different years: choose labels of {year}, "
            f"or allow another year"
        )
    found = layout.folder
    return ArchiveSource(
        folder=found,
        names=tuple((tile.id, name) for tile, name in zip(layout.tiles, layout.identifiers, strict=True)),
        backscatter=backscatter,
        label=label,
        direction=direction,
        encoding=encoding or _encoding(found / backscatter, layout.identifiers, direction),
        codes=codes or _codes(found / label, layout.identifiers),
        suspects=suspects,
        layers=_layers(layout, year, other_year) if layers else (),
        min_valid=min_valid,
        optical_month=optical_month,
    )


def _only(layout: Layout, prefix: str) -> str:
    found = [name for name in layout.datasets() if name.rpartition("-")[0] == prefix]
    if len(found) != 1:
        raise SardinoError(
            f"{layout.folder} has {', '.join(found) or 'no data set'} for {prefix}-<year>, one is needed: name it; "
            f"the folder holds {', '.join(layout.datasets()) or 'nothing'}"
        )
    return found[0]


def _encoding(folder: Path, identifiers: Sequence[str], direction: str) -> str:
    for name in identifiers:
        try:
            planes = season_planes(read_archive_raster(tile_file(folder, name)), direction)
        except LeftOut:
            continue
        if not any(map(is_constant, planes)):
            return recognise(planes, folder.name)
    raise SardinoError(
        f"no tile of {folder} holds complete {DIRECTIONS[direction]} data: choose the other direction, or download it"
    )


def _codes(folder: Path, identifiers: Sequence[str]) -> str:
    """Official or mapped: 10 alone is tree cover in one and mangroves in the other, so other codes must tell."""
    seen: set[int] = set()
    for name in identifiers:
        try:
            seen |= set(np.unique(read_archive_raster(tile_file(folder, name)).values[0]).tolist()) - {0, 10, IGNORE}
        except LeftOut:
            continue
        if seen:
            mapped = seen <= set(range(1, 12))
            if not mapped and not seen <= set(WORLDCOVER.codes):
                raise SardinoError(f"{folder} holds the codes {sorted(seen)[:8]}, which are no WorldCover classes")
            return "mapped" if mapped else "official"
    raise SardinoError(f"{folder} holds no code but 0 and 10: state whether the label codes are official or mapped")


def _layers(layout: Layout, year: int, other_year: bool) -> tuple[tuple[str, str], ...]:
    chosen = []
    for layer, prefix in LAYER_DATASETS.items():
        there = [name for name in layout.datasets() if name == prefix or name.rpartition("-")[0] == prefix]
        same = [name for name in there if name in (prefix, f"{prefix}-{year}")]
        if same or (there and other_year):
            chosen.append((layer, same[0] if same else there[-1]))
    return tuple(chosen)
