"""Splits for a whole tile table: bands or blocks region by region, foreign cells kept together, splits kept apart."""

from collections.abc import Sequence
from typing import Literal

import geopandas
import numpy as np

from sardino.errors import SardinoError
from sardino.tiles.places.bands import PERCENT, bands_at_bearing, splits_of_bands
from sardino.tiles.places.blocks import blocks_of, splits_of_blocks
from sardino.tiles.places.intersection import inherited_splits, majority_splits
from sardino.tiles.places.separation import separate
from sardino.tiles.table import tiles_in

Kind = Literal["bands", "blocks", "inherited"]
KINDS = ("bands", "blocks", "inherited")


def split_table(
    table: geopandas.GeoDataFrame,
    kind: Kind = "bands",
    *,
    bands: int = 60,
    bearing_deg: float = 60.0,
    block_km: float = 50.0,
    percent: Sequence[int] = PERCENT,
    buffer_m: float = 0.0,
    seed: int = 0,
    foreign: str | None = None,
) -> geopandas.GeoDataFrame:
    """The table with the columns split ("train", "val", "test", "none") and band (or block) anew.

    Each region is split by itself (paper, Figure 3). Whatever the kind, no two tiles of different splits share
    ground afterwards: the tile used for learning becomes "none".

    Args:
        table: of tiles.
        kind: "bands" at a bearing, square "blocks", or "inherited" from the splits of a foreign partition.
        bands, bearing_deg: number of bands, and the direction in which they follow each other, from north.
        block_km: edge of a block.
        percent: of train, val and test.
        buffer_m: smallest distance on the ground between tiles of different splits.
        seed: of the draw of blocks.
        foreign: name of a partition that the table was intersected with; its cells stay whole, or give their splits.

    Raises:
        SardinoError: see the parts: too few tiles, impossible percentages, an unknown foreign partition.
    """
    if kind not in KINDS:
        raise SardinoError(f"there is no split '{kind}': use {', '.join(KINDS)}")
    if not len(table):
        raise SardinoError("the tile table is empty: there is nothing to split")
    if kind == "inherited" and foreign is None:
        raise SardinoError("an inherited split needs the foreign partition's name: intersect first, then name it")
    tiles = tiles_in(table)
    groups = _column(table, f"foreignid_{foreign}").to_numpy() if foreign is not None else None
    split = np.full(len(tiles), "", dtype="U8")
    group = np.zeros(len(tiles), np.int64)
    if kind == "inherited":
        assert groups is not None
        of_cell = dict(zip(groups, _column(table, f"foreignsplit_{foreign}"), strict=True))
        of_cell.pop("", None)
        split = inherited_splits(groups, list(of_cell), list(of_cell.values()))
        group = np.unique(groups.astype(str), return_inverse=True)[1].astype(np.int64)
    else:
        for region in dict.fromkeys(table["region"]):
            rows = np.flatnonzero(table["region"] == region)
            members = [tiles[row] for row in rows]
            if kind == "bands":
                group[rows] = bands_at_bearing(members, bands, bearing_deg)
                split[rows] = splits_of_bands(group[rows], percent)
            else:
                group[rows] = blocks_of(members, block_km)
                split[rows] = splits_of_blocks(group[rows], percent, seed)
        if groups is not None:
            split = majority_splits([str(s) for s in split], [str(g) for g in groups])
    result = table.drop(columns=[name for name in ("split", "band") if name in table])
    result["split"] = separate(tiles, [str(s) for s in split], buffer_m)
    result["band"] = group
    return result[[name for name in result if name != "geometry"] + ["geometry"]]


def _column(table: geopandas.GeoDataFrame, name: str) -> geopandas.GeoSeries:
    if name not in table:
        kind = name.partition("_")[0] + "_"
        known = ", ".join(str(c).removeprefix(kind) for c in table if str(c).startswith(kind)) or "none"
        raise SardinoError(
            f"the table has no column {name} (partitions known: {known}): run `sardino tiles intersect` with that "
            f"partition first; splits are handed down if it has a column 'split'"
        )
    return table[name].fillna("")
