"""A folder of real chips to a tile store: cut into square tiles, split by place, everything dropped said."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.data.places.splits import band_index, ground_plane, separate, splits_of_bands
from sardino.data.places.utm import nominal_m
from sardino.data.rasters.place import pixel_size_m
from sardino.data.sources.folder.chips import ChipFiles, chip_names
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.sources.seasonal_composite import AbsentSeason
from sardino.data.tiles.store import UNUSED, TileStore
from sardino.data.tiles.tile import Chip, Progress, Tile
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

ALIKE = 1.1  # most that the largest pixel of one import may be of the smallest


@dataclass(frozen=True)
class _Cut:
    """A tile and the rows and columns of the chip that it is cut from."""

    chip: str
    part: tuple[slice, slice]
    tile: Tile
    empty: bool  # whether it has no valid pixel


def import_folder(
    folder: Path,
    spec: FolderSpec,
    out: Path,
    tile_px: int,
    bands: int,
    direction_deg: float,
    max_tiles_per_chip: int | None = None,
    progress: Progress = iter,
    overwrite: bool = False,
    warp: bool = False,
) -> TileStore:
    """Cut the chips of a folder into tiles and write them as a tile store.

    Bands are assigned to whole chips, so that the tiles of one chip stay in one split. Chips of neighbouring
    scenes may overlap: of two overlapping tiles in different splits the one used for learning is dropped.

    Args:
        tile_px: edge of a tile; what remains at a chip's right and lower edge is left out.
        bands, direction_deg: of the geographic bands, see `band_index`; not used where spec.split is "train".
        warp: chips of another grid to UTM, to the size of the first one's pixels, their layers and labels to the chip's
            grid; refused without.
        max_tiles_per_chip: take at most so many tiles of a chip, spread evenly over it.

    A tile without a valid pixel is kept, so that what is counted over the tiles is true of the chips, in no split.

    The store's metadata states the source, the kind of labels, the margin left out and all that was dropped.
    SardinoError where a file is missing, damaged, or does not fit the spec; or nothing remains.
    """
    folder, step = Path(folder), spec.stride_px or tile_px
    dropped: list[str] = []
    doubts: list[str] = []
    chips: dict[str, list[_Cut]] = {}
    sizes: dict[Path, float] = {}
    labels: Counter[int] = Counter()
    margin, offset = (0, 0), 0
    for name in chip_names(folder, spec):
        files = ChipFiles(folder, spec, name, warp, next(iter(sizes.values()), 0.0) if warp else 0.0)
        try:
            backscatter = files.backscatter_db
        except AbsentSeason as error:
            if spec.backscatter.missing_season != "drop":
                raise SardinoError(f"{folder}: {error}") from error
            dropped.append(f"{error}; chip dropped")
            continue
        doubts += files.grid.doubts
        rows, columns = backscatter.shape[1:]
        if not np.isfinite(backscatter).any():
            dropped.append(f"chip {name} has no valid pixel; chip dropped")
            continue
        if min(rows, columns) < tile_px:
            dropped.append(f"chip {name} is {columns} x {rows} px, smaller than a tile of {tile_px} px; chip dropped")
            continue
        if files.codes is not None:
            codes, counts = np.unique(files.codes[np.isfinite(files.codes)].astype(int), return_counts=True)
            labels.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
        if files.grid.crs:
            sizes[files.grid.path] = sum(pixel_size_m(files.grid.crs, files.grid.transform, files.grid.shape)) / 2
            origin = (files.grid.transform[2], files.grid.transform[5])
        else:
            # Without a CRS there is no place: chips lie side by side in pixel coordinates.
            origin, offset = (float(offset), 0.0), offset + columns
        margin = max(margin, ((rows - tile_px) % step, (columns - tile_px) % step))
        cuts = _cuts(files, spec.name, origin, tile_px, step, max_tiles_per_chip)
        empty = sum(cut.empty for cut in cuts)
        if empty == len(cuts):
            dropped.append(f"chip {name} has no valid pixel in its {empty} tiles; chip dropped")
            continue
        if empty:
            dropped.append(f"chip {name} has {empty} tiles without a valid pixel; tiles in no split")
        chips[name] = cuts
    if spec.same_place == "drop" and (again := _drop_repeated(chips)):
        dropped.append(f"{again} tiles lie where a chip before already has one; tiles dropped")
    if spec.placed and (bare := sum(not cuts[0].tile.crs for cuts in chips.values())):
        told = "chips state no place that can be read: they lie side by side, and splits are not apart"
        doubts.append(f"{bare} of {len(chips)} {told}")
    if not chips:
        raise SardinoError(f"nothing of {folder} can be used: {'; '.join(dropped)}")

    gsd_m, foreign = _common_size(sizes), spec.legend.outside(labels)
    cuts = [cut for kept in chips.values() for cut in kept]
    _check_apart(folder, cuts)
    band, splits = np.zeros(len(cuts), np.int64), ["train"] * len(cuts)
    if spec.split != "train":
        band = _bands_of_chips(folder, chips, bands, direction_deg)
        splits = [str(split) for split in splits_of_bands(band)]
    splits = [UNUSED if cut.empty else split for cut, split in zip(cuts, splits, strict=True)]
    splits = [str(split) for split in separate([cut.tile for cut in cuts], splits)]
    rows = [row for row in zip(cuts, splits, band, strict=True) if row[0].empty or row[1] != UNUSED]
    if lost := len(cuts) - len(rows):
        dropped.append(f"{lost} tiles overlap tiles of another split; tiles dropped")
    size_m = next(iter(sizes.values()), 0.0) if warp else 0.0
    files_of = lru_cache(maxsize=1)(
        partial(ChipFiles, folder, spec, warp=warp, size_m=size_m)
    )  # tiles come chip by chip

    def chip(number: int) -> Chip:
        part, files = rows[number][0].part, files_of(rows[number][0].chip)
        layers = {name: layer[..., *part] for name, layer in files.layers.items()}
        return Chip(files.backscatter_db[:, *part], files.label[part], layers)

    facts: dict[str, Any] = {"source": f"folder {spec.name}", "title": spec.title, "note": spec.note}
    facts["labels"] = "none" if spec.labels.source == "none" else spec.legend.name
    facts |= {"labels_derived": spec.legend.derived, "calibrated": spec.backscatter.unit != "amplitude"}
    facts |= {"composite": spec.backscatter.composite, "gsd_m": gsd_m, "chips": len(chips)}
    facts |= {"margin_px": list(margin), "stride_px": step, "bands": int(band.max()) + 1}
    if foreign:
        doubts.append(f"label codes that are no class of '{spec.legend.name}': {foreign}")
    facts |= {"band_angle_deg": direction_deg, "dropped": dropped, "doubts": doubts}
    return write_store(
        out,
        [cut.tile for cut, _, _ in rows],
        [split for _, split, _ in rows],
        chip,
        channels=spec.channels,
        legend=spec.legend,
        product=spec.product,
        synthetic=False,
        metadata=facts,
        bands=[int(number) for _, _, number in rows],
        progress=progress,
        overwrite=overwrite,
    )


def _common_size(sizes: dict[Path, float]) -> float | None:
    """Metres on the ground of the first file's pixels, which those of all others must resemble; None without files."""
    if not sizes:
        return None
    (fine, least), (coarse, most) = (end(sizes.items(), key=itemgetter(1)) for end in (min, max))
    if most > ALIKE * least:
        differ = f"{coarse} has pixels of {nominal_m(most):.3g} m and {fine} of {nominal_m(least):.3g} m"
        raise SardinoError(f"{differ}: bring them to one size with --warp, or import them apart")
    return round(next(iter(sizes.values())), 3)


