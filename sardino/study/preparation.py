"""From a profile's source to its tile stores: the synthetic world, or folders of real chips."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sardino.data.places.leakage import table_leakage
from sardino.data.places.splits import band_index, separate, splits_of_bands
from sardino.data.sources.folder.source import import_folder
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.choice import choose_tiles
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import SPLITS, TileStore
from sardino.data.tiles.table import tile_table
from sardino.data.tiles.tile import Tile
from sardino.data.tiles.write_store import merge_stores, write_store
from sardino.errors import SardinoError
from sardino.progress import track
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace


def prepare(space: Workspace, workers: int = 2) -> dict[str, TileStore]:
    """Build every tile store the profile's arms read, replacing older ones; by name, "store" first."""
    if space.profile.data.source == "world":
        return {"store": _from_world(space, workers)}
    if space.profile.data.source == "store":
        return {"store": _as_it_is(space)}
    regions: dict[str, list[str]] = {}
    for arm in space.profile.pretraining.values():
        regions.setdefault(arm.store, []).extend(r for r in arm.regions if r not in regions.get(arm.store, []))
    return {name: _from_folders(space, name, folders) for name, folders in regions.items()}


def open_or_prepare(space: Workspace) -> dict[str, TileStore]:
    """The profile's stores as they are, or built now where they are missing."""
    paths = {arm.store: space.build / arm.store for arm in space.profile.pretraining.values()}
    if all(path.exists() for path in paths.values()):
        return {name: TileStore.open(path) for name, path in paths.items()}
    return prepare(space)


def tiles_to_make(profile: Profile, listed: pd.DataFrame) -> NDArray[np.bool_]:
    """Which tiles of a list (columns id, region, split, band, labelled_share) get pixels, as the profile asks."""
    chosen: set[str] = set()
    for region, tiles in listed.groupby("region", sort=False):
        granted: set[str] = set()
        if region == profile.labelled_region:
            known = tiles[(tiles["split"] == "train") & (tiles["labelled_share"] > 0)]
            granted = profile.labelled(known["id"].tolist()) if len(known) else granted
        chosen |= choose_tiles(tiles, granted, **profile.data.wanted(str(region)))
    return listed["id"].isin(chosen).to_numpy()


def split_regions(tiles: list[Tile], bands: int, direction_deg: float) -> tuple[list[str], list[int]]:
    """Split and band of each tile, each region banded by itself (paper, Figure 3)."""
    band = np.empty(len(tiles), np.int64)
    for region in dict.fromkeys(tile.region for tile in tiles):
        members = np.array([i for i, tile in enumerate(tiles) if tile.region == region])
        x, y = np.array([tiles[i].centre for i in members]).T
        band[members] = band_index(x, y, bands, direction_deg)
    return [str(s) for s in splits_of_bands(band)], [int(b) for b in band]


def _from_world(space: Workspace, workers: int) -> TileStore:
    data = space.profile.data
    world = World(seed=data.seed, composite=data.composite)
    sizes = data.regions.items()
    tiles = [tile for region, size in sizes for tile in world.tiles(region, data.tile_px, *size)]
    splits, bands = split_regions(tiles, data.bands, data.band_angle_deg)
    if data.buffer_m:
        splits = [str(split) for split in separate(tiles, splits, data.buffer_m)]
        kept = [number for number, split in enumerate(splits) if split in SPLITS]
        tiles, splits, bands = [tiles[n] for n in kept], [splits[n] for n in kept], [bands[n] for n in kept]
    listed = tile_table(tiles, split=splits, band=bands).assign(labelled_share=1.0)  # the world knows all its land
    made = tiles_to_make(space.profile, listed)
    numbers = np.flatnonzero(made)
    # Simulating a tile is Python and NumPy by turns: processes use all cores where threads would wait.
    several = workers > 1
    pool: Executor = ProcessPoolExecutor(workers, get_context("spawn")) if several else ThreadPoolExecutor(1)
    with pool:
        return write_store(
            space.store,
            [tiles[number] for number in numbers],
            [splits[number] for number in numbers],
            lambda place: pool.submit(world.chip, tiles[numbers[place]]).result(),
            channels=CHANNELS,
            legend=WORLDCOVER,
            product=world.metadata()["product"],
            synthetic=True,
            metadata=world.metadata(),
            bands=[bands[number] for number in numbers],
            listed_only=listed[~made],
            workers=workers,
            progress=_counted,
            overwrite=True,
        )


def _as_it_is(space: Workspace) -> TileStore:
    """A store that is there already, checked and linked into the build folder; of some of its tiles a copy is made."""
    source, data = space.input_folder(), space.profile.data
    store = TileStore.open(source)
    store.require(tile_px=data.tile_px)
    if store.synthetic != space.profile.synthetic:
        told = "is" if store.synthetic else "is not"
        raise SardinoError(f"{source} {told} synthetic, the profile says otherwise: correct `synthetic` in it")
    if missing := [region for region in data.folders if region not in store.regions]:
        raise SardinoError(f"{source} has no region {', '.join(missing)}: it holds {', '.join(store.regions)}")
    store.verify()
    if not data.makes_all:
        if space.store.is_symlink():
            space.store.unlink()
        return merge_stores([store], space.store, overwrite=True, choose=partial(tiles_to_make, space.profile))
    link = space.store.with_name(f"{space.store.name}.link")
    space.build.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(source, target_is_directory=True)
    if space.store.is_dir() and not space.store.is_symlink():
        shutil.rmtree(space.store)
    os.replace(link, space.store)
    return TileStore.open(space.store)


def _from_folders(space: Workspace, name: str, folders: list[str]) -> TileStore:
    """One store from one folder of chips, or from several merged."""
    data, parts = space.profile.data, {}
    options = (data.tile_px, data.bands, data.band_angle_deg, data.max_tiles_per_chip)
    for folder in folders:
        out = space.build / name if len(folders) == 1 and data.makes_all else space.build / "parts" / folder
        spec = FolderSpec.load(folder)
        source = space.input_folder() / spec.name
        parts[source] = import_folder(source, spec, out, *options, warp=data.warp, progress=_counted, overwrite=True)
    stores = list(parts.values())
    if stores[0].path == space.build / name:
        return stores[0]
    _require_apart(parts)
    return merge_stores(stores, space.build / name, overwrite=True, choose=partial(tiles_to_make, space.profile))


def _require_apart(parts: Mapping[Path, TileStore]) -> None:
    """Refuse folders that share a tile, or ground in different splits; within a folder its import sees to that."""
    listed = [(tile, folder) for folder, part in parts.items() for tile in part.ids()]
    shared = tuple(tile for tile, many in Counter(tile for tile, _ in listed).items() if many > 1)[:1]
    if not shared:
        splits = [split for part in parts.values() for split in part.index["split"]]
        table = tile_table([parts[folder].tile(tile) for tile, folder in listed], split=splits)
        shared = table_leakage(table).overlapping or ()
    if shared:
        folders = " and ".join(dict.fromkeys(str(folder) for tile, folder in listed if tile in shared))
        remedy = 'leave one of them out of `folders`; of other tiles, split = "train" in both specs will do'
        raise SardinoError(f"{folders} share ground, at tile {' and '.join(shared)}: {remedy}")


def _counted(numbers: Iterable[int]) -> Iterator[int]:
    listed = list(numbers)
    return track(listed, len(listed), "making tiles")
