"""Splits for a whole tile table: bands or blocks region by region, foreign cells kept together, splits kept apart."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import geopandas
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import Transformer

from sardino.data.places.ground import Ground
from sardino.data.tiles.label_fractions import band_index
from sardino.data.tiles.store import SPLITS
from sardino.data.tiles.table import tiles_in
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

# Bands at a true bearing: parallel strips on the ground, whatever the tiles' coordinate systems.

PERCENT = (60, 20, 20)
"""Of train, val and test (paper, section 2)."""


def bands_at_bearing(tiles: Sequence[Tile], bands: int, bearing_deg: float) -> NDArray[np.int64]:
    """The band of each tile: strips that follow each other in a direction on the ground, holding equally many tiles.

    Measured in the azimuthal equal-area projection centred on the tiles, where directions from the centre are true.

    Args:
        tiles: of any CRSs.
        bands: number of strips; 60 in the paper.
        bearing_deg: direction in which the strips follow each other, clockwise from north: 90 stacks them from west
            to east, so that each strip runs north-south.

    Returns:
        (N,) band numbers from 0.

    Raises:
        SardinoError: too few bands or tiles, or a tile states no CRS.
    """
    if not math.isfinite(bearing_deg):
        raise SardinoError(f"a bearing is an angle in degrees clockwise from north, not {bearing_deg}")
    x, y = ground_plane(tiles)
    return band_index(x, y, bands, 90.0 - bearing_deg)


def ground_plane(tiles: Sequence[Tile]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(x, y) in metres east and north of the tiles' common centre, equal-area."""
    ground = Ground(tiles)
    if len(ground.placed) < len(tiles) or not len(tiles):
        raise SardinoError(
            "some tiles state no CRS, so that north is unknown: they cannot be split by bearing or block"
        )
    middle = ground.earth.mean(axis=0)
    if np.linalg.norm(middle) < 1e5:
        raise SardinoError("the tiles surround the earth and have no common centre: split each region by itself")
    to_degrees = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform
    longitude, latitude, _ = to_degrees(*middle)
    plane = f"+proj=laea +lon_0={longitude:.6f} +lat_0={latitude:.6f} +datum=WGS84 +units=m"
    x, y = Transformer.from_crs("EPSG:4326", plane, always_xy=True).transform(*ground.lonlat.T)
    return np.asarray(x), np.asarray(y)


