"""A folder of real chips to a tile store: cut into square tiles, split by place, everything dropped said."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely import STRtree

from sardino.data.places.splits import band_index, splits_of_bands
from sardino.data.places.utm import transformer
from sardino.data.rasters.open import pixel_size_m
from sardino.data.sources.folder.chips import ChipFiles, chip_names
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.sources.seasonal_composite import AbsentSeason
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, Progress, Tile
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError


@dataclass(frozen=True)
class _Cut:
    """A tile and the pixels of the chip that it is cut from."""

    chip: str
    row: int
    column: int
    tile: Tile


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
) -> TileStore:
    """Cut the chips of a folder into tiles and write them as a tile store.

    Bands are assigned to whole chips, so that the tiles of one chip stay in one split. Chips of neighbouring
    scenes may overlap: of two overlapping tiles in different splits the one used for learning is dropped.

    Args:
        tile_px: edge of a tile; what remains at a chip's right and lower edge is left out.
        bands, direction_deg: of the geographic bands, see `band_index`; not used where spec.split is "train".
        max_tiles_per_chip: take at most so many tiles of a chip, spread evenly over it.

    Returns:
        The store; its metadata states the source, the kind of labels, the margin left out and all that was dropped.

    Raises:
        SardinoError: a file is missing, damaged, or does not fit the spec; or nothing remains.
    """
    folder = Path(folder)
    dropped: list[str] = []
    chips: dict[str, list[_Cut]] = {}
    margin, offset, gsd = (0, 0), 0, 0.0
    for name in chip_names(folder, spec):
        files = ChipFiles(folder, spec, name)
        try:
            backscatter = files.backscatter_db
        except AbsentSeason as error:
            if spec.backscatter.missing_season != "drop":
                raise SardinoError(f"{folder}: {error}") from error
            dropped.append(f"{error}; chip dropped")
            continue
        rows, columns = backscatter.shape[1:]
        if not np.isfinite(backscatter).any():
            dropped.append(f"chip {name} has no valid pixel; chip dropped")
            continue
        if min(rows, columns) < tile_px:
            dropped.append(f"chip {name} is {columns} x {rows} px, smaller than a tile of {tile_px} px; chip dropped")
            continue
        if files.grid.crs:
            gsd = gsd or sum(pixel_size_m(files.grid.crs, files.grid.transform, files.grid.shape)) / 2
            origin = (files.grid.transform[2], files.grid.transform[5])
        else:
            # Without a CRS there is no place: chips lie side by side in pixel coordinates.
            origin, offset = (float(offset), 0.0), offset + columns
        step = spec.stride_px or tile_px
        margin = max(margin, ((rows - tile_px) % step, (columns - tile_px) % step))
        cuts = _cuts(files, spec.name, origin, tile_px, step, max_tiles_per_chip)
        kept = [c for c in cuts if np.isfinite(_window(backscatter, c, tile_px)).any()]
        if len(kept) < len(cuts):
            dropped.append(f"chip {name} has {len(cuts) - len(kept)} tiles without a valid pixel; tiles dropped")
        chips[name] = kept
    if not chips:
        raise SardinoError(f"nothing of {folder} can be used: {'; '.join(dropped)}")

    cuts = [cut for kept in chips.values() for cut in kept]
    band = _bands_of_chips(folder, spec, chips, bands, direction_deg)
    splits = ["train"] * len(cuts) if spec.split == "train" else [str(s) for s in splits_of_bands(band)]
    if lost := _overlapping([cut.tile for cut in cuts], splits):
        dropped.append(f"{len(lost)} tiles overlap tiles of another split; tiles dropped")
    keep = [number for number in range(len(cuts)) if number not in lost]
    cuts = [cuts[number] for number in keep]

    @lru_cache(maxsize=1)  # tiles come chip by chip
    def files_of(name: str) -> ChipFiles:
        return ChipFiles(folder, spec, name)

    def chip(number: int) -> Chip:
        cut, files = cuts[number], files_of(cuts[number].chip)
        layers = {name: _window(layer, cut, tile_px) for name, layer in files.layers.items()}
        return Chip(_window(files.backscatter_db, cut, tile_px), _window(files.label, cut, tile_px), layers)

    return write_store(
        out,
        [cut.tile for cut in cuts],
        [splits[number] for number in keep],
        chip,
        channels=spec.channels,
        legend=spec.legend,
        product=spec.product,
        synthetic=False,
        metadata={
            "source": f"folder {spec.name}",
            "title": spec.title,
            "note": spec.note,
            "labels": "none" if spec.labels.source == "none" else spec.legend.name,
            "labels_derived": spec.legend.derived,
            "calibrated": spec.backscatter.unit != "amplitude",
            "composite": spec.backscatter.composite,
            "gsd_m": round(gsd, 3) if gsd else None,
            "chips": len(chips),
            "margin_px": list(margin),
            "stride_px": spec.stride_px or tile_px,
            "bands": int(band.max()) + 1,
            "band_angle_deg": direction_deg,
            "dropped": dropped,
        },
        bands=[int(band[number]) for number in keep],
        progress=progress,
        overwrite=overwrite,
    )


def _window(array: NDArray[Any], cut: _Cut, tile_px: int) -> NDArray[Any]:
    return array[..., cut.row : cut.row + tile_px, cut.column : cut.column + tile_px]


def _cuts(
    files: ChipFiles, region: str, origin: tuple[float, float], tile_px: int, step: int, most: int | None
) -> list[_Cut]:
    rows = list(range(0, files.grid.shape[0] - tile_px + 1, step))
    columns = list(range(0, files.grid.shape[1] - tile_px + 1, step))
    if most is not None and most < len(rows) * len(columns):
        down = max(1, min(len(rows), round((most * len(rows) / len(columns)) ** 0.5), most))
        across = min(len(columns), most // down)
        rows, columns = _spread(rows, down), _spread(columns, across)
    a, _, _, _, e, _ = files.grid.transform
    cuts = []
    for row in rows:
        for column in columns:
            transform = (a, 0.0, origin[0] + a * column, 0.0, e, origin[1] + e * row)
            cuts.append(_Cut(files.name, row, column, Tile(region, files.grid.crs, transform, (tile_px, tile_px))))
    return cuts


def _spread(places: list[int], count: int) -> list[int]:
    return [places[(2 * number + 1) * len(places) // (2 * count)] for number in range(count)]


def _bands_of_chips(
    folder: Path, spec: FolderSpec, chips: dict[str, list[_Cut]], bands: int, direction_deg: float
) -> NDArray[np.int64]:
    """The band of each tile, which is that of its chip."""
    sizes = [len(cuts) for cuts in chips.values()]
    if spec.split == "train":
        return np.zeros(sum(sizes), np.int64)
    if len(chips) < bands:
        raise SardinoError(
            f"{folder} holds {len(chips)} usable chips, too few for {bands} bands: ask for fewer bands, add chips, or "
            f'set split = "train" in the spec'
        )
    tiles = [[cut.tile for cut in cuts] for cuts in chips.values()]
    centres = [np.mean([tile.centre for tile in kept], axis=0) for kept in tiles]
    if len({tile.crs for kept in tiles for tile in kept}) > 1:  # map units of two zones do not compare
        pairs = zip(tiles, centres, strict=True)
        centres = [transformer(kept[0].crs, "EPSG:4326").transform(*centre) for kept, centre in pairs]
    x, y = np.array(centres).T
    return np.repeat(band_index(x, y, bands, direction_deg), sizes)


def _overlapping(tiles: Sequence[Tile], splits: Sequence[str]) -> set[int]:
    """Tiles that share ground with a tile of another split; test keeps its tiles, then validation."""
    rank = {"train": 0, "val": 1, "test": 2}
    lost: set[int] = set()
    for crs in sorted({tile.crs for tile in tiles}):
        places = [number for number, tile in enumerate(tiles) if tile.crs == crs]
        # A hundredth of a pixel less on each side, so that neighbours that only touch do not count.
        outlines = [tiles[n].footprint.buffer(-tiles[n].transform[0] / 100, join_style="mitre") for n in places]
        for one, other in STRtree(outlines).query(outlines, predicate="intersects").T:
            first, second = places[one], places[other]
            if rank[splits[first]] < rank[splits[second]]:
                lost.add(first)
    return lost
