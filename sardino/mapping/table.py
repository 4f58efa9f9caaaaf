"""Embeddings of a tile store as a table, a row a tile or a patch, with its place: for neighbours, tabular models."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from sardino.data.tiles.store import SPLITS, TileStore
from sardino.errors import SardinoError
from sardino.files import read_text, whole, write_json, writing
from sardino.mapping.job import Job
from sardino.mapping.model import MapModel, load_vit
from sardino.mapping.resume import folder_of
from sardino.mapping.store_tokens import components_of, open_store, tile_tokens
from sardino.weights.components import Components

PART = 1 << 22
"""Numbers of a part, at most: what is in memory, is written at once, and an interruption costs."""
NOT_OF_STORES = ("dtype", "channels", "unit", "crs", "warp", "window_px", "overlap_px")
Track = Callable[[Iterable[Sequence[str]], int], Iterable[Sequence[str]]]
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"], "crs": CRS("EPSG:4326").to_json_dict()}},
}


def make_table(job: Job, track: Track = lambda parts, total: parts) -> None:
    """Write the table of a job whose scene is a tile store, or go on with it.

    A row has the tile's id, region and split, of a patch its row and column, the centre in WGS84 (GeoParquet), and
    `embedding`, float32: of a tile the mean of its patches that have a valid pixel. Other patches have no row, and
    tiles of no split, which have no pixel at all.

    Args:
        track: shows how far the parts, lists of tile ids, are; it is told how many.

    Raises:
        SardinoError: options of scenes, a store that does not fit the model, a file that is in the way, a full disk.
    """
    fields = Job.model_fields
    if given := [name for name in NOT_OF_STORES if getattr(job, name) != fields[name].default]:
        raise SardinoError(f"{job.scene} is a tile store, for which {', '.join(given)} cannot be chosen: leave it out")
    if job.out.exists() and not job.overwrite:
        raise SardinoError(f"{job.out} exists already: remove it, or say --overwrite")
    model = load_vit(job.model, job.network)
    store, components = open_store(job.scene, model), components_of(job, model)
    rows_of_tile = (store.tile_px // model.card.architecture.patch) ** 2 if job.per == "patch" else 1
    width = len(components.axes) if components else model.card.architecture.width
    all_ids, most = store.ids(SPLITS), max(1, min(1024, PART // (rows_of_tile * width)))
    parts = [all_ids[start : start + most] for start in range(0, len(all_ids), most)]
    folder, of = folder_of(job.out), folder_of(job.out) / "of.json"
    identity = [store.fingerprint, model.sha256, components.sha256 if components else "", width, job.per]
    identity += [job.precision, job.batch, len(parts)]
    with writing(job.out):
        if not of.is_file() or json.loads(read_text(of)) != identity:
            shutil.rmtree(folder, ignore_errors=True)
            write_json(identity, of)
    for number, ids in enumerate(track(parts, len(parts))):
        if not (part := folder / f"{number}.parquet").exists():
            with whole(part) as partial:
                pq.write_table(_rows(model, store, ids, job, components), partial)
    with whole(job.out) as partial, pq.ParquetWriter(partial, _schema(job, width, model), compression="zstd") as file:
        for number in range(len(parts)):
            file.write_table(pq.read_table(folder / f"{number}.parquet").cast(file.schema))
    shutil.rmtree(folder)


def _schema(job: Job, width: int, model: MapModel) -> pa.Schema:
    place = [("row", pa.int32()), ("column", pa.int32())] if job.per == "patch" else []
    names: list[tuple[str, Any]] = [("id", pa.string()), ("region", pa.string()), ("split", pa.string()), *place]
    names += [("geometry", pa.binary()), ("embedding", pa.list_(pa.float32(), width))]
    return pa.schema(names, {"geo": json.dumps(_GEO), "weights_sha256": model.sha256})


def _rows(model: MapModel, store: TileStore, ids: Sequence[str], job: Job, components: Components | None) -> pa.Table:
    """Of some tiles, in order."""
    found: dict[str, list[Any]] = {name: [] for name in ("tile", "row", "column", "embedding")}
    first = 0
    for tokens, seen in tile_tokens(model, store, ids, job, components):
        if job.per == "tile":
            tokens = np.mean(tokens, (1, 2), keepdims=True, where=seen[..., None])
            seen = np.ones((len(tokens), 1, 1), bool)  # none of a split is without a valid pixel
        tile, row, column = np.nonzero(seen)
        for name, values in zip(found, (first + tile, row, column, tokens[seen]), strict=True):
            found[name].append(values)
        first += len(seen)
    tile, row, column, embedding = map(np.concatenate, found.values())
    index = store.index.iloc[[store.row(each) for each in ids]].iloc[tile]
    cells = store.tile_px / (1 if job.per == "tile" else store.tile_px // model.card.architecture.patch)
    columns: dict[str, Any] = {name: index[name].astype(str) for name in ("id", "region", "split")}
    columns |= {"row": row, "column": column, "geometry": _centres(index, row, column, cells)}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(embedding.ravel(), embedding.shape[1])
    schema = _schema(job, embedding.shape[1], model)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _centres(
    index: geopandas.GeoDataFrame, row: NDArray[np.int64], column: NDArray[np.int64], cell_px: float
) -> NDArray[Any]:
    """WKB of the points in WGS84 in the middle of cells of tiles; none where a tile states no CRS."""
    a, _, c, _, e, f = np.stack(index["transform"].to_list()).T
    x, y = c + a * cell_px * (column + 0.5), f + e * cell_px * (row + 0.5)
    points = np.full(len(index), None, object)
    for crs in filter(None, index["crs"].unique()):
        own = (index["crs"] == crs).to_numpy()
        points[own] = geopandas.GeoSeries.from_xy(x[own], y[own], crs=crs).to_crs("EPSG:4326").to_numpy()
    return shapely.to_wkb(points)