def split_pattern(percent: Sequence[int] = PERCENT) -> list[str]:
    """Splits of successive bands, the shortest list with these shares: 60/20/20 is train x 3, val, test.

    Args:
        percent: whole percentages of train, val and test, together 100; train and test above 0.
    """
    train, val, test = (int(p) for p in percent)
    if [train, val, test] != list(percent) or min(val, train - 1, test - 1) < 0 or train + val + test != 100:
        raise SardinoError(
            f"train, val and test need whole percentages that sum to 100, train and test above 0, not "
            f"{'/'.join(f'{p:g}' for p in percent)}"
        )
    unit = math.gcd(train, val, test)
    return [split for split, share in zip(SPLITS, (train, val, test), strict=True) for _ in range(share // unit)]


def splits_of_bands(band: NDArray[np.int64], percent: Sequence[int] = PERCENT) -> NDArray[np.str_]:
    """(N,) band numbers to "train", "val" or "test"; the pattern repeats from band to band.

    Raises:
        SardinoError: fewer bands than the pattern is long.
    """
    pattern = split_pattern(percent)
    bands = int(band.max()) + 1
    if bands < len(pattern):
        raise SardinoError(
            f"{'/'.join(str(p) for p in percent)} needs at least {len(pattern)} bands, not {bands}: ask for more "
            f"bands, or rounder percentages"
        )
    return np.asarray(pattern)[np.asarray(band) % len(pattern)]


# Block splits: squares of ground go whole to one split, drawn by seed and balanced by tile count.


def blocks_of(tiles: Sequence[Tile], block_km: float) -> NDArray[np.int64]:
    """The block of each tile: square blocks on the ground, numbered from 0, north row first.

    Args:
        tiles: of any CRSs; a tile belongs to the block of its centre.
        block_km: edge of a block.
    """
    if not 0 < block_km < 20_000:
        raise SardinoError(f"a block needs an edge in kilometres above 0, not {block_km}")
    x, y = ground_plane(tiles)
    column = np.floor((x - x.min()) / (block_km * 1000)).astype(np.int64)
    row = np.floor((y.max() - y) / (block_km * 1000)).astype(np.int64)
    _, number = np.unique(row * (column.max() + 1) + column, return_inverse=True)
    return number.astype(np.int64)


def splits_of_blocks(block: NDArray[np.int64], percent: Sequence[int] = PERCENT, seed: int = 0) -> NDArray[np.str_]:
    """(N,) block numbers to splits; a block goes, largest first among equals at random, where tiles lack most.

    Args:
        block: (N,) from `blocks_of`, or any other grouping.
        percent: of train, val and test.
        seed: another seed is another draw.

    Raises:
        SardinoError: fewer blocks than splits.
    """
    split_pattern(percent)  # refuses impossible percentages
    wanted = {split: share / 100 for split, share in zip(SPLITS, percent, strict=True) if share}
    sizes = np.bincount(block)
    if (sizes > 0).sum() < len(wanted):
        raise SardinoError(
            f"{(sizes > 0).sum()} blocks cannot fill {', '.join(wanted)}: ask for smaller blocks or more tiles"
        )
    draw = np.random.default_rng(seed).permutation(len(sizes))
    order = draw[np.argsort(-sizes[draw], kind="stable")]
    held = dict.fromkeys(wanted, 0)
    chosen = np.full(len(sizes), "", dtype="U8")
    for number in order:
        if sizes[number]:
            # The split that lacks the largest part of its due takes it.
            split = min(wanted, key=lambda name: held[name] / wanted[name])
            chosen[number] = split
            held[split] += int(sizes[number])
    return chosen[block]


# Splits kept apart: no ground in two of them, and a buffer between them where asked.

UNUSED = "none"
"""Split of a tile that is dropped."""


def separate(tiles: Sequence[Tile], splits: Sequence[str], buffer_m: float = 0.0) -> NDArray[np.str_]:
    """Splits in which no two tiles of different splits share ground or lie nearer than the buffer.

    Of two such tiles the one used for learning is dropped: test keeps its tiles, validation loses those too near
    to test, then training those too near to what remains of both.

    Args:
        tiles: of any CRSs.
        splits: "train", "val", "test" or "none" per tile.
        buffer_m: metres on the ground, outline to outline.

    Returns:
        (N,) splits, "none" where a tile was dropped.

    Raises:
        SardinoError: an unknown split, a negative buffer, or a buffer that leaves a split without tiles.
    """
    if len(tiles) != len(splits):
        raise SardinoError(f"{len(tiles)} tiles and {len(splits)} splits do not match")
    result = np.array([str(split) for split in splits], dtype="U8")
    unknown = sorted(set(result) - {*SPLITS, UNUSED})
    if unknown:
        raise SardinoError(f"unknown split {', '.join(unknown)}: use {', '.join(SPLITS)}, or {UNUSED} for no split")
    if not buffer_m >= 0:
        raise SardinoError(f"a buffer is a distance in metres from 0, not {buffer_m}")
    before = {split: int((result == split).sum()) for split in SPLITS}
    ground = Ground(tiles)
    if buffer_m and len(ground.placed) < len(tiles):
        raise SardinoError("some tiles state no CRS: without a place there is no distance, so no buffer")
    overlaps = ground.overlaps()
    for learner, judges in (("val", ("test",)), ("train", ("val", "test"))):
        for one, other in (overlaps.T, overlaps.T[::-1]):
            result[one[(result[one] == learner) & np.isin(result[other], judges)]] = UNUSED
        ones, others = np.flatnonzero(result == learner), np.flatnonzero(np.isin(result, judges))
        result[ground.nearer_than(ones, others, buffer_m)] = UNUSED
    for split, tiles_before in before.items():
        if tiles_before and not (result == split).any():
            raise SardinoError(
                f"nothing of '{split}' remains: all its {tiles_before} tiles overlap another split or lie nearer to "
                f"one than {buffer_m:g} m; use wider bands or blocks, or a smaller buffer"
            )
    return result


def majority_splits(splits: Sequence[str], groups: Sequence[str]) -> NDArray[np.str_]:
    """All tiles of a group go to the split in which most of them are; test before val before train among equals.

    Args:
        splits: of each tile.
        groups: the foreign cell of each tile; "" keeps its own split.
    """
    result = np.array([str(split) for split in splits], dtype="U8")
    order = [UNUSED, *SPLITS]
    for group, rows in pd.Series(range(len(result))).groupby(np.asarray(groups, dtype=object)):
        if group:
            votes = Counter(result[rows.to_numpy()])
            used = {split: count for split, count in votes.items() if split != UNUSED} or votes
            result[rows.to_numpy()] = max(used, key=lambda split: (used[split], order.index(str(split))))
    return result


def inherited_splits(groups: Sequence[str], ids: Sequence[str], splits: Sequence[str]) -> NDArray[np.str_]:
    """Each tile takes the split of its foreign cell, "none" where no cell covers it.

    Args:
        groups: the foreign cell of each tile.
        ids, splits: of the foreign cells.
    """
    unknown = sorted({str(s) for s in splits} - {*SPLITS, UNUSED})
    if unknown:
        raise SardinoError(f"the foreign partition has splits {', '.join(unknown)}: use {', '.join(SPLITS)}")
    of_cell = {str(name): str(split) for name, split in zip(ids, splits, strict=True)}
    return np.array([of_cell.get(str(group), UNUSED) for group in groups], dtype="U8")


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