def _drop_repeated(chips: dict[str, list[_Cut]]) -> int:
    """Leave the first tile of each place, and no chip without a tile; how many went."""
    seen: set[str] = set()
    before = sum(map(len, chips.values()))
    for name in list(chips):
        fresh = {cut.tile.id: cut for cut in chips[name] if cut.tile.id not in seen}
        seen |= set(fresh)
        chips[name] = list(fresh.values())
        if not fresh:
            del chips[name]
    return before - len(seen)


def _check_apart(folder: Path, cuts: list[_Cut]) -> None:
    """Refuse two chips of the same place."""
    chips: dict[str, str] = {}
    for cut in cuts:
        if (other := chips.setdefault(cut.tile.id, cut.chip)) != cut.chip:
            raise SardinoError(f"the chips '{other}' and '{cut.chip}' of {folder} lie at the same place: remove one")


def _cuts(
    files: ChipFiles, region: str, origin: tuple[float, float], tile_px: int, step: int, most: int | None
) -> list[_Cut]:
    rows, columns = (list(range(0, side - tile_px + 1, step)) for side in files.grid.shape)
    if most is not None and most < len(rows) * len(columns):
        down = max(1, min(len(rows), round((most * len(rows) / len(columns)) ** 0.5), most))
        across = min(len(columns), most // down)
        rows, columns = _spread(rows, down), _spread(columns, across)
    a, _, _, _, e, _ = files.grid.transform
    cuts = []
    for row in rows:
        for column in columns:
            transform = (a, 0.0, origin[0] + a * column, 0.0, e, origin[1] + e * row)
            part = slice(row, row + tile_px), slice(column, column + tile_px)
            tile = Tile(region, files.grid.crs, transform, (tile_px, tile_px))
            cuts.append(_Cut(files.name, part, tile, not np.isfinite(files.backscatter_db[:, *part]).any()))
    return cuts


def _spread(places: list[int], count: int) -> list[int]:
    return [places[(2 * number + 1) * len(places) // (2 * count)] for number in range(count)]


def _bands_of_chips(folder: Path, chips: dict[str, list[_Cut]], bands: int, direction_deg: float) -> NDArray[np.int64]:
    """The band of each tile, which is that of its chip."""
    if len(chips) < bands:
        remedy = 'ask for fewer bands, add chips, or set split = "train" in the spec'
        raise SardinoError(f"{folder} holds {len(chips)} usable chips, too few for {bands} bands: {remedy}")
    tiles, counts = [cut.tile for cuts in chips.values() for cut in cuts], [len(cuts) for cuts in chips.values()]
    # Map units of two coordinate systems do not compare.
    several = len({tile.crs for tile in tiles}) > 1
    places = ground_plane(tiles) if several else np.array([tile.centre for tile in tiles]).T
    x, y = (np.add.reduceat(place, np.cumsum([0, *counts[:-1]])) / counts for place in places)
    return np.repeat(band_index(x, y, bands, direction_deg), counts)
