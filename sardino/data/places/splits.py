"""Splits: bands or blocks of ground, region by region; foreign cells kept together; no ground in two splits."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from sardino.data.places.ground import Ground
from sardino.data.places.utm import transformer
from sardino.data.tiles.store import SPLITS, UNUSED
from sardino.data.tiles.table import tiles_in
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

PERCENT = (60, 20, 20)  # of train, val and test (paper, section 2)
Kind = Literal["bands", "blocks", "inherited"]


def split_table(
    table: geopandas.GeoDataFrame,
    kind: Kind = "bands",
    *,
    bands: int = 60,
    direction_deg: float = 30.0,
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
        kind: "bands", square "blocks", or "inherited" from the splits of a foreign partition.
        bands, direction_deg: number of bands, and the direction on the ground in which they follow each other, from
            east, counter-clockwise.
        block_km: edge of a block.
        percent: of train, val and test.
        buffer_m: smallest distance on the ground between tiles of different splits.
        seed: of the draw of blocks.
        foreign: name of a partition that the table was intersected with; its cells stay whole, or give their splits.

    Raises:
        SardinoError: see the parts: too few tiles, impossible percentages, an unknown foreign partition.
    """
    if kind not in get_args(Kind):
        raise SardinoError(f"there is no split '{kind}': use {', '.join(get_args(Kind))}")
    if not len(table):
        raise SardinoError("the tile table is empty: there is nothing to split")
    if kind == "inherited" and foreign is None:
        raise SardinoError("an inherited split needs the foreign partition's name: intersect first, then name it")
    tiles = tiles_in(table)
    cells = _foreign_column(table, "foreignid", foreign) if foreign is not None else np.array([], str)
    split = np.full(len(tiles), "", dtype="U8")
    group = np.zeros(len(tiles), np.int64)
    if kind == "inherited":
        split = np.where(cells != "", _foreign_column(table, "foreignsplit", str(foreign)), UNUSED)
        group = np.unique(cells, return_inverse=True)[1].astype(np.int64)
    else:
        for region in dict.fromkeys(table["region"]):
            rows = np.flatnonzero(table["region"] == region)
            x, y = ground_plane([tiles[row] for row in rows])
            if kind == "bands":
                group[rows] = band_index(x, y, bands, direction_deg)
                split[rows] = splits_of_bands(group[rows], percent)
            else:
                group[rows] = block_index(x, y, block_km)
                split[rows] = splits_of_blocks(group[rows], percent, seed)
        if len(cells):
            split = majority_splits(split.tolist(), cells.tolist())
    result = table.drop(columns=["split", "band"], errors="ignore")
    result["split"] = separate(tiles, split.tolist(), buffer_m)
    result["band"] = group
    return result[[*result.columns.drop("geometry"), "geometry"]]


def band_index(x: NDArray[np.floating], y: NDArray[np.floating], bands: int, direction_deg: float) -> NDArray[np.int64]:
    """The band of each tile centre: parallel strips holding equally many tiles, (N,) numbers from 0.

    Strips of equal tile count, not of equal width, so that 60/20/20 holds for tiles whatever the region's shape.

    Args:
        x, y: (N,) centres in map units.
        bands: 60 in the paper.
        direction_deg: in which the strips follow each other: 0 stacks strips that run north-south from west to east.
    """
    if not math.isfinite(direction_deg):
        raise SardinoError(f"bands follow each other in a direction of so many degrees, not {direction_deg}")
    if bands < (fewest := len(split_pattern())):
        raise SardinoError(f"a split needs at least {fewest} bands for train, val and test, not {bands}")
    if len(x) < bands:
        raise SardinoError(f"{len(x)} tiles cannot fill {bands} bands: ask for fewer bands or more tiles")
    angle = math.radians(direction_deg)
    distance = np.asarray(x) * math.cos(angle) + np.asarray(y) * math.sin(angle)
    # A millimetre grid makes ties of rounding errors, and a stable sort keeps them in one order.
    rank = np.empty(len(distance), np.int64)
    rank[np.argsort(np.round(distance, 3), kind="stable")] = np.arange(len(distance))
    return rank * bands // len(distance)


def splits_of_bands(band: NDArray[np.int64], percent: Sequence[int] = PERCENT) -> NDArray[np.str_]:
    """(N,) band numbers to "train", "val" or "test"; the pattern, which needs as many bands, repeats."""
    pattern = split_pattern(percent)
    bands = int(band.max()) + 1
    if bands < len(pattern):
        needs = f"{'/'.join(map(str, percent))} needs at least {len(pattern)} bands, not {bands}"
        raise SardinoError(f"{needs}: ask for more bands, or rounder percentages")
    return np.asarray(pattern)[np.asarray(band) % len(pattern)]


def split_pattern(percent: Sequence[int] = PERCENT) -> list[str]:
    """Splits of successive bands, the shortest list with these shares: 60/20/20 is train x 3, val, test.

    The shares of train, val and test are whole percentages, together 100; those of train and test above 0.
    """
    train, val, test = (int(p) for p in percent)
    if [train, val, test] != list(percent) or min(val, train - 1, test - 1) < 0 or train + val + test != 100:
        given = "/".join(f"{share:g}" for share in percent)
        raise SardinoError(f"splits need whole percentages that sum to 100, train and test above 0, not {given}")
    unit = math.gcd(train, val, test)
    return [split for split, share in zip(SPLITS, (train, val, test), strict=True) for _ in range(share // unit)]


def block_index(x: NDArray[np.floating], y: NDArray[np.floating], block_km: float) -> NDArray[np.int64]:
    """The square block of each tile centre (N,) in metres, numbered from 0, north row first."""
    if not 0 < block_km < 20_000:
        raise SardinoError(f"a block needs an edge in kilometres above 0, not {block_km}")
    column = np.floor((x - x.min()) / (block_km * 1000)).astype(np.int64)
    row = np.floor((y.max() - y) / (block_km * 1000)).astype(np.int64)
    _, number = np.unique(row * (column.max() + 1) + column, return_inverse=True)
    return number.astype(np.int64)


def splits_of_blocks(block: NDArray[np.int64], percent: Sequence[int] = PERCENT, seed: int = 0) -> NDArray[np.str_]:
    """(N,) block numbers to splits; a block goes, largest first, among equals at random, where tiles lack most."""
    split_pattern(percent)  # refuses impossible percentages
    wanted = {split: share / 100 for split, share in zip(SPLITS, percent, strict=True) if share}
    sizes = np.bincount(block)
    if (count := np.count_nonzero(sizes)) < len(wanted):
        raise SardinoError(f"{count} blocks cannot fill {', '.join(wanted)}: ask for smaller blocks or more tiles")
    draw = np.random.default_rng(seed).permutation(len(sizes))
    given = dict.fromkeys(wanted, 0)
    chosen = np.full(len(sizes), "", dtype="U8")
    for number in draw[np.argsort(-sizes[draw], kind="stable")]:
        if sizes[number]:
            # The split that lacks the largest part of its due takes it.
            chosen[number] = min(wanted, key=lambda name: given[name] / wanted[name])
            given[chosen[number]] += int(sizes[number])
    return chosen[block]


def majority_splits(splits: Sequence[str], cells: Sequence[str]) -> NDArray[np.str_]:
    """All tiles of a foreign cell go to the split in which most of them are; test before val before train among equals.

    A tile whose cell is "" keeps its own split.
    """
    result = np.array(splits, dtype="U8")
    order = [UNUSED, *SPLITS]
    for cell, rows in pd.Series(result).groupby(np.asarray(cells, object)).indices.items():
        if cell:
            votes = Counter(result[rows].tolist())
            used = {split: count for split, count in votes.items() if split != UNUSED} or votes
            result[rows] = max(used, key=lambda split: (used[split], order.index(split)))
    return result


def separate(tiles: Sequence[Tile], splits: Sequence[str], buffer_m: float = 0.0) -> NDArray[np.str_]:
    """Splits in which no two tiles of different splits share ground or lie nearer than the buffer.

    Of two such tiles the one used for learning is dropped: test keeps its tiles, validation loses those too near
    to test, then training those too near to what remains of both. A dropped tile's split is "none".

    The buffer is in metres on the ground, outline to outline; SardinoError where it leaves a split without tiles.
    """
    if len(tiles) != len(splits):
        raise SardinoError(f"{len(tiles)} tiles and {len(splits)} splits do not match")
    result = np.array(splits, dtype="U8")
    if unknown := sorted(set(splits) - {*SPLITS, UNUSED}):
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
            where = f"all its {tiles_before} tiles overlap another split or lie nearer to one than {buffer_m:g} m"
            raise SardinoError(f"nothing of '{split}' remains: {where}; widen bands or blocks, or lessen the buffer")
    return result


def intersect_table(
    table: geopandas.GeoDataFrame, foreign: geopandas.GeoDataFrame, name: str, field: str = ""
) -> geopandas.GeoDataFrame:
    """The table with what a foreign partition says of each tile.

    Args:
        foreign: cells of the partition `name`, in EPSG:4326.
        field: its attribute with ids; by default id, identifier, or the row.

    Returns:
        with foreignid_<name>, the id of the cell that shares most ground with a tile, the first in order of ids among
        equals, "" where none does; foreignshare_<name>, the share of the tile's ground that it covers, 0 to 1; and
        foreignsplit_<name>, if the partition has splits.
    """
    if not name.replace("-", "_").isidentifier():
        raise SardinoError(f"'{name}' is no name for a column: use letters, digits, - and _")
    if field and field not in foreign:
        raise SardinoError(f"the foreign partition has no attribute '{field}': it has {', '.join(foreign.columns)}")
    field = field or next((known for known in ("id", "identifier") if known in foreign), "")
    ids = np.array([str(value) for value in (foreign[field] if field else range(len(foreign)))], object)
    if len(set(ids)) != len(ids):
        raise SardinoError(f"the ids of the foreign partition repeat in '{field}': name another attribute")
    if table.geometry.isna().any():
        raise SardinoError("some tiles state no CRS: without a place they share no ground with other partitions")
    # EPSG:6933 is equal-area.
    ours, theirs = (cells.geometry.segmentize(0.05).to_crs("EPSG:6933").to_numpy() for cells in (table, foreign))
    theirs = shapely.make_valid(theirs)
    tile, cell = shapely.STRtree(theirs).query(ours, predicate="intersects")
    area = shapely.area(shapely.intersection(ours[tile], theirs[cell]))
    # Ascending by area, and by id from last to first, so that the best is written last.
    rank = np.argsort(np.argsort(ids, kind="stable"), kind="stable")
    order = np.lexsort((-rank[cell], np.round(area, 3)))
    order = order[area[order] > 0]
    found, share = np.full(len(ours), "", object), np.zeros(len(ours))
    found[tile[order]] = ids[cell[order]]
    share[tile[order]] = area[order] / shapely.area(ours[tile[order]])
    result = table.assign(**{f"foreignid_{name}": found, f"foreignshare_{name}": np.minimum(share, 1.0)})
    if "split" in foreign:
        split = dict(zip(ids, foreign["split"].fillna(UNUSED).astype(str), strict=True))
        result[f"foreignsplit_{name}"] = [split.get(cell, UNUSED) for cell in found]
    return result[[*result.columns.drop("geometry"), "geometry"]]


def ground_plane(tiles: Sequence[Tile]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(x, y) in metres east and north of the tiles' common centre, equal-area; directions from there are true."""
    ground = Ground(tiles)
    if len(ground.placed) < len(tiles) or not len(tiles):
        raise SardinoError("some tiles state no CRS, so that north is unknown: they cannot be split by band or block")
    middle = ground.earth.mean(axis=0)
    if np.linalg.norm(middle) < 1e5:
        raise SardinoError("the tiles surround the earth and have no common centre: split each region by itself")
    longitude, latitude, _ = transformer("EPSG:4978", "EPSG:4979").transform(*middle)
    plane = f"+proj=laea +lon_0={longitude:.6f} +lat_0={latitude:.6f} +datum=WGS84 +units=m"
    x, y = transformer("EPSG:4326", plane).transform(*ground.lonlat.T)
    return np.asarray(x), np.asarray(y)


def _foreign_column(table: geopandas.GeoDataFrame, what: str, partition: str) -> NDArray[np.str_]:
    name = f"{what}_{partition}"
    if name not in table:
        known = ", ".join(str(c).removeprefix(f"{what}_") for c in table if str(c).startswith(f"{what}_")) or "none"
        remedy = f"run `sardino tiles intersect` first{', with a column split' * (what == 'foreignsplit')}"
        raise SardinoError(f"the table has no column {name} (partitions known: {known}): {remedy}")
    return table[name].fillna("").to_numpy().astype(str)
